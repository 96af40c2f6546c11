//go:build linux

package process

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestProcessEnds(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	g := Processes([]int{cmd.Process.Pid, 1 << 22})
	defer g.Close()
	if len(g) != 1 {
		t.Fatalf("%d processes", len(g))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := g[0].wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for what runs: %v", err)
	}
	must(t, g.End(t.Context(), 0))
	_ = cmd.Wait()
	must(t, g.End(t.Context(), time.Second))
	must(t, g.Signal(unix.SIGTERM))
}
