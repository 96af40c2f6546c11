package graph_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/api/graph"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

const (
	host = "https://graph.fairlead.localhost:8443"
	zero = "00000000-0000-0000-0000-000000000000"
)

type object = map[string]any

type world struct {
	*apitest.World
	handler http.Handler
	admin   string // token of an Owner at the root
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{World: apitest.New(t)}
	w.handler = apitest.Wrap(graph.New(graph.Deps{
		Bearer: api.Bearer{Tokens: w.Tokens, Directory: w.Directory, Accept: func(aud string) bool { return w.Origin.IsAudience(aud, resource.Graph) }},
		Access: w.Access, Directory: w.Directory, Origin: w.Origin, Log: apitest.Log(),
	}))
	admin := w.Program("administrator")
	w.Assign(admin.Principal, apitest.Owner, resource.Root)
	w.admin = w.Token(admin.Principal, host)
	return w
}

// as sends a request with a token; body is sent as it is when it is a string, else as JSON.
func (w *world) as(token, method, path string, body any) *httptest.ResponseRecorder {
	w.T.Helper()
	text, ok := body.(string)
	if !ok && body != nil {
		encoded, err := json.Marshal(body)
		apitest.Must(w.T, err)
		text = string(encoded)
	}
	r := httptest.NewRequest(method, host+path, strings.NewReader(text))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// do sends a request as the administrator and decodes the answer, which must have the status.
func (w *world) do(status int, method, path string, body any) object {
	w.T.Helper()
	rec := w.as(w.admin, method, path, body)
	if rec.Code != status {
		w.T.Fatalf("%s %s: %d %s, want %d", method, path, rec.Code, rec.Body, status)
	}
	if rec.Body.Len() == 0 {
		return nil
	}
	var out object
	apitest.Must(w.T, json.Unmarshal(rec.Body.Bytes(), &out))
	return out
}

func query(filter string) string { return "?" + url.Values{"$filter": {filter}}.Encode() }

// TestCreateForRBAC is what `az ad sp create-for-rbac` does.
func TestCreateForRBAC(t *testing.T) {
	w := newWorld(t)
	empty := w.do(200, "GET", "/v1.0/servicePrincipals"+query("displayName eq 'robot'"), nil)
	if diff := cmp.Diff([]any{}, empty["value"]); diff != "" {
		t.Error(diff)
	}
	w.do(200, "GET", "/v1.0/applications"+query("startswith(displayName,'robot')"), nil)
	app := w.do(201, "POST", "/v1.0/applications", object{"displayName": "robot", "keyCredentials": []any{}})
	id, appID := app["id"].(string), app["appId"].(string)
	end := w.Now.AddDate(1, 0, 0).Format(time.RFC3339)
	password := w.do(200, "POST", "/v1.0/applications/"+id+"/addPassword", object{"passwordCredential": object{"displayName": "rbac", "startDateTime": w.Now.Format(time.RFC3339), "endDateTime": end}})
	sp := w.do(201, "POST", "/v1.0/servicePrincipals", object{"appId": appID, "accountEnabled": true})
	if id == appID || sp["id"] == appID || sp["id"] == id || sp["appId"] != appID {
		t.Errorf("ids: application %s, client %s, principal %v", id, appID, sp["id"])
	}
	if password["endDateTime"] != end || password["hint"] != password["secretText"].(string)[:3] {
		t.Errorf("password is %v", password)
	}
	p, err := w.Directory.Authenticate(t.Context(), identity.ClientSecret{ClientID: appID, Secret: secret.New(password["secretText"].(string))})
	if err != nil || p.ID() != sp["id"] {
		t.Errorf("signed in as %v, %v", p.ID(), err)
	}
	found := w.do(200, "GET", "/v1.0/servicePrincipals"+query("servicePrincipalNames/any(c:c eq '"+appID+"')"), nil)
	if list := found["value"].([]any); len(list) != 1 || list[0].(object)["id"] != sp["id"] {
		t.Errorf("found %v", list)
	}
}

// TestSecretsAreToldOnce looks for the secret in everything that is said after it was made.
func TestSecretsAreToldOnce(t *testing.T) {
	w := newWorld(t)
	app := w.do(201, "POST", "/v1.0/applications", object{"displayName": "robot"})
	id, appID := app["id"].(string), app["appId"].(string)
	w.do(201, "POST", "/v1.0/servicePrincipals", object{"appId": appID})
	text := w.do(200, "POST", "/v1.0/applications/"+id+"/addPassword", object{})["secretText"].(string)
	for _, path := range []string{
		"/v1.0/applications", "/v1.0/applications/" + id, "/beta/applications(appId='" + appID + "')", "/v1.0/servicePrincipals",
		"/v1.0/servicePrincipals(appId='" + appID + "')",
	} {
		if rec := w.as(w.admin, "GET", path, nil); rec.Code != 200 || strings.Contains(rec.Body.String(), text) {
			t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
	}
	stored := w.do(200, "GET", "/v1.0/applications/"+id, nil)["passwordCredentials"].([]any)
	if len(stored) != 1 || stored[0].(object)["secretText"] != nil {
		t.Errorf("passwordCredentials are %v", stored)
	}
	w.do(204, "POST", "/v1.0/applications/"+id+"/removePassword", object{"keyId": stored[0].(object)["keyId"]})
	w.do(404, "POST", "/v1.0/applications/"+id+"/removePassword", object{"keyId": stored[0].(object)["keyId"]})
	if err := w.Directory.InspectSecret(t.Context(), appID, secret.New(text)); err == nil {
		t.Error("the secret still works")
	}
}

func TestEndDates(t *testing.T) {
	w := newWorld(t)
	id := w.do(201, "POST", "/v1.0/applications", object{"displayName": "robot"})["id"].(string)
	add := func(status int, start, end any) object {
		t.Helper()
		return w.do(status, "POST", "/v1.0/applications/"+id+"/addPassword", object{"passwordCredential": object{"startDateTime": start, "endDateTime": end}})
	}
	for _, c := range []struct{ start, end, wantStart, wantEnd any }{
		{nil, nil, "2030-01-02T03:04:05Z", "2032-01-02T03:04:05Z"},
		{"2029-06-01T00:00:00Z", nil, "2029-06-01T00:00:00Z", "2031-06-01T00:00:00Z"},
		{nil, "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"}, // born expired
		{"2029-01-01", "2031-01-01T02:00:00+02:00", "2029-01-01T00:00:00Z", "2031-01-01T00:00:00Z"},
		{nil, "2031-01-01T00:00:00.123456789Z", "2030-01-02T03:04:05Z", "2031-01-01T00:00:00.123456Z"},
		{nil, "2031-01-01T00:00:00", "2030-01-02T03:04:05Z", "2031-01-01T00:00:00Z"},
	} {
		got := add(200, c.start, c.end)
		if got["startDateTime"] != c.wantStart || got["endDateTime"] != c.wantEnd {
			t.Errorf("%v to %v: %v to %v", c.start, c.end, got["startDateTime"], got["endDateTime"])
		}
	}
	add(400, "2031-01-01T00:00:00Z", "2030-06-01T00:00:00Z")
	add(400, nil, "next year")
	add(400, nil, 7)
	// A year that JSON cannot carry would spoil every list that the application is in.
	add(400, "9998-01-01T00:00:00Z", nil)
	add(400, nil, "9999-12-31T23:59:59-12:00")
	add(400, "0000-01-01T00:00:00+12:00", nil)
	add(200, nil, "9999-12-31T23:59:59Z")
	if list := w.do(200, "GET", "/v1.0/applications", nil); list["value"] == nil {
		t.Errorf("the applications are %v", list)
	}
}

func TestServicePrincipals(t *testing.T) {
	w := newWorld(t)
	p := w.Program("robot")
	path := "/v1.0/servicePrincipals/" + p.ID()
	w.do(204, "PATCH", path, object{"accountEnabled": false})
	if got := w.do(200, "GET", path, nil); got["accountEnabled"] != false {
		t.Errorf("after disabling: %v", got)
	}
	w.do(400, "PATCH", path, object{"displayName": "x"})
	w.do(409, "POST", "/v1.0/servicePrincipals", object{"appId": p.ClientID()})
	w.do(400, "POST", "/v1.0/servicePrincipals", object{"appId": uuid.NewString()})
	w.do(204, "DELETE", path, nil)
	w.do(404, "GET", path, nil)
	w.do(404, "DELETE", path, nil)
	again := w.do(201, "POST", "/v1.0/servicePrincipals", object{"appId": p.ClientID(), "accountEnabled": false})
	if again["accountEnabled"] != false {
		t.Errorf("made disabled: %v", again)
	}
	w.do(204, "DELETE", "/v1.0/applications(appId='"+p.ClientID()+"')", nil)
	w.do(404, "GET", "/v1.0/servicePrincipals/"+again["id"].(string), nil)

	owner := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id")
	sp, err := w.Directory.EnsureManaged(t.Context(), owner, false, "id")
	apitest.Must(t, err)
	managed := w.do(200, "GET", "/v1.0/servicePrincipals/"+sp.ID, nil)
	if managed["servicePrincipalType"] != "ManagedIdentity" || cmp.Diff([]any{"isExplicit=True", owner.String()}, managed["alternativeNames"]) != "" {
		t.Errorf("managed identity is %v", managed)
	}
	w.do(400, "DELETE", "/v1.0/servicePrincipals/"+sp.ID, nil)
}

func TestGetByIDs(t *testing.T) {
	w := newWorld(t)
	p := w.Program("robot")
	got := w.do(200, "POST", "/v1.0/directoryObjects/getByIds", object{"ids": []string{p.ID(), uuid.NewString(), p.ObjectID, "nonsense"}, "types": []string{"user"}})
	var types []any
	for _, v := range got["value"].([]any) {
		types = append(types, v.(object)["@odata.type"])
	}
	if diff := cmp.Diff([]any{"#microsoft.graph.servicePrincipal", "#microsoft.graph.application"}, types); diff != "" {
		t.Error(diff)
	}
	w.do(400, "POST", "/v1.0/directoryObjects/microsoft.graph.getByIds", object{"ids": strings.Split(strings.Repeat("x,", 1000)+"x", ",")})
}

func TestListsPage(t *testing.T) {
	w := newWorld(t)
	for i := range 25 {
		w.do(201, "POST", "/v1.0/applications", object{"displayName": fmt.Sprintf("robot %d", i)})
	}
	seen, pages := map[string]bool{}, 0
	for path := "/v1.0/applications?" + (url.Values{"$top": {"10"}, "$filter": {"startswith(displayName,'robot')"}}).Encode(); path != ""; pages++ {
		page := w.do(200, "GET", path, nil)
		for _, v := range page["value"].([]any) {
			name := v.(object)["displayName"].(string)
			if seen[name] {
				t.Errorf("%s is listed twice", name)
			}
			seen[name] = true
		}
		next, _ := page["@odata.nextLink"].(string)
		if next != "" && !strings.HasPrefix(next, host+"/") {
			t.Fatalf("next page is at %s", next)
		}
		path = strings.TrimPrefix(next, host)
	}
	if len(seen) != 25 || pages != 3 {
		t.Errorf("%d applications on %d pages, want 25 on 3", len(seen), pages)
	}
	exact := w.do(200, "GET", "/v1.0/applications?$top=5&"+query("displayName eq 'ROBOT 7'")[1:], nil)
	if len(exact["value"].([]any)) != 1 || exact["@odata.nextLink"] != nil {
		t.Errorf("one that is named: %v", exact)
	}
}

// TestEveryRouteAsksForItsPermission sends each request as a stranger, with a body that is wrong in every way: it must be
// refused before anybody looks at the body.
func TestEveryRouteAsksForItsPermission(t *testing.T) {
	w := newWorld(t)
	stranger := w.Program("stranger")
	p := w.Program("victim")
	requests := []string{
		"GET /v1.0/applications",
		"POST /v1.0/applications",
		"GET /v1.0/applications/" + p.ObjectID,
		"DELETE /v1.0/applications/" + p.ObjectID,
		"POST /v1.0/applications/" + p.ObjectID + "/addPassword",
		"POST /v1.0/applications/" + p.ObjectID + "/removePassword",
		"GET /v1.0/servicePrincipals",
		"POST /v1.0/servicePrincipals",
		"GET /v1.0/servicePrincipals/" + p.ID(),
		"PATCH /v1.0/servicePrincipals/" + p.ID(),
		"DELETE /v1.0/servicePrincipals/" + p.ID(),
		"POST /v1.0/directoryObjects/getByIds",
	}
	if len(requests)+1 != len(graph.Routes()) { // all but /me
		t.Errorf("%d requests are tried, there are %d routes", len(requests), len(graph.Routes()))
	}
	requests = append(requests, "GET /v1.0/applications/"+zero)                           // not 404: what is there is nobody's business
	w.Assign(stranger.Principal, apitest.Owner, resource.MustParseID("/subscriptions/s")) // great elsewhere
	token := w.Token(stranger.Principal, host)
	for _, request := range requests {
		method, path, _ := strings.Cut(request, " ")
		for who, c := range map[string]struct {
			token  string
			status int
		}{
			"stranger":       {token, 403},
			"anonymous":      {"", 401},
			"nonsense":       {"a.b.c", 401},
			"other audience": {w.Token(stranger.Principal, "https://management.fairlead.localhost:8443"), 401},
		} {
			if rec := w.as(c.token, method, path, "{not json"); rec.Code != c.status {
				t.Errorf("%s, %s: %d %s, want %d", who, request, rec.Code, rec.Body, c.status)
			}
		}
	}
}

// TestContributorCannotBecomeOwner: whoever adds a secret to the administrator's application is the administrator.
func TestContributorCannotBecomeOwner(t *testing.T) {
	w := newWorld(t)
	victim := w.Program("victim")
	for role, c := range map[string]struct{ read, write int }{
		apitest.Contributor:     {200, 403},
		apitest.Reader:          {200, 403},
		apitest.AcrPush:         {403, 403},
		apitest.UserAccessAdmin: {200, 200}, // it may assign itself Owner anyway
	} {
		p := w.Program("climber")
		w.Assign(p.Principal, role, resource.Root)
		token := w.Token(p.Principal, host)
		if rec := w.as(token, "GET", "/v1.0/applications", nil); rec.Code != c.read {
			t.Errorf("role %s reads: %d", role, rec.Code)
		}
		if rec := w.as(token, "POST", "/v1.0/applications/"+victim.ObjectID+"/addPassword", object{}); rec.Code != c.write {
			t.Errorf("role %s writes: %d", role, rec.Code)
		}
	}
}

func TestADeletedCallerIsRefused(t *testing.T) {
	w := newWorld(t)
	p := w.Program("gone")
	w.Assign(p.Principal, apitest.Owner, resource.Root)
	token := w.Token(p.Principal, host)
	apitest.Must(t, w.Directory.DeleteApplication(t.Context(), p.ObjectID))
	if rec := w.as(token, "GET", "/v1.0/applications", nil); rec.Code != 401 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestBodies(t *testing.T) {
	w := newWorld(t)
	p := w.Program("robot")
	app := "/v1.0/applications/" + p.ObjectID
	stranger := w.Token(w.Program("stranger").Principal, host)
	for name, rec := range map[string]*httptest.ResponseRecorder{
		"application":        w.as(w.admin, "GET", app, nil),
		"applications":       w.as(w.admin, "GET", "/v1.0/applications"+query("appId eq '"+p.ClientID()+"'"), nil),
		"service-principal":  w.as(w.admin, "GET", "/v1.0/servicePrincipals(appId='"+p.ClientID()+"')", nil),
		"add-password":       w.as(w.admin, "POST", app+"/addPassword", object{"passwordCredential": object{"displayName": "x"}}),
		"me":                 w.as(stranger, "GET", "/v1.0/me", nil),
		"no-token":           w.as("", "GET", app, nil),
		"bad-token":          w.as("x", "GET", app, nil),
		"denied":             w.as(stranger, "GET", app, nil),
		"not-found":          w.as(w.admin, "GET", "/v1.0/applications/"+zero, nil),
		"no-route":           w.as(w.admin, "GET", "/v1.0/users", nil),
		"no-version":         w.as(w.admin, "GET", "/applications", nil),
		"method":             w.as(w.admin, "PUT", app, nil),
		"malformed":          w.as(w.admin, "POST", "/v1.0/applications", `{"displayName":`),
		"wrong-type":         w.as(w.admin, "POST", "/v1.0/applications", `{"displayName":7}`),
		"no-name":            w.as(w.admin, "POST", "/v1.0/applications", `{}`),
		"long-name":          w.as(w.admin, "POST", "/v1.0/applications", object{"displayName": strings.Repeat("a", 300)}),
		"too-large":          w.as(w.admin, "POST", "/v1.0/applications", object{"displayName": strings.Repeat("a", 2<<20)}),
		"bad-date":           w.as(w.admin, "POST", app+"/addPassword", `{"passwordCredential":{"endDateTime":"soon"}}`),
		"ends-before-starts": w.as(w.admin, "POST", app+"/addPassword", `{"passwordCredential":{"startDateTime":"2031-01-01T00:00:00Z","endDateTime":"2030-01-01T00:00:00Z"}}`),
		"unknown-app":        w.as(w.admin, "POST", "/v1.0/servicePrincipals", object{"appId": zero}),
		"duplicate":          w.as(w.admin, "POST", "/v1.0/servicePrincipals", object{"appId": p.ClientID()}),
		"bad-filter":         w.as(w.admin, "GET", "/v1.0/applications"+query("displayName ne 'x'"), nil),
		"bad-top":            w.as(w.admin, "GET", "/v1.0/applications?$top=many", nil),
		"bad-key":            w.as(w.admin, "GET", "/v1.0/applications(name='x')", nil),
	} {
		t.Run(name, func(t *testing.T) { apitest.Golden(t, name, rec) })
	}
}
