//go:build linux

package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// instance is a Fairlead of a Go test's own.
type instance struct {
	t    *testing.T
	data string
	env  []string
}

// newInstance starts a server and ends everything of it after the test.
func newInstance(t *testing.T) *instance {
	t.Helper()
	dir := t.TempDir()
	i := &instance{t: t, data: filepath.Join(dir, "data"), env: append(os.Environ(), "FAIRLEAD_READY_FILE="+filepath.Join(dir, "ready.json"))}
	cmd := exec.Command(binary, "up", "--data", i.data, "--listen", "127.0.0.1:0", "--ready-file", filepath.Join(dir, "ready.json"))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if out, err := exec.Command(binary, "down", "--purge", "--data", i.data).CombinedOutput(); err != nil {
			t.Errorf("cleaning up: %v\n%s", err, out)
		}
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "Fairlead is ready") {
			go io.Copy(io.Discard, stdout)
			return i
		}
	}
	_ = cmd.Wait()
	t.Fatalf("the server ended before it was ready:\n%s", log.String())
	return nil
}

// run runs a command of the CLI and gives what it prints.
func (i *instance) run(args ...string) []byte {
	i.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = i.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		i.t.Fatalf("fairlead %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// field runs a command with --output json and gives one field of what it prints; dots lead inwards.
func (i *instance) field(path string, args ...string) string {
	i.t.Helper()
	var v any
	if err := json.Unmarshal(i.run(append(args, "--output", "json")...), &v); err != nil {
		i.t.Fatal(err)
	}
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	s, ok := v.(string)
	if !ok || s == "" {
		i.t.Fatalf("fairlead %s: no %s", strings.Join(args, " "), path)
	}
	return s
}

// serve makes a container group that serves a page on port 8080 and gives its address.
func (i *instance) serve(page string) string {
	i.t.Helper()
	image := filepath.Join(i.t.TempDir(), "image")
	for _, dir := range []string{"bin", "www"} {
		if err := os.MkdirAll(filepath.Join(image, dir), 0o755); err != nil {
			i.t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		i.t.Fatal(err)
	}
	for name, text := range map[string]string{"bin/busybox": string(busybox), "www/index.html": page} {
		if err := os.WriteFile(filepath.Join(image, name), []byte(text), 0o755); err != nil {
			i.t.Fatal(err)
		}
	}
	i.run("registry", "create", "myacr")
	i.run("push", image, "myacr/web:v1", "--entrypoint", "/bin/busybox", "--cmd", "httpd", "--cmd", "-f", "--cmd", "-p", "--cmd", "8080", "--cmd", "-h", "--cmd", "/www")
	principal := i.field("properties.principalId", "identity", "create", "puller", "-g", "rg")
	i.run("role", "assign", "AcrPull", "--to", principal, "--on", "myacr")
	i.run("group", "create", "web", "-g", "rg", "--image", "myacr.azurecr.io/web:v1", "--identity", i.field("id", "identity", "show", "puller"),
		"--cpu", "0.1", "--memory", "0.1", "--port", "8080")
	return i.field("properties.ipAddress.ip", "group", "show", "web")
}

// get gives the page that a group serves. A container that runs does not listen yet: until it does, connections are
// refused.
func get(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + ":8080/")
	for end := time.Now().Add(20 * time.Second); errors.Is(err, syscall.ECONNREFUSED) && time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		resp, err = http.Get("http://" + address + ":8080/")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestTwoInstancesNeverMeet runs two servers with the same names in them: both are reached, each gives its own page, and
// ending one leaves the other as it is.
func TestTwoInstancesNeverMeet(t *testing.T) {
	needRoot(t)
	one, two := newInstance(t), newInstance(t)
	addressOne, addressTwo := one.serve("the first"), two.serve("the second")
	if addressOne == addressTwo {
		t.Fatalf("both groups have the address %s", addressOne)
	}
	if get(t, addressOne) != "the first" || get(t, addressTwo) != "the second" {
		t.Fatal("a group gives the other's page")
	}
	if out, err := exec.Command(binary, "down", "--data", one.data).CombinedOutput(); err != nil {
		t.Fatalf("down: %v\n%s", err, out)
	}
	if got := get(t, addressTwo); got != "the second" {
		t.Fatalf("after the first has ended the second gives %q", got)
	}
	two.run("why", "web")
}
