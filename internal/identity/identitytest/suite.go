// Package identitytest owns the suite that every implementation of identity.Store must pass.
package identitytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// Store checks an identity.Store; open gives an empty one for each test.
func Store(t *testing.T, open func(t *testing.T) identity.Store) {
	t.Run("applications", func(t *testing.T) { applications(t, open(t)) })
	t.Run("deleting an application takes all with it", func(t *testing.T) { deleteApplication(t, open(t)) })
	t.Run("secrets", func(t *testing.T) { secrets(t, open(t)) })
	t.Run("principals", func(t *testing.T) { principals(t, open(t)) })
	t.Run("principals are unique", func(t *testing.T) { uniquePrincipals(t, open(t)) })
	t.Run("admin users", func(t *testing.T) { admins(t, open(t)) })
	t.Run("federations", func(t *testing.T) { federations(t, open(t)) })
	t.Run("no writer goes past the limit of federations", func(t *testing.T) { federationWriters(t, open(t)) })
	t.Run("every change moves the version", func(t *testing.T) { versions(t, open(t)) })
	t.Run("one of many writers wins", func(t *testing.T) { writers(t, open(t)) })
}

// moment is a time as every store can keep it.
func moment() time.Time { return time.Date(2031, 2, 3, 4, 5, 6, 789000, time.UTC) }

func application(name string) identity.Application {
	return identity.Application{ObjectID: uuid.NewString(), ClientID: uuid.NewString(), DisplayName: name, Created: moment()}
}

func principal(clientID string) identity.ServicePrincipal {
	return identity.ServicePrincipal{
		ID: uuid.NewString(), ClientID: clientID, DisplayName: "p", Kind: identity.KindApplication, Enabled: true, Created: moment(),
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error is %v, want %v", got, want)
	}
}

func wantSame[T any](t *testing.T, got T, err error, want T) {
	t.Helper()
	must(t, err)
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b resource.ID) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func applications(t *testing.T, s identity.Store) {
	ctx := t.Context()
	var want []identity.Application
	for i := range 5 {
		a := application(fmt.Sprintf("app %d", i))
		must(t, s.CreateApplication(ctx, a))
		want = append(want, a)
	}
	slices.SortFunc(want, func(a, b identity.Application) int {
		if a.ObjectID < b.ObjectID {
			return -1
		}
		return 1
	})
	got, err := s.Application(ctx, want[2].ObjectID)
	wantSame(t, got, err, want[2])
	got, err = s.ApplicationByClientID(ctx, want[3].ClientID)
	wantSame(t, got, err, want[3])
	page, err := s.Applications(ctx, want[0].ObjectID, 3)
	wantSame(t, page, err, want[1:4])

	again := application("again")
	again.ClientID = want[0].ClientID
	wantErr(t, s.CreateApplication(ctx, again), identity.ErrDuplicate)
	_, err = s.Application(ctx, uuid.NewString())
	wantErr(t, err, identity.ErrNotFound)
	_, err = s.ApplicationByClientID(ctx, want[0].ObjectID)
	wantErr(t, err, identity.ErrNotFound)
	wantErr(t, s.DeleteApplication(ctx, uuid.NewString()), identity.ErrNotFound)
}

func deleteApplication(t *testing.T, s identity.Store) {
	ctx := t.Context()
	a, other := application("a"), application("other")
	sp, otherSP := principal(a.ClientID), principal(other.ClientID)
	must(t, errors.Join(s.CreateApplication(ctx, a), s.CreateApplication(ctx, other), s.CreatePrincipal(ctx, sp), s.CreatePrincipal(ctx, otherSP)))
	must(t, s.AddSecret(ctx, a.ObjectID, identity.StoredSecret{Secret: identity.Secret{KeyID: uuid.NewString()}, Hash: "h"}))

	must(t, s.DeleteApplication(ctx, a.ObjectID))
	_, err := s.Secrets(ctx, a.ClientID)
	wantErr(t, err, identity.ErrNotFound)
	_, err = s.ServicePrincipal(ctx, sp.ID)
	wantErr(t, err, identity.ErrNotFound)
	_, err = s.ServicePrincipal(ctx, otherSP.ID)
	must(t, err)
}

func secrets(t *testing.T, s identity.Store) {
	ctx := t.Context()
	a := application("a")
	must(t, s.CreateApplication(ctx, a))
	none, err := s.Secrets(ctx, a.ClientID)
	wantSame(t, none, err, nil)
	want := []identity.StoredSecret{
		{Secret: identity.Secret{KeyID: "00000000-0000-0000-0000-000000000001", DisplayName: "one", Hint: "abc", Start: moment(), End: moment().Add(time.Hour)}, Hash: "h1"},
		{Secret: identity.Secret{KeyID: "00000000-0000-0000-0000-000000000002", Start: moment(), End: moment()}, Hash: "h2"},
	}
	must(t, errors.Join(s.AddSecret(ctx, a.ObjectID, want[1]), s.AddSecret(ctx, a.ObjectID, want[0])))
	got, err := s.Secrets(ctx, a.ClientID)
	wantSame(t, got, err, want)
	app, err := s.Application(ctx, a.ObjectID)
	wantSame(t, app.Secrets, err, []identity.Secret{want[0].Secret, want[1].Secret})

	must(t, s.RemoveSecret(ctx, a.ObjectID, want[0].KeyID))
	wantErr(t, s.RemoveSecret(ctx, a.ObjectID, want[0].KeyID), identity.ErrNotFound)
	got, err = s.Secrets(ctx, a.ClientID)
	wantSame(t, got, err, want[1:])
	wantErr(t, s.AddSecret(ctx, uuid.NewString(), want[0]), identity.ErrNotFound)
	_, err = s.Secrets(ctx, uuid.NewString())
	wantErr(t, err, identity.ErrNotFound)
}

func principals(t *testing.T, s identity.Store) {
	ctx := t.Context()
	sp := principal(uuid.NewString())
	managed := principal(uuid.NewString())
	managed.Kind, managed.System = identity.KindManaged, true
	managed.Resource = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/Web")
	must(t, errors.Join(s.CreatePrincipal(ctx, sp), s.CreatePrincipal(ctx, managed)))

	got, err := s.ServicePrincipal(ctx, sp.ID)
	wantSame(t, got, err, sp)
	got, err = s.ServicePrincipalByClientID(ctx, sp.ClientID)
	wantSame(t, got, err, sp)
	got, err = s.ServicePrincipalOf(ctx, resource.MustParseID("/SUBSCRIPTIONS/S/resourcegroups/G/providers/microsoft.web/sites/web"))
	wantSame(t, got, err, managed)

	must(t, s.SetEnabled(ctx, sp.ID, false))
	got, err = s.ServicePrincipal(ctx, sp.ID)
	sp.Enabled = false
	wantSame(t, got, err, sp)

	all, err := s.ServicePrincipals(ctx, "", 10)
	must(t, err)
	if len(all) != 2 || all[0].ID > all[1].ID {
		t.Errorf("principals are %v, want two in order", all)
	}
	page, err := s.ServicePrincipals(ctx, all[0].ID, 10)
	wantSame(t, page, err, all[1:])

	must(t, s.DeletePrincipal(ctx, managed.ID))
	_, err = s.ServicePrincipalOf(ctx, managed.Resource)
	wantErr(t, err, identity.ErrNotFound)
	wantErr(t, s.DeletePrincipal(ctx, managed.ID), identity.ErrNotFound)
	wantErr(t, s.SetEnabled(ctx, managed.ID, true), identity.ErrNotFound)
}

func uniquePrincipals(t *testing.T, s identity.Store) {
	ctx := t.Context()
	owner := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web")
	sp := principal(uuid.NewString())
	sp.Resource = owner
	must(t, s.CreatePrincipal(ctx, sp))
	sameClient, sameOwner := principal(sp.ClientID), principal(uuid.NewString())
	sameOwner.Resource = resource.MustParseID("/subscriptions/s/resourceGroups/G/providers/microsoft.web/sites/WEB")
	wantErr(t, s.CreatePrincipal(ctx, sameClient), identity.ErrDuplicate)
	wantErr(t, s.CreatePrincipal(ctx, sameOwner), identity.ErrDuplicate)
	must(t, errors.Join(s.CreatePrincipal(ctx, principal(uuid.NewString())), s.CreatePrincipal(ctx, principal(uuid.NewString()))))
}

func admins(t *testing.T, s identity.Store) {
	ctx := t.Context()
	registry := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/Reg")
	want := identity.Admin{Registry: registry, Enabled: true, Generation: 1 << 51, Passwords: [2][]byte{{1}, {2}}}
	_, err := s.Admin(ctx, registry)
	wantErr(t, err, identity.ErrNotFound)
	must(t, s.UpdateAdmin(ctx, registry, func(a identity.Admin) (identity.Admin, error) {
		if !a.Registry.IsZero() {
			t.Errorf("before there is one, change sees %v", a)
		}
		return want, nil
	}))
	got, err := s.Admin(ctx, resource.MustParseID("/subscriptions/s/resourceGroups/G/providers/Microsoft.ContainerRegistry/registries/reg"))
	wantSame(t, got, err, want)

	refusal := errors.New("no")
	wantErr(t, s.UpdateAdmin(ctx, registry, func(a identity.Admin) (identity.Admin, error) { a.Enabled = false; return a, refusal }), refusal)
	got, err = s.Admin(ctx, registry)
	wantSame(t, got, err, want)

	must(t, errors.Join(s.DeleteAdmin(ctx, registry), s.DeleteAdmin(ctx, registry)))
	_, err = s.Admin(ctx, registry)
	wantErr(t, err, identity.ErrNotFound)
}

func versions(t *testing.T, s identity.Store) {
	a, sp := application("a"), principal(uuid.NewString())
	registry := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r")
	key := uuid.NewString()
	for _, step := range []struct {
		name   string
		change func(context.Context) error
	}{
		{"create application", func(ctx context.Context) error { return s.CreateApplication(ctx, a) }},
		{"add secret", func(ctx context.Context) error {
			return s.AddSecret(ctx, a.ObjectID, identity.StoredSecret{Secret: identity.Secret{KeyID: key}})
		}},
		{"remove secret", func(ctx context.Context) error { return s.RemoveSecret(ctx, a.ObjectID, key) }},
		{"create principal", func(ctx context.Context) error { return s.CreatePrincipal(ctx, sp) }},
		{"disable", func(ctx context.Context) error { return s.SetEnabled(ctx, sp.ID, false) }},
		{"put federation", func(ctx context.Context) error {
			_, _, err := s.PutFederation(ctx, sp.ID, federation("fed", "s"), manyFederations)
			return err
		}},
		{"delete federation", func(ctx context.Context) error { return s.DeleteFederation(ctx, sp.ID, "fed") }},
		{"delete principal", func(ctx context.Context) error { return s.DeletePrincipal(ctx, sp.ID) }},
		{"delete application", func(ctx context.Context) error { return s.DeleteApplication(ctx, a.ObjectID) }},
		{"update admin", func(ctx context.Context) error {
			return s.UpdateAdmin(ctx, registry, func(identity.Admin) (identity.Admin, error) {
				return identity.Admin{Registry: registry, Passwords: [2][]byte{{1}, {2}}}, nil
			})
		}},
		{"delete admin", func(ctx context.Context) error { return s.DeleteAdmin(ctx, registry) }},
	} {
		before, err := s.Version(t.Context())
		must(t, err)
		changed := s.Changed()
		must(t, step.change(t.Context()))
		after, err := s.Version(t.Context())
		must(t, err)
		if after <= before {
			t.Errorf("%s: version stays at %d", step.name, after)
		}
		select {
		case <-changed:
		default:
			t.Errorf("%s: the channel is not closed", step.name)
		}
	}
}

func writers(t *testing.T, s identity.Store) {
	owner := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web")
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() {
			sp := principal(uuid.NewString())
			sp.Resource = owner
			results[i] = s.CreatePrincipal(t.Context(), sp)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else {
			wantErr(t, err, identity.ErrDuplicate)
		}
	}
	if won != 1 {
		t.Errorf("%d writers won, want 1", won)
	}
}
