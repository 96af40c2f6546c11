//go:build linux

// Package test drives the built program from outside, as people and scripts do: each script in script/ starts a
// Fairlead of its own in a directory of its own, with a real containerd, real containers and clients that we did not
// write. What a script leaves is taken away by 'fairlead down --purge' at its end, also when it failed.
package test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/rogpeppe/go-internal/testscript"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fairlead-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "fairlead")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", binary, "../cmd/fairlead")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func TestScripts(t *testing.T) {
	needRoot(t)
	testscript.Run(t, testscript.Params{Dir: "script", Setup: setup, RequireExplicitExec: true, Cmds: commands()})
}

// commands gives what scripts may say besides testscript's own words.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"up":         cmdUp,
		"stop":       cmdStop,
		"kill9":      cmdKill,
		"fairlead":   cmdFairlead,
		"eventually": cmdEventually,
		"fix":        cmdFix,
		"image":      cmdImage,
		"ready":      cmdReady,
		"field":      cmdField,
		"nosecrets":  cmdNoSecrets,
		"foreign":    cmdForeign,
		"leftovers":  cmdLeftovers,
		"nothing":    cmdNothing,
		"crane":      cmdCrane,
		"containerd": cmdContainerd,
		"assertion":  cmdAssertion,
		"workload":   cmdWorkload,
	}
}

// needRoot skips where containers cannot run; CI must not skip.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("these tests run containers and need root")
	}
	t.Skip("these tests run containers and need root")
}

// world is what one script has: its server, and every secret it has seen.
type world struct {
	mu     sync.Mutex
	server *exec.Cmd
	done   chan struct{}
}

type worldKey struct{}

func setup(env *testscript.Env) error {
	w := &world{}
	env.Values[worldKey{}] = w
	data := filepath.Join(env.WorkDir, "data")
	env.Setenv("DATA", data)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("FAIRLEAD_READY_FILE", filepath.Join(env.WorkDir, "ready.json"))
	env.Setenv("PATH", filepath.Dir(binary)+":"+os.Getenv("PATH"))
	env.Defer(func() { w.purge(data) })
	return startIssuer(env)
}

// purge ends the server and all that runs from a data directory.
func (w *world) purge(data string) {
	w.end(syscall.SIGTERM)
	down := exec.Command(binary, "down", "--purge", "--data", data)
	if out, err := down.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cleaning up %s: %v\n%s", data, err, out)
	}
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// cmdUp starts a server on a free port and returns when it says that it is ready: up [flags…].
func cmdUp(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	argv := append([]string{"up", "--data", ts.Getenv("DATA"), "--listen", "127.0.0.1:0", "--ready-file", ts.Getenv("FAIRLEAD_READY_FILE"), "--log-level", "debug"}, args...)
	cmd := exec.Command(binary, argv...)
	cmd.Dir = ts.MkAbs(".")
	if authorities := ts.Getenv("SSL_CERT_FILE"); authorities != "" {
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+authorities)
	}
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	logFile, err := os.OpenFile(ts.MkAbs("up.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	cmd.Stderr = logFile
	ts.Check(cmd.Start())
	done, ready := make(chan struct{}), make(chan bool, 1)
	go func() {
		defer close(done)
		defer logFile.Close()
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "Fairlead is ready") {
				ready <- true
			}
		}
		_ = cmd.Wait()
		ready <- false
	}()
	w.mu.Lock()
	w.server, w.done = cmd, done
	w.mu.Unlock()
	select {
	case ok := <-ready:
		if ok == neg {
			text, _ := os.ReadFile(ts.MkAbs("up.log"))
			ts.Fatalf("up: ready is %v\n%s", ok, tail(string(text), 60))
		}
	case <-time.After(60 * time.Second):
		ts.Fatalf("up: not ready after 60 s")
	}
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// end sends a signal to the server, if one runs, and waits for its end.
func (w *world) end(s syscall.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server == nil {
		return
	}
	_ = w.server.Process.Signal(s)
	select {
	case <-w.done:
	case <-time.After(20 * time.Second):
		_ = w.server.Process.Kill()
		<-w.done
	}
	w.server = nil
}

// cmdStop ends the server with SIGTERM, which it must obey within 10 s.
func cmdStop(ts *testscript.TestScript, _ bool, _ []string) {
	start := time.Now()
	worldOf(ts).end(syscall.SIGTERM)
	if took := time.Since(start); took > 10*time.Second {
		ts.Fatalf("stop: took %s, more than 10 s", took)
	}
}

func cmdKill(ts *testscript.TestScript, _ bool, _ []string) { worldOf(ts).end(syscall.SIGKILL) }

// cmdFairlead runs the program and checks its exit code: fairlead args… succeeds, ! fairlead args… fails; its output
// is what stdout and stderr then match.
func cmdFairlead(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(binary, args...)
	if (err != nil) != neg {
		ts.Fatalf("fairlead %s: %v", strings.Join(args, " "), err)
	}
}

// cmdEventually repeats a shell command until it succeeds: eventually 30s 'command'.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: eventually DURATION COMMAND")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		if err = ts.Exec("sh", "-c", args[1]); err == nil {
			tick.Stop()
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("eventually: %s: still fails after %s: %v", args[1], limit, err)
		case <-tick.C:
		}
	}
}

// cmdFix runs the commands that an explanation printed, as a person would who pastes them: fix why.json.
func cmdFix(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: fix FILE")
	}
	var report struct {
		Code string
		Fix  []struct{ Why, Command string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &report))
	if (len(report.Fix) == 0) != neg {
		ts.Fatalf("fix: %s has %d fixes", report.Code, len(report.Fix))
	}
	for _, step := range report.Fix {
		if !strings.HasPrefix(step.Command, "fairlead ") {
			ts.Fatalf("fix: %q is no fairlead command", step.Command)
		}
		ts.Logf("fix: %s", step.Command)
		if err := ts.Exec("bash", "-o", "pipefail", "-c", step.Command); err != nil {
			ts.Fatalf("fix: %s: %v", step.Command, err)
		}
	}
}

// cmdImage makes a directory that 'fairlead push' turns into an image: busybox under every name that scripts use, a
// page, and two programs that end when they are told to: /bin/idle and /bin/web: image DIR.
func cmdImage(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	for _, sub := range []string{"bin", "www", "tmp", "etc"} {
		ts.Check(os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	in, err := os.Open("/bin/busybox")
	ts.Check(err)
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, "bin", "busybox"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	ts.Check(err)
	_, err = io.Copy(out, in)
	ts.Check(errors.Join(err, out.Close()))
	for _, name := range []string{"sh", "echo", "cat", "sleep", "httpd", "wget", "nslookup", "env", "head", "tail", "kill", "true", "false", "id", "hostname"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil && !errors.Is(err, os.ErrExist) {
			ts.Fatalf("image: %v", err)
		}
	}
	ts.Check(os.WriteFile(filepath.Join(dir, "www", "index.html"), []byte("<h1>Served from a private image</h1>\n"), 0o644))
	for name, command := range map[string]string{"idle": "sleep 100000", "web": "httpd -f -p 8080 -h /www"} {
		// A first process obeys SIGTERM only when it says so.
		text := "#!/bin/sh\ntrap 'exit 0' TERM\n" + command + " &\nwait\n"
		ts.Check(os.WriteFile(filepath.Join(dir, "bin", name), []byte(text), 0o755))
	}
}

// cmdReady puts a field of the ready file into a variable: ready VAR FIELD (dots lead inwards).
func cmdReady(ts *testscript.TestScript, neg bool, args []string) {
	cmdField(ts, neg, []string{args[0], ts.Getenv("FAIRLEAD_READY_FILE"), args[1]})
}

// cmdField puts a field of a JSON file into a variable: field VAR FILE FIELD.
func cmdField(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &v))
	for field := range strings.SplitSeq(args[2], ".") {
		m, ok := v.(map[string]any)
		if !ok || m[field] == nil {
			ts.Fatalf("%s has no field %s", args[1], args[2])
		}
		v = m[field]
	}
	if n, ok := v.(float64); ok {
		v = int64(n)
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

// cmdNoSecrets fails when one of the given values stands in the server's log or database: nosecrets VALUE…
func cmdNoSecrets(ts *testscript.TestScript, _ bool, args []string) {
	files := []string{ts.MkAbs("up.log")}
	found, err := filepath.Glob(filepath.Join(ts.Getenv("DATA"), "fairlead.db*"))
	ts.Check(err)
	files = append(files, found...)
	if len(files) < 2 {
		ts.Fatalf("nosecrets: no database to search")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		ts.Check(err)
		for _, secret := range args {
			if len(secret) < 8 {
				ts.Fatalf("nosecrets: %q is too short to search for", secret)
			}
			if strings.Contains(string(text), secret) {
				ts.Fatalf("nosecrets: %s holds a secret", file)
			}
		}
	}
}

// cmdForeign makes an OCI layout with an index of one small image for another platform: foreign DIR OS/ARCH.
func cmdForeign(ts *testscript.TestScript, _ bool, args []string) {
	system, arch, ok := strings.Cut(args[1], "/")
	if !ok {
		ts.Fatalf("usage: foreign DIR OS/ARCH")
	}
	img, err := random.Image(1024, 1)
	ts.Check(err)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: system, Architecture: arch, RootFS: must(img.ConfigFile()).RootFS})
	ts.Check(err)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: system, Architecture: arch}},
	})
	path, err := layout.Write(ts.MkAbs(args[0]), empty.Index)
	ts.Check(err)
	ts.Check(path.AppendIndex(index))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
