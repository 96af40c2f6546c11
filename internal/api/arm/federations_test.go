package arm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

const (
	federations   = identities + "web-id/federatedIdentityCredentials"
	issuer        = "https://oidc.fairlead.localhost:8443/t/c/"
	federatedBody = `{"properties":{"issuer":"` + issuer + `","subject":"system:serviceaccount:shop:web","audiences":["api://AzureADTokenExchange"]}}`
)

// withIdentity makes the identity that federations belong to.
func (w *world) withIdentity() *world {
	w.t.Helper()
	w.group()
	w.want(http.StatusCreated, "PUT", identities+"web-id", `{"location":"westus2"}`)
	return w
}

func TestFederationBodies(t *testing.T) {
	w := newWorld(t).withIdentity()
	edit := func(old, now string) string { return strings.Replace(federatedBody, old, now, 1) }
	w.golden("federations-none", w.do("GET", federations, ""))
	w.golden("federation-created", w.do("PUT", federations+"/cluster", federatedBody))
	w.golden("federation-changed", w.do("PUT", strings.ToUpper(federations)+"/CLUSTER", edit("shop:web", "shop:api")))
	w.golden("federation", w.do("GET", federations+"/Cluster", ""))
	w.golden("federations", w.do("GET", federations, ""))
	for _, c := range []struct{ name, method, path, body string }{
		{"unknown", "GET", federations + "/nothing", ""},
		{"no-identity", "PUT", identities + "nothing/federatedIdentityCredentials/cluster", federatedBody},
		{"no-identity-list", "GET", identities + "nothing/federatedIdentityCredentials", ""},
		{"name", "PUT", federations + "/ab", federatedBody},
		{"http", "PUT", federations + "/other", edit("https://", "http://")},
		{"wildcard", "PUT", federations + "/other", edit("shop:web", "shop:*")},
		{"audiences", "PUT", federations + "/other", edit(`Exchange"`, `Exchange","second"`)},
		{"no-subject", "PUT", federations + "/other", edit(`"subject":"system:serviceaccount:shop:web",`, "")},
		{"twin", "PUT", federations + "/other", edit("shop:web", "shop:api")},
		{"expression", "PUT", federations + "/other", edit(`"subject"`, `"claimsMatchingExpression":{"value":"x"},"subject"`)},
	} {
		w.golden("federation-"+c.name, w.do(c.method, c.path, c.body))
	}
	w.golden("federation-typo", w.do("PUT", federations+"/other", edit(`"subject"`, `"subjct":"x","subject"`), "x-fairlead-strict: true"))
	w.want(http.StatusOK, "DELETE", federations+"/CLUSTER", "")
	w.want(http.StatusNoContent, "DELETE", federations+"/cluster", "")
	w.want(http.StatusNotFound, "GET", federations+"/cluster", "")
}

func TestFederationsHaveConditionsLimitsAndPages(t *testing.T) {
	w := newWorld(t).withIdentity()
	body := func(n int) string { return strings.Replace(federatedBody, "shop:web", fmt.Sprint("shop:", n), 1) }
	first := w.want(http.StatusCreated, "PUT", federations+"/fed-00", body(0), "If-None-Match: *")
	w.want(http.StatusPreconditionFailed, "PUT", federations+"/fed-00", body(100), "If-None-Match: *")
	changed := w.want(http.StatusOK, "PUT", federations+"/fed-00", body(100), "If-Match: "+first.header.Get("ETag"))
	w.want(http.StatusPreconditionFailed, "DELETE", federations+"/fed-00", "", "If-Match: "+first.header.Get("ETag"))
	w.want(http.StatusPreconditionFailed, "PUT", federations+"/fed-01", body(1), "If-Match: *")
	if got := w.want(http.StatusOK, "GET", federations+"/fed-00", "").header.Get("ETag"); got != changed.header.Get("ETag") || got == first.header.Get("ETag") {
		t.Errorf("ETag %s, after PUT %s, before %s", got, changed.header.Get("ETag"), first.header.Get("ETag"))
	}
	for n := 1; n < identity.MaxFederations; n++ {
		w.want(http.StatusCreated, "PUT", fmt.Sprintf("%s/Fed-%02d", federations, n), body(n))
	}
	w.golden("federation-full", w.do("PUT", federations+"/one-more", body(99)))
	var names []string
	path, pages := federations+version+"&$top=8", 0
	for ; path != ""; pages++ {
		page := w.want(http.StatusOK, "GET", path, "")
		items, _ := page.at("value").([]any)
		for i := range items {
			names = append(names, strings.ToLower(page.text(fmt.Sprintf("value.%d.name", i))))
		}
		path = strings.TrimPrefix(page.text("nextLink"), "https://"+testHost)
	}
	if pages != 3 || len(names) != identity.MaxFederations || !slices.IsSorted(names) {
		t.Errorf("%d pages with %v", pages, names)
	}
}

func TestFederationsTakeTheirOwnActions(t *testing.T) {
	w := newWorld(t).withIdentity()
	w.want(http.StatusCreated, "PUT", federations+"/cluster", federatedBody)
	at := resource.MustParseID(identities + "web-id")
	for _, c := range []struct {
		role                string
		read, write, remove int
	}{
		{"Managed Identity Contributor", 200, 200, 200},
		{"Managed Identity Operator", 200, 403, 403}, // may use the identity, not say who else may be it
		{"Reader", 200, 403, 403},
		{"AcrPull", 403, 403, 403},
	} {
		w.want(http.StatusCreated, "PUT", federations+"/own", strings.Replace(federatedBody, "shop:web", "shop:own", 1))
		token := w.principal(c.role, at)
		for method, want := range map[string]int{"GET": c.read, "PUT": c.write} {
			if a := w.as(token, method, federations+"/cluster"+version, federatedBody); a.status != want {
				t.Errorf("%s: %s gives %d, want %d: %s", c.role, method, a.status, want, a.raw)
			}
		}
		if a := w.as(token, "GET", federations+version, ""); a.status != c.read {
			t.Errorf("%s: the list gives %d, want %d", c.role, a.status, c.read)
		}
		if a := w.as(token, "DELETE", federations+"/own"+version, ""); a.status != c.remove {
			t.Errorf("%s: DELETE gives %d, want %d", c.role, a.status, c.remove)
		}
		w.do("DELETE", federations+"/own", "")
	}
}

func TestFederationsGoWithTheirIdentity(t *testing.T) {
	w := newWorld(t).withIdentity()
	w.want(http.StatusCreated, "PUT", federations+"/cluster", federatedBody)
	w.want(http.StatusOK, "PUT", identities+"web-id", `{"location":"westus2","tags":{"a":"b"}}`)
	w.want(http.StatusOK, "GET", federations+"/cluster", "")
	w.want(http.StatusOK, "DELETE", identities+"web-id", "")
	w.want(http.StatusNotFound, "GET", federations+"/cluster", "")
	w.want(http.StatusCreated, "PUT", identities+"web-id", `{"location":"westus2"}`)
	if list := w.want(http.StatusOK, "GET", federations, ""); list.raw != "{\"value\":[]}\n" && list.raw != `{"value":[]}` {
		t.Errorf("a new identity under the old name is federated already: %s", list.raw)
	}
}
