package resource_test

import (
	"errors"
	"strings"
	"testing"

	"fairlead.dev/internal/resource"
)

func TestParseID(t *testing.T) {
	for _, c := range []struct{ in, out, kind, name, parent string }{
		{"/", "/", "", "", ""},
		{"/Subscriptions/S", "/subscriptions/S", "Microsoft.Resources/subscriptions", "S", "/"},
		{"//subscriptions/S//resourcegroups/G/", "/subscriptions/S/resourceGroups/G", "Microsoft.Resources/resourceGroups", "G", "/subscriptions/S"},
		{"/subscriptions/S/resourceGroups/G/Providers/N/t/n", "/subscriptions/S/resourceGroups/G/providers/N/t/n", "N/t", "n", "/subscriptions/S/resourceGroups/G"},
		{
			"/subscriptions/S/resourceGroups/G/providers/N/t/n/u/m", "/subscriptions/S/resourceGroups/G/providers/N/t/n/u/m",
			"N/t/u", "m", "/subscriptions/S/resourceGroups/G/providers/N/t/n",
		},
		{
			"/subscriptions/S/resourceGroups/G/providers/N/t/n/providers/A/r/1", "/subscriptions/S/resourceGroups/G/providers/N/t/n/providers/A/r/1",
			"A/r", "1", "/subscriptions/S/resourceGroups/G/providers/N/t/n",
		},
		{"/providers/A/r/1", "/providers/A/r/1", "A/r", "1", "/"},
	} {
		id, err := resource.ParseID(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if id.String() != c.out || id.Type() != c.kind || id.Name() != c.name || id.Parent().String() != c.parent {
			t.Errorf("%s: got %s, type %q, name %q, parent %q", c.in, id, id.Type(), id.Name(), id.Parent())
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, in := range []string{
		"", "subscriptions/S", "/subscriptions", "/subscriptions/S/resourceGroups", "/subscriptions/S/wrong/x",
		"/subscriptions/S/providers/N", "/subscriptions/S/providers/N/t", "/subscriptions/../providers/N/t/n",
		"/subscriptions/S\x00", "/subscriptions/a%2fb", "/subscriptions/" + strings.Repeat("a", 261),
	} {
		if id, err := resource.ParseID(in); !errors.Is(err, resource.ErrBadID) {
			t.Errorf("%q gave %q, %v", in, id, err)
		}
	}
}

// The names of groups may hold letters that fold into others in one way of folding and not in another: the long s is such
// a letter, the sign for kelvin is not.
func TestIDsAreEqualWhenTheirKeysAre(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"rg", "RG", true}, {"rg", "rg1", false}, {"set", "\u017fet", false}, {"kit", "\u212ait", true},
	} {
		a, b := resource.GroupID("s", c.a), resource.GroupID("s", c.b)
		if a.Equal(b) != c.same || b.Equal(a) != c.same || (a.Key() == b.Key()) != c.same || a.Covers(b) != c.same {
			t.Errorf("%s and %s: equal %v, keys %q and %q, covers %v", a, b, a.Equal(b), a.Key(), b.Key(), a.Covers(b))
		}
	}
}

func TestCovers(t *testing.T) {
	group := resource.GroupID("S", "web")
	for _, c := range []struct {
		scope, id string
		want      bool
	}{
		{"/", "/subscriptions/S", true},
		{"/subscriptions/S", "/subscriptions/S/resourceGroups/web", true},
		{"/subscriptions/S/resourceGroups/WEB", group.String(), true},
		{group.String(), group.String() + "/providers/N/t/n", true},
		{group.String(), group.String() + "2/providers/N/t/n", false},
		{group.String(), "/subscriptions/S", false},
	} {
		if got := resource.MustParseID(c.scope).Covers(resource.MustParseID(c.id)); got != c.want {
			t.Errorf("%s covers %s: %v", c.scope, c.id, got)
		}
	}
	if (resource.ID{}).Covers(group) {
		t.Error("the zero scope covers something")
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("/subscriptions/S/resourceGroups/G/providers/N/t/n")
	f.Add("//Providers/N/providers/x/../y")
	f.Fuzz(func(t *testing.T, in string) {
		id, err := resource.ParseID(in)
		if err != nil {
			return
		}
		again, err := resource.ParseID(id.String())
		if err != nil || again != id {
			t.Fatalf("%q printed %q, which parses to %q, %v", in, id, again, err)
		}
		for up, n := id, 0; !up.IsZero(); up, n = up.Parent(), n+1 {
			if n > len(in) || !up.Covers(id) {
				t.Fatalf("%q: ancestor %q does not cover it", in, up)
			}
		}
	})
}

func FuzzParseHost(f *testing.F) {
	f.Add("myacr.azurecr.fairlead.localhost:8443")
	origin := resource.Origin{Domains: []string{"fairlead.localhost"}, Port: 8443}
	f.Fuzz(func(t *testing.T, host string) {
		kind, name := origin.ParseHost(host)
		if kind == resource.HostRegistry && !strings.EqualFold(origin.LoginServer(name), name+origin.RegistrySuffix()) {
			t.Fatalf("%q: %q", host, name)
		}
		if kind == resource.HostUnknown && name != "" {
			t.Fatalf("%q has no kind but the name %q", host, name)
		}
	})
}

func TestTokenAudience(t *testing.T) {
	o := resource.Origin{Domains: []string{"fairlead.localhost", "fairlead.internal"}, Port: 8443}
	for _, c := range []struct {
		asked      string
		byResource bool
		audience   string
		version    int
	}{
		{"https://management.azure.com/", false, "https://management.azure.com/", 1},
		{"https://graph.fairlead.internal:8443", false, "https://graph.fairlead.internal:8443", 2},
		{"https://graph.microsoft.com", true, "https://graph.microsoft.com", 1},
		{"https://containerregistry.azure.net/", false, "https://containerregistry.azure.net/", 2},
		{"https://containerregistry.azure.net", true, "https://containerregistry.azure.net", 1},
		{"6DAE42F8-4368-4678-94ff-3960e28e3630", false, "6dae42f8-4368-4678-94ff-3960e28e3630", 1},
		{"6dae42f8-4368-4678-94ff-3960e28e3630/", true, "6dae42f8-4368-4678-94ff-3960e28e3630", 1},
		{"6dae42f8-4368-4678-94ff-3960e28e3631", false, "", 0},
		{"https://vault.azure.net", false, "", 0},
		{"", false, "", 0},
	} {
		audience, version, ok := o.TokenAudience(c.asked, c.byResource)
		if audience != c.audience || version != c.version || ok != (c.version != 0) {
			t.Errorf("%q: %q, version %d, %v", c.asked, audience, version, ok)
		}
	}
}
