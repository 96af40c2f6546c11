// Package tokentest owns the suite that every implementation of token.KeyStore must pass.
package tokentest

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

// KeyStore checks a token.KeyStore; open gives an empty one for each test.
func KeyStore(t *testing.T, open func(t *testing.T) token.KeyStore) {
	t.Run("keys come oldest first", func(t *testing.T) { order(t, open(t)) })
	t.Run("one of many writers wins", func(t *testing.T) { writers(t, open(t)) })
}

func box(id string, at int) secret.Box {
	return secret.Box{ID: id, Created: time.Date(2031, 2, 3, 4, 5, at, 0, time.UTC), Sealed: []byte("sealed " + id)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func order(t *testing.T, s token.KeyStore) {
	ctx := t.Context()
	first, second := box("b", 1), box("a", 2)
	must(t, s.AddKey(ctx, first, ""))
	must(t, s.AddKey(ctx, box("late", 9), "")) // somebody else was faster: not stored
	must(t, s.AddKey(ctx, second, "b"))
	got, err := s.Keys(ctx)
	must(t, err)
	if diff := cmp.Diff([]secret.Box{first, second}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	must(t, s.DeleteKey(ctx, "b"))
	must(t, s.DeleteKey(ctx, "b"))
	got, err = s.Keys(ctx)
	must(t, err)
	if len(got) != 1 || got[0].ID != "a" {
		t.Errorf("left are %v, want a", got)
	}
}

func writers(t *testing.T, s token.KeyStore) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := s.AddKey(t.Context(), box(string(rune('a'+i)), i), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := s.Keys(t.Context())
	must(t, err)
	if len(got) != 1 {
		t.Errorf("%d keys are stored, want 1", len(got))
	}
}
