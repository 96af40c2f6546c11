package run_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/run"
)

func TestRefusedPull(t *testing.T) {
	for _, c := range []struct {
		name, code, message string
		err                 error
	}{
		{"denied", "InaccessibleImage", "The image 'myacr.local/app:v1' in container group 'one' is not accessible. Please check the image and registry credential.", pull.ErrDenied},
		{"missing", "InaccessibleImage", "The image 'myacr.local/app:v1' in container group 'one' is not accessible. Please check the image and registry credential.", pull.ErrTagUnknown},
		{"throttled", "RegistryErrorResponse", "An error response is received from the docker registry 'myacr.local'. Please retry later.", pull.ErrThrottled},
		{"no space", "InternalServerError", "The image 'myacr.local/app:v1' in container group 'one' could not be made ready: the node has no space left.", pull.ErrNoSpace},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.puller.says(func(context.Context, pull.Request) error { return c.err })
				g := group("one", run.Always)
				w.put(g)
				w.expect(g, run.ProvisioningFailed, run.StatePending, run.Waiting)
				s := w.status(g)
				if s.Failure.Code != c.code || s.Failure.Message != c.message || s.Failure.Container != "main" {
					t.Errorf("failure %+v", s.Failure)
				}
				if d := s.Containers[0].Current.Detail; d != run.DetailPullRetry {
					t.Errorf("detail %q", d)
				}
				if !hasEvent(s.Containers[0].Events, run.EventFailed) || !hasEvent(s.Containers[0].Events, run.EventBackOff) {
					t.Errorf("events %+v", s.Containers[0].Events)
				}
				if want := time.Now().Add(10 * time.Second); !s.NextRetry.Equal(want) {
					t.Errorf("next retry %v, want %v", s.NextRetry, want)
				}
				w.starts(0)
			})
		})
	}
}

func TestRefusedPullIsTriedAgain(t *testing.T) {
	simulate(t, func(w *world) {
		w.puller.says(refuse)
		g := group("one", run.Always)
		w.put(g)
		for i, wait := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			w.pass(wait*time.Second - time.Millisecond)
			w.asked(i + 1)
			w.pass(time.Millisecond)
			w.asked(i + 2)
		}
		w.puller.change() // still refused: one more try, and no more
		w.pass(time.Second)
		w.asked(9)

		w.put(g) // a new Put tries at once, and begins the back-off anew
		w.asked(10)
		w.pass(10 * time.Second)
		w.asked(11)

		w.puller.says(nil)
		w.puller.change()
		w.pass(0)
		w.asked(12)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		s := w.status(g)
		if s.Failure != nil || !s.NextRetry.IsZero() {
			t.Errorf("failure %+v, next retry %v", s.Failure, s.NextRetry)
		}
		w.puller.change() // no longer of interest
		w.pass(time.Hour)
		w.asked(12)
		w.starts(1)
	})
}

func TestChangeDuringAPullIsNotMissed(t *testing.T) {
	simulate(t, func(w *world) {
		w.puller.says(func(context.Context, pull.Request) error {
			w.puller.says(nil)
			w.puller.change() // granted between the answer and its arrival
			return pull.ErrDenied
		})
		g := group("one", run.Always)
		w.put(g)
		w.asked(2)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
	})
}

func TestSilentRegistryFailsWithinAMinute(t *testing.T) {
	simulate(t, func(w *world) {
		w.puller.says(hang)
		g := group("one", run.Always)
		w.put(g)
		w.expect(g, run.ProvisioningCreating, run.StatePending, run.Waiting)
		w.pass(59 * time.Second)
		if s := w.status(g); s.Provisioning != run.ProvisioningFailed || s.Failure.Code != "RegistryErrorResponse" {
			t.Errorf("%s, %+v", s.Provisioning, s.Failure)
		}
	})
}

func TestFirstAndLastAttemptAreKept(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.puller.says(func(context.Context, pull.Request) error { return pull.ErrDenied })
		w.put(g)
		w.puller.says(func(context.Context, pull.Request) error { return pull.ErrTagUnknown })
		w.pass(10 * time.Second)
		check := func(wantFirst, wantLast string) {
			t.Helper()
			first, last, err := w.Attempts(w.t.Context(), g.ID, "main")
			if err != nil || first == nil || last == nil || first.Summary != wantFirst || last.Summary != wantLast {
				t.Errorf("first %+v, last %+v, %v", first, last, err)
			}
		}
		check(pull.ErrDenied.Message, pull.ErrTagUnknown.Message)
		w.reboot(func() {})
		check(pull.ErrDenied.Message, pull.ErrTagUnknown.Message)

		w.puller.says(nil)
		w.puller.change()
		w.pass(0)
		check(pull.ErrDenied.Message, "")
		_, last, _ := w.Attempts(w.t.Context(), g.ID, "main")
		for _, name := range []pull.StageName{pull.StageCreate, pull.StageStart} {
			if s, ok := last.Stage(name); !ok || s.Outcome != pull.OK {
				t.Errorf("stage %s: %+v", name, s)
			}
		}
	})
}

// TestEndedPullIsShownWhileItsContainerIsMade looks between the end of a pull and the start that follows: whoever waits
// must not take the failure of the pull before for that of this one.
func TestEndedPullIsShownWhileItsContainerIsMade(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.puller.says(refuse)
		w.put(g)
		w.machine.set(func() { w.machine.latency = time.Minute })
		w.puller.says(nil)
		w.puller.change()
		w.pass(time.Second)
		if _, last, err := w.Attempts(w.t.Context(), g.ID, "main"); err != nil || last == nil || last.Code != "" || last.Ended.IsZero() {
			t.Errorf("last %+v, %v", last, err)
		}
		w.pass(time.Hour)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
	})
}

func TestPullUnderWayIsShown(t *testing.T) {
	simulate(t, func(w *world) {
		w.puller.says(hang)
		g := group("one", run.Always)
		w.put(g)
		_, last, err := w.Attempts(w.t.Context(), g.ID, "main")
		if err != nil || last == nil || !last.Ended.IsZero() || last.Stages[0].Outcome != pull.Running {
			t.Errorf("last %+v, %v", last, err)
		}
		if _, _, err := w.Attempts(w.t.Context(), g.ID, "other"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("another container: %v", err)
		}
	})
}

func TestOneRefusedImageHoldsTheGroup(t *testing.T) {
	simulate(t, func(w *world) {
		release := make(chan struct{})
		w.puller.says(func(_ context.Context, q pull.Request) error {
			if strings.Contains(q.Image, "side") {
				return pull.ErrDenied
			}
			<-release
			return nil
		})
		g := group("pair", run.Always)
		g.Containers = append(g.Containers, run.Container{Name: "side", Image: "myacr.local/side:v1"})
		w.put(g)
		s := w.status(g) // told at once, though the other pull goes on
		if s.Provisioning != run.ProvisioningFailed || s.Failure.Container != "side" {
			t.Errorf("%s %+v", s.Provisioning, s.Failure)
		}
		close(release)
		synctest.Wait()
		w.starts(0)
	})
}

func TestOutageStopsNothing(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.puller.says(outage)
		w.reboot(func() {})
		w.machine.exit("main", 1, false)
		w.pass(0)
		w.starts(2)
		w.asked(1)
		if w.puller.reopened != 1 {
			t.Errorf("%d images reopened, want 1", w.puller.reopened)
		}
	})
}

func TestImageGoneFromTheNodeIsPulledAgain(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.reboot(func() {
			w.machine.exit("main", 1, false)
			w.puller.gone = true
		})
		w.asked(2)
		w.starts(2)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
	})
}
