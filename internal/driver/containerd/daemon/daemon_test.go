//go:build linux

package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/driver/containerd/process"
)

func TestMain(m *testing.M) {
	if run, ok := Applet(os.Args); ok {
		os.Exit(run())
	}
	goleak.VerifyTestMain(m)
}

// config gives a daemon of its own, which is stopped at the end.
func config(t *testing.T) Config {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("containerd needs root")
		}
		t.Skip("containerd needs root")
	}
	run, err := os.MkdirTemp("/run", "fl-test-") //nolint:usetesting // the paths of sockets have to be short
	must(t, err)
	root := t.TempDir()
	c := Config{Root: root, Run: run, Log: filepath.Join(root, "log"), Namespace: filepath.Base(run)}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(c.Log)
			t.Logf("containerd's log:\n%s", log)
		}
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, c Config) *process.Supervisor {
	t.Helper()
	s, err := Open(t.Context(), c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	conn, err := net.Dial("unix", c.Socket())
	must(t, err)
	must(t, conn.Close())
	return s
}

func TestAdoptsWhatRuns(t *testing.T) {
	c := config(t)
	first := start(t, c)
	if again := start(t, c); again.PID() != first.PID() {
		t.Errorf("process %d runs, then %d", first.PID(), again.PID())
	}
}

func TestReplacesWhatIsNotItsOwn(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, c *Config){
		"another executable": func(t *testing.T, c *Config) { c.Executable = copyOfOurs(t) },
		"another configuration": func(t *testing.T, c *Config) {
			must(t, os.WriteFile(c.file(), []byte("version = 4\n"), 0o600))
		},
		"no socket any more": func(t *testing.T, c *Config) { must(t, os.Remove(c.Socket())) },
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			first := start(t, c)
			change(t, &c)
			if again := start(t, c); again.PID() == first.PID() {
				t.Error("it was kept")
			}
			if running, err := c.running(); err != nil || len(running) != 1 {
				t.Errorf("%d daemons run, %v", len(running), err)
			} else {
				running.Close()
			}
		})
	}
}

func copyOfOurs(t *testing.T) string {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	must(t, err)
	defer from.Close()
	path := filepath.Join(t.TempDir(), "copy")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(to, from)
	must(t, err)
	must(t, to.Close())
	return path
}

// TestComesBack kills the daemon several times.
func TestComesBack(t *testing.T) {
	c := config(t)
	s := start(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	back, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { back <- struct{}{} }) }()
	for range 2 {
		before := s.PID()
		must(t, unix.Kill(before, unix.SIGKILL))
		select {
		case <-back:
		case <-time.After(20 * time.Second):
			t.Fatal("it does not come back")
		}
		if s.PID() == before {
			t.Error("the process is the same")
		}
	}
	cancel()
	must(t, <-done)
	if running, _ := c.running(); len(running) != 1 {
		t.Errorf("%d daemons run after Run", len(running))
	} else {
		running.Close()
	}
}

// TestStopEndsWhatHangs stops a daemon that does not hear SIGTERM, within the time that the end of the server has for it.
func TestStopEndsWhatHangs(t *testing.T) {
	c := config(t)
	s := start(t, c)
	must(t, unix.Kill(s.PID(), unix.SIGSTOP))
	ctx, cancel := context.WithTimeout(t.Context(), stopGrace+time.Second)
	defer cancel()
	must(t, c.Stop(ctx))
	if running, err := c.running(); err != nil || len(running) > 0 {
		running.Close()
		t.Errorf("%d daemons run, %v", len(running), err)
	}
}

func TestCannotStart(t *testing.T) {
	c := config(t)
	must(t, os.MkdirAll(c.Root, 0o700))
	must(t, os.WriteFile(filepath.Join(c.Root, "root"), nil, 0o600)) // where a directory has to be
	_, err := Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), c.Log) {
		t.Errorf("got %v, want the log's name", err)
	}
}

// TestHoldsNothingOpen checks that who waits for the end of our output is not kept waiting by the daemon.
func TestHoldsNothingOpen(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	fd, err := unix.Dup(int(w.Fd())) // a descriptor that children inherit
	must(t, err)
	must(t, w.Close())
	start(t, config(t))
	must(t, unix.Close(fd))
	must(t, r.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the pipe is still open: %v", err)
	}
}

func TestAppletIsKnownByItsArguments(t *testing.T) {
	for _, c := range []struct {
		args string
		want bool
	}{
		{"fairlead", false},
		{"fairlead up --data /x", false},
		{"fairlead exec -namespace x", false},
		{"/usr/bin/fairlead -namespace x -id y start", true},
		{"fairlead -info", true},
		{"fairlead-containerd --config x", true},
		{"/opt/fairlead-containerd", true},
	} {
		if _, ok := Applet(strings.Fields(c.args)); ok != c.want {
			t.Errorf("%q is an applet: %v", c.args, ok)
		}
	}
	if _, ok := Applet(nil); ok {
		t.Error("nothing is an applet")
	}
}

func TestConfigIsTOML(t *testing.T) {
	c := Config{Root: `/data "quoted" \ dir`, Run: "/run/x"}
	var got struct{ Root, State string }
	must(t, toml.Unmarshal(c.toml(), &got))
	if got.Root != c.Root+"/root" || got.State != "/run/x/state" {
		t.Errorf("read back %+v", got)
	}
}
