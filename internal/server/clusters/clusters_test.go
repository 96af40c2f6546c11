//go:build linux

package clusters

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/credentialprovider"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// place is a machine that only knows where files are.
type place struct{ Machine }

func (place) Dir(key string) string { return "/data/clusters/" + key }

// TestCredentialsOfPlans reads what is written for the credential provider as that reads it, and as the kubelet does.
func TestCredentialsOfPlans(t *testing.T) {
	c := New(Deps{
		Origin: resource.Origin{Domains: []string{"fairlead.localhost", "fairlead.internal"}, Port: 8443},
		Inside: resource.Origin{Domains: []string{"fairlead.internal", "fairlead.localhost"}, Port: 8443},
		Tenant: "11111111-2222-3333-4444-555555555555", Authority: []byte("PEM"),
		Machine: func(func(key string) http.Handler) Machine { return place{} },
	})
	id := resource.GroupID("s", "g").Provider("Microsoft.ContainerService/managedClusters", "demo")
	plan := cluster.Plan{Key: cluster.Key(id)}
	if err := c.complete(context.Background(), cluster.Cluster{ID: id}, secret.Text{}, &plan); err != nil {
		t.Fatal(err)
	}
	config, err := credentialprovider.ParseConfig(plan.Files["credentials.json"])
	if err != nil {
		t.Fatal(err)
	}
	want, err := credentialprovider.ParseConfig([]byte(`{
		registries: [
			{host: "*.azurecr.io", loginServer: "*.azurecr.fairlead.internal:8443"},
			{host: "*.azurecr.fairlead.localhost:8443", loginServer: "*.azurecr.fairlead.internal:8443"},
			{host: "*.azurecr.fairlead.internal:8443", loginServer: "*.azurecr.fairlead.internal:8443"},
		],
		caFile: credentials.pem, tenantId: 11111111-2222-3333-4444-555555555555, authority: "https://login.fairlead.internal:8443",
		stateDir: credential-failures,
	}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(client.ProviderConfig(want), client.ProviderConfig(config)); diff != "" {
		t.Errorf("the provider's configuration (-want +got):\n%s", diff)
	}
	if string(plan.Files["credentials.pem"]) != "PEM" {
		t.Errorf("the authority is %q", plan.Files["credentials.pem"])
	}
	var kubelet struct {
		Providers []struct{ Args, MatchImages []string }
	}
	if err := json.Unmarshal(plan.CredentialProviders, &kubelet); err != nil {
		t.Fatal(err)
	}
	p := kubelet.Providers[0]
	if diff := cmp.Diff([]string{"credential-provider", "--config", place{}.Dir(plan.Key) + "/credentials.json"}, p.Args); diff != "" {
		t.Errorf("the program's arguments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"*.azurecr.io", "*.azurecr.fairlead.localhost:8443", "*.azurecr.fairlead.internal:8443"}, p.MatchImages); diff != "" {
		t.Errorf("its images (-want +got):\n%s", diff)
	}
	failure := c.CredentialFailure(id, "acme.azurecr.io", "shop/web")
	if failure != "/data/clusters/"+plan.Key+"/credential-failures/acme.azurecr.io@shop.web.json" {
		t.Errorf("a failure is left in %s", failure)
	}
}

func TestHostsOfIngresses(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"shop.example", "shop.example", true},
		{"shop.example", "a.shop.example", false},
		{"*.shop.example", "a.shop.example", true},
		{"*.shop.example", "a.b.shop.example", false},
		{"*.shop.example", "shop.example", false},
	} {
		if got := covers(c.pattern, c.host); got != c.want {
			t.Errorf("%s for %s: %v", c.pattern, c.host, got)
		}
	}
}
