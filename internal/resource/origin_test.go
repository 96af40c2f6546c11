package resource_test

import (
	"slices"
	"strings"
	"testing"

	"fairlead.dev/internal/resource"
)

func TestOriginUnder(t *testing.T) {
	o := resource.Origin{Domains: []string{"fairlead.localhost", "fairlead.internal", "example.test"}, Port: 8443}
	for host, want := range map[string][]string{
		"management.fairlead.localhost:8443":       o.Domains,
		"Management.Fairlead.INTERNAL.":            {"fairlead.internal", "fairlead.localhost", "example.test"},
		"acme.azurecr.example.test:8443":           {"example.test", "fairlead.localhost", "fairlead.internal"},
		"fairlead.internal":                        o.Domains,
		"notfairlead.internal":                     o.Domains,
		"management.fairlead.internal.evil.test:1": o.Domains,
		"": o.Domains,
	} {
		if got := o.Under(host).Domains; !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
	if !slices.Equal(o.Domains, []string{"fairlead.localhost", "fairlead.internal", "example.test"}) {
		t.Errorf("the origin itself became %v", o.Domains)
	}
}

func TestClusterHosts(t *testing.T) {
	o := resource.Origin{Domains: []string{"fairlead.localhost", "fairlead.internal"}, Port: 8443}
	got := o.ClusterHosts("Dev", "0a1b2c3d", "West US 2")
	want := []string{"dev-0a1b2c3d.hcp.westus2.aks.fairlead.localhost", "dev-0a1b2c3d.hcp.westus2.aks.fairlead.internal"}
	if !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for _, host := range got {
		if kind, name := o.ParseHost(strings.ToUpper(host) + ".:8443"); kind != resource.HostCluster || name != "dev-0a1b2c3d.hcp.westus2" {
			t.Errorf("%s: %q %q", host, kind, name)
		}
	}
	if kind, name := o.ParseHost("azurecr-0a1b2c3d.hcp.azurecr.aks.fairlead.internal"); kind != resource.HostCluster {
		t.Errorf("a cluster is taken for the %s %s", kind, name)
	}
}
