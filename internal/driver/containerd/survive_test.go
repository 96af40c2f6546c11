//go:build linux

package containerd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/driver/containerd/process"
	"fairlead.dev/internal/run"
)

const counting = "trap exit TERM; i=0; while :; do echo $((i=i+1)); sleep 0.02; done"

// TestContainersOutliveTheDaemon kills the daemon: it comes back by itself, and the containers never notice.
func TestContainersOutliveTheDaemon(t *testing.T) {
	b := newBox(t, Config{})
	started := b.start("c", counting, nil)
	b.start("ends", "while [ ! -e /tmp/end ]; do sleep 0.01; done; exit 4", nil)
	first := b.d.supervisor.PID()
	must(t, unix.Kill(first, unix.SIGKILL))
	for range b.exits { // closed when the connection is lost
		t.Error("an exit was told")
	}
	before := b.read("c")
	b.await("the log goes on", func() bool { return len(b.read("c")) > len(before) })
	b.await("the daemon is back", func() bool { return b.d.supervisor.PID() != first })
	var err error
	b.exits, err = b.d.Exits(t.Context())
	must(t, err)
	observed, sandboxes, err := b.d.List(t.Context())
	must(t, err)
	if diff := cmp.Diff([]run.Sandbox{b.sb}, sandboxes); diff != "" {
		t.Error(diff)
	}
	if len(observed) != 2 || !observed[0].Running || observed[0].PID != started.PID {
		t.Errorf("observed %+v, want process %d", observed, started.PID)
	}
	if got, err := b.exec("c", run.ExecSpec{Command: []string{"id"}}); err != nil || got.Code != 0 {
		t.Errorf("exec: %+v, %v", got, err)
	}
	// The end of a container's first process takes the command that caused it along, so how that command ended is open.
	_, err = b.exec("ends", run.ExecSpec{Command: []string{"touch", "/tmp/end"}})
	must(t, err)
	if e := b.exit(); e.ID != "ends" || e.Code != 4 {
		t.Errorf("exit %+v", e)
	}
	must(t, b.d.Remove(t.Context(), "ends"))
	must(t, b.d.Remove(t.Context(), "c"))
	must(t, b.d.RemoveSandbox(t.Context(), "sb"))
}

// TestContainersOutliveUs opens the node a second time, with the daemon that runs and without one. What has ended
// meanwhile, and how, is known.
func TestContainersOutliveUs(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		t.Run(fmt.Sprintf("daemon stopped %v", stopped), func(t *testing.T) {
			b := newBox(t, Config{})
			first := b.d.supervisor.PID()
			runs := b.start("runs", counting, nil)
			ends := b.start("ends", "sleep 0.5; exit 4", nil)
			hungry := b.start("hungry", "sleep 0.5; exec tail -c 64m /dev/zero", func(s *run.ContainerSpec) { s.MemoryBytes = 16 << 20 })
			ended := process.Processes([]int{int(ends.PID), int(hungry.PID)})
			defer ended.Close()
			b.d.stop()
			if stopped {
				must(t, b.d.StopDaemon(t.Context()))
			}
			must(t, ended.End(t.Context(), 20*time.Second))
			b.d = reopen(t, b.d.cfg)
			if same := b.d.supervisor.PID() == first; same == stopped {
				t.Errorf("the daemon is the same: %v", same)
			}
			observed, sandboxes, err := b.d.List(t.Context())
			must(t, err)
			if len(sandboxes) != 1 || sandboxes[0] != b.sb {
				t.Errorf("sandboxes %+v", sandboxes)
			}
			got := map[string]run.Observed{}
			for _, o := range observed {
				if !o.Running && (o.ExitedAt.IsZero() || o.StartedAt.IsZero()) {
					t.Errorf("without times: %+v", o)
				}
				o.StartedAt, o.ExitedAt = time.Time{}, time.Time{}
				got[o.ID] = o
			}
			want := map[string]run.Observed{
				"runs":   {ID: "runs", Sandbox: "sb", Running: true, PID: runs.PID},
				"ends":   {ID: "ends", Sandbox: "sb", ExitCode: 4},
				"hungry": {ID: "hungry", Sandbox: "sb", ExitCode: 137, OOM: true},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			for i, line := range strings.Split(strings.TrimSpace(b.read("runs")), "\n") {
				if line != fmt.Sprint(i+1) {
					t.Fatalf("line %d of the log is %q", i+1, line)
				}
			}
			for id := range want {
				must(t, b.d.Remove(t.Context(), id))
			}
		})
	}
}

// TestShimKilled takes away what keeps a container: the container ends with it, and is told to have ended.
func TestShimKilled(t *testing.T) {
	b := newBox(t, Config{})
	started := b.start("c", idle, nil)
	shims, err := b.d.names.daemon().Shims("c")
	must(t, err)
	defer shims.Close()
	running := process.Processes([]int{int(started.PID)})
	defer running.Close()
	must(t, shims.Signal(unix.SIGKILL))
	if e := b.exit(); e.ID != "c" || e.Code != 137 || e.OOM {
		t.Errorf("exit %+v", e)
	}
	must(t, running.End(t.Context(), 10*time.Second))
	observed, _, err := b.d.List(t.Context())
	must(t, err)
	if len(observed) != 1 || observed[0].Running || observed[0].ExitCode != 137 {
		t.Errorf("observed %+v", observed)
	}
	must(t, b.d.Remove(t.Context(), "c"))
	b.start("c", idle, nil)
}

// TestAfterARestartOfTheMachine finds only what is on the disk: records of containers, which can be removed, and images.
func TestAfterARestartOfTheMachine(t *testing.T) {
	b := newBox(t, Config{})
	b.start("c", counting, nil)
	b.d.stop()
	must(t, Purge(t.Context(), b.d.cfg)) // what a restart leaves of running things: nothing
	b.d = reopen(t, b.d.cfg)
	observed, sandboxes, err := b.d.List(t.Context())
	must(t, err)
	if len(observed) != 1 || observed[0].Running || observed[0].ID != "c" || len(sandboxes) != 0 {
		t.Errorf("observed %+v and %+v", observed, sandboxes)
	}
	must(t, b.d.Remove(t.Context(), "c"))
	must(t, b.d.RemoveSandbox(t.Context(), "sb"))
	b.sb = b.sandbox("sb", run.SandboxSpec{})
	b.exits, err = b.d.Exits(t.Context())
	must(t, err)
	b.output("again", "exit 0", nil)
}
