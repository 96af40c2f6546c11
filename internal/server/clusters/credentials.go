//go:build linux

package clusters

import (
	"encoding/json"
	"path/filepath"

	"fairlead.dev/client"
	"fairlead.dev/internal/api/aks"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/resource"
)

// Files of the credential provider in a cluster's directory. In the last one, a directory, it leaves its failures
// (client.ProviderFailure), for all nodes in one place, because they have one identity.
const (
	credentialFile     = "credentials.json"
	credentialCA       = "credentials.pem"
	credentialFailures = "credential-failures"
)

// CredentialFailure gives the file in which the credential provider leaves why a cluster's nodes last got no login for a
// registry, by its host as it stands in images: as themselves, or for a service account, "namespace/name".
func (c *Clusters) CredentialFailure(id resource.ID, host, serviceAccount string) string {
	return filepath.Join(c.machine.Dir(cluster.Key(id)), credentialFailures, client.ProviderFailureFile(host, serviceAccount))
}

// addCredentials adds to a plan how kubelets get credentials for our registries without secrets: by the program that we are
// ourselves. As whom they ask it need not be told: instance metadata knows the one identity that nodes have, if any.
func (c *Clusters) addCredentials(p *cluster.Plan) error {
	config := credentialConfig(c.deps.Origin, c.deps.Inside, c.deps.Tenant)
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	var hosts []string
	for _, r := range config.Registries {
		hosts = append(hosts, r.Host)
	}
	args := []string{"credential-provider", "--config", filepath.Join(c.machine.Dir(p.Key), credentialFile)}
	p.CredentialProviders = aks.CredentialProviders("fairlead", args, hosts, client.ProviderAnnotations())
	p.Files[credentialFile], p.Files[credentialCA] = text, c.deps.Authority
	return nil
}

// credentialConfig gives the provider's configuration: for Azure's names of registries, and for those under each of our
// domains.
func credentialConfig(origin, inside resource.Origin, tenant string) client.ProviderConfig {
	var registries []client.ProviderRegistry
	for _, host := range origin.RegistryHosts("*") {
		registries = append(registries, client.ProviderRegistry{Host: host, LoginServer: inside.LoginServer("*")})
	}
	return client.ProviderConfig{
		Registries: registries, CAFile: credentialCA, TenantID: tenant, Authority: inside.URL(resource.Login), StateDir: credentialFailures,
	}
}
