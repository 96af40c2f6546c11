package entra_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/api/entra"
	"fairlead.dev/internal/driver/oidc"
	"fairlead.dev/internal/secret"
)

const (
	login = "https://login.fairlead.localhost:8443"
	arm   = "https://management.fairlead.localhost:8443"
	graph = "https://graph.fairlead.localhost:8443"
)

type world struct {
	*apitest.World
	handler  http.Handler
	program  apitest.Program
	clusters *clusters
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{World: apitest.New(t), clusters: &clusters{keys: map[string]jose.JSONWebKeySet{}}}
	w.setForeign(oidc.New(oidc.Config{Now: w.Clock}))
	w.program = w.Program("program")
	return w
}

// setForeign makes the surface anew, with another way to ask issuers elsewhere.
func (w *world) setForeign(foreign entra.Foreign) {
	w.handler = apitest.Wrap(entra.New(entra.Deps{
		Directory: w.Directory, Tokens: w.Tokens, Origin: w.Origin, Tenant: apitest.Tenant, Now: w.Clock, Log: apitest.Log(),
		Issuers: w.clusters, Foreign: foreign,
	}))
}

func (w *world) do(method, path, contentType, body string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, login+path, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if edit != nil {
		edit(r)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// form gives a good request of the program, changed by pairs of name and value; an empty value removes the field.
func (w *world) form(pairs ...string) url.Values {
	f := url.Values{"grant_type": {"client_credentials"}, "client_id": {w.program.ClientID()}, "client_secret": {w.program.Secret.Reveal()}, "scope": {arm + "/.default"}}
	for i := 0; i < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			f.Del(pairs[i])
		}
	}
	return f
}

func (w *world) post(path string, form url.Values) *httptest.ResponseRecorder {
	return w.do(http.MethodPost, path, "application/x-www-form-urlencoded", form.Encode(), nil)
}

func (w *world) claims(rec *httptest.ResponseRecorder) map[string]any {
	w.T.Helper()
	var reply struct {
		AccessToken string `json:"access_token"`
	}
	apitest.Must(w.T, json.Unmarshal(rec.Body.Bytes(), &reply))
	if rec.Code != http.StatusOK || reply.AccessToken == "" {
		w.T.Fatalf("answer %d %s", rec.Code, rec.Body)
	}
	if _, err := w.Tokens.VerifyAccess(w.T.Context(), secret.New(reply.AccessToken), func(string) bool { return true }); err != nil {
		w.T.Fatal(err)
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(reply.AccessToken, ".")[1])
	apitest.Must(w.T, err)
	var claims map[string]any
	apitest.Must(w.T, json.Unmarshal(text, &claims))
	return claims
}

func TestTokenEndpoints(t *testing.T) {
	w := newWorld(t)
	byScope, byResource := w.form(), w.form("scope", "", "resource", arm+"/")
	for path, form := range map[string]url.Values{
		"/" + apitest.Tenant + "/oauth2/v2.0/token":                  byScope,
		"/" + strings.ToUpper(apitest.Tenant) + "/OAuth2/v2.0/Token": byScope,
		"//" + apitest.Tenant + "//oauth2/v2.0/token/":               byScope,
		"/" + apitest.Tenant + "/oauth2/token":                       byResource,
		"/adfs/oauth2/token":                                         byResource,
		"/adfs/oauth2/token/":                                        byScope,
		"/adfs/oauth2/v2.0/token":                                    byScope,
		"/adfs/" + apitest.Tenant + "/oauth2/v2.0/token":             byScope,
		"/adfs/" + apitest.Tenant + "/oauth2/token":                  byResource,
	} {
		c := w.claims(w.post(path, form))
		if c["oid"] != w.program.ID() || c["appid"] != w.program.ClientID() || c["ver"] != "1.0" || c["tid"] != apitest.Tenant {
			t.Errorf("%s: claims %v", path, c)
		}
	}
}

func TestRepliesOfBothVersions(t *testing.T) {
	w := newWorld(t)
	apitest.Golden(t, "token-v2", w.post("/"+apitest.Tenant+"/oauth2/v2.0/token", w.form()))
	apitest.Golden(t, "token-v1", w.post("/"+apitest.Tenant+"/oauth2/token", w.form("scope", "", "resource", arm+"/")))
}

func TestAudiences(t *testing.T) {
	w := newWorld(t)
	for scope, want := range map[string][2]string{
		arm + "/.default":  {arm, "1.0"},
		arm + "//.default": {arm + "/", "1.0"}, // az: the audience keeps its slash
		"https://management.fairlead.localhost/.default":     {"https://management.fairlead.localhost", "1.0"},
		"https://management.fairlead.internal:8443/.default": {"https://management.fairlead.internal:8443", "1.0"},
		"https://management.azure.com/.default":              {"https://management.azure.com", "1.0"},
		"https://management.azure.com//.default":             {"https://management.azure.com/", "1.0"},
		"https://management.core.windows.net//.default":      {"https://management.core.windows.net/", "1.0"},
		graph + "/.default":                                  {graph, "2.0"},
		graph + "//.default":                                 {graph + "/", "2.0"},
		"https://graph.microsoft.com/.default":               {"https://graph.microsoft.com", "2.0"},
		"https://containerregistry.azure.net/.default":       {"https://containerregistry.azure.net", "2.0"},
		// The AKS server application: its id is the audience, and its tokens are of version 1 always.
		"6dae42f8-4368-4678-94ff-3960e28e3630/.default":                    {"6dae42f8-4368-4678-94ff-3960e28e3630", "1.0"},
		"6DAE42F8-4368-4678-94FF-3960E28E3630/.default openid":             {"6dae42f8-4368-4678-94ff-3960e28e3630", "1.0"},
		arm + "/.default openid offline_access profile":                    {arm, "1.0"},
		"openid  " + arm + "/.default " + arm + "/.default offline_access": {arm, "1.0"},
	} {
		c := w.claims(w.post("/"+apitest.Tenant+"/oauth2/v2.0/token", w.form("scope", scope)))
		if c["aud"] != want[0] || c["ver"] != want[1] {
			t.Errorf("%q: aud %v, ver %v, want %v", scope, c["aud"], c["ver"], want)
		}
	}
}

func TestClientSecretInTheHeader(t *testing.T) {
	w := newWorld(t)
	path, form := "/"+apitest.Tenant+"/oauth2/v2.0/token", w.form("client_id", "", "client_secret", "")
	basic := func(user, password string, form url.Values) *httptest.ResponseRecorder {
		return w.do(http.MethodPost, path, "application/x-www-form-urlencoded; charset=utf-8", form.Encode(), func(r *http.Request) { r.SetBasicAuth(user, password) })
	}
	id, password := w.program.ClientID(), w.program.Secret.Reveal()
	w.claims(basic(id, password, form))
	w.claims(basic(url.QueryEscape(id), strings.ReplaceAll(password, "_", "%5F"), form))
	w.claims(basic(id, password, w.form("client_secret", "")))
	rec := basic(id, "wrong", form)
	if rec.Code != 401 || rec.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("wrong secret: %d, %q", rec.Code, rec.Header())
	}
	if rec := basic(id, password, w.form()); rec.Code != 400 {
		t.Errorf("credentials in both places: %d %s", rec.Code, rec.Body)
	}
	if rec := basic(id, password, w.form("client_id", uuid.NewString(), "client_secret", "")); rec.Code != 400 {
		t.Errorf("two clients: %d %s", rec.Code, rec.Body)
	}
}

func TestErrorBodies(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, expired, err := w.Directory.AddSecret(ctx, w.program.ObjectID, "old", time.Time{}, w.Now.Add(-time.Hour))
	apitest.Must(t, err)
	orphan, disabled := w.Program("orphan"), w.Program("disabled")
	apitest.Must(t, w.Directory.DeleteServicePrincipal(ctx, orphan.ID()))
	apitest.Must(t, w.Directory.SetEnabled(ctx, disabled.ID(), false))
	v2, v1 := "/"+apitest.Tenant+"/oauth2/v2.0/token", "/"+apitest.Tenant+"/oauth2/token"
	const urlencoded = "application/x-www-form-urlencoded"
	as := func(p apitest.Program, s secret.Text) url.Values {
		return w.form("client_id", p.ClientID(), "client_secret", s.Reveal())
	}
	for name, rec := range map[string]*httptest.ResponseRecorder{
		"secret-wrong":        w.post(v2, w.form("client_secret", "wrong")),
		"secret-expired":      w.post(v2, as(w.program, expired)),
		"app-unknown":         w.post(v2, w.form("client_id", "99999999-2222-3333-4444-555555555555")),
		"no-principal":        w.post(v2, as(orphan, orphan.Secret)),
		"disabled":            w.post(v2, as(disabled, disabled.Secret)),
		"no-grant-type":       w.post(v2, w.form("grant_type", "")),
		"grant-type":          w.post(v2, w.form("grant_type", "password")),
		"no-client-id":        w.post(v2, w.form("client_id", "")),
		"no-secret":           w.post(v2, w.form("client_secret", "")),
		"assertion":           w.post(v2, w.form("client_secret", "", "client_assertion", "x")),
		"no-scope":            w.post(v2, w.form("scope", "")),
		"no-resource":         w.post(v1, w.form("scope", "")),
		"scope-not-default":   w.post(v2, w.form("scope", arm+"/user_impersonation")),
		"scope-only-openid":   w.post(v2, w.form("scope", "openid")),
		"scope-many":          w.post(v2, w.form("scope", arm+"/.default "+graph+"/.default")),
		"scope-long":          w.post(v2, w.form("scope", strings.Repeat("a", 5000))),
		"resource-unknown":    w.post(v2, w.form("scope", "https://vault.azure.net/.default")),
		"resource-on-v2":      w.post(v2, w.form("resource", arm)),
		"tenant-unknown":      w.post("/99999999-2222-3333-4444-555555555555/oauth2/v2.0/token", w.form()),
		"tenant-name":         w.post("/contoso.example/oauth2/v2.0/token", w.form()),
		"tenant-common":       w.post("/common/oauth2/v2.0/token", w.form()),
		"tenant-unknown-adfs": w.post("/adfs/contoso.example/oauth2/v2.0/token", w.form()),
		"method":              w.do(http.MethodGet, v2, "", "", nil),
		"method-discovery":    w.do(http.MethodPost, "/"+apitest.Tenant+"/v2.0/.well-known/openid-configuration", "", "", nil),
		"path":                w.do(http.MethodGet, "/"+apitest.Tenant+"/oauth2/v2.0/authorize", "", "", nil),
		"json-body":           w.do(http.MethodPost, v2, "application/json", `{"grant_type":"client_credentials"}`, nil),
		"malformed-form":      w.do(http.MethodPost, v2, urlencoded, "grant_type=%zz", nil),
		"duplicate":           w.do(http.MethodPost, v2, urlencoded, w.form().Encode()+"&client_id=x", nil),
		"body-too-large":      w.do(http.MethodPost, v2, urlencoded, "scope="+strings.Repeat("a", 70<<10), nil),
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(rec.Body.String(), w.program.Secret.Reveal()) {
				t.Error("the answer holds the secret")
			}
			apitest.Golden(t, name, rec)
		})
	}
}

func TestErrorsAreCorrelatedByTheClientsID(t *testing.T) {
	w := newWorld(t)
	id := uuid.NewString()
	rec := w.do(http.MethodPost, "/"+apitest.Tenant+"/oauth2/v2.0/token", "", "", func(r *http.Request) { r.Header.Set("client-request-id", id) })
	var body struct {
		CorrelationID string `json:"correlation_id"`
		TraceID       string `json:"trace_id"`
	}
	apitest.Must(t, json.Unmarshal(rec.Body.Bytes(), &body))
	if body.CorrelationID != id || body.TraceID != rec.Header().Get("X-Ms-Request-Id") {
		t.Errorf("body %+v, headers %v", body, rec.Header())
	}
}

// TestTheClientIsKnownBeforeItIsCorrected: whoever has no right secret learns nothing of what is wrong with the rest.
func TestTheClientIsKnownBeforeItIsCorrected(t *testing.T) {
	w := newWorld(t)
	rec := w.post("/"+apitest.Tenant+"/oauth2/v2.0/token", w.form("client_secret", "wrong", "scope", "nonsense"))
	if rec.Code != 401 || !strings.Contains(rec.Body.String(), "AADSTS7000215") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	for name, path := range map[string]string{
		"openid-v2":      "/" + apitest.Tenant + "/v2.0/.well-known/openid-configuration",
		"openid-v1":      "/" + apitest.Tenant + "/.well-known/openid-configuration",
		"openid-adfs":    "/adfs/.well-known/openid-configuration",
		"openid-strict":  "/" + apitest.Tenant + "/discovery/v2.0/openid-configuration",
		"openid-common":  "/common/v2.0/.well-known/openid-configuration",
		"instance":       "/common/discovery/instance?api-version=1.1&authorization_endpoint=x",
		"openid-unknown": "/99999999-2222-3333-4444-555555555555/v2.0/.well-known/openid-configuration",
	} {
		t.Run(name, func(t *testing.T) { apitest.Golden(t, name, w.do(http.MethodGet, path, "", "", nil)) })
	}
}

// TestDiscoveredEndpointsAnswer follows every link that a description gives.
func TestDiscoveredEndpointsAnswer(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/" + apitest.Tenant + "/v2.0", "/" + apitest.Tenant, "/adfs", "/adfs/" + apitest.Tenant + "/v2.0"} {
		var doc struct {
			TokenEndpoint string `json:"token_endpoint"`
			JWKS          string `json:"jwks_uri"`
		}
		rec := w.do(http.MethodGet, path+"/.well-known/openid-configuration", "", "", nil)
		apitest.Must(t, json.Unmarshal(rec.Body.Bytes(), &doc))
		w.claims(w.post(strings.TrimPrefix(doc.TokenEndpoint, login), w.form()))
		keys := w.do(http.MethodGet, strings.TrimPrefix(doc.JWKS, login), "", "", nil)
		var set struct{ Keys []map[string]any }
		apitest.Must(t, json.Unmarshal(keys.Body.Bytes(), &set))
		if keys.Code != 200 || len(set.Keys) != 1 {
			t.Fatalf("%s: %d %s", doc.JWKS, keys.Code, keys.Body)
		}
		delete(set.Keys[0], "n")
		delete(set.Keys[0], "kid")
		if diff := cmp.Diff(map[string]any{"kty": "RSA", "use": "sig", "alg": "RS256", "e": "AQAB"}, set.Keys[0]); diff != "" {
			t.Errorf("%s: -want +got:\n%s", doc.JWKS, diff)
		}
	}
}

func FuzzPath(f *testing.F) {
	w := newWorld(f)
	f.Add("/adfs/" + apitest.Tenant + "/oauth2/v2.0/token")
	f.Add("/common/discovery/instance")
	f.Add("//adfs//.well-known/openid-configuration/")
	f.Fuzz(func(t *testing.T, path string) {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := httptest.NewRequest(method, login, nil)
			r.URL.Path = path
			rec := httptest.NewRecorder()
			w.handler.ServeHTTP(rec, r)
			if rec.Code >= 500 || !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s %q: %d %s", method, path, rec.Code, rec.Body)
			}
		}
	})
}

func FuzzScope(f *testing.F) {
	w := newWorld(f)
	f.Add(arm + "/.default openid")
	f.Add("https://management.azure.com//.default")
	f.Add("https://management.fairlead.localhost:8443@evil.test/.default")
	f.Fuzz(func(t *testing.T, scope string) {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, login+"/"+apitest.Tenant+"/oauth2/v2.0/token", strings.NewReader(w.form("scope", scope+" ").Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w.handler.ServeHTTP(rec, r)
		switch {
		case rec.Code == http.StatusOK:
			for _, ours := range []string{"fairlead", "azure", "windows.net", "microsoft.com"} {
				if strings.Contains(strings.ToLower(scope), ours) {
					return
				}
			}
			t.Errorf("%q gives a token", scope)
		case rec.Code != http.StatusBadRequest || !json.Valid(rec.Body.Bytes()):
			t.Errorf("%q: %d %s", scope, rec.Code, rec.Body)
		}
	})
}
