//go:build linux

// Package clusters joins managed clusters to the rest of Fairlead: whose tokens their API servers take, whom these ask who
// may do what, which identities their nodes have, and who signs the tokens of their service accounts. How a cluster is
// brought about and kept is package cluster's business; what surfaces answer is theirs.
package clusters

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api/aks"
	"fairlead.dev/internal/api/entra"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/memo"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

// Deps is what clusters are joined to.
type Deps struct {
	Origin    resource.Origin
	Inside    resource.Origin // as seen from nodes and pods
	Tenant    string          // GUID
	Authority []byte          // PEM: what nodes and pods are to trust
	Store     cluster.Store
	Sealer    *secret.Sealer
	Directory *identity.Directory
	Roles     *access.Engine
	Tokens    *token.Service
	Log       *slog.Logger
	// Machine makes the machine that clusters run on, whose nodes get instance metadata of the cluster with a key from
	// metadata.
	Machine func(metadata func(key string) http.Handler) Machine
}

// Machine is a cluster.Machine that keeps the files of a plan in a directory of its choice.
type Machine interface {
	cluster.Machine
	Dir(key string) string
}

// Clusters is the service of managed clusters, and what surfaces need of it.
type Clusters struct {
	*cluster.Service

	deps         Deps
	machine      Machine
	certificates *memo.Memo[string, *tls.Certificate] // of Ingresses, by host
}

// New makes the service; Run, which it has of cluster.Service, brings it to life.
func New(d Deps) *Clusters {
	c := &Clusters{deps: d, certificates: memo.New[string, *tls.Certificate](1000)}
	c.machine = d.Machine(c.metadata)
	c.Service = cluster.NewService(cluster.Config{
		Store: d.Store, Machine: c.machine, Sealer: d.Sealer, Log: d.Log, Now: time.Now, Complete: c.complete, Settle: c.settle,
	})
	return c
}

// Files that the API server's configurations refer to.
const (
	authorizerFile = "authorizer.kubeconfig"
	admissionFile  = "admission.kubeconfig"
)

// The paths under the host clusters.<domain>.
const (
	authorizePath = "/authorize"
	admitPath     = "/admit"
)

// complete adds to a plan what the API server and the kubelets have to know of Fairlead.
func (c *Clusters) complete(_ context.Context, wanted cluster.Cluster, token secret.Text, p *cluster.Plan) error {
	file := func(name string) string { return filepath.Join(c.machine.Dir(p.Key), name) }
	url := c.deps.Inside.URL(resource.Clusters)
	p.Issuer = c.issuer(wanted)
	p.Files = map[string][]byte{}
	if wanted.Entra {
		p.Authentication = aks.AuthenticationConfiguration(c.deps.Origin, c.deps.Inside, c.deps.Tenant, c.deps.Authority)
		p.Authorization = aks.AuthorizationConfiguration(file(authorizerFile))
		p.Files[authorizerFile] = aks.WebhookKubeconfig(url+authorizePath, c.deps.Authority, token.Reveal())
	}
	if wanted.WorkloadIdentity {
		p.Admission = aks.AdmissionConfiguration(file(admissionFile))
		p.Files[admissionFile] = aks.AdmissionKubeconfig(url, token.Reveal())
	}
	return c.addCredentials(p)
}

// issuer gives the issuer of a cluster's service accounts' tokens.
func (c *Clusters) issuer(of cluster.Cluster) string {
	return c.deps.Origin.ClusterIssuer(c.deps.Tenant, of.UID)
}

// Handler answers for the host clusters.<domain>, where API servers ask.
func (c *Clusters) Handler() http.Handler {
	caller := aks.CallerByToken(c.tokenHashes)
	mux := http.NewServeMux()
	mux.Handle(authorizePath, aks.NewAuthorizer(aks.AuthorizerDeps{
		Caller: caller, Access: c.deps.Roles, Directory: c.deps.Directory, Log: c.deps.Log,
	}))
	mux.Handle(admitPath, aks.NewWebhook(aks.WebhookDeps{
		Caller: caller, ServiceAccounts: c, TenantID: "adfs", AuthorityHost: c.deps.Inside.URL(resource.Login) + "/", Log: c.deps.Log,
	}))
	return mux
}

// tokenHashes gives what API servers show who they are by.
func (c *Clusters) tokenHashes(ctx context.Context) map[resource.ID]string {
	out := map[resource.ID]string{}
	for _, one := range c.Clusters() {
		if t, err := c.Token(ctx, one.ID); err == nil {
			out[one.ID] = secret.HashGenerated(t)
		}
	}
	return out
}

// metadata answers for instance metadata on the nodes of a cluster.
func (c *Clusters) metadata(key string) http.Handler {
	return entra.NewMetadata(entra.MetadataDeps{
		Directory: c.deps.Directory, Tokens: c.deps.Tokens, Origin: c.deps.Origin, Tenant: c.deps.Tenant, Now: time.Now, Log: c.deps.Log,
		Identities: func(r *http.Request) ([]pull.Identity, error) { return c.identities(r.Context(), key) },
	})
}

// identities gives the identities that the nodes of a cluster have: the kubelet's, unless it was deleted.
func (c *Clusters) identities(ctx context.Context, key string) ([]pull.Identity, error) {
	for _, one := range c.Clusters() {
		if cluster.Key(one.ID) != key || one.Kubelet.IsZero() {
			continue
		}
		sp, err := c.deps.Directory.Managed(ctx, one.Kubelet)
		if errors.Is(err, identity.ErrPrincipalUnknown) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []pull.Identity{{Resource: one.Kubelet, ClientID: sp.ClientID, PrincipalID: sp.ID}}, nil
	}
	return nil, nil
}
