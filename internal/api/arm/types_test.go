package arm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

const (
	registries = group + "/providers/" + registryTypeName + "/"
	identities = group + "/providers/" + identityTypeName + "/"
	plans      = group + "/providers/" + planTypeName + "/"
	assigned   = "/providers/Microsoft.Authorization/roleAssignments/"
	acrPull    = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
)

func TestGoldenTypes(t *testing.T) {
	w := newWorld(t)
	w.golden("group-created", w.do("PUT", group, `{"location":"West US 2","tags":{"a":"b"}}`))
	w.golden("group", w.do("GET", strings.ToUpper(group), ""))
	w.golden("groups", w.do("GET", sub+"/resourcegroups", ""))
	w.golden("registry-created", w.do("PUT", strings.Replace(strings.ToLower(registries), "/rg/", "/RG/", 1)+"MyAcr", `{"location":"westus2","sku":{"name":"standard"},"properties":{"adminUserEnabled":true,"anonymousPullEnabled":false}}`))
	w.golden("registry", w.do("GET", registries+"myacr", ""))
	w.golden("registry-usages", w.do("GET", registries+"myacr/listUsages", ""))
	w.golden("identity-created", w.do("PUT", identities+"web-id", `{"location":"westus2","tags":null}`))
	w.golden("plan-created", w.do("PUT", plans+"plan", `{"location":"westus2","sku":{"name":"B1","tier":"BASIC","capacity":1},"properties":{"reserved":true}}`))
	w.golden("resources", w.do("GET", sub+"/resources?api-version=2021-04-01&$filter=resourceType+eq+'microsoft.containerregistry/registries'", ""))
	w.golden("role", w.do("GET", sub+"/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-04-01&$filter=roleName%20eq%20'acrpull'", ""))
	w.golden("tenants", w.do("GET", "/tenants", ""))
	w.golden("subscriptions", w.do("GET", "/subscriptions", ""))
	w.golden("provider", w.do("POST", sub+"/providers/microsoft.web/register", ""))
	for _, version := range []string{"2015-01-01", "2019-05-01", "2022-09-01"} {
		w.golden("metadata-"+version, w.as("", "GET", "//metadata/endpoints?api-version="+version, ""))
	}
}

// TestMetadataFollowsTheName: a node that knows Fairlead by another of its domains finds registries and the authority
// under that domain, as AKS's own credential provider needs it, which compares images with the suffix it finds here.
func TestMetadataFollowsTheName(t *testing.T) {
	const other = "fairlead.internal"
	w := newWorld(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/metadata/endpoints?api-version=2019-05-01", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "management." + other + ":8443"
	res, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var clouds []struct {
		Authentication struct{ LoginEndpoint string }
		Suffixes       struct{ AcrLoginServer string }
	}
	if err := json.NewDecoder(res.Body).Decode(&clouds); err != nil {
		t.Fatal(err)
	}
	if len(clouds) != 1 || clouds[0].Suffixes.AcrLoginServer != "azurecr."+other+":8443" || clouds[0].Authentication.LoginEndpoint != "https://login."+other+":8443/adfs" {
		t.Errorf("under %s: %+v", r.Host, clouds)
	}
}

func TestGoldenErrors(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", registries+"myacr", `{"location":"westus2"}`)
	w.want(http.StatusCreated, "PUT", sub+"/resourceGroups/other", `{"location":"westus2"}`)
	// The texts of these two name the caller; the golden file numbers the ids.
	stranger := w.principal("", resource.Root)
	contributor := w.principal("AcrPush", resource.MustParseID(group))
	big := `{"location":"` + strings.Repeat("x", maxBody) + `"}`
	for _, c := range []struct {
		name string
		a    answer
	}{
		{"unauthenticated", w.as("", "GET", group+version, "")},
		{"bad-token", w.as("nonsense", "GET", group+version, "")},
		{"denied", w.as(stranger, "GET", group+version, "")},
		{"denied-credentials", w.as(contributor, "POST", registries+"myacr/listCredentials"+version, "")},
		{"no-version", w.do("GET", group+"?x=y", "")},
		{"bad-version", w.do("GET", group+"?api-version=latest", "")},
		{"old-version", w.do("GET", group+"/providers/"+containerGroupTypeName+"/x?api-version=2018-02-01-preview", "")},
		{"unknown-path", w.do("GET", group+"/providers/Microsoft.Nothing/things/x", "")},
		{"method", w.do("DELETE", group+"/resources", "")},
		{"traversal", w.do("GET", sub+"/resourceGroups/%2e%2e%2f%2e%2e", "")},
		{"subscription-unknown", w.do("GET", "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups", "")},
		{"group-unknown", w.do("GET", sub+"/resourceGroups/nothing", "")},
		{"group-name", w.do("PUT", sub+"/resourceGroups/"+strings.Repeat("a", 91), `{"location":"westus2"}`)},
		{"resource-group-unknown", w.do("PUT", sub+"/resourceGroups/nothing/providers/"+registryTypeName+"/abcde", `{"location":"westus2"}`)},
		{"resource-unknown", w.do("GET", registries+"nothing", "")},
		{"malformed", w.do("PUT", registries+"other", "{\n  \"location\": westus2}")},
		{"empty", w.do("PUT", registries+"other", "")},
		{"wrong-type", w.do("PUT", registries+"other", `{"location":"westus2","properties":{"adminUserEnabled":"yes"}}`)},
		{"too-large", w.do("PUT", registries+"other", big)},
		{"name", w.do("PUT", registries+"my-acr", `{"location":"westus2"}`)},
		{"name-long", w.do("PUT", registries+strings.Repeat("a", 51), `{"location":"westus2"}`)},
		{"group-moved", w.do("PUT", group, `{"location":"eastus"}`)},
		{"location-missing", w.do("PUT", registries+"other", `{}`)},
		{"location-moved", w.do("PUT", registries+"myacr", `{"location":"eastus"}`)},
		{"sku", w.do("PUT", registries+"other", `{"location":"westus2","sku":{"name":"Gold"}}`)},
		{"tags", w.do("PUT", registries+"other", `{"location":"westus2","tags":{"a<b":"c"}}`)},
		{"identity-type", w.do("PUT", registries+"other", `{"location":"westus2","identity":{"type":"Magic"}}`)},
		{"registry-taken", w.do("PUT", sub+"/resourceGroups/other/providers/"+registryTypeName+"/MYACR", `{"location":"westus2"}`)},
		{"registry-anonymous", w.do("PUT", registries+"other", `{"location":"westus2","properties":{"anonymousPullEnabled":true}}`)},
		{"registry-policy", w.do("PUT", registries+"other", `{"location":"westus2","properties":{"policies":{"azureADAuthenticationAsArmPolicy":{"status":"disabled"}}}}`)},
		{"admin-disabled", w.do("POST", registries+"myacr/listCredentials", "")},
		{"strict", w.do("PUT", registries+"other", `{"location":"westus2","properties":{"adminUserEnabld":true}}`, "x-fairlead-strict: true")},
		{"if-match", w.do("PUT", registries+"myacr", `{"location":"westus2"}`, `If-Match: "old"`)},
		{"if-none-match", w.do("PUT", registries+"myacr", `{"location":"westus2"}`, `If-None-Match: *`)},
		{"filter", w.do("GET", sub+"/resources?api-version=2021-04-01&$filter=size+gt+3", "")},
		{"top", w.do("GET", sub+"/resources?api-version=2021-04-01&$top=none", "")},
		{"role-unknown", w.do("PUT", group+assigned+"44444444-4444-4444-4444-444444444444", assignment("55555555-5555-5555-5555-555555555555", "66666666-6666-6666-6666-666666666666", ""))},
		{"principal-unknown", w.do("PUT", group+assigned+"44444444-4444-4444-4444-444444444444", assignment(acrPull, "66666666-6666-6666-6666-666666666666", ""))},
		{"assignment-scope-unknown", w.do("PUT", registries+"nothing"+assigned+"44444444-4444-4444-4444-444444444444", assignment(acrPull, "66666666-6666-6666-6666-666666666666", "ServicePrincipal"))},
		{"operation-unknown", w.do("GET", sub+"/providers/Microsoft.Web/locations/westus2/operations/77777777-7777-7777-7777-777777777777", "")},
		{"provider-unknown", w.do("GET", sub+"/providers/Microsoft.Nothing", "")},
		{"plan-windows", w.do("PUT", plans+"plan", `{"location":"westus2","properties":{"reserved":false}}`)},
	} {
		if c.a.status < 400 {
			t.Errorf("%s: %d %s", c.name, c.a.status, c.a.raw)
		}
		if c.a.header.Get("X-Ms-Request-Id") == "" || c.a.header.Get("X-Ms-Correlation-Request-Id") == "" {
			t.Errorf("%s: the answer has no ids", c.name)
		}
		w.golden("error-"+c.name, c.a)
	}
	if a := w.do("GET", registries+"other", ""); a.status != http.StatusNotFound {
		t.Errorf("a refused PUT left something behind: %d %s", a.status, a.raw)
	}
}

func assignment(role, principal, kind string) string {
	return fmt.Sprintf(`{"properties":{"roleDefinitionId":"%s/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":"%s","principalType":%q}}`, sub, role, principal, kind)
}

func TestRegistryCredentials(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", registries+"myacr", `{"location":"westus2","properties":{"adminUserEnabled":true}}`)
	first := w.want(http.StatusOK, "POST", registries+"myacr/listcredentials", "")
	if first.text("username") != "myacr" || first.text("passwords.0.name") != "password" || first.text("passwords.1.name") != "password2" || len(first.text("passwords.1.value")) < 20 {
		t.Fatal(first.raw)
	}
	second := w.want(http.StatusOK, "POST", registries+"myacr/regenerateCredential", `{"name":"password2"}`)
	if second.text("passwords.0.value") != first.text("passwords.0.value") || second.text("passwords.1.value") == first.text("passwords.1.value") {
		t.Errorf("regenerating password2 gave %s after %s", second.raw, first.raw)
	}
	// An update that says nothing of the admin user switches it off, as a PUT is the whole; a PATCH leaves it.
	w.want(http.StatusOK, "PATCH", registries+"myacr", `{"tags":{"x":"y"}}`)
	again := w.want(http.StatusOK, "POST", registries+"myacr/listCredentials", "")
	if again.raw != second.raw {
		t.Error("a PATCH of tags changed the passwords")
	}
	w.want(http.StatusOK, "PATCH", registries+"myacr", `{"properties":{"adminUserEnabled":false}}`)
	w.want(http.StatusBadRequest, "POST", registries+"myacr/listCredentials", "")
	if got := w.want(http.StatusOK, "GET", registries+"myacr", ""); got.text("tags.x") != "y" || strings.Contains(got.raw, "passwords") {
		t.Error(got.raw)
	}
	if strings.Contains(w.logs.String(), first.text("passwords.0.value")) {
		t.Error("a password is in the log")
	}
}

func TestConcurrentPutsOfOneRegistryName(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.want(http.StatusCreated, "PUT", fmt.Sprintf("%s/resourceGroups/g%d", sub, i), `{"location":"westus2"}`)
	}
	var all sync.WaitGroup
	statuses := make([]int, 16)
	for i := range statuses {
		all.Go(func() {
			statuses[i] = w.do("PUT", fmt.Sprintf("%s/resourceGroups/g%d/providers/%s/myacr", sub, i%4, registryTypeName), `{"location":"westus2"}`).status
		})
	}
	all.Wait()
	count := map[int]int{}
	for _, s := range statuses {
		count[s]++
	}
	if count[http.StatusCreated] != 1 || count[http.StatusOK] != 3 || count[http.StatusConflict] != 12 {
		t.Errorf("statuses %v, want one 201, three 200 and twelve 409", count)
	}
	if list := w.want(http.StatusOK, "GET", sub+"/providers/"+registryTypeName, ""); strings.Count(list.raw, `"loginServer"`) != 1 {
		t.Error(list.raw)
	}
}

func TestETags(t *testing.T) {
	w := newWorld(t)
	w.group()
	created := w.want(http.StatusCreated, "PUT", registries+"myacr", `{"location":"westus2"}`, "If-None-Match: *")
	etag := created.header.Get("ETag")
	updated := w.want(http.StatusOK, "PUT", registries+"myacr", `{"tags":{"a":"b"}}`, "If-Match: "+etag)
	w.want(http.StatusPreconditionFailed, "PATCH", registries+"myacr", `{}`, "If-Match: "+etag)
	w.want(http.StatusPreconditionFailed, "DELETE", registries+"myacr", "", "If-Match: "+etag)
	w.want(http.StatusOK, "DELETE", registries+"myacr", "", "If-Match: "+updated.header.Get("ETag"))
	w.want(http.StatusNoContent, "DELETE", registries+"myacr", "")
	w.want(http.StatusPreconditionFailed, "PUT", registries+"myacr", `{"location":"westus2"}`, "If-Match: *")
}

func TestListsPage(t *testing.T) {
	w := newWorld(t)
	w.group()
	for i := range 5 {
		w.want(http.StatusCreated, "PUT", fmt.Sprintf("%sid-%d", identities, i), `{"location":"westus2"}`)
	}
	path, seen := group+"/providers/"+identityTypeName+version+"&$top=2", ""
	for path != "" {
		page := w.want(http.StatusOK, "GET", path, "")
		items, _ := page.at("value").([]any)
		for i := range items {
			seen += page.text(fmt.Sprintf("value.%d.name", i)) + " "
		}
		path = strings.TrimPrefix(page.text("nextLink"), "https://"+testHost)
	}
	if seen != "id-0 id-1 id-2 id-3 id-4 " {
		t.Errorf("paged %q", seen)
	}
}

func TestListsShowWhatTheCallerMayRead(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", sub+"/resourceGroups/other", `{"location":"westus2"}`)
	w.want(http.StatusCreated, "PUT", registries+"visible", `{"location":"westus2"}`)
	w.want(http.StatusCreated, "PUT", registries+"hidden", `{"location":"westus2"}`)
	reader := w.principal("Reader", resource.MustParseID(registries+"visible"))
	for _, path := range []string{sub + "/resources", sub + "/providers/" + registryTypeName, group + "/resources"} {
		a := w.as(reader, "GET", path+version, "")
		if a.status != http.StatusOK || !strings.Contains(a.raw, "visible") || strings.Contains(a.raw, "hidden") {
			t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
	if a := w.as(reader, "GET", sub+"/resourceGroups"+version, ""); a.status != http.StatusOK || strings.Contains(a.raw, "other") {
		t.Errorf("groups: %d %s", a.status, a.raw)
	}
	if a := w.as(reader, "GET", registries+"hidden"+version, ""); a.status != http.StatusForbidden {
		t.Errorf("hidden: %d", a.status)
	}
}

func TestIdentityLifeAndLinks(t *testing.T) {
	w := newWorld(t)
	w.group()
	made := w.want(http.StatusCreated, "PUT", identities+"web-id", `{"location":"westus2"}`)
	again := w.want(http.StatusOK, "PUT", identities+"WEB-ID", `{"location":"westus2","tags":{"a":"b"}}`)
	if made.text("properties.principalId") == "" || made.text("properties.principalId") != again.text("properties.principalId") ||
		made.text("properties.principalId") == made.text("properties.clientId") {
		t.Errorf("%s then %s", made.raw, again.raw)
	}
	// Who may make sites and groups but not use the identity cannot have its rights through them.
	maker, token := w.newPrincipal("Contributor", resource.MustParseID(sub+"/resourceGroups/other"))
	w.want(http.StatusCreated, "PUT", sub+"/resourceGroups/other", `{"location":"westus2"}`)
	site := sub + "/resourceGroups/other/providers/" + siteTypeName + "/thief"
	body := `{"location":"westus2","identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identities + `web-id":{}}},"properties":{}}`
	if a := w.as(token, "PUT", site+version, body); a.status != http.StatusForbidden || a.code() != "LinkedAuthorizationFailed" {
		t.Errorf("attaching without the right: %d %s", a.status, a.raw)
	}
	w.want(http.StatusNotFound, "GET", site, "")
	operator := "f1a07417-d97a-45cb-824c-7a7467783830"
	w.want(http.StatusCreated, "PUT", identities+"web-id"+assigned+"44444444-4444-4444-4444-444444444444", assignment(operator, maker.ID, ""))
	if a := w.as(token, "PUT", site+version, body); a.status != http.StatusOK {
		t.Errorf("attaching with the right: %d %s", a.status, a.raw)
	}
	w.want(http.StatusBadRequest, "PUT", site, strings.ReplaceAll(body, "web-id", "nothing"))
	w.want(http.StatusOK, "DELETE", identities+"web-id", "")
	if _, err := w.dir.Principal(t.Context(), made.text("properties.principalId")); err == nil {
		t.Error("the principal outlives its identity")
	}
}

func TestRoleAssignments(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", registries+"myacr", `{"location":"westus2"}`)
	sp, token := w.newPrincipal("", resource.Root)
	name := registries + "myacr" + assigned + "44444444-4444-4444-4444-444444444444"
	made := w.want(http.StatusCreated, "PUT", name, assignment(acrPull, sp.ID, "ServicePrincipal"))
	w.golden("assignment", made)
	w.want(http.StatusOK, "PUT", name, assignment(acrPull, sp.ID, ""))
	if a := w.want(http.StatusConflict, "PUT", registries+"myacr"+assigned+"55555555-5555-5555-5555-555555555555", assignment(acrPull, sp.ID, "")); a.code() != "RoleAssignmentExists" {
		t.Error(a.raw)
	}
	// A client id is no principal; who says that it is one is believed, and why tells the mistake later.
	w.want(http.StatusBadRequest, "PUT", group+assigned+"66666666-6666-6666-6666-666666666666", assignment(acrPull, sp.ClientID, ""))
	w.want(http.StatusCreated, "PUT", group+assigned+"66666666-6666-6666-6666-666666666666", assignment(acrPull, sp.ClientID, "serviceprincipal"))
	list := func(scope, filter string) int {
		a := w.want(http.StatusOK, "GET", scope+"/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter="+filter, "")
		return strings.Count(a.raw, `"roleDefinitionId"`)
	}
	for _, c := range []struct {
		scope, filter string
		want          int
	}{
		{registries + "myacr", "", 3},
		{registries + "myacr", "atScope()", 3},
		{group, "atScope()", 2},
		{group, "", 3},
		{sub, "principalId+eq+'" + strings.ToUpper(sp.ID) + "'", 1},
		{group, "atScope()+and+assignedTo('" + sp.ID + "')", 0},
	} {
		if got := list(c.scope, c.filter); got != c.want {
			t.Errorf("%s with %q lists %d, want %d", c.scope, c.filter, got, c.want)
		}
	}
	// A script whose variable is empty must not be given everybody's assignments, perhaps to delete them.
	for _, filter := range []string{"principalId+eq+''", "assignedTo('')", "assignedTo('me')"} {
		a := w.want(http.StatusBadRequest, "GET", group+"/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter="+filter, "")
		if a.code() != "InvalidFilterInQueryString" {
			t.Errorf("%s: %s", filter, a.raw)
		}
	}
	// AcrPull is no right to read the resource, nor to hand out roles.
	if a := w.as(token, "GET", registries+"myacr"+version, ""); a.status != http.StatusForbidden {
		t.Error(a.raw)
	}
	w.want(http.StatusOK, "DELETE", name, "")
	w.want(http.StatusNoContent, "DELETE", name, "")
	w.want(http.StatusNotFound, "GET", name, "")
}

func TestCustomRoles(t *testing.T) {
	w := newWorld(t)
	w.group()
	const guid = "88888888-8888-8888-8888-888888888888"
	path := sub + "/providers/Microsoft.Authorization/roleDefinitions/" + guid
	body := `{"properties":{"roleName":"Restarter","description":"d","type":"CustomRole","assignableScopes":["` + group + `"],` +
		`"permissions":[{"actions":["Microsoft.Web/sites/restart/action"],"notActions":[]}]}}`
	w.golden("role-created", w.want(http.StatusCreated, "PUT", path, body))
	// It may be assigned where it says, and nowhere above.
	sp, token := w.newPrincipal("", resource.Root)
	if a := w.want(http.StatusBadRequest, "PUT", sub+assigned+"44444444-4444-4444-4444-444444444444", assignment(guid, sp.ID, "")); a.code() != "RoleDefinitionNotAssignableAtScope" {
		t.Error(a.raw)
	}
	w.want(http.StatusCreated, "PUT", group+assigned+"44444444-4444-4444-4444-444444444444", assignment(guid, sp.ID, ""))
	if a := w.as(token, "POST", group+"/providers/Microsoft.Web/sites/x/restart"+version, ""); a.status != http.StatusNotFound {
		t.Errorf("restart with the role: %d %s", a.status, a.raw)
	}
	if a := w.as(token, "POST", group+"/providers/Microsoft.Web/sites/x/stop"+version, ""); a.status != http.StatusForbidden {
		t.Errorf("stop with the role: %d %s", a.status, a.raw)
	}
	if a := w.want(http.StatusConflict, "DELETE", path, ""); a.code() != "RoleDefinitionHasAssignments" {
		t.Error(a.raw)
	}
	// Who may write roles in one group cannot make one that counts above it, nor change one that does.
	admin := w.principal("Owner", resource.MustParseID(group))
	wide := strings.Replace(body, `"`+group+`"`, `"`+sub+`"`, 1)
	if a := w.as(admin, "PUT", group+"/providers/Microsoft.Authorization/roleDefinitions/99999999-9999-9999-9999-999999999999"+version, wide); a.code() != "LinkedAuthorizationFailed" {
		t.Errorf("a role above one's own scope: %d %s", a.status, a.raw)
	}
	w.want(http.StatusOK, "DELETE", group+assigned+"44444444-4444-4444-4444-444444444444", "")
	w.want(http.StatusOK, "DELETE", path, "")
}

func TestNameAvailability(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", registries+"myacr", `{"location":"westus2"}`)
	for name, reason := range map[string]string{"myacr": "AlreadyExists", "MYACR": "AlreadyExists", "free1": "", "no": "Invalid", "a-b-c": "Invalid"} {
		a := w.want(http.StatusOK, "POST", sub+"/providers/Microsoft.ContainerRegistry/checkNameAvailability", `{"name":"`+name+`","type":"Microsoft.ContainerRegistry/registries"}`)
		if a.text("reason") != reason || a.at("nameAvailable") != (reason == "") {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
}

func TestSystemIdentityComesAndGoesWithItsResource(t *testing.T) {
	w := newWorld(t)
	w.group()
	path := group + "/providers/" + siteTypeName + "/hello"
	made := w.want(http.StatusOK, "PUT", path, `{"location":"westus2","identity":{"type":"SystemAssigned"},"properties":{}}`)
	principal := made.text("identity.principalId")
	if p, err := w.dir.Principal(t.Context(), principal); err != nil || !p.SystemAssigned() || p.Kind() != identity.KindManaged {
		t.Fatalf("%+v, %v: %s", p, err, made.raw)
	}
	w.want(http.StatusOK, "PATCH", path, `{"tags":{"a":"b"}}`)
	if kept := w.want(http.StatusOK, "GET", path, ""); kept.text("identity.principalId") != principal {
		t.Errorf("a PATCH changed the identity: %s", kept.raw)
	}
	w.want(http.StatusOK, "PUT", path, `{"location":"westus2","identity":{"type":"None"},"properties":{}}`)
	if _, err := w.dir.Principal(t.Context(), principal); err == nil {
		t.Error("the principal outlives its block")
	}
	second := w.want(http.StatusOK, "PUT", path, `{"location":"westus2","identity":{"type":"SystemAssigned"},"properties":{}}`)
	w.want(http.StatusOK, "DELETE", path, "")
	if _, err := w.dir.Principal(t.Context(), second.text("identity.principalId")); err == nil {
		t.Error("the principal outlives its resource")
	}
}

// TestPatchKnowsAllThatIsStored: what a PATCH is merged into holds nothing that the type does not know.
func TestPatchKnowsAllThatIsStored(t *testing.T) {
	w := newWorld(t)
	w.group()
	const located = `{"location":"westus2"}`
	w.want(http.StatusCreated, "PUT", registries+"myacr", located)
	w.want(http.StatusCreated, "PUT", identities+"web-id", located)
	w.want(http.StatusOK, "PUT", plans+"plan", located)
	w.want(http.StatusOK, "PUT", sites+"hello", siteBody("plan", ""))
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	for _, path := range []string{group, registries + "myacr", identities + "web-id", plans + "plan", sites + "hello", groups + "g1"} {
		if a := w.want(http.StatusOK, "PATCH", path, `{"tags":{"a":"b"}}`, "x-fairlead-strict: true"); a.text("tags.a") != "b" {
			t.Error(a.raw)
		}
	}
}
