package identity_test

import (
	"testing"

	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

func TestAdminUser(t *testing.T) {
	d, _ := open(t)
	ctx := t.Context()
	login := func(user string, password secret.Text) (identity.Principal, error) {
		return d.Authenticate(ctx, identity.RegistryPassword{Registry: registry, Username: user, Password: password})
	}
	_, err := login("acme", secret.New("x"))
	wantErr(t, "off by default", err, identity.ErrAdminDisabled)
	_, err = d.AdminPasswords(ctx, registry)
	wantErr(t, "off by default", err, identity.ErrAdminDisabled)
	wantErr(t, "regenerating what is off", d.RegenerateAdmin(ctx, registry, 0), identity.ErrAdminDisabled)
	must(t, d.SetAdmin(ctx, registry, false))

	must(t, d.SetAdmin(ctx, registry, true))
	before, err := d.AdminPasswords(ctx, registry)
	must(t, err)
	if before[0] == before[1] {
		t.Error("both passwords are equal")
	}
	var p identity.Principal
	for _, password := range before {
		p, err = login("ACME", password)
		must(t, err)
	}
	if p.Kind() != identity.KindRegistryAdmin || !p.Resource().Equal(registry) || p.ClientID() != "" || p.ID() != "admin:"+registry.Key() {
		t.Errorf("principal is %+v", p)
	}
	_, err = login("other", before[0])
	wantErr(t, "another user name", err, identity.ErrBadPassword)
	_, err = login("acme", secret.Text{})
	wantErr(t, "no password", err, identity.ErrBadPassword)
	_, err = d.AdminPrincipal(ctx, registry, p.Generation())
	must(t, err)

	must(t, d.RegenerateAdmin(ctx, registry, 1))
	after, err := d.AdminPasswords(ctx, registry)
	must(t, err)
	if after[0] != before[0] || after[1] == before[1] {
		t.Error("regenerating the second password changes the first, or nothing")
	}
	_, err = login("acme", before[1])
	wantErr(t, "regenerated", err, identity.ErrBadPassword)
	_, err = d.AdminPrincipal(ctx, registry, p.Generation())
	wantErr(t, "token from before", err, identity.ErrBadPassword)
	wantErr(t, "third password", d.RegenerateAdmin(ctx, registry, 2), identity.ErrInvalid)
}

func TestAdminTokensDoNotComeBack(t *testing.T) {
	d, _ := open(t)
	ctx := t.Context()
	generation := func() int64 {
		t.Helper()
		passwords, err := d.AdminPasswords(ctx, registry)
		must(t, err)
		p, err := d.Authenticate(ctx, identity.RegistryPassword{Registry: registry, Username: "acme", Password: passwords[0]})
		must(t, err)
		return p.Generation()
	}
	must(t, d.SetAdmin(ctx, registry, true))
	first := generation()
	must(t, d.SetAdmin(ctx, registry, true))
	if generation() != first {
		t.Error("turning on what is on ends tokens")
	}
	must(t, d.SetAdmin(ctx, registry, false))
	_, err := d.AdminPrincipal(ctx, registry, first)
	wantErr(t, "off", err, identity.ErrAdminDisabled)
	must(t, d.SetAdmin(ctx, registry, true))
	_, err = d.AdminPrincipal(ctx, registry, first)
	wantErr(t, "on again", err, identity.ErrBadPassword)

	second := generation()
	must(t, d.DeleteAdmin(ctx, registry))
	must(t, d.SetAdmin(ctx, registry, true))
	_, err = d.AdminPrincipal(ctx, registry, second)
	wantErr(t, "a new registry under the old name", err, identity.ErrBadPassword)

	other := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/other")
	must(t, d.SetAdmin(ctx, other, true))
	passwords, err := d.AdminPasswords(ctx, registry)
	must(t, err)
	_, err = d.Authenticate(ctx, identity.RegistryPassword{Registry: other, Username: "other", Password: passwords[0]})
	wantErr(t, "the password of another registry", err, identity.ErrBadPassword)
}
