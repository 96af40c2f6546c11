package run_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Service with everything around it that lives longer than it does.
type world struct {
	t       *testing.T
	store   run.Store
	sealer  *secret.Sealer
	machine *machine
	puller  *registry
	logDir  string
	logMost int64
	warm    http.RoundTripper
	*run.Service
	shutdown func()
	kill     func()
}

// simulate runs f in a world with virtual time. Everything that f starts must end with the Service.
func simulate(t *testing.T, f func(w *world)) {
	t.Helper()
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, sql.NewRun(db, t.Name()))
		w.boot()
		synctest.Wait()
		defer func() { w.shutdown() }()
		f(w)
		if err := w.machine.check(); err != nil {
			t.Error(err)
		}
	})
}

func newWorld(t *testing.T, store run.Store) *world {
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, store: store, sealer: sealer, machine: newMachine(), puller: newRegistry(), logDir: t.TempDir(),
		warm: refuseAll{},
	}
}

// boot starts a Service on what the world holds, as after a start of Fairlead.
func (w *world) boot() {
	ctx, cancel := context.WithCancel(context.Background())
	runtime, store := w.machine.runtime(), &mortal{Store: w.store}
	w.Service = run.NewService(run.Config{
		Store: store, Runtime: runtime, Execer: runtime, Puller: w.puller, Sealer: w.sealer,
		Log: slog.New(slog.DiscardHandler), LogDir: w.logDir, LogMost: w.logMost, Platform: content.Platform{OS: "linux", Architecture: "amd64"},
		SameRegistry:  func(a, b string) bool { return a == "myacr.azurecr.io" && b == "myacr.local" },
		AccessChanged: w.puller.changed, Warm: w.warm,
	})
	var all sync.WaitGroup
	all.Go(func() {
		if err := w.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.shutdown = func() { cancel(); all.Wait() }
	w.kill = func() { store.dead.Store(true); cancel() }
}

// mortal is a store that nothing reaches any more once its process is killed.
type mortal struct {
	run.Store
	dead atomic.Bool
}

var errKilled = errors.New("killed")

func (s *mortal) PutWorkload(ctx context.Context, w run.Stored) error {
	if s.dead.Load() {
		return errKilled
	}
	return s.Store.PutWorkload(ctx, w)
}

func (s *mortal) SaveState(ctx context.Context, id resource.ID, state []byte) error {
	if s.dead.Load() {
		return errKilled
	}
	return s.Store.SaveState(ctx, id, state)
}

func (s *mortal) DeleteWorkload(ctx context.Context, id resource.ID) error {
	if s.dead.Load() {
		return errKilled
	}
	return s.Store.DeleteWorkload(ctx, id)
}

// reboot stops Fairlead and starts it again; between happens meanwhile. Containers run on.
func (w *world) reboot(between func()) {
	w.shutdown()
	between()
	w.boot()
	synctest.Wait()
}

// pass lets time go by and everything settle.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) put(g run.Group) {
	w.t.Helper()
	if err := w.Put(w.t.Context(), g); err != nil {
		w.t.Fatalf("Put: %v", err)
	}
	synctest.Wait()
}

func (w *world) status(g run.Group) run.Status {
	w.t.Helper()
	s, err := w.Status(w.t.Context(), g.ID)
	if err != nil {
		w.t.Fatalf("Status: %v", err)
	}
	return s
}

// expect compares what matters of a status.
func (w *world) expect(g run.Group, provisioning, state, container string) {
	w.t.Helper()
	s := w.status(g)
	c := s.Containers[0].Current
	if s.Provisioning != provisioning || s.State != state || c.State != container {
		w.t.Fatalf("%s, %s, container %s (%s), failure %v; want %s, %s, container %s",
			s.Provisioning, s.State, c.State, c.Detail, s.Failure, provisioning, state, container)
	}
}

// starts expects that many starts of containers in all.
func (w *world) starts(want int) {
	w.t.Helper()
	if got := w.machine.started(); got != want {
		w.t.Fatalf("%d containers were started, want %d", got, want)
	}
}

// asked expects that many pulls in all.
func (w *world) asked(want int) {
	w.t.Helper()
	if got := len(w.puller.requests()); got != want {
		w.t.Fatalf("%d pulls were asked, want %d", got, want)
	}
}

func group(name string, policy run.RestartPolicy) run.Group {
	return run.Group{
		ID:   resource.GroupID("s", "g").Provider("Microsoft.ContainerInstance/containerGroups", name),
		Kind: run.KindContainerGroup, Location: "westeurope", RestartPolicy: policy,
		Containers: []run.Container{{Name: "main", Image: "myacr.local/app:v1", CPU: 1, MemoryGB: 1.5}},
	}
}

// registry is a run.Puller that answers what the test says.
type registry struct {
	mu       sync.Mutex
	asked    []pull.Request
	answer   func(context.Context, pull.Request) error // nil grants
	reopened int
	image    map[string]pull.Image // by reference; the zero Image when there is none
	gone     bool                  // the node has lost its images
	access   chan struct{}
}

func newRegistry() *registry {
	return &registry{access: make(chan struct{}), image: map[string]pull.Image{}}
}

func (r *registry) Pull(ctx context.Context, q pull.Request, observe pull.Observer) (pull.Image, pull.Attempt, error) {
	r.mu.Lock()
	r.asked = append(r.asked, q)
	answer := r.answer
	r.mu.Unlock()
	a := pull.Attempt{
		ID: "attempt", Workload: q.Workload, Container: q.Container, Image: q.Image, Correlation: q.Correlation, Started: time.Now(),
		Stages: []pull.Stage{{Name: pull.StageManifest, Outcome: pull.Running}},
	}
	observe(a)
	var err error
	if answer != nil {
		err = answer(ctx, q)
	}
	a.Ended = time.Now()
	if err != nil {
		a.Code, a.Summary = "FAILED", err.Error()
		return pull.Image{}, a, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.image[q.Image], a, nil
}

func (r *registry) Reopen(_ context.Context, image string, _ content.Digest) (pull.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reopened++
	if r.gone {
		return pull.Image{}, pull.ErrNotOnNode
	}
	return r.image[image], nil
}

// moves has a reference stand for an image from now on.
func (r *registry) moves(name string, image pull.Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.image[name] = image
}

// says sets the answer from now on.
func (r *registry) says(answer func(context.Context, pull.Request) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *registry) requests() []pull.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]pull.Request(nil), r.asked...)
}

func (r *registry) changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.access
}

// change tells of a change of access.
func (r *registry) change() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.access)
	r.access = make(chan struct{})
}

func refuse(context.Context, pull.Request) error { return pull.ErrDenied }
func outage(context.Context, pull.Request) error { return pull.ErrUnreachable }
func hang(ctx context.Context, _ pull.Request) error {
	<-ctx.Done()
	return ctx.Err()
}

// refuseAll answers no request, as where nothing listens.
type refuseAll struct{}

func (refuseAll) RoundTrip(*http.Request) (*http.Response, error) { return nil, http.ErrHandlerTimeout }
