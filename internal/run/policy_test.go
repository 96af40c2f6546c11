package run_test

import (
	"slices"
	"testing"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/run"
)

func TestGroupRuns(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		s := w.status(g)
		if s.IP == "" || s.Generation != 1 || s.Failure != nil || !s.NextRetry.IsZero() {
			t.Errorf("status %+v", s)
		}
		var names []string
		for _, e := range s.Containers[0].Events {
			names = append(names, e.Name)
		}
		if want := []string{"Pulling", "Pulled", "Created", "Started"}; !slices.Equal(names, want) {
			t.Errorf("events %v, want %v", names, want)
		}
		if got := s.Containers[0].Events[0].Message; got != `pulling image "myacr.local/app:v1"` {
			t.Errorf("message %q", got)
		}
		spec := w.machine.starts[0]
		if spec.CPU != 1 || spec.MemoryBytes != 3<<29 {
			t.Errorf("limits %v and %d", spec.CPU, spec.MemoryBytes)
		}
	})
}

func TestRestartPolicies(t *testing.T) {
	for _, c := range []struct {
		name      string
		policy    run.RestartPolicy
		code      int
		oom       bool
		container string
		state     string
		detail    string
		sandboxes int
	}{
		{"never, well", run.Never, 0, false, run.Terminated, run.StateSucceeded, run.DetailCompleted, 0},
		{"never, badly", run.Never, 3, false, run.Terminated, run.StateFailed, run.DetailError, 0},
		{"never, memory", run.Never, 9, true, run.Terminated, run.StateFailed, run.DetailOOM, 0},
		{"on failure, well", run.OnFailure, 0, false, run.Terminated, run.StateSucceeded, run.DetailCompleted, 0},
		{"on failure, badly", run.OnFailure, 3, false, run.Running, run.StateRunning, "", 1},
		{"always, well", run.Always, 0, false, run.Running, run.StateRunning, "", 1},
		{"default, badly", "", 1, false, run.Running, run.StateRunning, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, func(w *world) {
				g := group("one", c.policy)
				w.put(g)
				w.pass(time.Minute)
				w.machine.exit("main", c.code, c.oom)
				w.pass(0)
				w.expect(g, run.ProvisioningSucceeded, c.state, c.container)
				now := w.status(g).Containers[0]
				if now.Current.Detail != c.detail {
					t.Errorf("detail %q, want %q", now.Current.Detail, c.detail)
				}
				if c.oom && now.Current.ExitCode != 137 {
					t.Errorf("exit code %d, want 137", now.Current.ExitCode)
				}
				if got := len(w.machine.sandboxes); got != c.sandboxes {
					t.Errorf("%d sandboxes, want %d", got, c.sandboxes)
				}
				if c.sandboxes == 0 {
					return
				}
				if now.RestartCount != 1 || now.Previous == nil || now.Previous.ExitCode != c.code || now.Previous.State != run.Terminated {
					t.Errorf("restarts %d, previous %+v", now.RestartCount, now.Previous)
				}
				w.asked(1) // a restart by policy asks nobody
			})
		})
	}
}

func TestCrashLoopBacksOff(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.machine.exit("main", 1, false)
		w.pass(0)
		w.starts(2) // the first time at once
		for i, wait := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			w.machine.exit("main", 1, false)
			w.pass(0)
			w.expect(g, run.ProvisioningSucceeded, run.StatePending, run.Waiting)
			if s := w.status(g).Containers[0]; s.Current.Detail != run.DetailCrashLoop || s.RestartCount != i+1 {
				t.Fatalf("%+v, %d restarts", s.Current, s.RestartCount)
			}
			w.pass(wait*time.Second - time.Millisecond)
			w.starts(i + 2)
			w.pass(time.Millisecond)
			w.starts(i + 3)
		}
		w.pass(10 * time.Minute)
		w.machine.exit("main", 1, false)
		w.pass(0)
		w.starts(10) // it had left its loop
		if e := w.status(g).Containers[0].Events; e[len(e)-1].Name != run.EventBackOff || e[len(e)-1].Count != 7 {
			t.Errorf("last event %+v", e[len(e)-1])
		}
	})
}

func TestWhatCannotBeStartedCountsAsAnExit(t *testing.T) {
	simulate(t, func(w *world) {
		w.machine.startErr = func(run.ContainerSpec) error {
			return fault.New(fault.Invalid, "START_FAILED", `exec: "nope": not found`)
		}
		g := group("one", run.Never)
		w.put(g)
		w.expect(g, run.ProvisioningSucceeded, run.StateFailed, run.Terminated)
		if s := w.status(g).Containers[0]; s.Current.ExitCode != 128 || !hasEvent(s.Events, run.EventFailed) {
			t.Errorf("%+v %+v", s.Current, s.Events)
		}
		w.machine.latency = time.Millisecond // time passes while it is tried, as on every machine
		again := group("two", run.Always)
		w.put(again)
		w.pass(time.Minute)
		if s := w.status(again).Containers[0]; s.RestartCount < 2 || s.Previous == nil || s.Previous.ExitCode != 128 {
			t.Errorf("tried again %d times, %+v", s.RestartCount, s.Previous)
		}
	})
}

func TestRuntimeThatFailsIsTriedAgain(t *testing.T) {
	simulate(t, func(w *world) {
		w.machine.startErr = func(run.ContainerSpec) error { return fault.New(fault.Unavailable, "DOWN", "down") }
		g := group("one", run.Never)
		w.put(g)
		w.expect(g, run.ProvisioningFailed, run.StatePending, run.Waiting)
		w.machine.set(func() { w.machine.startErr = nil })
		w.pass(10 * time.Second)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		w.asked(1)
	})
}

func TestContainersShareASandbox(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("pair", run.Never)
		g.Containers = append(g.Containers, run.Container{Name: "side", Image: "myacr.local/side:v1", CPU: 0.5})
		w.put(g)
		if box := w.machine.boxes[0]; box.CPU != 1.5 || box.MemoryBytes != 0 {
			t.Errorf("sandbox %+v: limits add up, and none is none", box)
		}
		w.machine.exit("main", 0, false)
		w.pass(0)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Terminated)
		w.machine.exit("side", 1, false)
		w.pass(0)
		w.expect(g, run.ProvisioningSucceeded, run.StateFailed, run.Terminated)
	})
}

func hasEvent(events []run.Event, name string) bool {
	return slices.ContainsFunc(events, func(e run.Event) bool { return e.Name == name })
}
