package api_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

var (
	acme  = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/Acme")
	other = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/other")
)

const login = "acme.azurecr.fairlead.localhost:8443"

// registryWorld has one program, the admin user of acme, and tokens of the program.
type registryWorld struct {
	*apitest.World
	auth            *api.RegistryAuth
	program         apitest.Program
	admin           [2]secret.Text
	refresh, access string
	scopes          []token.ScopedAccess
}

func newRegistryWorld(t testing.TB) *registryWorld {
	t.Helper()
	w := &registryWorld{World: apitest.New(t)}
	ctx := t.Context()
	w.auth = &api.RegistryAuth{Tokens: w.Tokens, Directory: w.Directory}
	w.program = w.Program("program")
	apitest.Must(t, w.Directory.SetAdmin(ctx, acme, true))
	var err error
	w.admin, err = w.Directory.AdminPasswords(ctx, acme)
	apitest.Must(t, err)
	w.scopes = []token.ScopedAccess{{Type: "repository", Name: "a", Actions: []string{"pull"}}}
	refresh, err := w.Tokens.IssueRegistryRefresh(ctx, w.program.Principal, login)
	apitest.Must(t, err)
	access, err := w.Tokens.IssueRegistryAccess(ctx, w.program.Principal, login, w.scopes)
	apitest.Must(t, err)
	w.refresh, w.access = refresh.Reveal(), access.Reveal()
	return w
}

func (w *registryWorld) basic(user, password string) (identity.Principal, []token.ScopedAccess, error) {
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.SetBasicAuth(user, password)
	return w.auth.Authenticate(w.T.Context(), r, acme)
}

func (w *registryWorld) header(value string) (identity.Principal, []token.ScopedAccess, error) {
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.Header.Set("Authorization", value)
	return w.auth.Authenticate(w.T.Context(), r, acme)
}

func TestRegistryCredentials(t *testing.T) {
	w := newRegistryWorld(t)
	p := w.program
	for _, c := range []struct {
		name, user, password string
		scopes               []token.ScopedAccess
		kind                 identity.Kind
	}{
		{"service principal", p.ClientID(), p.Secret.Reveal(), nil, identity.KindApplication},
		{"client id in capitals", strings.ToUpper(p.ClientID()), p.Secret.Reveal(), nil, identity.KindApplication},
		{"admin, first password", "acme", w.admin[0].Reveal(), nil, identity.KindRegistryAdmin},
		{"admin, second password", "Acme", w.admin[1].Reveal(), nil, identity.KindRegistryAdmin},
		{"refresh token", api.TokenUser, w.refresh, nil, identity.KindApplication},
		{"access token", api.TokenUser, w.access, w.scopes, identity.KindApplication},
	} {
		got, scopes, err := w.basic(c.user, c.password)
		if err != nil || got.Kind() != c.kind || cmp.Diff(c.scopes, scopes) != "" {
			t.Errorf("%s: %v, %v, %v", c.name, got.Kind(), scopes, err)
		}
		if c.kind == identity.KindApplication && got != p.Principal {
			t.Errorf("%s: principal is %+v", c.name, got)
		}
	}
	got, scopes, err := w.header("bearer " + w.access)
	if err != nil || got != p.Principal || cmp.Diff(w.scopes, scopes) != "" {
		t.Errorf("bearer: %+v, %v, %v", got, scopes, err)
	}
}

func TestRegistryCredentialsThatAreRefused(t *testing.T) {
	w := newRegistryWorld(t)
	p := w.program
	for name, c := range map[string][2]string{
		"wrong secret":                {p.ClientID(), "x"},
		"principal id":                {p.ID(), p.Secret.Reveal()},
		"unknown client":              {uuid.NewString(), p.Secret.Reveal()},
		"wrong admin password":        {"acme", "x"},
		"admin of another":            {"other", w.admin[0].Reveal()},
		"token user without token":    {api.TokenUser, "x"},
		"token user with secret":      {api.TokenUser, p.Secret.Reveal()},
		"Entra token":                 {api.TokenUser, w.Token(p.Principal, "https://management.fairlead.localhost:8443/")},
		"no user":                     {"", "x"},
		"no password":                 {"acme", ""},
		"very long user":              {strings.Repeat("a", 5000), "x"},
		"refresh token as user's own": {p.ClientID(), w.refresh},
	} {
		if got, _, err := w.basic(c[0], c[1]); fault.KindOf(err) != fault.Unauthenticated || !got.IsZero() {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, value := range []string{"", "Bearer", "Bearer ", "Bearer x", "Bearer " + w.refresh, "Basic", "Basic !", "Basic YWJj", "Digest x", w.access} {
		if got, _, err := w.header(value); fault.KindOf(err) != fault.Unauthenticated || !got.IsZero() {
			t.Errorf("%.20q: %v, %v", value, got, err)
		}
	}
	if _, _, err := w.auth.Password(t.Context(), api.TokenUser, secret.New(w.refresh), other); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("the token opens another registry: %v", err)
	}
}

func TestRegistryTokensEndWithTheirPrincipal(t *testing.T) {
	w := newRegistryWorld(t)
	ctx := t.Context()
	alive := func(want bool, when string) {
		t.Helper()
		_, _, byRefresh := w.basic(api.TokenUser, w.refresh)
		_, _, byAccess := w.header("Bearer " + w.access)
		if (byRefresh == nil) != want || (byAccess == nil) != want {
			t.Errorf("%s: refresh token %v, access token %v", when, byRefresh, byAccess)
		}
	}
	alive(true, "at first")
	apitest.Must(t, w.Directory.SetEnabled(ctx, w.program.ID(), false))
	alive(false, "disabled")
	apitest.Must(t, w.Directory.SetEnabled(ctx, w.program.ID(), true))
	alive(true, "enabled again")
	apitest.Must(t, w.Directory.DeleteApplication(ctx, w.program.ObjectID))
	alive(false, "deleted")
}

func TestAdminTokensEndWithTheirPasswords(t *testing.T) {
	w := newRegistryWorld(t)
	ctx := t.Context()
	admin, _, err := w.basic("acme", w.admin[0].Reveal())
	apitest.Must(t, err)
	raw, err := w.Tokens.IssueRegistryAccess(ctx, admin, login, nil)
	apitest.Must(t, err)
	got, scopes, err := w.header("Bearer " + raw.Reveal())
	if err != nil || got != admin || scopes == nil {
		t.Errorf("%+v, %v, %v", got, scopes, err)
	}
	apitest.Must(t, w.Directory.RegenerateAdmin(ctx, acme, 0))
	if _, _, err := w.header("Bearer " + raw.Reveal()); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("after regeneration: %v", err)
	}
}

func TestRegistryTokensRunOut(t *testing.T) {
	w := newRegistryWorld(t)
	w.Now = w.Now.Add(76 * time.Minute)
	if _, _, err := w.header("Bearer " + w.access); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("access token: %v", err)
	}
	if _, _, err := w.basic(api.TokenUser, w.refresh); err != nil {
		t.Errorf("refresh token: %v", err)
	}
	w.Now = w.Now.Add(2 * time.Hour)
	if _, _, err := w.basic(api.TokenUser, w.refresh); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("refresh token: %v", err)
	}
}

func FuzzAuthorizationHeader(f *testing.F) {
	w := newRegistryWorld(f)
	f.Add("Basic YWNtZTp4")
	f.Add("Bearer a.b.c")
	f.Add("basic Og==")
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Header["Authorization"] = []string{value}
		p, _, err := w.auth.Authenticate(t.Context(), r, acme)
		if err == nil || !p.IsZero() || fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%q: %v, %v", value, p, err)
		}
	})
}
