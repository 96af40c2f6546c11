//go:build linux

package server

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
)

func TestRegistryHosts(t *testing.T) {
	for _, c := range []struct {
		domains []string
		port    int
		want    []string // name and server
	}{
		{[]string{"fairlead.localhost", "fairlead.internal"}, 8443, []string{
			"acme.azurecr.io https://acme.azurecr.fairlead.internal:8443",
			"acme.azurecr.fairlead.localhost:8443 https://acme.azurecr.fairlead.internal:8443",
			"acme.azurecr.fairlead.internal:8443 https://acme.azurecr.fairlead.internal:8443",
		}},
		{[]string{"cloud.localhost"}, 443, []string{
			"acme.azurecr.io https://acme.azurecr.cloud.localhost", "acme.azurecr.cloud.localhost https://acme.azurecr.cloud.localhost",
		}},
	} {
		var got []string
		for _, h := range registryHosts(resource.Origin{Domains: c.domains, Port: c.port}, "/ca.pem", []registry.Registry{{Name: "Acme"}}) {
			got = append(got, h.Name+" "+h.Server)
			if h.Authority != "/ca.pem" {
				t.Errorf("%s trusts %q", h.Name, h.Authority)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.domains, diff)
		}
	}
}

// TestHostsFollowRegistries writes what nodes read, as registries come and go.
func TestHostsFollowRegistries(t *testing.T) {
	s := serverIn(t, t.TempDir(), Config{})
	defer s.Close()
	id := resource.MustParseID("/subscriptions/" + s.stored.Subscription + "/resourceGroups/demo/providers/" + typeRegistry + "/acme")
	file := filepath.Join(s.hostsDir(), "acme.azurecr.io", "hosts.toml")
	must(t, s.core.registry.Create(t.Context(), id))
	must(t, s.writeHosts(t.Context()))
	text, err := os.ReadFile(file)
	must(t, err)
	if want := `server = "https://` + forContainers(s.origin).LoginServer("acme") + `"`; !strings.Contains(string(text), want) {
		t.Errorf("%s is not in %s", want, text)
	}
	must(t, s.core.registry.Delete(t.Context(), id))
	must(t, s.writeHosts(t.Context()))
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file of a registry that is gone: %v", err)
	}
}

func TestAzureHasNoAddress(t *testing.T) {
	group := netip.MustParseAddr("10.64.0.7")
	lookup := withoutAzure(func(name string) (netip.Addr, bool) {
		return group, name == "web.westeurope.azurecontainer.fairlead.internal"
	})
	for name, want := range map[string]struct {
		address netip.Addr
		ok      bool
	}{
		"azurecr.io":                                      {ok: true},
		"acme.azurecr.io":                                 {ok: true},
		"acme.westeurope.data.azurecr.io":                 {ok: true},
		"acme.azurecr.fairlead.internal":                  {},
		"web.westeurope.azurecontainer.fairlead.internal": {group, true},
	} {
		if address, ok := lookup(name); ok != want.ok || (ok && address != want.address) {
			t.Errorf("%s is %v, %v", name, address, ok)
		}
	}
}
