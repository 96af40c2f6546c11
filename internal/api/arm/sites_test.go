package arm

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

const sites = group + "/providers/" + siteTypeName + "/"

func siteBody(plan, config string) string {
	return `{"location":"westus2","properties":{"serverFarmId":"` + plans + plan + `","reserved":false,"siteConfig":{"linuxFxVersion":"DOCKER|myacr.azurecr.io/web:v1"` + config + `}}}`
}

func TestSiteLife(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusOK, "PUT", plans+"plan", `{"location":"westus2"}`)
	w.golden("site-created", w.want(http.StatusOK, "PUT", sites+"Hello", siteBody("plan",
		`,"appSettings":[{"name":"WEBSITES_PORT","value":"8000"},{"name":"KEY","value":"hidden-1"},{"name":"DOCKER_REGISTRY_SERVER_PASSWORD","value":"hidden-2"}]`)))
	if a := w.want(http.StatusConflict, "DELETE", plans+"plan", ""); !strings.Contains(a.raw, "Hello") {
		t.Error(a.raw)
	}
	settings := w.want(http.StatusOK, "POST", sites+"hello/config/appSettings/list", "")
	w.golden("site-settings", settings)
	// The settings are shown to those who may list them only.
	reader := w.principal("Reader", resource.MustParseID(group))
	if a := w.as(reader, "POST", sites+"hello/config/appsettings/list"+version, ""); a.status != http.StatusForbidden {
		t.Errorf("a reader lists settings: %d", a.status)
	}
	for _, path := range []string{"", "/config/web", "/config", "/config/slotConfigNames", "/config/logs", "/attempts"} {
		if a := w.want(http.StatusOK, "GET", sites+"hello"+path, ""); strings.Contains(a.raw, "hidden") {
			t.Errorf("%s shows a setting: %s", path, a.raw)
		}
	}
	if strings.Contains(w.logs.String(), "hidden") {
		t.Error("a setting is in the log")
	}
	g := w.site("Hello")
	env := map[string]string{}
	for _, v := range g.Containers[0].Env {
		env[v.Name] = v.Value + v.Secure.Reveal()
	}
	for name, want := range map[string]string{
		"KEY": "hidden-1", "APPSETTING_KEY": "hidden-1", "PORT": "8000", "WEBSITE_SITE_NAME": "Hello", "WEBSITE_HOSTNAME": "hello.azurewebsites.fairlead.localhost",
		"DOCKER_REGISTRY_SERVER_PASSWORD": "",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	if g.Web.Port != 8000 || g.Web.Password.Reveal() != "hidden-2" || g.Containers[0].Image != "myacr.azurecr.io/web:v1" {
		t.Errorf("%+v", g.Web)
	}
	w.eventually("the site runs", func() bool {
		s, err := w.runs.Status(t.Context(), g.ID)
		return err == nil && s.State == run.StateRunning
	})
	w.want(http.StatusOK, "POST", sites+"hello/stop", "")
	if a := w.want(http.StatusOK, "GET", sites+"hello", ""); a.text("properties.state") != "Stopped" {
		t.Error(a.raw)
	}
	w.want(http.StatusOK, "POST", sites+"hello/start", "")
	w.want(http.StatusOK, "POST", sites+"hello/restart", "")
	w.want(http.StatusOK, "DELETE", sites+"hello", "")
	w.want(http.StatusOK, "DELETE", plans+"plan", "")
}

// site gives the workload of a site.
func (w *world) site(name string) run.Group {
	w.t.Helper()
	g, err := w.runs.Group(w.t.Context(), resource.MustParseID(sites+name))
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func TestSiteConfiguration(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusOK, "PUT", plans+"plan", `{"location":"westus2"}`)
	w.want(http.StatusOK, "PUT", sites+"hello", siteBody("plan", ""))
	w.want(http.StatusOK, "PUT", sites+"hello/config/appsettings", `{"properties":{"A":"1","DOCKER_REGISTRY_SERVER_URL":"https://myacr.azurecr.io"}}`)
	w.want(http.StatusOK, "PUT", sites+"hello/config/connectionstrings", `{"properties":{"db":{"value":"hidden-3","type":"SQLAzure"}}}`)
	w.golden("site-config-web", w.want(http.StatusOK, "PATCH", sites+"hello/config/web",
		`{"properties":{"acrUseManagedIdentityCreds":true,"acrUserManagedIdentityID":"c1","alwaysOn":null,"appCommandLine":"run 'a b'"}}`))
	g := w.site("hello")
	if !g.Web.UseManagedIdentity || g.Web.UserManagedIdentityClientID != "c1" || g.Web.Server != "https://myacr.azurecr.io" || !slices.Equal(g.Containers[0].Command, []string{"run", "a b"}) {
		t.Errorf("%+v", g)
	}
	if !slices.ContainsFunc(g.Containers[0].Env, func(v run.EnvVar) bool { return v.Name == "SQLAZURECONNSTR_db" && v.Secure.Reveal() == "hidden-3" }) {
		t.Error("the connection string is not in the environment")
	}
	// Clients read a site, attach an identity and put all of it back: nothing is lost by that.
	got := w.want(http.StatusOK, "GET", sites+"hello", "")
	w.want(http.StatusOK, "PUT", sites+"hello", strings.Replace(got.raw, `{"id"`, `{"identity":{"type":"SystemAssigned"},"id"`, 1), "x-fairlead-strict: true")
	again := w.site("hello")
	if !again.Web.UseManagedIdentity || len(again.Identities) != 1 || !again.Identities[0].System || again.Containers[0].Image != g.Containers[0].Image || again.Web.Server != g.Web.Server {
		t.Errorf("after the round trip: %+v", again)
	}
	// Settings are replaced whole.
	w.want(http.StatusOK, "PUT", sites+"hello/config/appsettings", `{"properties":{"B":"2"}}`)
	if a := w.want(http.StatusOK, "POST", sites+"hello/config/appsettings/list", ""); a.text("properties.B") != "2" || a.at("properties.A") != nil {
		t.Error(a.raw)
	}
	if a := w.want(http.StatusOK, "POST", sites+"hello/config/connectionstrings/list", ""); a.text("properties.db.value") != "hidden-3" {
		t.Error(a.raw)
	}
	w.want(http.StatusOK, "PUT", sites+"hello/config/logs", `{"properties":{"httpLogs":{}}}`)
	w.want(http.StatusOK, "PATCH", sites+"hello", `{"tags":{"a":"b"}}`, "x-fairlead-strict: true") // knows nothing of them
	if a := w.want(http.StatusOK, "GET", sites+"hello/config/logs", ""); a.at("properties.httpLogs") == nil || a.at("properties.applicationLogs") != nil {
		t.Error(a.raw)
	}
	for _, path := range []string{"metadata", "authsettings", "azurestorageaccounts", "publishingcredentials"} {
		w.want(http.StatusOK, "POST", sites+"hello/config/"+path+"/list", "")
	}
	w.want(http.StatusOK, "PUT", sites+"hello/config/azurestorageaccounts", `{"properties":{}}`)
	w.want(http.StatusOK, "GET", sites+"hello/basicPublishingCredentialsPolicies/scm", "")
	w.want(http.StatusOK, "GET", sites+"hello/slots", "")
	if a := w.want(http.StatusOK, "POST", sites+"hello/publishxml", ""); !strings.Contains(a.raw, "<publishProfile") {
		t.Error(a.raw)
	}
}

func TestGoldenSiteErrors(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusOK, "PUT", plans+"plan", `{"location":"westus2"}`)
	w.want(http.StatusOK, "PUT", sites+"hello", siteBody("plan", ""))
	w.want(http.StatusCreated, "PUT", sub+"/resourceGroups/other", `{"location":"westus2"}`)
	for _, c := range []struct {
		name, method, path, body string
	}{
		{"taken", "PUT", sub + "/resourceGroups/other/providers/" + siteTypeName + "/HELLO", siteBody("plan", "")},
		{"plan-unknown", "PUT", sites + "other", siteBody("nothing", "")},
		{"name", "PUT", sites + "-other", siteBody("plan", "")},
		{"runtime", "PUT", sites + "other", strings.Replace(siteBody("plan", ""), "DOCKER|myacr.azurecr.io/web:v1", "PYTHON|3.12", 1)},
		{"network", "PUT", sites + "other", strings.Replace(siteBody("plan", ""), `"reserved"`, `"virtualNetworkSubnetId":"x","reserved"`, 1)},
		{"restrictions", "PATCH", sites + "hello/config/web", `{"properties":{"ipSecurityRestrictions":[{"ipAddress":"10.0.0.0/8","action":"Deny"}]}}`},
		{"port", "PUT", sites + "hello/config/appsettings", `{"properties":{"WEBSITES_PORT":"http"}}`},
		{"setting-name", "PUT", sites + "hello/config/appsettings", `{"properties":{"A=B":"c"}}`},
		{"setting-type", "PUT", sites + "hello/config/appsettings", `{"properties":{"A":1}}`},
		{"logs-elsewhere", "PUT", sites + "hello/config/logs", `{"properties":{"httpLogs":{"azureBlobStorage":{"sasUrl":"https://x.example/?sig=hidden","enabled":true}}}}`},
		{"config-unknown", "GET", sites + "hello/config/nothing", ""},
		{"settings-get", "GET", sites + "hello/config/appsettings", ""},
		{"typo", "PATCH", sites + "hello/config/web", `{"properties":{"acrUseManagedIdentityCred":true}}`},
	} {
		a := w.do(c.method, c.path, c.body, "x-fairlead-strict: true")
		if a.status < 400 || a.status >= 500 {
			t.Errorf("%s: %d %s", c.name, a.status, a.raw)
		}
		w.golden("site-"+c.name, a)
	}
	w.want(http.StatusNotFound, "GET", sites+"other", "")
}

func TestSitePutSucceedsWhenThePullFails(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.node.set(func(n *node) { n.refuse = func(pull.Request) error { return pull.ErrDenied } })
	w.want(http.StatusOK, "PUT", plans+"plan", `{"location":"westus2"}`)
	w.want(http.StatusOK, "PUT", sites+"hello", siteBody("plan", ""))
	w.want(http.StatusOK, "PUT", sites+"hello", siteBody("plan", ""))
	w.want(http.StatusOK, "POST", sites+"hello/restart", "")
	if a := w.want(http.StatusOK, "GET", sites+"hello/why", ""); a.text("value.0.verdict") == "" {
		t.Error(a.raw)
	}
}
