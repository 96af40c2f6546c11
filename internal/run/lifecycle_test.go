package run_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

func TestSamePutAsksAgainAndRestartsNothing(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.machine.exit("main", 1, false)
		w.pass(0)
		g.Credentials = []run.Credential{{Server: "myacr.local", Username: "u", Password: secret.New("p")}} // not what containers are made of
		g.RestartPolicy = run.OnFailure
		w.put(g)
		w.asked(2)
		w.starts(2)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		if s := w.status(g); s.Generation != 2 || s.Containers[0].RestartCount != 1 {
			t.Errorf("generation %d, %d restarts", s.Generation, s.Containers[0].RestartCount)
		}
		w.puller.says(refuse)
		w.put(g) // refused: told, but what runs goes on
		w.expect(g, run.ProvisioningFailed, run.StateRunning, run.Running)
		w.starts(2)
		w.machine.exit("main", 1, false)
		w.pass(time.Minute)
		w.starts(3) // by policy, which asks nobody
	})
}

func TestSamePutLeavesASucceededGroup(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("job", run.Never)
		w.put(g)
		w.machine.exit("main", 0, false)
		w.pass(0)
		w.put(g)
		w.starts(1)
		w.expect(g, run.ProvisioningSucceeded, run.StateSucceeded, run.Terminated)
	})
}

func TestSamePutRepeatsAFailedGroup(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("job", run.Never)
		w.put(g)
		w.machine.exit("main", 1, false)
		w.pass(0)
		w.put(g)
		w.starts(2)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
	})
}

func TestNewPolicyStartsWhatTheOldOneLeft(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("job", run.OnFailure)
		g.Containers = append(g.Containers, run.Container{Name: "side", Image: "myacr.local/side:v1"})
		w.put(g)
		w.machine.exit("main", 0, false)
		w.pass(0)
		g.RestartPolicy = run.Always
		w.puller.says(refuse)
		w.put(g)
		w.starts(2) // not without the right to pull
		w.puller.says(nil)
		w.put(g)
		w.starts(3)
		if got := w.machine.running(); !slices.Equal(got, []string{"main-2", "side-1"}) {
			t.Errorf("running %v: what ran goes on", got)
		}
	})
}

func TestChangedPutReplacesAfterThePull(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		g.Containers = append(g.Containers, run.Container{Name: "old", Image: "myacr.local/old:v1"})
		w.put(g)
		w.machine.exit("main", 1, false)
		w.pass(0)

		w.puller.says(refuse)
		changed := group("one", run.Always)
		changed.Containers[0].CPU = 0.5
		changed.Containers[0].Env = []run.EnvVar{{Name: "A", Value: "b"}, {Name: "S", Secure: secret.New("x"), IsSecure: true}}
		w.put(changed)
		w.expect(g, run.ProvisioningFailed, run.StateRunning, run.Running)
		if got := w.machine.running(); len(got) != 2 {
			t.Errorf("running %v: pulls come first", got)
		}
		w.puller.says(nil)
		w.puller.change()
		w.pass(0)
		w.expect(changed, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		if got := w.machine.running(); len(got) != 1 || got[0] != "main-3" {
			t.Errorf("running %v, want main-3", got)
		}
		if boxes := w.machine.boxes; len(boxes) != 2 || boxes[1].CPU != 0.5 {
			t.Errorf("sandboxes %+v, want a second one with the new limits", boxes)
		}
		s := w.status(changed)
		if len(s.Containers) != 1 || s.Containers[0].RestartCount != 0 || s.Containers[0].Previous != nil {
			t.Errorf("containers %+v", s.Containers)
		}
		if env := w.machine.starts[len(w.machine.starts)-1].Env; len(env) != 2 || env[0] != "A=b" || env[1] != "S=x" {
			t.Errorf("environment %v", env)
		}
	})
}

func TestStopAndStart(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		if err := w.Stop(w.t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Hour)
		w.expect(g, run.ProvisioningSucceeded, run.StateStopped, run.Terminated)
		if c := w.status(g).Containers[0].Current; c.ExitCode != 143 {
			t.Errorf("exit code %d, want that of the stopped process", c.ExitCode)
		}
		if len(w.machine.sandboxes)+len(w.machine.containers) > 0 || w.status(g).IP != "" {
			t.Errorf("left: %v %v", w.machine.sandboxes, w.machine.containers)
		}
		w.reboot(func() {})
		w.expect(g, run.ProvisioningSucceeded, run.StateStopped, run.Terminated)

		w.puller.says(refuse)
		if err := w.Start(w.t.Context(), g.ID); fault.From(err).Code != "InaccessibleImage" {
			t.Errorf("start: %v", err)
		}
		w.starts(1) // the image on the node is no permission

		w.puller.says(nil)
		if err := w.Start(w.t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		w.starts(2)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		w.pass(time.Hour)
		w.asked(3)
	})
}

func TestStartIsUnderWayUntilItIsKnownWhatCameOfIt(t *testing.T) {
	for name, before := range map[string]func(w *world, g run.Group) error{
		"stopped": func(w *world, g run.Group) error {
			w.put(g)
			return w.Stop(w.t.Context(), g.ID)
		},
		"refused": func(w *world, g run.Group) error {
			w.puller.says(refuse)
			w.put(g)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				g := group("one", run.Always)
				if err := before(w, g); err != nil {
					t.Fatal(err)
				}
				w.puller.says(func(context.Context, pull.Request) error {
					time.Sleep(time.Minute)
					return nil
				})
				ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
				defer cancel()
				if err := w.Start(ctx, g.ID); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("start: %v", err)
				}
				if s := w.status(g); s.Provisioning != run.ProvisioningCreating || s.Failure != nil {
					t.Errorf("%s, failure %v, while it pulls", s.Provisioning, s.Failure)
				}
				w.pass(time.Minute)
				w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
			})
		})
	}
}

func TestStopEndsRetries(t *testing.T) {
	simulate(t, func(w *world) {
		w.puller.says(refuse)
		g := group("one", run.Always)
		w.put(g)
		if err := w.Stop(w.t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		w.puller.change()
		w.pass(time.Hour)
		w.asked(1)
		w.expect(g, run.ProvisioningSucceeded, run.StateStopped, run.Waiting)
	})
}

func TestRestartReplaces(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		ip := w.status(g).IP
		if err := w.Restart(w.t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		w.starts(2)
		w.asked(2)
		if s := w.status(g); s.IP != ip || s.Containers[0].RestartCount != 0 {
			t.Errorf("ip %s, want %s; %d restarts", s.IP, ip, s.Containers[0].RestartCount)
		}
		w.puller.says(refuse)
		if err := w.Restart(w.t.Context(), g.ID); fault.From(err).Code != "InaccessibleImage" {
			t.Errorf("restart: %v", err)
		}
		w.expect(g, run.ProvisioningFailed, run.StateRunning, run.Running)
	})
}

func TestConflictsWhileCreating(t *testing.T) {
	simulate(t, func(w *world) {
		w.puller.says(hang)
		g := group("one", run.Always)
		w.put(g)
		for name, do := range map[string]func(context.Context, resource.ID) error{"stop": w.Stop, "start": w.Start, "restart": w.Restart} {
			if err := do(w.t.Context(), g.ID); !errors.Is(err, run.ErrTransitioning) {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.puller.says(nil)
		w.put(g) // but a new Put takes over
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		w.starts(1)
	})
}

func TestDelete(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		for range 2 {
			if err := w.Delete(w.t.Context(), g.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Status(w.t.Context(), g.ID); !errors.Is(err, run.ErrNotFound) {
				t.Errorf("status: %v", err)
			}
			if len(w.machine.sandboxes)+len(w.machine.containers) > 0 {
				t.Errorf("left: %v %v", w.machine.sandboxes, w.machine.containers)
			}
		}
		if stored, err := w.store.Workloads(w.t.Context()); err != nil || len(stored) > 0 {
			t.Errorf("stored: %v, %v", stored, err)
		}
		w.put(g) // the name is free again
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
	})
}

func TestDeleteWhileCreating(t *testing.T) {
	simulate(t, func(w *world) {
		w.puller.says(func(ctx context.Context, _ pull.Request) error {
			<-ctx.Done()
			time.Sleep(time.Second) // lets go of the node
			return ctx.Err()
		})
		g := group("one", run.Always)
		w.put(g)
		began := time.Now()
		if err := w.Delete(w.t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v, want what the pull takes to end", took)
		}
	})
}

func TestDeleteThatFailsGoesOn(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.machine.set(func() {
			w.machine.stopErr = func() error { return fault.New(fault.Unavailable, "STUCK", "stuck") }
		})
		if err := w.Delete(w.t.Context(), g.ID); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("delete: %v", err)
		}
		if err := w.Put(w.t.Context(), g); !errors.Is(err, run.ErrTransitioning) {
			t.Errorf("put: %v", err)
		}
		w.machine.set(func() { w.machine.stopErr = nil })
		w.reboot(func() {}) // also over a restart
		w.pass(time.Minute)
		if len(w.machine.containers) > 0 {
			t.Errorf("left: %v", w.machine.containers)
		}
		if _, err := w.Status(w.t.Context(), g.ID); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("status: %v", err)
		}
	})
}

func TestBadGroupsAreRefused(t *testing.T) {
	simulate(t, func(w *world) {
		for name, change := range map[string]func(*run.Group){
			"no id":         func(g *run.Group) { g.ID = resource.ID{} },
			"no containers": func(g *run.Group) { g.Containers = nil },
			"a path":        func(g *run.Group) { g.Containers[0].Name = "../x" },
			"no image":      func(g *run.Group) { g.Containers[0].Image = "" },
			"a name twice":  func(g *run.Group) { g.Containers = append(g.Containers, g.Containers[0]) },
			"half a site":   func(g *run.Group) { g.Kind = run.KindWebApp },
		} {
			g := group("one", run.Always)
			change(&g)
			if err := w.Put(w.t.Context(), g); fault.KindOf(err) != fault.Invalid {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestUnknownWorkload(t *testing.T) {
	simulate(t, func(w *world) {
		id := group("none", run.Always).ID
		for name, do := range map[string]func(context.Context, resource.ID) error{"stop": w.Stop, "start": w.Start, "restart": w.Restart} {
			if err := do(w.t.Context(), id); !errors.Is(err, run.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := w.Delete(w.t.Context(), id); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		for range 5 {
			go func() { _ = w.Put(w.t.Context(), g) }()
			go func() { _ = w.Delete(w.t.Context(), g.ID) }()
			go func() { _ = w.Stop(w.t.Context(), g.ID) }()
		}
		synctest.Wait()
		w.put(g)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		if got := w.machine.running(); len(got) != 1 {
			t.Errorf("running %v", got)
		}
	})
}

func TestClosedService(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.shutdown()
		if err := w.Put(w.t.Context(), g); !errors.Is(err, run.ErrClosed) {
			t.Errorf("put: %v", err)
		}
		if got := w.machine.running(); len(got) != 1 {
			t.Errorf("running %v: containers outlive the service", got)
		}
	})
}

func TestWatch(t *testing.T) {
	simulate(t, func(w *world) {
		ctx, cancel := context.WithCancel(w.t.Context())
		g := group("one", run.Always)
		g.Credentials = nil
		w.puller.says(refuse)
		w.put(g)
		changes, err := w.Watch(ctx, g.ID)
		if err != nil {
			t.Fatal(err)
		}
		if s := <-changes; s.Provisioning != run.ProvisioningFailed {
			t.Errorf("first %s", s.Provisioning)
		}
		w.puller.says(nil)
		w.puller.change()
		w.pass(0)
		if s := <-changes; s.Provisioning != run.ProvisioningSucceeded {
			t.Errorf("then %s", s.Provisioning)
		}
		gone, err := w.Watch(w.t.Context(), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if _, open := <-changes; open {
			t.Error("the channel outlives its context")
		}
		if err := w.Delete(w.t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		for range gone { //nolint:revive // until it closes
		}
	})
}
