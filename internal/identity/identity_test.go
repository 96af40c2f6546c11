package identity_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

const tenant = "11111111-2222-3333-4444-555555555555"

var registry = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/Acme")

// clock is a time that tests move.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T) (*identity.Directory, *clock) {
	t.Helper()
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	must(t, err)
	c := &clock{time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	return identity.NewDirectory(sql.NewDirectory(db, tenant), sealer, tenant, c.Now), c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error is %v, want %v", what, got, want)
	}
}

// program makes an application with a service principal and a secret.
func program(t *testing.T, d *identity.Directory) (identity.Application, identity.ServicePrincipal, secret.Text) {
	t.Helper()
	app, err := d.CreateApplication(t.Context(), "program")
	must(t, err)
	sp, err := d.CreateServicePrincipal(t.Context(), app.ClientID)
	must(t, err)
	_, value, err := d.AddSecret(t.Context(), app.ObjectID, "first", time.Time{}, time.Time{})
	must(t, err)
	return app, sp, value
}

func TestAuthenticateApplication(t *testing.T) {
	d, _ := open(t)
	app, sp, value := program(t, d)
	p, err := d.Authenticate(t.Context(), identity.ClientSecret{ClientID: strings.ToUpper(app.ClientID), Secret: value})
	must(t, err)
	if p.ID() != sp.ID || p.ClientID() != app.ClientID || p.ID() == p.ClientID() || p.Tenant() != tenant || p.Kind() != identity.KindApplication || p.Name() != "program" {
		t.Errorf("principal is %+v", p)
	}
	alive, err := d.Principal(t.Context(), sp.ID)
	if err != nil || alive != p {
		t.Errorf("by object id: %+v, %v, want %+v", alive, err, p)
	}

	login := func(id, s string) error {
		_, err := d.Authenticate(t.Context(), identity.ClientSecret{ClientID: id, Secret: secret.New(s)})
		return err
	}
	wantErr(t, "unknown application", login(uuid.NewString(), value.Reveal()), identity.ErrAppUnknown)
	wantErr(t, "principal id in place of the client id", login(sp.ID, value.Reveal()), identity.ErrAppUnknown)
	wantErr(t, "wrong secret", login(app.ClientID, "x"+value.Reveal()), identity.ErrSecretWrong)
	wantErr(t, "empty secret", login(app.ClientID, ""), identity.ErrSecretWrong)
	wantErr(t, "key id in place of the secret", login(app.ClientID, keyID(t, d, app)), identity.ErrSecretWrong)
}

func keyID(t *testing.T, d *identity.Directory, app identity.Application) string {
	t.Helper()
	got, err := d.Application(t.Context(), app.ObjectID)
	must(t, err)
	return got.Secrets[0].KeyID
}

func TestSecretsHaveTheirTime(t *testing.T) {
	d, c := open(t)
	app, _, first := program(t, d)
	login := func(s secret.Text) error { return d.InspectSecret(t.Context(), app.ClientID, s) }
	add := func(start, end time.Time) secret.Text {
		t.Helper()
		_, value, err := d.AddSecret(t.Context(), app.ObjectID, "", start, end)
		must(t, err)
		return value
	}
	expired := add(time.Time{}, c.now.Add(-time.Hour))
	later := add(c.now.Add(time.Hour), time.Time{})
	wantErr(t, "born expired", login(expired), identity.ErrSecretExpired)
	wantErr(t, "not valid yet", login(later), identity.ErrSecretWrong)
	must(t, login(first))

	c.now = c.now.Add(2 * time.Hour)
	must(t, login(later))
	c.now = c.now.AddDate(2, 0, 0)
	wantErr(t, "after two years", login(first), identity.ErrSecretExpired)

	_, _, err := d.AddSecret(t.Context(), app.ObjectID, "", c.now, c.now.Add(-time.Second))
	wantErr(t, "ends before it starts", err, identity.ErrInvalid)
	_, _, err = d.AddSecret(t.Context(), app.ObjectID, "", time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{})
	wantErr(t, "ends in the year 10000", err, identity.ErrInvalid)
	_, _, err = d.AddSecret(t.Context(), uuid.NewString(), "", time.Time{}, time.Time{})
	wantErr(t, "no such application", err, identity.ErrNotFound)
	_, _, err = d.AddSecret(t.Context(), app.ObjectID, strings.Repeat("é", 257), time.Time{}, time.Time{})
	wantErr(t, "long name", err, identity.ErrInvalid)
}

func TestRevocationIsSeenAtOnce(t *testing.T) {
	d, _ := open(t)
	ctx := t.Context()
	app, sp, value := program(t, d)
	login := func() error {
		_, err := d.Authenticate(ctx, identity.ClientSecret{ClientID: app.ClientID, Secret: value})
		return err
	}
	alive := func() error { _, err := d.Principal(ctx, sp.ID); return err }
	must(t, errors.Join(login(), alive()))

	must(t, d.SetEnabled(ctx, sp.ID, false))
	wantErr(t, "disabled, password", login(), identity.ErrPrincipalDisabled)
	wantErr(t, "disabled, token", alive(), identity.ErrPrincipalDisabled)
	must(t, d.SetEnabled(ctx, sp.ID, true))
	must(t, errors.Join(login(), alive()))

	must(t, d.RemoveSecret(ctx, app.ObjectID, keyID(t, d, app)))
	wantErr(t, "secret removed", login(), identity.ErrSecretWrong)
	must(t, alive())

	must(t, d.DeleteServicePrincipal(ctx, sp.ID))
	wantErr(t, "deleted", alive(), identity.ErrPrincipalUnknown)
	_, value, err := d.AddSecret(ctx, app.ObjectID, "", time.Time{}, time.Time{})
	must(t, err)
	_, err = d.Authenticate(ctx, identity.ClientSecret{ClientID: app.ClientID, Secret: value})
	wantErr(t, "no service principal", err, identity.ErrPrincipalUnknown)
	again, err := d.CreateServicePrincipal(ctx, app.ClientID)
	must(t, err)
	if again.ID == sp.ID {
		t.Error("a service principal made anew has the old object id")
	}
	must(t, d.DeleteApplication(ctx, app.ObjectID))
	wantErr(t, "application deleted", login(), identity.ErrAppUnknown)
}

func TestManagedIdentities(t *testing.T) {
	d, _ := open(t)
	ctx := t.Context()
	site := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web")
	sp, err := d.EnsureManaged(ctx, site, true, "web")
	must(t, err)
	same, err := d.EnsureManaged(ctx, resource.MustParseID("/subscriptions/S/resourcegroups/G/providers/microsoft.web/sites/WEB"), true, "web")
	must(t, err)
	if same.ID != sp.ID || sp.ID == sp.ClientID {
		t.Errorf("first %+v, again %+v", sp, same)
	}
	p, err := d.Principal(ctx, sp.ID)
	must(t, err)
	if p.Kind() != identity.KindManaged || !p.SystemAssigned() || !p.Resource().Equal(site) {
		t.Errorf("principal is %+v", p)
	}
	wantErr(t, "deleting it in the directory", d.DeleteServicePrincipal(ctx, sp.ID), identity.ErrInvalid)
	_, err = d.Authenticate(ctx, identity.ClientSecret{ClientID: sp.ClientID, Secret: secret.New("x")})
	wantErr(t, "managed identities have no secret", err, identity.ErrAppUnknown)
	_, err = d.CreateServicePrincipal(ctx, sp.ClientID)
	wantErr(t, "nor an application", err, identity.ErrNotFound)

	must(t, errors.Join(d.DeleteManaged(ctx, site), d.DeleteManaged(ctx, site)))
	_, err = d.Principal(ctx, sp.ID)
	wantErr(t, "deleted", err, identity.ErrPrincipalUnknown)
	_, err = d.Managed(ctx, site)
	wantErr(t, "deleted", err, identity.ErrPrincipalUnknown)
	again, err := d.EnsureManaged(ctx, site, true, "web")
	must(t, err)
	if again.ID == sp.ID || again.ClientID == sp.ClientID {
		t.Error("an identity made anew has old ids")
	}
}

func TestNamesAreChecked(t *testing.T) {
	d, _ := open(t)
	for _, name := range []string{"", strings.Repeat("a", 257), "a\nb", "a\x00", "\xff"} {
		_, err := d.CreateApplication(t.Context(), name)
		wantErr(t, fmt.Sprintf("name %.10q", name), err, identity.ErrInvalid)
	}
	if _, err := d.CreateApplication(t.Context(), strings.Repeat("ü", 256)); err != nil {
		t.Error(err)
	}
}
