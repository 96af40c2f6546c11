package acr_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/acr"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

var (
	acme  = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/Acme")
	other = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/other")
)

const (
	host = "acme.azurecr.fairlead.localhost:8443"
	arm  = "https://management.fairlead.localhost:8443/"
)

type world struct {
	*apitest.World
	handler http.Handler
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{World: apitest.New(t)}
	w.handler = apitest.Wrap(acr.New(acr.Deps{
		Resolve: func(r *http.Request) (registry.Registry, error) {
			for _, id := range []resource.ID{acme, other} {
				if kind, name := w.Origin.ParseHost(r.Host); kind == resource.HostRegistry && strings.EqualFold(name, id.Name()) {
					return registry.Registry{ID: id, Name: id.Name()}, nil
				}
			}
			return registry.Registry{}, registry.ErrRegistryUnknown
		},
		Auth:  &api.RegistryAuth{Tokens: w.Tokens, Directory: w.Directory},
		Entra: w.Tokens, Tokens: w.Tokens, Access: w.Access, Origin: w.Origin, Log: apitest.Log(),
	}))
	return w
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

func (w *world) post(path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "https://"+host+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(r)
}

func (w *world) get(user, password string, query url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "https://"+host+"/oauth2/token?"+query.Encode(), nil)
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	return w.do(r)
}

// reply gives a field of an answer that must be the only one.
func (w *world) reply(rec *httptest.ResponseRecorder, field string) string {
	w.T.Helper()
	var body map[string]string
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || rec.Code != http.StatusOK || len(body) != 1 || body[field] == "" {
		w.T.Fatalf("answer %d %s, want 200 with %s only", rec.Code, rec.Body, field)
	}
	if rec.Header().Get("Cache-Control") != "no-store" {
		w.T.Error("a token may be cached")
	}
	return body[field]
}

func (w *world) scopes(raw string) string {
	w.T.Helper()
	claims, err := w.Tokens.VerifyRegistryAccess(w.T.Context(), secret.New(raw), "acme")
	apitest.Must(w.T, err)
	var all []string
	for _, s := range claims.Access {
		all = append(all, s.String())
	}
	return strings.Join(all, " ")
}

// refresh exchanges an Entra token of p.
func (w *world) refresh(p identity.Principal) string {
	w.T.Helper()
	return w.reply(w.post("/oauth2/exchange", url.Values{"grant_type": {"access_token"}, "service": {host}, "tenant": {apitest.Tenant}, "access_token": {w.Token(p, arm)}}), "refresh_token")
}

func (w *world) puller() apitest.Program {
	w.T.Helper()
	p := w.Program("puller")
	w.Assign(p.Principal, apitest.AcrPull, acme)
	return p
}

func TestExchange(t *testing.T) {
	w := newWorld(t)
	p := w.puller()
	for name, c := range map[string]struct{ audience, grant string }{
		"az":                             {arm, "access_token"},
		"AKS":                            {arm, "access_token_refresh_token"},
		"resource manager, no slash":     {strings.TrimSuffix(arm, "/"), "access_token"},
		"resource manager, other domain": {"https://management.fairlead.internal", "access_token"},
		"Azure's resource manager":       {resource.AzureARM + "/", "access_token"},
		"registry service":               {resource.AzureRegistry, "access_token"},
		"registry service with a slash":  {resource.AzureRegistry + "/", "access_token"},
	} {
		raw := w.Token(p.Principal, c.audience)
		rec := w.post("/oauth2/exchange?api-version=2021-07-01", url.Values{"grant_type": {c.grant}, "service": {host}, "access_token": {raw}, "refresh_token": {raw}})
		claims, err := w.Tokens.VerifyRegistryRefresh(t.Context(), secret.New(w.reply(rec, "refresh_token")), "acme")
		if err != nil || claims.Subject != p.ID() || claims.Expires.Sub(claims.Issued) != 3*time.Hour {
			t.Errorf("%s: %+v, %v", name, claims, err)
		}
	}
}

func TestRefreshTokensTellWhatIsAllowed(t *testing.T) {
	w := newWorld(t)
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(w.refresh(w.puller().Principal), ".")[1])
	apitest.Must(t, err)
	var claims struct {
		Aud         string
		Permissions struct{ Actions, NotActions []string }
	}
	apitest.Must(t, json.Unmarshal(text, &claims))
	if claims.Aud != host || cmp.Diff(claims.Permissions.Actions, []string{registry.ActionPull.Name}) != "" || claims.Permissions.NotActions == nil {
		t.Errorf("claims are %+v", claims)
	}
}

func TestNoRightAtAllIs401(t *testing.T) {
	w := newWorld(t)
	p := w.Program("stranger")
	elsewhere := w.Assign(p.Principal, apitest.AcrPull, other)
	data := w.Assign(p.Principal, apitest.RepositoryReader, acme) // counts in the other permission mode only
	all := func(want int, when string) {
		t.Helper()
		for name, rec := range map[string]*httptest.ResponseRecorder{
			"exchange": w.post("/oauth2/exchange", url.Values{"grant_type": {"access_token"}, "access_token": {w.Token(p.Principal, arm)}}),
			"password": w.post("/oauth2/token", url.Values{"grant_type": {"password"}, "username": {p.ClientID()}, "password": {p.Secret.Reveal()}, "scope": {"repository:a:pull"}}),
			"basic":    w.get(p.ClientID(), p.Secret.Reveal(), url.Values{"scope": {"repository:a:pull"}}),
			"no scope": w.get(p.ClientID(), p.Secret.Reveal(), nil),
		} {
			if rec.Code != want {
				t.Errorf("%s, %s: %d %s, want %d", when, name, rec.Code, rec.Body, want)
			}
		}
	}
	all(401, "without a right here")
	a := w.Assign(p.Principal, apitest.AcrDelete, acme)
	all(200, "with some right")
	refresh := w.refresh(p.Principal)
	for _, id := range []resource.ID{elsewhere.ID, data.ID, a.ID} {
		apitest.Must(t, w.Access.Unassign(t.Context(), id))
	}
	all(401, "after it was taken away")
	if rec := w.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}); rec.Code != 401 {
		t.Errorf("a refresh token from before still opens: %d", rec.Code)
	}
	w.Assign(p.Principal, apitest.AcrDelete, acme)
	w.reply(w.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}), "access_token")
}

func TestScopesAreIntersected(t *testing.T) {
	w := newWorld(t)
	roles := map[string][]string{"AcrPull": {apitest.AcrPull}, "AcrPush": {apitest.AcrPush}, "AcrDelete": {apitest.AcrDelete}, "both": {apitest.AcrPush, apitest.AcrDelete}, "Owner": {apitest.Owner}, "Reader": {apitest.Reader}}
	programs := map[string]apitest.Program{}
	for name, guids := range roles {
		programs[name] = w.Program(name)
		for _, guid := range guids {
			w.Assign(programs[name].Principal, guid, acme)
		}
	}
	for _, c := range []struct {
		role string
		asks []string
		want string
	}{
		{"AcrPull", []string{"repository:a/b:pull"}, "repository:a/b:pull"},
		{"AcrPull", []string{"repository:a/b:pull,push"}, "repository:a/b:pull"},
		{"AcrPull", []string{"repository:a:push"}, ""},
		{"AcrPull", []string{"repository:a:*"}, "repository:a:pull,metadata_read"},
		{"AcrPull", []string{"repository:a:pull", "repository:b:push,pull"}, "repository:a:pull repository:b:pull"},
		{"AcrPull", []string{"repository:a:pull repository:a:metadata_read"}, "repository:a:pull,metadata_read"},
		{"AcrPull", []string{"registry:catalog:*"}, "registry:catalog:*"},
		{"AcrPull", []string{"registry:None:*"}, ""},
		{"AcrPull", []string{"registry:catalog:pull", "nonsense:a:pull", "repository:a:fly"}, ""},
		{"AcrPull", nil, ""},
		{"AcrPush", []string{"repository:a:pull,push,delete"}, "repository:a:pull,push"},
		{"AcrPush", []string{"repository:a:*"}, "repository:a:pull,push,metadata_read,metadata_write"},
		{"AcrDelete", []string{"repository:a:pull,delete,metadata_read"}, "repository:a:delete"},
		{"AcrDelete", []string{"registry:catalog:*"}, ""},
		{"both", []string{"repository:a:*"}, "repository:a:pull,push,delete,metadata_read,metadata_write"},
		{"Owner", []string{"repository:a:pull,push,delete"}, "repository:a:pull,push,delete"},
		{"Reader", []string{"repository:a:pull,push,delete"}, "repository:a:pull"},
	} {
		p := programs[c.role]
		byHeader := w.scopes(w.reply(w.get(p.ClientID(), p.Secret.Reveal(), url.Values{"service": {host}, "scope": c.asks}), "access_token"))
		byForm := w.scopes(w.reply(w.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "service": {host}, "scope": c.asks, "refresh_token": {w.refresh(p.Principal)}}), "access_token"))
		if byHeader != c.want || byForm != c.want {
			t.Errorf("%s asks %q: by header %q, by form %q, want %q", c.role, c.asks, byHeader, byForm, c.want)
		}
	}
}

// TestClients sends what docker, skopeo, containerd, az and the SDK send.
func TestClients(t *testing.T) {
	w := newWorld(t)
	p := w.puller()
	apitest.Must(t, w.Directory.SetAdmin(t.Context(), acme, true))
	admin, err := w.Directory.AdminPasswords(t.Context(), acme)
	apitest.Must(t, err)
	id, password := p.ClientID(), p.Secret.Reveal()
	refresh := w.refresh(p.Principal)
	access := w.reply(w.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "scope": {"repository:a:pull"}}), "access_token")
	pull := []string{"repository:a:pull"}
	for name, c := range map[string]struct {
		rec  *httptest.ResponseRecorder
		want string
	}{
		"docker login":                   {w.get(id, password, url.Values{"account": {id}, "client_id": {"docker"}, "offline_token": {"true"}, "service": {host}}), ""},
		"skopeo":                         {w.get(id, password, url.Values{"account": {id}, "scope": pull, "service": {host}}), "repository:a:pull"},
		"containerd":                     {w.post("/oauth2/token", url.Values{"client_id": {"containerd-client"}, "grant_type": {"password"}, "username": {id}, "password": {password}, "scope": pull, "service": {host}}), "repository:a:pull"},
		"containerd with identity token": {w.post("/oauth2/token", url.Values{"client_id": {"containerd-client"}, "grant_type": {"refresh_token"}, "refresh_token": {refresh}, "scope": pull}), "repository:a:pull"},
		"admin":                          {w.get("acme", admin[0].Reveal(), url.Values{"scope": {"repository:a:pull,push,delete"}}), "repository:a:pull,push,delete"},
		"admin, second password":         {w.post("/oauth2/token", url.Values{"grant_type": {"password"}, "username": {"Acme"}, "password": {admin[1].Reveal()}, "scope": pull}), "repository:a:pull"},
		"all-zero user, refresh token":   {w.get(api.TokenUser, refresh, url.Values{"scope": pull}), "repository:a:pull"},
		"all-zero user, access token":    {w.get(api.TokenUser, access, url.Values{"scope": {"repository:a:pull,metadata_read repository:b:pull"}}), "repository:a:pull"},
		"az acr check-health":            {w.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "scope": {"registry:None:*"}}), ""},
	} {
		if got := w.scopes(w.reply(c.rec, "access_token")); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestAnAccessTokenDoesNotWiden turns one token into another, again and again: no step may open more.
func TestAnAccessTokenDoesNotWiden(t *testing.T) {
	w := newWorld(t)
	p := w.Program("owner")
	w.Assign(p.Principal, apitest.Owner, acme)
	raw, err := w.Tokens.IssueRegistryAccess(t.Context(), p.Principal, host, []token.ScopedAccess{{Type: "repository", Name: "a", Actions: []string{"pull"}}})
	apitest.Must(t, err)
	for _, scope := range []string{"repository:a:*", "repository:a:pull,push", "repository:b:pull", "registry:catalog:*"} {
		got := w.scopes(w.reply(w.get(api.TokenUser, raw.Reveal(), url.Values{"scope": {scope}}), "access_token"))
		if got != "" && got != "repository:a:pull" {
			t.Errorf("%s gives %q", scope, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	p := w.puller()
	dead := w.puller()
	deadToken := w.Token(dead.Principal, arm)
	apitest.Must(t, w.Directory.DeleteApplication(t.Context(), dead.ObjectID))
	entra := w.Token(p.Principal, arm)
	for name, rec := range map[string]*httptest.ResponseRecorder{
		"anonymous get":               w.get("", "", url.Values{"scope": {"repository:a:pull"}}),
		"anonymous sdk":               w.post("/oauth2/token", url.Values{"grant_type": {"password"}, "refresh_token": {""}}),
		"admin is off":                w.get("acme", "x", nil),
		"wrong secret":                w.get(p.ClientID(), "x", nil),
		"no refresh token":            w.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}}),
		"entra token for refresh":     w.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {entra}}),
		"refresh token for entra":     w.post("/oauth2/exchange", url.Values{"grant_type": {"access_token"}, "access_token": {w.refresh(p.Principal)}}),
		"no entra token":              w.post("/oauth2/exchange", url.Values{"grant_type": {"access_token"}}),
		"graph token":                 w.post("/oauth2/exchange", url.Values{"grant_type": {"access_token"}, "access_token": {w.Token(p.Principal, w.Origin.URL(resource.Graph))}}),
		"deleted principal":           w.post("/oauth2/exchange", url.Values{"grant_type": {"access_token"}, "access_token": {deadToken}}),
		"lookalike registry audience": w.post("/oauth2/exchange", url.Values{"grant_type": {"access_token"}, "access_token": {w.Token(p.Principal, resource.AzureRegistry+".evil.test")}}),
	} {
		if rec.Code != http.StatusUnauthorized || strings.Contains(rec.Body.String(), "AADSTS") {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
}

func TestErrorBodies(t *testing.T) {
	w := newWorld(t)
	p := w.puller()
	form := func(method, path, contentType, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "https://"+host+path, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		return w.do(r)
	}
	unknown := httptest.NewRequest(http.MethodGet, "https://nosuch.azurecr.fairlead.localhost:8443/oauth2/token", nil)
	const urlencoded = "application/x-www-form-urlencoded"
	for name, rec := range map[string]*httptest.ResponseRecorder{
		"unauthorized":       w.get("", "", nil),
		"exchange-get":       form(http.MethodGet, "/oauth2/exchange", urlencoded, ""),
		"token-put":          form(http.MethodPut, "/oauth2/token", urlencoded, ""),
		"unknown-path":       form(http.MethodPost, "/oauth2/other", urlencoded, ""),
		"unknown-registry":   w.do(unknown),
		"exchange-grant":     w.post("/oauth2/exchange", url.Values{"grant_type": {"magic"}}),
		"token-grant":        w.post("/oauth2/token", nil),
		"not-a-form":         form(http.MethodPost, "/oauth2/exchange", "application/json", `{"grant_type":"access_token"}`),
		"malformed-form":     form(http.MethodPost, "/oauth2/exchange", urlencoded, "%zz=1"),
		"field-twice":        form(http.MethodPost, "/oauth2/token", urlencoded, "grant_type=password&grant_type=refresh_token"),
		"body-too-large":     form(http.MethodPost, "/oauth2/token", urlencoded, "grant_type="+strings.Repeat("a", 300<<10)),
		"bad-scope":          w.get(p.ClientID(), p.Secret.Reveal(), url.Values{"scope": {"repository"}}),
		"grant-type-clipped": w.post("/oauth2/token", url.Values{"grant_type": {strings.Repeat("x", 1000)}}),
	} {
		t.Run(name, func(t *testing.T) { apitest.Golden(t, name, rec) })
	}
}

func FuzzTokenForm(f *testing.F) {
	w := newWorld(f)
	w.puller()
	f.Add("grant_type=password&username=acme&password=x&scope=repository:a:pull")
	f.Add("grant_type=refresh_token&refresh_token=a.b.c")
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/oauth2/token", "/oauth2/exchange"} {
			r := httptest.NewRequest(http.MethodPost, "https://"+host+path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			rec := httptest.NewRecorder()
			w.handler.ServeHTTP(rec, r)
			if rec.Code < 400 || rec.Code >= 500 || !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%q: %d %s", body, rec.Code, rec.Body)
			}
		}
	})
}
