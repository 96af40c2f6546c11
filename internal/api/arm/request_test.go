package arm

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

func TestParse(t *testing.T) {
	const rg = "/subscriptions/S/resourceGroups/rg"
	for _, c := range []struct {
		in, scope, id, shape string
		names                []string
	}{
		{"/subscriptions", "/", "", "subscriptions", nil},
		{"/Subscriptions/S", "/", "/subscriptions/S", "subscriptions/*", []string{"S"}},
		{"/subscriptions/S/resourcegroups", "/subscriptions/S", "", "resourcegroups", nil},
		{"/subscriptions/S/resourcegroups/rg", "/subscriptions/S", rg, "resourcegroups/*", []string{"rg"}},
		{rg + "/resources", rg, "", "resources", nil},
		{"/subscriptions/S/providers", "/subscriptions/S", "", "providers", nil},
		{"/subscriptions/S/providers/N.X", "/subscriptions/S", "", "providers/*", []string{"N.X"}},
		{"/subscriptions/S/providers/N.X/register", "/subscriptions/S", "", "providers/*/register", []string{"N.X"}},
		{"/subscriptions/S/providers/N.X/checkNameAvailability", "/subscriptions/S", "", "n.x/checknameavailability", nil},
		{rg + "//providers/N.X//Things/a", rg, rg + "/providers/N.X/Things/a", "n.x/things/*", []string{"a"}},
		{rg + "/providers/N.X/things/a/", rg, rg + "/providers/N.X/things/a", "n.x/things/*", []string{"a"}},
		{rg + "/providers/N.X/things", rg, "", "n.x/things", nil},
		{rg + "/providers/N.X/things/a/Config/B/list", rg, rg + "/providers/N.X/things/a/Config/B", "n.x/things/*/config/*/list", []string{"a", "B"}},
		{rg + "/providers/N.X/things/a/providers/M.A/r/1", rg + "/providers/N.X/things/a", rg + "/providers/N.X/things/a/providers/M.A/r/1", "m.a/r/*", []string{"1"}},
		{"/providers/M.A/r/1", "/", "/providers/M.A/r/1", "m.a/r/*", []string{"1"}},
		{rg + "/providers/M.A/r", rg, "", "m.a/r", nil},
		{"/subscriptions/S/resourceGroups/a%20b", "/subscriptions/S", "/subscriptions/S/resourceGroups/a b", "resourcegroups/*", []string{"a b"}},
	} {
		req, err := parse("GET", &url.URL{Path: mustUnescape(t, c.in), RawPath: c.in, RawQuery: "API-Version=2020-01-01&$Filter=a+eq+%27b%27"})
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if req.scope.String() != c.scope || req.id.String() != c.id || req.shape != c.shape || !slices.Equal(req.names, c.names) {
			t.Errorf("%s: scope %q, id %q, shape %q, names %q", c.in, req.scope, req.id, req.shape, req.names)
		}
		if req.version != "2020-01-01" || req.query["$filter"] != "a eq 'b'" {
			t.Errorf("%s: query %v", c.in, req.query)
		}
	}
}

func mustUnescape(t *testing.T, s string) string {
	t.Helper()
	out, err := url.PathUnescape(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"/subscriptions/S/resourceGroups/..%2f..%2fx", "/subscriptions/../x", "/subscriptions/S/resourceGroups/a%00b",
		"/subscriptions/S/resourceGroups/" + strings.Repeat("a", 300), "/subscriptions/S/resourceGroups/%2e%2e/providers/N.X/things/a",
	} {
		u, err := url.Parse("https://h" + in)
		if err != nil {
			t.Fatal(err)
		}
		if req, err := parse("GET", u); fault.KindOf(err) != fault.Invalid || err == nil {
			t.Errorf("%s gave %+v, %v", in, req, err)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	for version, want := range map[string]string{
		"2023-05-01": "", "2024-05-01-preview": "", "2099-12-31": "", "2018-10-01": "", "2021-04-01-privatepreview": "InvalidApiVersionParameter",
		"": "MissingApiVersionParameter", "2018-09-01": "InvalidResourceType", "latest": "InvalidApiVersionParameter",
		"2013-01-01": "InvalidApiVersionParameter", "2023-5-1": "InvalidApiVersionParameter", "2023-13-01": "InvalidApiVersionParameter",
	} {
		got := ""
		if err := checkVersion(version, "2018-10-01"); err != nil {
			got = fault.From(err).Code
		}
		if got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/subscriptions/S/resourceGroups/rg/providers/N.X/things/a/providers/M.A/r/1", "api-version=2020-01-01")
	f.Add("//subscriptions//S/providers/N/register", "$filter=%zz")
	f.Fuzz(func(t *testing.T, path, query string) {
		u, err := url.Parse("https://h/" + path)
		if err != nil {
			return
		}
		u.RawQuery = query
		req, err := parse("GET", u)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("%q: %v", path, err)
			}
			return
		}
		// Whoever is authorised at the scope or the id is authorised for what is done there.
		if !req.id.IsZero() && !req.scope.Covers(req.id) {
			t.Fatalf("%q: id %q is not under scope %q", path, req.id, req.scope)
		}
		if strings.Count(req.shape, "*") < len(req.names) || req.scope.IsZero() {
			t.Fatalf("%q: %+v", path, req)
		}
		if req.scope != resource.Root {
			if _, err := resource.ParseID(req.scope.String()); err != nil {
				t.Fatalf("%q: scope %v", path, err)
			}
		}
	})
}
