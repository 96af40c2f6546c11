package client

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ProviderConfig is the configuration of 'fairlead credential-provider', in JSON or YAML. What is left out has a default.
type ProviderConfig struct {
	// Registries are the hosts for which there is an answer; the first that fits counts.
	Registries []ProviderRegistry `json:"registries"`
	// CAFile is the authority to trust besides the system's, in PEM. A relative path starts at the file's directory.
	CAFile string `json:"caFile,omitempty"`
	// Address, "host:port", is where login servers and the authority are reached whose names do not resolve on the node.
	Address string `json:"address,omitempty"`
	// MetadataEndpoint is where the node gets tokens of its identities.
	MetadataEndpoint string `json:"metadataEndpoint,omitempty"`
	// ClientID names one of the node's identities; needed where it has several.
	ClientID string `json:"clientId,omitempty"`
	// TenantID and Authority are for pods that pull with an identity of their own.
	TenantID  string `json:"tenantId,omitempty"`
	Authority string `json:"authority,omitempty"`
	// Timeout bounds everything.
	Timeout Duration `json:"timeout,omitzero"`
	// CacheDuration is for how long the kubelet keeps a login, at most half of its life.
	CacheDuration Duration `json:"cacheDuration,omitzero"`
	// StateDir is where the last error of each registry is left, for whoever asks why.
	StateDir string `json:"stateDir,omitempty"`
}

// ProviderRegistry is one pattern of hosts.
type ProviderRegistry struct {
	// Host is a host as it stands in images, with its port; its first label may hold one "*".
	Host string `json:"host"`
	// LoginServer is where such a registry is, when not at Host itself; a "*" in it is what stood for that of Host.
	LoginServer string `json:"loginServer,omitempty"`
}

// Duration is a time.Duration that is written "10s".
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("a duration is written as a text such as \"10s\", not %.40s", text)
	}
	parsed, err := time.ParseDuration(s)
	*d = Duration(parsed)
	return err
}

// ProviderAnnotations gives the annotations of a service account by which a pod pulls as a managed identity of its own, a
// client id and a tenant id: those of AKS's own provider, and those of workload identity, which count where the first are
// missing. The kubelet passes on only those that it is told of.
//
// Source: https://github.com/kubernetes-sigs/cloud-provider-azure/blob/master/pkg/credentialprovider/consts.go
func ProviderAnnotations() []string {
	return []string{
		"kubernetes.azure.com/acr-client-id", "kubernetes.azure.com/acr-tenant-id",
		"azure.workload.identity/client-id", "azure.workload.identity/tenant-id",
	}
}

// ProviderFailure is what is left of a request that failed: a file in the configuration's StateDir, until one like it
// succeeds. It holds no secret.
type ProviderFailure struct {
	Image          string    `json:"image"`
	Time           time.Time `json:"time"`
	Step           string    `json:"step"` // metadata, federation, exchange
	URL            string    `json:"url,omitempty"`
	Status         int       `json:"status,omitempty"`
	Message        string    `json:"message"`
	Hint           string    `json:"hint,omitempty"`
	ClientID       string    `json:"clientId,omitempty"`
	ServiceAccount string    `json:"serviceAccount,omitempty"` // "namespace/name"; "" for the node's identity
}

// ProviderFailureFile gives the name of the file in StateDir with the last failure at a registry host: "<host>.json" for the
// node's identity, "<host>@<namespace>.<name>.json" for a service account "namespace/name". The colon before a port is a "_".
func ProviderFailureFile(host, serviceAccount string) string {
	name := strings.ReplaceAll(strings.ToLower(host), ":", "_")
	if serviceAccount != "" {
		name += "@" + strings.ReplaceAll(serviceAccount, "/", ".")
	}
	return name + ".json"
}
