//go:build linux

package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// TestClusters drives managed clusters as people do: 'fairlead kube' and an unmodified kubectl. fairlead-kube takes long to
// build, so that only 'make test-kube' has it.
func TestClusters(t *testing.T) {
	needRoot(t)
	program := os.Getenv("FAIRLEAD_KUBE")
	if program == "" {
		t.Skip("FAIRLEAD_KUBE names no fairlead-kube: make test-kube")
	}
	// fairlead looks for it beside itself, and it is kubectl when it is called so.
	for _, name := range []string{"fairlead-kube", "kubectl"} {
		if err := os.Symlink(program, filepath.Join(filepath.Dir(binary), name)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	cmds := commands()
	cmds["program"], cmds["aksprovider"], cmds["disk"] = cmdProgram, cmdProviderOfAKS, cmdDisk
	testscript.Run(t, testscript.Params{Dir: "kube", Setup: setup, RequireExplicitExec: true, Cmds: cmds})
}

// cmdProgram builds a program of these tests for an image: program DIR PACKAGE.
func cmdProgram(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: program DIR PACKAGE")
	}
	buildProgram(ts, ".", filepath.Join(ts.MkAbs(args[0]), "bin", args[1]), "./"+args[1])
}

// cmdProviderOfAKS builds the credential provider of Azure Kubernetes Service: aksprovider FILE.
func cmdProviderOfAKS(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: aksprovider FILE")
	}
	buildProgram(ts, "aksprovider", ts.MkAbs(args[0]), "sigs.k8s.io/cloud-provider-azure/cmd/acr-credential-provider")
}

// buildProgram builds a package of the module in dir.
func buildProgram(ts *testscript.TestScript, dir, out, pkg string) {
	build := exec.Command("go", "build", "-trimpath", "-o", out, pkg)
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
}

// cmdDisk puts the data directory on a disk of its own of that size, in memory: disk SIZE.
func cmdDisk(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: disk SIZE")
	}
	w, data := worldOf(ts), ts.Getenv("DATA")
	ts.Check(os.Mkdir(data, 0o700))
	ts.Check(unix.Mount("tmpfs", data, "tmpfs", 0, "size="+args[0]))
	ts.Defer(func() {
		w.purge(data)
		ts.Check(unix.Unmount(data, unix.MNT_DETACH))
	})
}
