//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/acr"
	"fairlead.dev/internal/api/appservice"
	"fairlead.dev/internal/api/arm"
	"fairlead.dev/internal/api/entra"
	"fairlead.dev/internal/api/graph"
	"fairlead.dev/internal/api/oci"
	"fairlead.dev/internal/cluster/connected"
	"fairlead.dev/internal/driver/files"
	"fairlead.dev/internal/driver/kubernetes/compute"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/explain"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/server/clusters"
	"fairlead.dev/internal/token"
)

// Server is one Fairlead: everything that New opened, in the order in which Close undoes it.
type Server struct {
	cfg    Config
	log    *slog.Logger
	data   *dataDir
	stored stored
	origin resource.Origin

	listeners []net.Listener
	authority *authority
	sealer    *secret.Sealer
	db        *sql.DB
	core      core
	node      *node
	claim     *compute.Claim // nil without compute on a cluster
	changes   *changes
	admin     *administrator
	revoke    func(context.Context) error // takes this start's secret back
	arm       *arm.Handler
	metrics   *prometheus.Registry
	http      *http.Server

	undo []func() error
}

// core is what stands behind every surface.
type core struct {
	resources *sql.Resources
	directory *identity.Directory
	access    *access.Engine
	tokens    *token.Service
	registry  *registry.Service
	pull      *pull.Puller
	run       *run.Service
	clusters  *clusters.Clusters
	connected *connected.Service
	explain   *explain.Explainer
}

// New opens the data directory and everything in it. What it opened before it failed is closed again.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: log}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open is New, top to bottom.
func (s *Server) open(ctx context.Context) (err error) {
	if s.data, err = s.openData(ctx); err != nil {
		return err
	}
	s.later(s.data.Close)
	if err := s.claimCluster(ctx); err != nil {
		return err
	}
	if err := s.removeReady(); err != nil { // a killed server's: who waits for ours must not take it for it
		return err
	}
	if err := s.settleOrigin(); err != nil {
		return err
	}
	if s.sealer, err = s.data.sealer(); err != nil {
		return fmt.Errorf("opening the sealing keys: %w", err)
	}
	if s.authority, err = openAuthority(s.data, s.origin, time.Now); err != nil {
		return err
	}
	if s.authority.anew {
		s.log.Warn("the certificate authority was made anew, for the domains have changed or it was old: whoever trusted it has to trust the new one", "file", AuthorityFile(s.cfg.Data))
	}
	if err := s.data.makePrivate("fairlead.db"); err != nil {
		return err
	}
	if s.db, err = sql.Open(ctx, s.data.file("fairlead.db")); err != nil {
		return err
	}
	s.later(s.db.Close)
	if err := s.openCore(ctx); err != nil {
		return err
	}
	s.openSurfaces()
	return nil
}

func (s *Server) later(f func() error) { s.undo = append(s.undo, f) }

// Close undoes New in reverse order. Containers go on.
func (s *Server) Close() error {
	var errs []error
	for _, v := range slices.Backward(s.undo) {
		errs = append(errs, v())
	}
	s.undo = nil
	return errors.Join(errs...)
}

// settleOrigin opens the listener and fixes names and port: what first start chose stays, and what the flags say
// overrides it.
func (s *Server) settleOrigin() error {
	before, err := s.data.readStored()
	if err != nil {
		return err
	}
	now := before
	if len(s.cfg.Domains) > 0 {
		now.Domains = s.cfg.Domains
	}
	if len(now.Domains) == 0 {
		now.Domains = []string{"fairlead.localhost", "fairlead.internal"}
	}
	now.Tenant = orDefault(s.cfg.Tenant, orDefault(before.Tenant, uuid.NewString()))
	if before.Tenant != "" && before.Tenant != now.Tenant {
		return fmt.Errorf("this data directory belongs to tenant %s; --tenant-id %s needs another --data", before.Tenant, now.Tenant)
	}
	now.Subscription = orDefault(s.cfg.Subscription, orDefault(before.Subscription, uuid.NewString()))
	if before.Subscription != "" && before.Subscription != now.Subscription {
		return fmt.Errorf("this data directory belongs to subscription %s; --subscription-id %s needs another --data", before.Subscription, now.Subscription)
	}
	l, err := listen(s.cfg.Listen, before.Port)
	if err != nil {
		return err
	}
	s.later(func() error { return ignoreClosed(l.Close()) })
	s.listeners = append(s.listeners, l)
	now.Port = portOf(l)
	if before.Port != 0 && before.Port != now.Port {
		s.log.Warn("the port has changed: login servers and links that carry the old one no longer lead here", "before", before.Port, "now", now.Port)
	}
	if s.cfg.Compute == computeOn {
		now.Containerd = s.cfg.Containerd
	}
	if s.cfg.Compute == computeRemote {
		now.Kubeconfig, now.Context = s.cfg.Kubeconfig, s.cfg.Context
	}
	if now.Created.IsZero() {
		now.Created = time.Now().UTC()
	}
	s.stored = now
	s.origin = resource.Origin{Domains: now.Domains, Port: now.Port}
	return s.data.writeStored(now)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// openCore makes the core over its drivers, from left to right.
func (s *Server) openCore(ctx context.Context) error {
	tenant, now := s.stored.Tenant, time.Now
	s.core.resources = sql.NewResources(s.db, tenant)
	s.core.directory = identity.NewDirectory(sql.NewDirectory(s.db, tenant), s.sealer, tenant, now)
	s.core.access = access.NewEngine(sql.NewAccess(s.db, tenant), tenant)
	s.core.tokens = token.NewService(sql.NewKeys(s.db, tenant), s.sealer, s.origin, tenant, now)
	blobs, err := files.Open(s.data.file("content"))
	if err != nil {
		return err
	}
	s.core.registry = registry.New(sql.NewRegistry(s.db, tenant), blobs, now)
	if s.admin, err = openAdministrator(ctx, s.core.directory, s.core.access, s.stored.AdminApp); err != nil {
		return err
	}
	if s.stored.AdminApp != s.admin.app.ObjectID {
		s.stored.AdminApp = s.admin.app.ObjectID
		if err := s.data.writeStored(s.stored); err != nil {
			return err
		}
	}
	return s.openCompute(ctx)
}

// openCompute starts the node and what runs on it.
func (s *Server) openCompute(ctx context.Context) error {
	var err error
	s.changes = newChanges(s.core.directory.Changed, s.core.access.Changed)
	if s.node, err = s.openNode(ctx); err != nil {
		return err
	}
	s.later(s.node.Close)
	registries := newNodeRegistries(s.origin, s.core.registry, s.authority, s.listeners[0].Addr())
	identities := &nodeIdentities{s.core.directory, s.core.tokens}
	s.core.pull = pull.New(registries, identities, s.node.images, pull.Limits{}, time.Now, s.log)
	s.core.run = run.NewService(run.Config{
		Store: sql.NewRun(s.db, s.stored.Tenant), Runtime: s.node.runtime, Execer: s.node.execer, Puller: s.core.pull,
		Sealer: s.sealer, Log: s.log, Now: time.Now, LogDir: s.data.file("compute", "logs"),
		Platform: platform(runtime.GOARCH), SameRegistry: registries.sameRegistry, AccessChanged: s.changes.Changed,
		Warm: s.node.Transport(true),
	})
	if err := s.openClusters(); err != nil {
		return err
	}
	s.openConnected()
	s.core.explain = explain.New(explain.Deps{
		Groups: s.core.run, Pull: s.core.pull, Access: s.core.access, Directory: s.core.directory,
		Registry: s.core.registry, Registries: registries, Origin: s.origin, Platform: platform(runtime.GOARCH), Now: time.Now,
		Clusters: s.core.clusters,
	})
	return nil
}

// openSurfaces makes the HTTP surfaces and the server that mounts them.
func (s *Server) openSurfaces() {
	s.metrics = prometheus.NewRegistry()
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	telemetry := api.NewTelemetry(s.log, s.metrics)
	s.arm = arm.New(arm.Deps{
		Origin: s.origin, Tenant: s.stored.Tenant, Subscription: s.stored.Subscription,
		Store: s.core.resources, Operations: s.core.resources, Bearer: s.bearer(resource.ARM),
		Access: s.core.access, Directory: s.core.directory, Registries: s.core.registry, Workloads: s.core.run, Clusters: s.core.clusters, Connected: s.core.connected,
		Explainer: s.core.explain, Sealer: s.sealer, Now: time.Now, Log: s.log,
	})
	front := newFront(s.origin, surfaces{
		arm: s.arm,
		login: entra.New(entra.Deps{
			Directory: s.core.directory, Tokens: s.core.tokens, Origin: s.origin, Tenant: s.stored.Tenant, Now: time.Now, Log: s.log,
			Issuers: s.core.clusters, Foreign: s.foreignIssuers(),
		}),
		issuers:  entra.NewIssuers(s.origin, s.core.clusters, s.log),
		clusters: s.core.clusters.Handler(),
		graph: graph.New(graph.Deps{
			Bearer: s.bearer(resource.Graph), Access: s.core.access, Directory: s.core.directory, Origin: s.origin, Log: s.log,
		}),
		registry: s.registrySurface(),
		ingress:  s.core.clusters.Ingress,
		site:     appservice.New(appservice.Deps{Run: s.core.run, Find: s.siteOf, Log: s.log, Transport: s.node.Transport(false)}),
	}, telemetry, s.metrics, s.db.Ping)
	s.http = &http.Server{
		Handler: front, TLSConfig: s.authority.tlsConfig(s.core.clusters.Certificate), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// registrySurface is what a registry's host name answers: ACR's token endpoints and the distribution API. A mux would
// clean paths and answer with redirects, which clients of these protocols do not follow.
func (s *Server) registrySurface() http.Handler {
	tokens := acr.New(acr.Deps{
		Resolve: s.registryOf, Auth: s.registryAuth(), Entra: s.core.tokens, Tokens: s.core.tokens,
		Access: s.core.access, Origin: s.origin, Log: s.log,
	})
	distribution := oci.New(oci.Deps{Resolve: s.registryOf, Registry: s.core.registry, Auth: s.registryAuth(), Access: s.core.access, Log: s.log})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/oauth2/") {
			tokens.ServeHTTP(w, r)
			return
		}
		distribution.ServeHTTP(w, r)
	})
}

// registryOf gives the registry that a request's host name means; registry.ErrRegistryUnknown.
func (s *Server) registryOf(r *http.Request) (registry.Registry, error) {
	name, ok := registryName(s.origin, r.Host)
	if !ok {
		return registry.Registry{}, registry.ErrRegistryUnknown
	}
	return s.core.registry.Lookup(r.Context(), name)
}

// bearer checks access tokens for one of our services.
func (s *Server) bearer(service resource.Service) api.Bearer {
	return api.Bearer{
		Tokens: s.core.tokens, Directory: s.core.directory,
		Accept: func(audience string) bool { return s.origin.IsAudience(audience, service) },
	}
}

// registryAuth establishes who asks a registry.
func (s *Server) registryAuth() *api.RegistryAuth {
	return &api.RegistryAuth{Tokens: s.core.tokens, Directory: s.core.directory}
}

// siteOf gives the web app that a host name means; resource.ErrNotFound.
func (s *Server) siteOf(ctx context.Context, host string) (resource.ID, error) {
	kind, name := s.origin.ParseHost(host)
	if kind != resource.HostSite {
		return resource.ID{}, resource.ErrNotFound
	}
	site, err := s.core.resources.FindByName(ctx, typeSite, name)
	return site.ID, err
}
