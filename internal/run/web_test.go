package run_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// site answers HTTP on some ports of every container.
type site struct {
	mu    sync.Mutex
	ports map[string]bool
	asked []*http.Request
}

func (s *site) listen(ports ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = map[string]bool{}
	for _, p := range ports {
		s.ports[p] = true
	}
}

func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if !s.ports[r.URL.Port()] {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: 500, Body: io.NopCloser(strings.NewReader(""))}, nil
}

func webApp(port int) run.Group {
	return run.Group{
		ID:   resource.GroupID("s", "g").Provider("Microsoft.Web/sites", "shop"),
		Kind: run.KindWebApp, Containers: []run.Container{{Name: "shop", Image: "myacr.local/shop:v1"}},
		Web: &run.Web{SiteName: "shop", Hostname: "shop.azurewebsites.fairlead.localhost", Port: port},
	}
}

func simulateSite(t *testing.T, f func(w *world, s *site)) {
	t.Helper()
	simulate(t, func(w *world) {
		s := &site{}
		w.shutdown()
		w.warm = s
		w.boot()
		f(w, s)
	})
}

func TestSiteIsReadyWhenItAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		port   int
		listen []string
		want   string
	}{
		{"the port of the settings", 3000, []string{"80", "3000"}, ":3000"},
		{"80", 0, []string{"80"}, ":80"},
		{"8080", 0, []string{"8080"}, ":8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulateSite(t, func(w *world, s *site) {
				g := webApp(c.port)
				w.put(g)
				w.pass(time.Minute)
				w.expect(g, run.ProvisioningSucceeded, run.StatePending, run.Running)
				s.listen(c.listen...)
				w.pass(time.Second)
				w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
				backend, err := w.Backend(w.t.Context(), g.ID)
				if err != nil || backend != w.status(g).IP+c.want {
					t.Errorf("backend %s, %v", backend, err)
				}
				if r := s.asked[0]; r.Host != g.Web.Hostname || r.URL.Path != "/robots933456.txt" {
					t.Errorf("asked %s %s", r.Host, r.URL)
				}
				if _, last, _ := w.Attempts(w.t.Context(), g.ID, "shop"); last == nil || !hasStage(*last, pull.StageReady) {
					t.Errorf("no stage ready: %+v", last)
				}
				s.listen()
				w.reboot(func() {}) // an adopted site was ready before
				if now := w.status(g).Backend; now != backend {
					t.Errorf("backend %q after a restart, want %q", now, backend)
				}
			})
		})
	}
}

func hasStage(a pull.Attempt, name pull.StageName) bool { _, ok := a.Stage(name); return ok }

func TestBackendWaits(t *testing.T) {
	simulateSite(t, func(w *world, s *site) {
		g := webApp(0)
		w.put(g)
		began := time.Now()
		time.AfterFunc(20*time.Second, func() { s.listen("80") })
		backend, err := w.Backend(w.t.Context(), g.ID)
		if err != nil || !strings.HasSuffix(backend, ":80") || time.Since(began) < 20*time.Second {
			t.Errorf("%s, %v after %v", backend, err, time.Since(began))
		}
		s.listen()
		w.machine.exit("shop", 1, false) // it was up: who asks waits for the next one
		synctest.Wait()
		time.AfterFunc(5*time.Second, func() { s.listen("8080") })
		if backend, err := w.Backend(w.t.Context(), g.ID); err != nil || !strings.HasSuffix(backend, ":8080") {
			t.Errorf("%s, %v", backend, err)
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		s.listen()
		w.machine.exit("shop", 1, false)
		synctest.Wait()
		if _, err := w.Backend(ctx, g.ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a client that goes away: %v", err)
		}
	})
}

func TestSiteThatExitsAtItsStart(t *testing.T) {
	simulateSite(t, func(w *world, _ *site) {
		g := webApp(0)
		w.put(g)
		w.machine.exit("shop", 1, false)
		synctest.Wait()
		_, err := w.Backend(w.t.Context(), g.ID)
		if f := fault.From(err); f.Kind != fault.Unavailable || f.Message != "Container shop for site shop has exited, failing site start" {
			t.Errorf("backend: %v", err)
		}
		w.starts(2)
	})
}

func TestSiteThatBecameReadyWhileNobodyAskedIsAdopted(t *testing.T) {
	simulateSite(t, func(w *world, s *site) {
		g := webApp(0)
		w.put(g)
		w.reboot(func() {
			time.Sleep(time.Hour) // longer than a start may take
			s.listen("80")
		})
		w.pass(time.Second)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		w.starts(1)
	})
}

func TestSiteThatNeverAnswers(t *testing.T) {
	simulateSite(t, func(w *world, s *site) {
		g := webApp(3000)
		w.put(g)
		w.pass(230 * time.Second)
		st := w.status(g)
		if st.Failure == nil || st.Failure.Message != "Container shop for site shop did not start within expected time limit. Elapsed time = 230.000 sec" {
			t.Errorf("failure %+v", st.Failure)
		}
		if !hasEvent(st.Events, run.EventFailed) {
			t.Errorf("events %+v", st.Events)
		}
		w.starts(2) // and again
		s.listen("3000")
		w.pass(time.Second)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		if f := w.status(g).Failure; f != nil {
			t.Errorf("failure %+v", f)
		}
	})
}

func TestSiteWhosePullIsRefused(t *testing.T) {
	simulateSite(t, func(w *world, s *site) {
		s.listen("80")
		g := webApp(0)
		w.put(g)
		w.pass(time.Second)
		w.puller.says(refuse)
		w.put(g) // nothing has changed: it stays up
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		if w.status(g).Failure == nil {
			t.Error("the refusal is not shown")
		}
		w.puller.says(nil)
		w.puller.change()
		w.pass(0)
		if f := w.status(g).Failure; f != nil {
			t.Errorf("failure %+v behind the grant", f)
		}
		w.starts(1)

		w.puller.says(refuse)
		g.Containers[0].Image = "myacr.local/shop:v2"
		w.put(g) // a change restarts the site
		_, err := w.Backend(w.t.Context(), g.ID)
		if f := fault.From(err); f.Code != "ImagePullUnauthorizedFailure" || f.Kind != fault.Unavailable {
			t.Errorf("backend: %v", err)
		}
		if s := w.status(g); s.Provisioning != run.ProvisioningSucceeded || s.State != run.StatePending {
			t.Errorf("%s, %s", s.Provisioning, s.State)
		}
		if got := w.machine.running(); len(got) > 0 {
			t.Errorf("running %v", got)
		}
		w.puller.says(nil)
		w.puller.change()
		w.pass(time.Second)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
	})
}

func TestRequestIsHeldWhileASiteThatFailedStartsAnew(t *testing.T) {
	simulateSite(t, func(w *world, s *site) {
		s.listen("80")
		g := webApp(0)
		w.puller.says(refuse)
		w.put(g)
		w.puller.says(func(context.Context, pull.Request) error {
			time.Sleep(time.Minute)
			return nil
		})
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if err := w.Restart(ctx, g.ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("restart: %v", err)
		}
		if backend, err := w.Backend(w.t.Context(), g.ID); err != nil || !strings.HasSuffix(backend, ":80") {
			t.Errorf("%s, %v", backend, err)
		}
	})
}

func TestRequestIsHeldWhileASiteRestarts(t *testing.T) {
	simulateSite(t, func(w *world, s *site) {
		s.listen("80")
		g := webApp(0)
		w.put(g)
		w.machine.latency = 2 * time.Second // of each thing that is asked of it
		began, restarted := time.Now(), make(chan error, 1)
		go func() { restarted <- w.Restart(w.t.Context(), g.ID) }()
		w.pass(time.Second)
		if _, err := w.Backend(w.t.Context(), g.ID); err != nil || time.Since(began) < 2*w.machine.latency {
			t.Errorf("answered after %s, %v: by a container that is being ended", time.Since(began), err)
		}
		if err := <-restarted; err != nil {
			t.Error(err)
		}
	})
}

func TestStoppedSiteStaysStopped(t *testing.T) {
	simulateSite(t, func(w *world, s *site) {
		s.listen("80")
		g := webApp(0)
		w.put(g)
		w.pass(time.Second)
		if err := w.Stop(w.t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		w.put(g)
		if _, err := w.Backend(w.t.Context(), g.ID); !errors.Is(err, run.ErrStopped) {
			t.Errorf("backend: %v", err)
		}
		w.starts(1)
		if err := w.Start(w.t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		if err := w.Restart(w.t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		w.starts(3)
	})
}
