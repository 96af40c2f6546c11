package identitytest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/identity"
)

const manyFederations = 100

func federation(name, subject string) identity.Federation {
	return identity.Federation{
		Name: name, Issuer: "https://issuer.example/", Subject: subject, Audiences: []string{"api://AzureADTokenExchange"}, Created: moment(),
	}
}

func federations(t *testing.T, s identity.Store) {
	ctx := t.Context()
	sp, other := principal(uuid.NewString()), principal(uuid.NewString())
	must(t, errors.Join(s.CreatePrincipal(ctx, sp), s.CreatePrincipal(ctx, other)))
	put := func(principal string, f identity.Federation, limit int) (identity.Federation, bool, error) {
		return s.PutFederation(ctx, principal, f, limit)
	}
	second, first := federation("two", "b"), federation("One", "a")
	for _, f := range []identity.Federation{second, first} {
		got, created, err := put(sp.ID, f, manyFederations)
		wantSame(t, got, err, f)
		if !created {
			t.Error("a new one is not told as new")
		}
	}
	got, err := s.Federations(ctx, sp.ID)
	wantSame(t, got, err, []identity.Federation{first, second})

	changed := federation("ONE", "c")
	changed.Audiences, changed.Created = []string{"x", `"y`}, moment().Add(time.Hour)
	stored, created, err := put(sp.ID, changed, 2)
	changed.Name, changed.Created = first.Name, first.Created
	wantSame(t, stored, err, changed)
	if created {
		t.Error("a change is told as new")
	}
	_, _, err = put(sp.ID, federation("three", "b"), manyFederations)
	wantErr(t, err, identity.ErrDuplicate)
	_, _, err = put(sp.ID, federation("one", "b"), manyFederations)
	wantErr(t, err, identity.ErrDuplicate)
	_, _, err = put(sp.ID, federation("three", "B"), 2)
	wantErr(t, err, identity.ErrFederationsFull)
	_, _, err = put(uuid.NewString(), first, manyFederations)
	wantErr(t, err, identity.ErrNotFound)
	_, _, err = put(other.ID, federation("two", "b"), manyFederations)
	must(t, err)

	must(t, s.DeleteFederation(ctx, sp.ID, "TWO"))
	wantErr(t, s.DeleteFederation(ctx, sp.ID, "two"), identity.ErrNotFound)
	got, err = s.Federations(ctx, sp.ID)
	wantSame(t, got, err, []identity.Federation{changed})

	must(t, s.DeletePrincipal(ctx, sp.ID))
	got, err = s.Federations(ctx, sp.ID)
	wantSame(t, got, err, nil)
	got, err = s.Federations(ctx, other.ID)
	wantSame(t, got, err, []identity.Federation{federation("two", "b")})
}

func federationWriters(t *testing.T, s identity.Store) {
	const limit = 3
	sp := principal(uuid.NewString())
	must(t, s.CreatePrincipal(t.Context(), sp))
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() {
			_, _, results[i] = s.PutFederation(t.Context(), sp.ID, federation(fmt.Sprint("name-", i), fmt.Sprint(i)), limit)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else {
			wantErr(t, err, identity.ErrFederationsFull)
		}
	}
	if all, err := s.Federations(t.Context(), sp.ID); err != nil || won != limit || len(all) != limit {
		t.Errorf("%d writers won and %d federations are there (%v), want %d", won, len(all), err, limit)
	}
}
