package graph

import (
	"strings"
	"testing"

	"fairlead.dev/internal/identity"
)

// Routes gives the table to the tests outside.
func Routes() []route { return routes() }

// TestEveryRouteDeclaresAPermission walks the table: a route without one would be open to nobody, which is safe, and a
// mistake all the same.
func TestEveryRouteDeclaresAPermission(t *testing.T) {
	seen := map[string]bool{}
	for _, rt := range routes() {
		name := rt.method + " " + rt.shape
		if rt.needs == (permission{}) || rt.needs.known && rt.needs.action != "" {
			t.Errorf("%s declares %+v", name, rt.needs)
		}
		if rt.needs.known != (rt.shape == "me") {
			t.Errorf("%s is open to whoever is known", name)
		}
		if reads := strings.HasSuffix(rt.needs.action, "/read"); !rt.needs.known && reads != (rt.method == "GET" || rt.shape == "directoryobjects/getbyids") {
			t.Errorf("%s needs %s", name, rt.needs.action)
		}
		if seen[name] || rt.handle == nil || rt.shape != strings.ToLower(rt.shape) {
			t.Errorf("%s stands twice, has no handler, or could never match", name)
		}
		seen[name] = true
	}
}

func TestARouteWithoutPermissionIsOpenToNobody(t *testing.T) {
	h := &handler{}
	if err := h.authorize(t.Context(), identity.Principal{}, permission{}); err == nil {
		t.Error("it is open")
	}
}

func TestParsePath(t *testing.T) {
	for path, want := range map[string]struct {
		shape string
		key   key
	}{
		"/v1.0/applications":                              {"applications", key{}},
		"//v1.0//Applications/":                           {"applications", key{}},
		"/beta/applications/x":                            {"applications/{}", key{"id", "x"}},
		"/v1.0/applications(appId='x')":                   {"applications/{}", key{"appid", "x"}},
		"/v1.0/applications(appId='o''x')":                {"applications/{}", key{"appid", "o'x"}},
		"/v1.0/applications('x')/addPassword":             {"applications/{}/addpassword", key{"id", "x"}},
		"/v1.0/applications/x/removePassword":             {"applications/{}/removepassword", key{"id", "x"}},
		"/v1.0/directoryObjects/getByIds":                 {"directoryobjects/getbyids", key{}},
		"/v1.0/directoryObjects/microsoft.graph.getByIds": {"directoryobjects/getbyids", key{}},
		"/v1.0/me":                 {"me", key{}},
		"/v1.0/applications/a/b/c": {"applications/{}/b/c", key{"id", "a"}},
	} {
		shape, k, ok := parsePath(path)
		if !ok || shape != want.shape || k != want.key {
			t.Errorf("%s: %q, %+v, %v, want %+v", path, shape, k, ok, want)
		}
	}
	for _, path := range []string{"", "/", "/v1.0", "/v2.0/applications", "/applications/x", "/v1.0/applications(", "/v1.0/applications()", "/v1.0/applications('x'", "/v1.0/applications(x)", "/v1.0/applications(name='x')", "/v1.0/applications('x''y)", "/v1.0/applications('x'y)"} {
		if shape, k, ok := parsePath(path); ok {
			t.Errorf("%s is read as %q, %+v", path, shape, k)
		}
	}
}

func TestParseFilter(t *testing.T) {
	for text, want := range map[string]filter{
		"":                                        {},
		"displayName eq 'a b'":                    {property: "displayname", value: "a b"},
		"DISPLAYNAME EQ 'it''s'":                  {property: "displayname", value: "it's"},
		" appId  eq  'x' ":                        {property: "appid", value: "x"},
		"id eq ''":                                {property: "id"},
		"startswith(displayName,'a,b')":           {property: "displayname", value: "a,b", prefix: true},
		"startsWith( displayName , 'a' )":         {property: "displayname", value: "a", prefix: true},
		"servicePrincipalNames/any(c:c eq 'x')":   {property: "serviceprincipalnames", value: "x"},
		"servicePrincipalNames/Any(x : x eq 'y')": {property: "serviceprincipalnames", value: "y"},
	} {
		if got, err := parseFilter(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"x", "displayName", "displayName ne 'x'", "displayName eq x", "displayName eq 'x", "displayName eq 'x' and id eq 'y'", "password eq 'x'",
		"startswith(displayName)", "startswith(displayName,'x'", "startswith(id,'x')", "startswith(displayName,'x') or true",
		"servicePrincipalNames/any(c:d eq 'x')", "servicePrincipalNames/any(c eq 'x')", "tags/any(c:c eq 'x')", "endswith(displayName,'x')",
		strings.Repeat("a", 5000), "displayName eq 'x'\x00",
	} {
		if got, err := parseFilter(text); err == nil {
			t.Errorf("%.40q is read as %+v", text, got)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("displayName eq 'a'")
	f.Add("\xff/AnY(") // letters that change their length with their case
	f.Add("startswith(displayName,'a')")
	f.Add("servicePrincipalNames/any(c:c eq 'x')")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseFilter(text)
		if err != nil || got == (filter{}) {
			return
		}
		// What was read can be written, and is read again as the same.
		value := "'" + strings.ReplaceAll(got.value, "'", "''") + "'"
		written := got.property + " eq " + value
		switch {
		case got.prefix:
			written = "startswith(" + got.property + "," + value + ")"
		case got.property == "serviceprincipalnames":
			written = got.property + "/any(c:c eq " + value + ")"
		}
		if again, err := parseFilter(written); len(written) <= maxFilter && (err != nil || again != got) {
			t.Errorf("%q is %+v; written as %q it is %+v, %v", text, got, written, again, err)
		}
	})
}

func FuzzPath(f *testing.F) {
	f.Add("/v1.0/applications(appId='x')/addPassword")
	f.Fuzz(func(t *testing.T, path string) {
		shape, k, ok := parsePath(path)
		if ok && (shape == "" || strings.Contains(shape, "//") || k.property != "" && k.property != "id" && k.property != "appid") {
			t.Errorf("%q: %q, %+v", path, shape, k)
		}
	})
}
