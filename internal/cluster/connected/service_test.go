package connected_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/cluster/connected"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const life = 3 * time.Hour // of what is lent

// world is a Service with everything around it that lives longer than it does. The cluster is simulated.
type world struct {
	t     *testing.T
	store cluster.Store
	*connected.Service
	stop func()

	mu      sync.Mutex
	away    error // what the cluster answers
	refused error // what Lend answers
	mints   int
	holds   map[string]time.Time // by namespace and secret, when what is in it ends
	changed chan struct{}
}

func simulate(t *testing.T, f func(w *world)) {
	t.Helper()
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, store: sql.NewConnected(db, "tenant"), holds: map[string]time.Time{}, changed: make(chan struct{})}
		w.boot()
		defer func() { w.stop() }()
		f(w)
	})
}

func (w *world) boot() {
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Service = connected.NewService(connected.Config{
		Store: w.store, Sealer: sealer,
		Open: func(_ resource.ID, kubeconfig secret.Text, _ string) (connected.Remote, error) {
			if kubeconfig.Reveal() != "kubeconfig" {
				return nil, errors.New("not as it was sealed")
			}
			return w, nil
		},
		Lend: func(context.Context, string, resource.ID) (pull.Login, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.mints++
			return pull.Login{Expires: time.Now().Add(life)}, w.refused
		},
		Changed: func() <-chan struct{} {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.changed
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := w.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.stop = func() { cancel(); all.Wait() }
	synctest.Wait()
}

// Version implements connected.Remote.
func (w *world) Version(context.Context) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return "v1.37.2", w.away
}

// Put implements connected.Remote.
func (w *world) Put(_ context.Context, p connected.Pull, login pull.Login) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away == nil {
		w.holds[p.Namespace+"/"+p.Secret] = login.Expires
	}
	return w.away
}

// Remove implements connected.Remote.
func (w *world) Remove(_ context.Context, p connected.Pull) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away == nil {
		delete(w.holds, p.Namespace+"/"+p.Secret)
	}
	return w.away
}

// set changes the world; a change of rights is told.
func (w *world) set(away, refused error) {
	w.mu.Lock()
	w.away, w.refused = away, refused
	close(w.changed)
	w.changed = make(chan struct{})
	w.mu.Unlock()
	synctest.Wait()
}

// lasts gives for how long what a secret holds is good; 0 when there is none.
func (w *world) lasts(name string) time.Duration {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.holds[name]; ok {
		return time.Until(at)
	}
	return 0
}

func (w *world) put(c connected.Cluster) {
	w.t.Helper()
	if err := w.Service.Put(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

var (
	id       = resource.GroupID("s", "g").Provider("Microsoft.Kubernetes/connectedClusters", "edge")
	identity = resource.GroupID("s", "g").Provider("Microsoft.ManagedIdentity/userAssignedIdentities", "puller")
)

func wanted(namespaces ...string) connected.Cluster {
	c := connected.Cluster{ID: id, Kubeconfig: secret.New("kubeconfig")}
	for _, n := range namespaces {
		c.Pulls = append(c.Pulls, connected.Pull{Namespace: n, Secret: "pull", Registry: "r", Identity: identity})
	}
	return c
}

func TestSecretsAreRenewedBeforeTheyEnd(t *testing.T) {
	simulate(t, func(w *world) {
		w.put(wanted("a", "b"))
		for range 30 { // for 20 days, over a restart each time
			time.Sleep(16 * time.Hour)
			if a, b := w.lasts("a/pull"), w.lasts("b/pull"); a < life/2-time.Minute || b < life/2-time.Minute {
				t.Fatalf("good for %v and %v", a, b)
			}
			w.stop()
			w.boot()
		}
		if w.mints > 2*(20*24*2/3+31)*11/10 {
			t.Errorf("minted %d times", w.mints)
		}
	})
}

func TestSecretsFollowTheRights(t *testing.T) {
	denied := fault.New(fault.Denied, "ROLE_MISSING", "no role")
	simulate(t, func(w *world) {
		w.put(wanted("a"))
		w.set(nil, denied)
		if w.lasts("a/pull") != 0 {
			t.Error("it is there without the right")
		}
		if s, err := w.Status(t.Context(), id); err != nil || s.Pulls[0].Failure != "no role" || !s.Pulls[0].Expires.IsZero() {
			t.Errorf("%+v, %v", s, err)
		}
		w.set(nil, nil)
		if w.lasts("a/pull") == 0 {
			t.Error("it is not there with the right")
		}
		w.set(nil, fault.New(fault.Unavailable, "NET", "the registry does not answer"))
		if w.lasts("a/pull") == 0 {
			t.Error("a registry that does not answer takes it away")
		}
	})
}

func TestWhatIsNotWantedGoes(t *testing.T) {
	simulate(t, func(w *world) {
		w.put(wanted("a", "b"))
		synctest.Wait()
		c := wanted("b", "c")
		c.Kubeconfig = secret.Text{} // keeps the one that is there
		w.put(c)
		if w.lasts("a/pull") != 0 || w.lasts("b/pull") == 0 || w.lasts("c/pull") == 0 {
			t.Errorf("there are %v", w.holds)
		}
		for range 2 {
			if err := w.Delete(t.Context(), id); err != nil || len(w.holds) != 0 {
				t.Errorf("left %v, %v", w.holds, err)
			}
		}
		if _, err := w.Status(t.Context(), id); !errors.Is(err, connected.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAClusterThatIsAway(t *testing.T) {
	away := fault.New(fault.Unavailable, "Away", "no route")
	simulate(t, func(w *world) {
		w.set(away, nil)
		if err := w.Service.Put(t.Context(), wanted("a")); !errors.Is(err, connected.ErrUnreachable) {
			t.Errorf("connecting: %v", err)
		}
		w.set(nil, nil)
		w.put(wanted("a"))
		w.set(away, nil)
		time.Sleep(2 * life)
		if s, err := w.Status(t.Context(), id); err != nil || s.Failure == "" || s.Pulls[0].Failure == "" {
			t.Errorf("%+v, %v", s, err)
		}
		if _, err := w.Refresh(t.Context(), id); !errors.Is(err, connected.ErrUnreachable) {
			t.Errorf("refreshing: %v", err)
		}
		w.set(nil, nil)
		if s, err := w.Refresh(t.Context(), id); err != nil || s.Failure != "" || s.Version != "v1.37.2" || w.lasts("a/pull") != life {
			t.Errorf("%+v, %v", s, err)
		}
		w.set(away, nil)
		if err := w.Delete(t.Context(), id); err != nil {
			t.Errorf("deleting one that is away: %v", err)
		}
	})
}

func TestInvalid(t *testing.T) {
	simulate(t, func(w *world) {
		for target, change := range map[string]func(*connected.Cluster){
			"kubeconfig":                     func(c *connected.Cluster) { c.Kubeconfig = secret.Text{} },
			"pullSecrets[0].namespace":       func(c *connected.Cluster) { c.Pulls[0].Namespace = "A" },
			"pullSecrets[0].secretName":      func(c *connected.Cluster) { c.Pulls[0].Secret = "" },
			"pullSecrets[0].registry":        func(c *connected.Cluster) { c.Pulls[0].Registry = "" },
			"pullSecrets[0].identity":        func(c *connected.Cluster) { c.Pulls[0].Identity = resource.ID{} },
			"pullSecrets[0].serviceAccounts": func(c *connected.Cluster) { c.Pulls[0].Accounts = []string{"a b"} },
			"pullSecrets[1].secretName":      func(c *connected.Cluster) { c.Pulls = append(c.Pulls, c.Pulls[0]) },
		} {
			c := wanted("a")
			change(&c)
			if err := w.Service.Put(t.Context(), c); !errors.Is(err, connected.ErrInvalid) || fault.From(err).Target != target {
				t.Errorf("%s: %v", target, err)
			}
		}
	})
}
