//go:build linux

package test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
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
	testscript.Run(t, testscript.Params{Dir: "kube", Setup: setup, RequireExplicitExec: true, Cmds: commands()})
}
