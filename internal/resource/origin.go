package resource

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Origin is where this Fairlead is reached from outside: its domains, the first of which is the one that links, login
// servers and audiences carry, and its HTTPS port. It is chosen once per data directory and stored.
type Origin struct {
	Domains []string // lower case, never empty: "fairlead.localhost", "fairlead.internal"
	Port    int      // of the HTTPS listener; 443 is left out of URLs
}

// Service is the first label of the host names that belong to Fairlead itself.
type Service string

// The fixed host names under each domain.
const (
	ARM    Service = "management"
	Login  Service = "login"
	Graph  Service = "graph"
	Portal Service = "portal"
	OIDC   Service = "oidc" // the issuers of clusters' service account tokens

	Clusters Service = "clusters" // where the API servers of managed clusters ask Fairlead
)

// The labels between a resource's name and the domain in its host name.
const (
	registryLabel = "azurecr"
	siteLabel     = "azurewebsites"
	groupLabel    = "azurecontainer"
	clusterLabel  = "aks"
)

// Domain gives the domain that links carry.
func (o Origin) Domain() string { return o.Domains[0] }

// URL gives "https://<service>.<domain>[:port]", without a trailing slash.
func (o Origin) URL(s Service) string { return "https://" + o.withPort(string(s)+"."+o.Domain()) }

// RegistrySuffix gives what follows a registry's name in its login server: ".azurecr.<domain>[:port]".
func (o Origin) RegistrySuffix() string { return o.withPort("." + registryLabel + "." + o.Domain()) }

// LoginServer gives the login server of the registry called name: "<name>.azurecr.<domain>[:port]", in lower case.
func (o Origin) LoginServer(name string) string { return strings.ToLower(name) + o.RegistrySuffix() }

// AzureRegistries is what follows a registry's name in Azure. Inside our compute it means the local registry of the name, so
// that files written for Azure run as they are.
const AzureRegistries = ".azurecr.io"

// RegistryHosts gives every host that images may name the registry called name by: Azure's, and the login server under each
// of our domains.
func (o Origin) RegistryHosts(name string) []string {
	hosts := []string{strings.ToLower(name) + AzureRegistries}
	for _, domain := range o.Domains {
		hosts = append(hosts, o.Under("any."+domain).LoginServer(name))
	}
	return hosts
}

// SiteHost gives the host name, without port, of the web app called name.
func (o Origin) SiteHost(name string) string {
	return strings.ToLower(name) + "." + siteLabel + "." + o.Domain()
}

// GroupHost gives the fqdn, without port, of the container group with a DNS name label in a region.
func (o Origin) GroupHost(label, region string) string {
	return strings.ToLower(label) + "." + strings.ToLower(strings.ReplaceAll(region, " ", "")) + "." + groupLabel + "." + o.Domain()
}

// ClusterHosts gives the names, without port, of a managed cluster's API server, one under each domain:
// "<prefix>-<key>.hcp.<region>.aks.<domain>". key tells clusters of one prefix apart.
func (o Origin) ClusterHosts(prefix, key, region string) []string {
	name := strings.ToLower(prefix + "-" + key + ".hcp." + strings.ReplaceAll(region, " ", "") + "." + clusterLabel + ".")
	hosts := make([]string, len(o.Domains))
	for i, domain := range o.Domains {
		hosts[i] = name + domain
	}
	return hosts
}

func (o Origin) withPort(host string) string {
	if o.Port == 443 {
		return host
	}
	return host + ":" + strconv.Itoa(o.Port)
}

// Issuer gives the issuer of version 2.0 tokens of a tenant. It carries neither a port nor the name that was asked,
// so that a token stays valid when either changes.
func (o Origin) Issuer(tenant string) string {
	return "https://login." + o.Domain() + "/" + tenant + "/v2.0"
}

// IssuerV1 gives the issuer of version 1.0 tokens (all tokens for ARM are): "https://sts.<domain>/<tenant>/".
func (o Origin) IssuerV1(tenant string) string {
	return "https://sts." + o.Domain() + "/" + tenant + "/"
}

// ClusterIssuer gives the issuer of a cluster's service account tokens: "https://oidc.<domain>[:port]/<tenant>/<cluster>/",
// both GUIDs. Unlike those of our own tokens it is an address that can be asked.
func (o Origin) ClusterIssuer(tenant, cluster string) string {
	return o.URL(OIDC) + "/" + strings.ToLower(tenant) + "/" + strings.ToLower(cluster) + "/"
}

// HostKind says what a host name under one of our domains belongs to.
type HostKind string

// What ParseHost finds.
const (
	HostService  HostKind = "service"  // Name is the Service
	HostRegistry HostKind = "registry" // Name is the registry's
	HostSite     HostKind = "site"     // Name is the web app's
	HostGroup    HostKind = "group"    // Name is "<label>.<region>"
	HostCluster  HostKind = "cluster"  // Name is "<prefix>-<key>.hcp.<region>"
	HostUnknown  HostKind = ""
)

// ParseHost tells what a host (with or without a port, in any case, with or without the final dot) belongs to. It
// looks at the name only: whether the resource exists is for its owner to say.
func (o Origin) ParseHost(host string) (HostKind, string) {
	host = strings.TrimSuffix(strings.ToLower(HostName(host)), ".")
	for _, domain := range o.Domains {
		prefix, ok := strings.CutSuffix(host, "."+domain)
		if !ok {
			continue
		}
		if !strings.Contains(prefix, ".") {
			return HostService, prefix
		}
		// A resource's name comes first, its kind's label last.
		at := strings.LastIndexByte(prefix, '.')
		switch name := prefix[:at]; prefix[at+1:] {
		case registryLabel:
			return HostRegistry, name
		case siteLabel:
			return HostSite, name
		case groupLabel:
			return HostGroup, name
		case clusterLabel:
			return HostCluster, name
		}
	}
	return HostUnknown, ""
}

// Under gives the origin for whoever came in by host: the domain that host lies in stands first, so that links lead back
// by the names that the caller can resolve. With a host under none of our domains nothing changes.
func (o Origin) Under(host string) Origin {
	host = strings.TrimSuffix(strings.ToLower(HostName(host)), ".")
	for i, domain := range o.Domains {
		if strings.HasSuffix(host, "."+domain) {
			o.Domains = slices.Concat([]string{domain}, o.Domains[:i], o.Domains[i+1:])
			return o
		}
	}
	return o
}

// HostName gives a host without its port.
func HostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

// Azure's own audiences: of the resource manager, of the registry service, of the directory, and of the API servers of
// managed clusters (the application "Azure Kubernetes Service AAD Server", which has its client id for an audience).
const (
	AzureARM        = "https://management.azure.com"
	AzureARMClassic = "https://management.core.windows.net"
	AzureRegistry   = "https://containerregistry.azure.net"
	AzureGraph      = "https://graph.microsoft.com"
	AzureClusters   = "6dae42f8-4368-4678-94ff-3960e28e3630"
)

// IsAudience reports whether aud, an absolute URL with or without trailing slashes, names one of our services, under
// any of our domains, with our port or without one, or under Azure's own name for it.
func (o Origin) IsAudience(aud string, services ...Service) bool {
	aud = strings.TrimRight(strings.ToLower(aud), "/")
	for _, s := range services {
		if s == ARM && slices.Contains([]string{AzureARM, AzureARMClassic}, aud) || s == Graph && aud == AzureGraph {
			return true
		}
		u, err := url.Parse(aud)
		if err != nil || u.Scheme != "https" || u.Path != "" {
			continue
		}
		for _, domain := range o.Domains {
			if u.Hostname() == string(s)+"."+domain && (u.Port() == "" || u.Port() == strconv.Itoa(o.Port)) {
				return true
			}
		}
	}
	return false
}

// TokenAudience tells whether access tokens are issued for an audience, as a client names it, and how: the audience that
// they carry, and their version. The resource manager and managed clusters take version 1 only, whatever was asked for; to
// the others the request decides: byResource is that of the old endpoint, for a "resource" instead of a scope.
//
// Source: https://learn.microsoft.com/entra/identity-platform/access-tokens#token-formats; that the AKS server application
// has version 1 tokens shows in the examples of https://azure.github.io/kubelogin/
func (o Origin) TokenAudience(asked string, byResource bool) (audience string, version int, ok bool) {
	switch trimmed := strings.TrimRight(asked, "/"); {
	case strings.EqualFold(trimmed, AzureClusters):
		return AzureClusters, 1, true
	case o.IsAudience(asked, ARM):
		return asked, 1, true
	case !o.IsAudience(asked, Graph) && trimmed != AzureRegistry:
		return "", 0, false
	case byResource:
		return asked, 1, true
	}
	return asked, 2, true
}
