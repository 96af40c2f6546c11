package runtest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// Store checks the contract of run.Store; open gives an empty one.
func Store(t *testing.T, open func(t *testing.T) run.Store) {
	a := run.Stored{ID: workload("a"), Spec: []byte{0, 1, 255}, State: []byte(`{"n":1}`)}
	b := run.Stored{ID: workload("b"), Spec: []byte("spec"), State: []byte(`{}`)}

	t.Run("what is put is listed in order", func(t *testing.T) {
		s := open(t)
		put(t, s, b)
		put(t, s, a)
		listed(t, s, a, b)
	})
	t.Run("put replaces, whatever the case of the id", func(t *testing.T) {
		s := open(t)
		put(t, s, a)
		again := b
		again.ID = resource.MustParseID("/subscriptions/S/RESOURCEGROUPS/G/providers/microsoft.containerinstance/containergroups/A")
		put(t, s, again)
		listed(t, s, again)
	})
	t.Run("a saved state leaves the rest", func(t *testing.T) {
		s := open(t)
		put(t, s, a)
		if err := s.SaveState(t.Context(), a.ID, []byte(`{"n":2}`)); err != nil {
			t.Fatal(err)
		}
		changed := a
		changed.State = []byte(`{"n":2}`)
		listed(t, s, changed)
	})
	t.Run("no state without a workload", func(t *testing.T) {
		s := open(t)
		if err := s.SaveState(t.Context(), a.ID, []byte(`{}`)); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		listed(t, s)
	})
	t.Run("delete takes one, and nothing twice", func(t *testing.T) {
		s := open(t)
		put(t, s, a)
		put(t, s, b)
		for range 2 {
			if err := s.DeleteWorkload(t.Context(), a.ID); err != nil {
				t.Fatal(err)
			}
		}
		listed(t, s, b)
	})
	t.Run("many write at once", func(t *testing.T) {
		s := open(t)
		const n = 20
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				w := run.Stored{ID: workload(fmt.Sprintf("w%02d", i)), Spec: []byte("s"), State: []byte(`{}`)}
				if err := s.PutWorkload(t.Context(), w); err != nil {
					t.Error(err)
				}
				if err := s.SaveState(t.Context(), w.ID, []byte(`{"n":3}`)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		got, err := s.Workloads(t.Context())
		if err != nil || len(got) != n {
			t.Fatalf("%d workloads, %v", len(got), err)
		}
		for _, w := range got {
			if string(w.State) != `{"n":3}` {
				t.Errorf("%s has the state %s", w.ID, w.State)
			}
		}
	})
}

func workload(name string) resource.ID {
	return resource.GroupID("S", "g").Provider("Microsoft.ContainerInstance/containerGroups", name)
}

func put(t *testing.T, s run.Store, w run.Stored) {
	t.Helper()
	if err := s.PutWorkload(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, s run.Store, want ...run.Stored) {
	t.Helper()
	got, err := s.Workloads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Comparer(func(a, b resource.ID) bool { return a.String() == b.String() })
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Error(diff)
	}
}
