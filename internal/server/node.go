//go:build linux

package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/containerd/hosts"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

// nodeRegistries tells the node where a registry is. It is how compute, on this machine too, comes in by the front
// door: over HTTPS, to the listener that everybody uses.
type nodeRegistries struct {
	origin   resource.Origin
	registry *registry.Service
	client   *http.Client
}

// newNodeRegistries makes the node's view of registries.
func newNodeRegistries(origin resource.Origin, reg *registry.Service, a *authority, listener net.Addr) *nodeRegistries {
	return &nodeRegistries{origin: origin, registry: reg, client: newNodeClient(a, listener)}
}

// newNodeClient makes an HTTP client that trusts only our authority and connects every name to our own listener, for
// the host's resolver need not know our domains.
func newNodeClient(a *authority, listener net.Addr) *http.Client {
	address := listener.String()
	if tcp, ok := listener.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		address = hostPort("127.0.0.1", tcp.Port)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:       &tls.Config{RootCAs: a.pool(), MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
	}}
}

// registryName gives the name of the registry that a host stands for, by the host's shape alone.
func registryName(origin resource.Origin, host string) (string, bool) {
	if kind, name := origin.ParseHost(host); kind == resource.HostRegistry {
		return name, true
	}
	name, ok := strings.CutSuffix(strings.ToLower(host), resource.AzureRegistries)
	return name, ok && name != "" && !strings.Contains(name, ".")
}

// sameRegistry reports whether two hosts lead to one registry: its login server, its name under another of our
// domains, or Azure's name for it.
func (n *nodeRegistries) sameRegistry(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	nameA, okA := registryName(n.origin, a)
	nameB, okB := registryName(n.origin, b)
	return okA && okB && nameA == nameB
}

// Endpoint implements pull.Registries; pull.ErrHostUnknown for a host that is no registry here. No cloud is ever asked.
func (n *nodeRegistries) Endpoint(ctx context.Context, host string) (pull.Endpoint, error) {
	name, ok := registryName(n.origin, host)
	if !ok {
		return pull.Endpoint{}, n.unknown(ctx, host, host)
	}
	found, err := n.registry.Lookup(ctx, name)
	if errors.Is(err, registry.ErrRegistryUnknown) {
		return pull.Endpoint{}, n.unknown(ctx, host, name)
	}
	if err != nil {
		return pull.Endpoint{}, err
	}
	server := n.origin.LoginServer(found.Name)
	return pull.Endpoint{Registry: found.ID, BaseURL: "https://" + server, Service: server, Client: n.client}, nil
}

func (n *nodeRegistries) unknown(ctx context.Context, host, name string) error {
	near, err := n.registry.Nearest(ctx, strings.SplitN(name, ".", 2)[0])
	if err != nil {
		return err
	}
	for i := range near {
		near[i] = n.origin.LoginServer(near[i])
	}
	if len(near) == 0 {
		return pull.ErrHostUnknown.WithMessage("%q is no registry here, and there is none to suggest: make one with 'fairlead registry create'", host)
	}
	return pull.ErrHostUnknown.WithMessage("%q is no registry here; the nearest are %s", host, strings.Join(near, ", "))
}

// forContainers gives the origin with a domain first that leads to us from containers, whatever resolves names there: one
// below ".localhost" may be taken for the container itself (RFC 6761 section 6.3).
func forContainers(o resource.Origin) resource.Origin {
	for _, domain := range o.Domains {
		if !strings.HasSuffix(domain, ".localhost") {
			return o.Under("any." + domain)
		}
	}
	return o
}

// registryHosts gives where registries are for the containerd of clusters' nodes, by each name that an image may have:
// Azure's, and the login servers under our domains.
func registryHosts(o resource.Origin, authority string, registries []registry.Registry) []hosts.Host {
	inside := forContainers(o)
	var all []hosts.Host
	for _, r := range registries {
		for _, name := range o.RegistryHosts(r.Name) {
			all = append(all, hosts.Host{Name: name, Server: "https://" + inside.LoginServer(r.Name), Authority: authority})
		}
	}
	return all
}

// keepHosts tells clusters' nodes where registries are, as these come and go, until ctx ends.
func (s *Server) keepHosts(ctx context.Context) error {
	for {
		changed := s.core.registry.Changed()
		var again <-chan time.Time
		if err := s.writeHosts(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "telling nodes where registries are", "error", err)
			again = time.After(10 * time.Second)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
	}
}

func (s *Server) writeHosts(ctx context.Context) error {
	all, err := s.core.registry.Registries(ctx)
	if err != nil {
		return err
	}
	return hosts.Write(s.hostsDir(), registryHosts(s.origin, AuthorityFile(s.data.path), all))
}

// hostsDir is where clusters' nodes look up registries.
func (s *Server) hostsDir() string { return s.data.file("compute", "registries") }

// nodeIdentities gives a workload's own managed identity its token, as the instance metadata service does in Azure.
type nodeIdentities struct {
	directory *identity.Directory
	tokens    *token.Service
}

// Token implements pull.Identities. It fails when the identity was deleted or disabled meanwhile.
func (n *nodeIdentities) Token(ctx context.Context, id pull.Identity, audience string) (secret.Text, error) {
	managed, err := n.directory.Managed(ctx, id.Resource)
	if err != nil {
		return secret.Text{}, err
	}
	principal, err := n.directory.Principal(ctx, managed.ID)
	if err != nil {
		return secret.Text{}, err
	}
	raw, _, err := n.tokens.IssueAccess(ctx, principal, audience, 2)
	return raw, err
}

// platform is what this machine runs.
func platform(arch string) content.Platform {
	return content.Platform{OS: "linux", Architecture: arch}
}
