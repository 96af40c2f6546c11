package run_test

import (
	"context"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

func TestRunningContainersAreAdopted(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.machine.exit("main", 1, false)
		w.pass(time.Minute)
		before := w.status(g)
		w.puller.says(outage)
		w.reboot(func() { time.Sleep(time.Hour) })
		after := w.status(g)
		if diff := cmp.Diff(before, after, cmp.AllowUnexported(resource.ID{}), cmp.FilterPath(unexported, cmp.Ignore())); diff != "" {
			t.Error(diff)
		}
		w.starts(2)
		w.asked(1)
		w.machine.exit("main", 1, false) // and are looked after
		w.pass(0)
		w.starts(3)
	})
}

// unexported selects the fields of a ContainerStatus that are not for show.
func unexported(p cmp.Path) bool {
	f, ok := p.Last().(cmp.StructField)
	return ok && p.Index(-2).Type() == reflect.TypeFor[run.ContainerStatus]() && strings.ToLower(f.Name()) == f.Name()
}

func TestWhatEndedMeanwhileIsHandledByPolicy(t *testing.T) {
	for _, c := range []struct {
		policy    run.RestartPolicy
		container string
		starts    int
	}{
		{run.Always, run.Running, 2},
		{run.OnFailure, run.Running, 2},
		{run.Never, run.Terminated, 1},
	} {
		t.Run(string(c.policy), func(t *testing.T) {
			simulate(t, func(w *world) {
				g := group("one", c.policy)
				w.put(g)
				w.reboot(func() { w.machine.exit("main", 3, false) })
				w.starts(c.starts)
				s := w.status(g).Containers[0]
				ended := s.Current
				if c.container == run.Running {
					ended = s.Previous
				}
				if s.Current.State != c.container || ended == nil || ended.ExitCode != 3 {
					t.Errorf("current %+v, previous %+v", s.Current, s.Previous)
				}
			})
		})
	}
}

func TestMachineRestart(t *testing.T) {
	simulate(t, func(w *world) {
		service, job := group("service", run.Always), group("job", run.Never)
		job.Containers[0].Name = "job"
		w.put(service)
		w.put(job)
		w.puller.says(outage)
		w.reboot(w.machine.reboot)
		w.expect(service, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		w.expect(job, run.ProvisioningSucceeded, run.StateFailed, run.Terminated)
		w.asked(2)
	})
}

func TestOrphansAreEnded(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.reboot(func() {
			if err := w.store.DeleteWorkload(context.Background(), g.ID); err != nil {
				t.Fatal(err)
			}
		})
		if len(w.machine.containers)+len(w.machine.sandboxes) > 0 {
			t.Errorf("left: %v %v", w.machine.containers, w.machine.sandboxes)
		}
	})
}

func TestOrphanThatStaysHindersNobody(t *testing.T) {
	simulate(t, func(w *world) {
		lost, kept := group("lost", run.Always), group("kept", run.Always)
		kept.Containers[0].Name = "kept"
		w.put(lost)
		w.put(kept)
		w.reboot(func() {
			if err := w.store.DeleteWorkload(context.Background(), lost.ID); err != nil {
				t.Fatal(err)
			}
			w.machine.removeErr = func() error { return fault.New(fault.Unavailable, "STUCK", "stuck") }
		})
		w.expect(kept, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		w.machine.set(func() { w.machine.removeErr = nil })
		w.put(lost) // in spite of what is in its place
		w.expect(lost, run.ProvisioningSucceeded, run.StateRunning, run.Running)
	})
}

// TestStartThatWasCutShort kills the Service between the start of a container and the record of it.
func TestStartThatWasCutShort(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		killed := make(chan struct{})
		w.machine.startedHook = func(ctx context.Context) {
			close(killed)
			<-ctx.Done()
		}
		if err := w.Put(w.t.Context(), g); err != nil {
			t.Fatal(err)
		}
		<-killed
		w.reboot(func() { w.machine.startedHook = nil })
		w.starts(1)
		w.expect(g, run.ProvisioningSucceeded, run.StateRunning, run.Running)
		if c := w.status(g).Containers[0]; c.RestartCount != 0 {
			t.Errorf("%d restarts", c.RestartCount)
		}
	})
}

// TestExitIsStoredBeforeItsContainerGoes kills the Service when nobody but its record knows how the container ended.
func TestExitIsStoredBeforeItsContainerGoes(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("job", run.Never)
		w.put(g)
		w.machine.latency = time.Second
		w.machine.exit("main", 0, false)
		w.pass(3500 * time.Millisecond) // stopped and removed, but Remove has not returned
		if len(w.machine.containers) > 0 {
			t.Fatalf("left: %v", w.machine.containers)
		}
		w.kill()
		w.machine.latency = 0
		w.reboot(func() {})
		w.expect(g, run.ProvisioningSucceeded, run.StateSucceeded, run.Terminated)
	})
}

func TestLostConnectionIsFoundAgain(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		w.machine.loseConnection()
		w.machine.exit("main", 1, false) // nobody is told
		w.pass(time.Second)
		w.starts(2)
		w.machine.exit("main", 1, false)
		w.pass(10 * time.Second)
		w.starts(3)
	})
}

func TestSecretsAreSealed(t *testing.T) {
	simulate(t, func(w *world) {
		const hidden = "hidden-from-the-store"
		g := group("one", run.Always)
		g.Containers[0].Env = []run.EnvVar{{Name: "A", Value: "b"}, {Name: "S", Secure: secret.New(hidden), IsSecure: true}}
		g.Credentials = []run.Credential{{Server: "myacr.local", Username: "u", Password: secret.New(hidden), From: "imageRegistryCredentials[0]"}}
		g.IP = &run.IPAddress{Ports: []run.Port{{Port: 80, Protocol: "TCP"}}, Public: true}
		w.put(g)
		stored, err := w.store.Workloads(w.t.Context())
		if err != nil || len(stored) != 1 {
			t.Fatalf("%v, %v", stored, err)
		}
		if strings.Contains(string(stored[0].Spec)+string(stored[0].State), hidden) {
			t.Error("a secret stands in the store")
		}
		w.reboot(func() {})
		got, err := w.Group(w.t.Context(), g.ID)
		if err != nil || !reflect.DeepEqual(got, g) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestEverythingOfAGroupIsStored(t *testing.T) {
	simulate(t, func(w *world) {
		var all []run.Group
		for seed := range 30 {
			g := groups().Example(seed)
			all = append(all, g)
			w.put(g)
		}
		w.reboot(func() {})
		for _, g := range all {
			got, err := w.Group(w.t.Context(), g.ID)
			if err != nil || !reflect.DeepEqual(got, g) {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, g)
			}
		}
	})
}

func TestExec(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Never)
		w.put(g)
		w.machine.exec = func(_ context.Context, id string, spec run.ExecSpec) (int, error) {
			_, err := io.WriteString(spec.Stdout, id)
			return 7, err
		}
		var out strings.Builder
		code, err := w.Exec(w.t.Context(), g.ID, "main", run.ExecSpec{Command: []string{"id"}, Stdout: &out})
		if err != nil || code != 7 || !strings.HasSuffix(out.String(), "-main-1") {
			t.Errorf("%d, %v, %q", code, err, out.String())
		}
		if _, err := w.Exec(w.t.Context(), g.ID, "other", run.ExecSpec{}); fault.From(err).Code != run.ErrContainerUnknown.Code {
			t.Errorf("another container: %v", err)
		}
		w.machine.exit("main", 0, false)
		w.pass(0)
		if _, err := w.Exec(w.t.Context(), g.ID, "main", run.ExecSpec{}); fault.From(err).Code != run.ErrNotRunning.Code {
			t.Errorf("an ended container: %v", err)
		}
	})
}

// groups makes groups with every field set in every way.
func groups() *rapid.Generator[run.Group] {
	text := rapid.StringMatching(`[ -~]{0,12}`)
	env := rapid.Custom(func(t *rapid.T) run.EnvVar {
		return run.EnvVar{Name: text.Draw(t, "name"), Value: text.Draw(t, "value"), Secure: secret.New(text.Draw(t, "secure")), IsSecure: rapid.Bool().Draw(t, "is")}
	})
	container := rapid.Custom(func(t *rapid.T) run.Container {
		return run.Container{
			Name: rapid.StringMatching(`[a-z]([a-z0-9-]{0,61}[a-z0-9])?`).Draw(t, "name"), Image: "i" + text.Draw(t, "image"),
			Command: some(t, text), Env: some(t, env), CPU: rapid.Float64Range(0, 8).Draw(t, "cpu"), MemoryGB: rapid.Float64Range(0, 8).Draw(t, "memory"),
			Ports: some(t, rapid.Just(run.Port{Port: 80, Protocol: "TCP"})),
		}
	})
	return rapid.Custom(func(t *rapid.T) run.Group {
		g := group(rapid.StringMatching(`[a-z]{8,70}`).Draw(t, "group"), rapid.SampledFrom([]run.RestartPolicy{run.Always, run.Never}).Draw(t, "policy"))
		g.Containers = rapid.SliceOfNDistinct(container, 1, 3, func(c run.Container) string { return c.Name }).Draw(t, "containers")
		g.Credentials = some(t, rapid.Just(run.Credential{Server: "s", Username: "u", Password: secret.New("p"), From: "f"}))
		g.Identities = some(t, rapid.Just(pull.Identity{Resource: g.ID, ClientID: "c", PrincipalID: "p", System: true}))
		if rapid.Bool().Draw(t, "web") {
			g.Kind = run.KindWebApp
			g.Web = &run.Web{
				SiteName: text.Draw(t, "site"), Hostname: "h", UseManagedIdentity: true, UserManagedIdentityClientID: text.Draw(t, "client"),
				Server: "s", Username: "u", Password: secret.New(text.Draw(t, "password")), Port: 80, StartLimit: time.Minute,
			}
		}
		return g
	})
}

func some[T any](t *rapid.T, g *rapid.Generator[T]) []T {
	s := rapid.SliceOfN(g, 0, 3).Draw(t, "some")
	if len(s) == 0 {
		return nil
	}
	return s
}

// TestLateExitOfAnEarlierLife tells exits of containers that are long gone, after others have taken their names.
func TestLateExitOfAnEarlierLife(t *testing.T) {
	simulate(t, func(w *world) {
		one, two := group("one", run.Always), group("one", run.Always)
		two.Containers = append(two.Containers, run.Container{Name: strings.Repeat("side", 15), Image: "myacr.local/app:v1"})
		w.put(two)
		w.put(one)
		w.put(two) // with another second one
		if err := w.Delete(w.t.Context(), one.ID); err != nil {
			t.Fatal(err)
		}
		w.put(two) // all anew
		n := len(w.machine.starts)
		for _, gone := range w.machine.starts[:n-2] {
			w.machine.set(func() { w.machine.exits[0] <- run.Exit{ID: gone.ID, Code: 1, At: time.Now()} })
			w.pass(0)
		}
		w.starts(n)
		for _, c := range w.status(two).Containers {
			if c.Current.State != run.Running || c.RestartCount != 0 {
				t.Errorf("%s: %+v after %d restarts", c.Name, c.Current, c.RestartCount)
			}
		}
		ids := map[string]bool{}
		for _, s := range w.machine.starts {
			ids[s.ID] = true
		}
		if len(ids) != n {
			t.Errorf("%d ids for %d containers", len(ids), n)
		}
		w.reboot(func() {}) // and what runs is found by its id
		w.starts(n)
	})
}
