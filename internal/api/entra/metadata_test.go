package entra_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/api/entra"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

const registryAudience = "https://containerregistry.azure.net"

// machine is a machine with managed identities, and the metadata service that it asks.
type machine struct {
	*apitest.World
	handler    http.Handler
	identities []pull.Identity
	broken     error
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{World: apitest.New(t)}
	m.handler = apitest.Wrap(entra.NewMetadata(entra.MetadataDeps{
		Directory: m.Directory, Tokens: m.Tokens, Origin: m.Origin, Tenant: apitest.Tenant, Now: m.Clock, Log: apitest.Log(),
		Identities: func(*http.Request) ([]pull.Identity, error) { return m.identities, m.broken },
	}))
	return m
}

// give makes a managed identity and gives it to the machine.
func (m *machine) give(name string, system bool) pull.Identity {
	m.T.Helper()
	owner := resource.GroupID("s", "g").Provider("Microsoft.ManagedIdentity/userAssignedIdentities", name)
	if system {
		owner = resource.GroupID("s", "g").Provider("Microsoft.ContainerService/managedClusters", name)
	}
	sp, err := m.Directory.EnsureManaged(m.T.Context(), owner, system, name)
	apitest.Must(m.T, err)
	id := pull.Identity{Resource: owner, ClientID: sp.ClientID, PrincipalID: sp.ID, System: system}
	m.identities = append(m.identities, id)
	return id
}

// ask asks for a token; pairs change the query, and an empty value removes what it names.
func (m *machine) ask(pairs ...string) *httptest.ResponseRecorder {
	q := url.Values{"api-version": {"2018-02-01"}, "resource": {registryAudience}}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	return m.do("/metadata/identity/oauth2/token?"+q.Encode(), nil)
}

func (m *machine) do(target string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://169.254.169.254"+target, nil)
	r.Header.Set("Metadata", "true")
	if edit != nil {
		edit(r)
	}
	rec := httptest.NewRecorder()
	m.handler.ServeHTTP(rec, r)
	return rec
}

func (m *machine) claims(rec *httptest.ResponseRecorder) map[string]any {
	m.T.Helper()
	return (&world{World: m.World}).claims(rec)
}

func TestMetadataToken(t *testing.T) {
	m := newMachine(t)
	id := m.give("kubelet", false)
	rec := m.ask()
	apitest.Golden(t, "metadata-token", rec)
	c := m.claims(rec)
	for name, want := range map[string]any{
		"aud": registryAudience, "oid": id.PrincipalID, "appid": id.ClientID, "tid": apitest.Tenant, "ver": "1.0",
		"xms_mirid": id.Resource.String(), "exp": float64(m.Now.Add(24 * time.Hour).Unix()),
	} {
		if c[name] != want {
			t.Errorf("claim %s is %v, want %v", name, c[name], want)
		}
	}
	if rec := m.do("//metadata/identity/oauth2/token", nil); rec.Code != http.StatusNotFound {
		t.Errorf("another path: %d", rec.Code)
	}
	for _, path := range []string{"/Metadata/Identity/OAuth2/Token", "/metadata/identity/oauth2/token/"} {
		m.claims(m.do(path+"?api-version=2021-02-01&resource="+registryAudience, nil))
	}
}

func TestMetadataAudiences(t *testing.T) {
	m := newMachine(t)
	m.give("kubelet", false)
	for given, want := range map[string]string{
		registryAudience:                       registryAudience,
		registryAudience + "/":                 registryAudience + "/",
		registryAudience + "/.default":         registryAudience,
		resource.AzureClusters:                 resource.AzureClusters,
		arm:                                    arm,
		arm + "/":                              arm + "/",
		arm + "/.default":                      arm,
		arm + "//.default":                     arm + "/",
		"https://management.fairlead.internal": "https://management.fairlead.internal",
		"https://management.azure.com/":        "https://management.azure.com/",
		"https://management.core.windows.net/": "https://management.core.windows.net/",
		graph:                                  graph,
		"https://graph.microsoft.com/.default": "https://graph.microsoft.com",
	} {
		if c := m.claims(m.ask("resource", given)); c["aud"] != want || c["ver"] != "1.0" {
			t.Errorf("%s: aud %v, ver %v", given, c["aud"], c["ver"])
		}
	}
}

func TestMetadataChoosesTheIdentity(t *testing.T) {
	m := newMachine(t)
	one, two := m.give("one", false), m.give("two", false)
	choices := map[pull.Identity][][]string{
		one: {{"client_id", one.ClientID}, {"object_id", strings.ToUpper(one.PrincipalID)}, {"msi_res_id", one.Resource.String()}, {"mi_res_id", strings.ToLower(one.Resource.String())}},
		two: {{"client_id", strings.ToUpper(two.ClientID)}, {"object_id", two.PrincipalID}, {"msi_res_id", two.Resource.String()}},
	}
	for id, all := range choices {
		for _, by := range all {
			if c := m.claims(m.ask(by...)); c["oid"] != id.PrincipalID {
				t.Errorf("%v: got %v", by, c["oid"])
			}
		}
	}
	system := m.give("cluster", true)
	if c := m.claims(m.ask()); c["oid"] != system.PrincipalID {
		t.Errorf("with a system-assigned identity and no name: %v", c["oid"])
	}
	if rec := m.ask("msi_res_id", system.Resource.String()); rec.Code != http.StatusBadRequest {
		t.Errorf("the machine's own resource id names its identity: %d", rec.Code)
	}
}

func TestMetadataErrors(t *testing.T) {
	m := newMachine(t)
	golden := func(name string, rec *httptest.ResponseRecorder) {
		t.Helper()
		apitest.Golden(t, "metadata-"+name, rec)
	}
	golden("no-identity", m.ask())
	const good = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + registryAudience
	one := m.give("one", false)
	golden("no-header", m.do(good, func(r *http.Request) { r.Header.Del("Metadata") }))
	golden("proxied", m.do(good, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "") }))
	golden("path", m.do("/metadata/instance?api-version=2021-02-01", nil))
	golden("method", m.do(good, func(r *http.Request) { r.Method = http.MethodPost }))
	golden("query", m.do("/metadata/identity/oauth2/token?resource=%zz", nil))
	golden("twice", m.do(good+"&resource=x", nil))
	golden("no-version", m.ask("api-version", ""))
	golden("no-resource", m.ask("resource", ""))
	golden("resource", m.ask("resource", "https://vault.azure.net"))
	golden("two-selectors", m.ask("client_id", one.ClientID, "object_id", one.PrincipalID))
	golden("identity", m.ask("client_id", uuid.NewString()))
	if rec := m.do(good, func(r *http.Request) { r.Header.Set("Metadata", "false") }); rec.Code != http.StatusBadRequest {
		t.Errorf("Metadata: false is answered with %d", rec.Code)
	}
	two := m.give("two", false)
	golden("several", m.ask())
	apitest.Must(t, m.Directory.SetEnabled(t.Context(), two.PrincipalID, false))
	golden("disabled", m.ask("client_id", two.ClientID))
	m.broken = errors.New("the store's password is hunter2")
	golden("broken", m.ask())
	m.broken = fault.New(fault.Unavailable, "unavailable", "The cluster is starting.")
	golden("unavailable", m.ask())
}

// TestMetadataRefusesADeletedIdentity: it stays with the machine by name, and a new one of the same name is another.
func TestMetadataRefusesADeletedIdentity(t *testing.T) {
	m := newMachine(t)
	id := m.give("kubelet", false)
	m.claims(m.ask())
	apitest.Must(t, m.Directory.DeleteManaged(t.Context(), id.Resource))
	apitest.Golden(t, "metadata-deleted", m.ask())
	_, err := m.Directory.EnsureManaged(t.Context(), id.Resource, false, "kubelet")
	apitest.Must(t, err)
	if rec := m.ask("client_id", id.ClientID); rec.Code != http.StatusBadRequest {
		t.Errorf("another identity of the same name is taken for it: %d", rec.Code)
	}
}

// TestMetadataGivesNoProgramsToken: an application that is named in the place of an identity gets nothing.
func TestMetadataGivesNoProgramsToken(t *testing.T) {
	m := newMachine(t)
	program := m.Program("program")
	m.identities = []pull.Identity{{ClientID: program.ClientID(), PrincipalID: program.ID()}}
	if rec := m.ask(); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "Identity not found") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// FuzzMetadata: no query is answered with a token for an audience that is not ours, or with 500.
func FuzzMetadata(f *testing.F) {
	m := newMachine(f)
	m.give("kubelet", false)
	for _, seed := range []string{"resource=https://management.azure.com/.default", "resource=x&client_id=y", "resource=%zz", "resource=https://containerregistry.azure.net//", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		rec := httptest.NewRecorder()
		m.handler.ServeHTTP(rec, &http.Request{
			Method: http.MethodGet, Header: http.Header{"Metadata": {"true"}}, Host: "169.254.169.254",
			URL: &url.URL{Path: "/metadata/identity/oauth2/token", RawQuery: "api-version=2018-02-01&" + query},
		})
		switch rec.Code {
		case http.StatusBadRequest:
		case http.StatusOK:
			var reply struct{ Resource string }
			apitest.Must(t, json.Unmarshal(rec.Body.Bytes(), &reply))
			aud := reply.Resource
			if _, _, ok := m.Origin.TokenAudience(aud, true); !ok {
				t.Errorf("%q gives a token for %q", query, aud)
			}
		default:
			t.Errorf("%q is answered with %d %s", query, rec.Code, rec.Body)
		}
	})
}
