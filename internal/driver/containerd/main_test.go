//go:build linux

package containerd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"fairlead.dev/internal/driver/containerd/daemon"
)

// TestMain lets the test binary be the containerd daemon and its shim, as the program is.
func TestMain(m *testing.M) {
	if run, ok := daemon.Applet(os.Args); ok {
		os.Exit(run())
	}
	goleak.VerifyTestMain(m)
}

// node is a Driver at work for a test.
type node struct {
	*Driver
	stop func() // ends Run and closes the driver, as the end of the program would
}

// open gives a node in a directory of its own, which is taken away at the end. Where the machine cannot run containers
// the test is skipped, but not where tests are the gate.
func open(t *testing.T, cfg Config) node {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	cfg.OCIRuntime = os.Getenv("FAIRLEAD_TEST_OCI_RUNTIME") // the first that is installed, when empty
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	if problems := Check(t.Context(), cfg); len(problems) > 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this machine cannot run containers:", problems)
		}
		t.Skip("this machine cannot run containers:", problems)
	}
	t.Cleanup(func() { purge(t, cfg) })
	return reopen(t, cfg)
}

// reopen opens the node of a directory, perhaps again, and runs it until the end of the test.
func reopen(t *testing.T, cfg Config) node {
	t.Helper()
	d, err := Open(t.Context(), cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, d.Close()); err != nil {
			t.Errorf("end of the node: %v", err)
		}
	})
	t.Cleanup(stop)
	return node{d, stop}
}

func purge(t *testing.T, cfg Config) {
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(cfg.DataDir, "containerd", "containerd.log"))
		t.Logf("containerd's log:\n%s", log)
	}
	if err := Purge(context.Background(), cfg); err != nil {
		t.Errorf("purge: %v", err)
	}
}
