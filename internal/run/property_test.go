package run_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/run"
)

// step is one thing that happens to a world.
type step struct {
	Do    string
	Group int           // whose
	Spec  int           // which of a few specs, for a put
	Code  int           // of an exit
	Wait  time.Duration // before the next step; short ones do not even wait for this one to end
}

func steps() *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			Do:    rapid.SampledFrom([]string{"put", "put", "put", "stop", "start", "restart", "exit", "exit", "oom", "delete", "stop fairlead", "kill fairlead", "power cut", "grant", "refuse"}).Draw(t, "do"),
			Group: rapid.IntRange(0, 1).Draw(t, "group"), Spec: rapid.IntRange(0, 2).Draw(t, "spec"), Code: rapid.IntRange(0, 1).Draw(t, "code"),
			Wait: rapid.SampledFrom([]time.Duration{0, 0, 50 * time.Microsecond, 250 * time.Microsecond, time.Millisecond, time.Second, time.Minute, time.Hour}).Draw(t, "wait"),
		}
	}), 1, 25)
}

func specOf(s step) run.Group {
	g := group([]string{"alpha", "beta"}[s.Group], []run.RestartPolicy{run.Always, run.OnFailure, run.Always}[s.Spec])
	g.Containers[0].Name = g.ID.Name()
	if s.Spec == 2 {
		g.Containers = append(g.Containers, run.Container{Name: g.ID.Name() + "-side", Image: "myacr.local/side:v1"})
	}
	return g
}

// TestWhateverHappens: after any sequence of puts, stops, starts, exits, deletions, kills and power cuts, store, status
// and runtime agree, nothing is left of what was deleted, and never did two containers of one name exist.
func TestWhateverHappens(t *testing.T) {
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		sequence := steps().Draw(rt, "steps")
		n++
		var failure error
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, sql.NewRun(db, fmt.Sprint(n)))
			w.machine.latency = 100 * time.Microsecond
			w.boot()
			defer func() { w.shutdown() }()
			for _, s := range sequence {
				w.take(s)
			}
			w.puller.says(nil)
			w.puller.change()
			w.pass(time.Hour)
			failure = w.consistent()
		})
		if failure != nil {
			rt.Fatal(failure)
		}
	})
}

func (w *world) take(s step) {
	g, service := specOf(s), w.Service
	background := func(f func(context.Context) error) {
		done := make(chan struct{})
		go func() { defer close(done); _ = f(context.Background()) }()
		if s.Wait >= time.Millisecond {
			<-done
		}
	}
	switch s.Do {
	case "put":
		background(func(ctx context.Context) error { return service.Put(ctx, g) })
	case "stop":
		background(func(ctx context.Context) error { return service.Stop(ctx, g.ID) })
	case "start":
		background(func(ctx context.Context) error { return service.Start(ctx, g.ID) })
	case "restart":
		background(func(ctx context.Context) error { return service.Restart(ctx, g.ID) })
	case "delete":
		background(func(ctx context.Context) error { return service.Delete(ctx, g.ID) })
	case "exit", "oom":
		w.machine.exit(g.ID.Name(), s.Code, s.Do == "oom")
	case "stop fairlead":
		w.reboot(func() {})
	case "kill fairlead":
		w.kill()
		w.reboot(func() {})
	case "power cut":
		w.kill()
		w.reboot(w.machine.reboot)
	case "grant":
		w.puller.says(nil)
		w.puller.change()
	case "refuse":
		w.puller.says(refuse)
	}
	if s.Wait > 0 {
		w.pass(s.Wait)
	}
}

// consistent says what does not fit together in a world at rest to which everything is granted.
func (w *world) consistent() error {
	if err := w.machine.check(); err != nil {
		return err
	}
	stored, err := w.store.Workloads(context.Background())
	if err != nil {
		return err
	}
	shown, err := w.Statuses(context.Background())
	if err != nil {
		return err
	}
	if len(stored) != len(shown) {
		return fmt.Errorf("%d workloads are stored, %d shown", len(stored), len(shown))
	}
	var running []string
	sandboxes := 0
	for _, s := range shown {
		if s.Failure != nil || s.Provisioning != run.ProvisioningSucceeded || s.State == run.StatePending {
			return fmt.Errorf("%s is %s and %s: %+v", s.ID.Name(), s.Provisioning, s.State, s.Failure)
		}
		for _, c := range s.Containers {
			if c.Current.State == run.Running {
				running = append(running, c.Name)
			}
			if (c.Current.State == run.Running) != (s.State == run.StateRunning && c.Current.State != run.Terminated) {
				return fmt.Errorf("%s is %s, its container %s %s", s.ID.Name(), s.State, c.Name, c.Current.State)
			}
		}
		if s.IP != "" {
			sandboxes++
		}
	}
	return w.machine.agrees(running, sandboxes)
}

// agrees compares the runtime with what is shown.
func (m *machine) agrees(running []string, sandboxes int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var have []string
	for id, p := range m.containers {
		if !p.running {
			return fmt.Errorf("the ended container %s was left", id)
		}
		have = append(have, p.spec.Name)
	}
	slices.Sort(have)
	slices.Sort(running)
	if !slices.Equal(have, running) || len(m.sandboxes) != sandboxes {
		return fmt.Errorf("%v run in %d sandboxes; shown are %v in %d", have, len(m.sandboxes), running, sandboxes)
	}
	return nil
}
