package resource_test

import (
	"slices"
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
