//go:build linux

package server

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/client"
	"fairlead.dev/internal/cluster"
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

// TestCredentialsOfAPlan adds them for an identity, for none, and for one that is gone.
func TestCredentialsOfAPlan(t *testing.T) {
	s := serverIn(t, t.TempDir(), Config{Domains: []string{"fairlead.localhost", "fairlead.internal"}})
	defer s.Close()
	id := resource.GroupID(s.stored.Subscription, "g").Provider("Microsoft.ManagedIdentity/userAssignedIdentities", "kubelet")
	sp, err := s.core.directory.EnsureManaged(t.Context(), id, false, "kubelet")
	must(t, err)
	port := strconv.Itoa(s.origin.Port)
	for kubelet, clientID := range map[resource.ID]string{id: sp.ClientID, {}: "", id.Parent().Provider("Microsoft.ManagedIdentity/userAssignedIdentities", "gone"): ""} {
		var p cluster.Plan
		must(t, s.addCredentials(t.Context(), cluster.Cluster{Kubelet: kubelet}, "/data/clusters/1", &p))
		var got client.ProviderConfig
		must(t, json.Unmarshal(p.Files["credentials.json"], &got))
		server := "*.azurecr.fairlead.internal:" + port
		if diff := cmp.Diff(client.ProviderConfig{
			Registries: []client.ProviderRegistry{
				{Host: "*.azurecr.io", LoginServer: server}, {Host: "*.azurecr.fairlead.localhost:" + port, LoginServer: server}, {Host: server, LoginServer: server},
			},
			CAFile: AuthorityFile(s.data.path), TenantID: s.stored.Tenant, Authority: "https://login.fairlead.internal:" + port,
			ClientID: clientID, StateDir: credentialFailures,
		}, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", kubelet, diff)
		}
		var kubeletFile struct {
			Providers []struct{ Args, MatchImages []string }
		}
		must(t, json.Unmarshal(p.CredentialProviders, &kubeletFile))
		if p := kubeletFile.Providers; len(p) != 1 || p[0].Args[2] != "/data/clusters/1/credentials.json" || len(p[0].MatchImages) != 3 {
			t.Errorf("the kubelet's file is %+v", p)
		}
	}
}
