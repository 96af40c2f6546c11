// Package arm owns the resource manager's surface: one pipeline that turns a URL into a typed request, establishes who
// asks, authorises the route's action, and then calls one small value per resource type; with tags, ETags, paging,
// long-running operations and the deletion of groups done once for all types. What a registry, an identity, a role or
// a workload is belongs to the core; how a container group, a web app or a cluster is written on the wire belongs to the
// packages beneath (containergroup, site, managedcluster, connectedcluster, kubeconfig), what fields a body may have to schema, and $filter to odata.
package arm

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/arm/execsession"
	"fairlead.dev/internal/api/arm/metadata"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/cluster/connected"
	"fairlead.dev/internal/explain"
	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

// maxBody is the limit of a request's JSON that the design promises.
const maxBody = 1 << 20

// Deps is what the surface works with.
type Deps struct {
	Origin       resource.Origin
	Tenant       string // GUID
	Subscription string // GUID of the one subscription
	Store        resource.Store
	Operations   resource.Operations
	Bearer       Authenticator
	Access       Access
	Directory    Directory
	Registries   Registries
	Workloads    Workloads
	Clusters     Clusters
	Connected    Connected
	Explainer    Explainer
	Sealer       *secret.Sealer
	Now          func() time.Time
	Log          *slog.Logger
}

// Handler answers for the host management.<domain>.
type Handler struct {
	Deps
	types    map[string]*armType // by full name in lower case
	routes   map[string][]route  // by method, a blank, and shape: one for each kind of scope that differs
	locks    *locks
	deletes  *deletes
	sessions *execsession.Sessions
}

// New makes the surface. Run must be running for deletions to go on.
func New(d Deps) *Handler {
	h := &Handler{Deps: d, types: map[string]*armType{}, routes: map[string][]route{}, locks: newLocks(), sessions: execsession.New(d.Workloads, d.Now, d.Log)}
	h.deletes = newDeletes(h.destroy, d.Operations, d.Log)
	for _, t := range []*armType{h.registryType(), h.identityType(), h.containerGroupType(), h.planType(), h.siteType(), h.clusterType(), h.connectedType()} {
		h.types[strings.ToLower(t.name)] = t
		h.mount(t.routes(h)...)
		h.mount(t.extra...)
	}
	for _, t := range []*childType{h.federationType(), h.poolType()} {
		h.mount(t.routes(h)...)
	}
	h.mount(h.podRoutes()...)
	h.mount(h.subscriptionRoutes()...)
	h.mount(h.groupRoutes()...)
	h.mount(h.roleRoutes()...)
	h.mount(h.assignmentRoutes()...)
	h.mount(h.operationRoutes()...)
	return h
}

func (h *Handler) mount(routes ...route) {
	for _, r := range routes {
		key := r.method + " " + r.shape
		h.routes[key] = append(h.routes[key], r)
	}
}

// Run finishes the deletions that were interrupted, then carries out those that requests begin, until ctx ends; then
// it ends the exec sessions. It returns when nothing is running any more; unfinished deletions are taken up by the next
// Run.
func (h *Handler) Run(ctx context.Context) error {
	defer h.sessions.Close()
	return h.deletes.run(ctx)
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.serveOpen(w, r) {
		return
	}
	out, err := h.answer(r)
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	out.write(w)
}

// serveOpen answers the two things that need no token: the metadata, which clients read before they have one, and the
// socket of an exec session, which has a password of its own.
func (h *Handler) serveOpen(w http.ResponseWriter, r *http.Request) bool {
	segments, err := decodePath(r.URL.EscapedPath())
	if err != nil || len(segments) != 2 || r.Method != http.MethodGet {
		return false
	}
	switch strings.ToLower(segments[0]) {
	case "metadata":
		if !strings.EqualFold(segments[1], "endpoints") {
			return false
		}
		api.WriteJSON(w, http.StatusOK, metadata.Document(h.Origin.Under(r.Host), h.Tenant, r.URL.Query().Get("api-version")))
	case "exec":
		h.sessions.Serve(w, r, segments[1])
	default:
		return false
	}
	return true
}

// answer is the pipeline: parse, authenticate, find the route, authorise, read the body, serve.
func (h *Handler) answer(r *http.Request) (*reply, error) {
	ctx := r.Context()
	req, err := parse(r.Method, r.URL)
	if err != nil {
		return nil, err
	}
	who, err := h.Bearer.Authenticate(ctx, r)
	if err != nil {
		return nil, err
	}
	ctx = api.WithPrincipal(ctx, who)
	to, err := h.route(req)
	if err != nil {
		return nil, err
	}
	c := &call{request: req, http: r, who: who, need: to.need, h: h}
	if err := h.authorise(ctx, c, to); err != nil {
		return nil, err
	}
	if err := checkVersion(req.version, to.oldest); err != nil {
		return nil, err
	}
	if s := req.subscription(); s != "" && !strings.EqualFold(s, h.Subscription) {
		return nil, errSubscriptionUnknown.WithMessage("The subscription '%s' could not be found.", s)
	}
	if c.body, err = api.ReadBody(r, maxBody); err != nil {
		return nil, err
	}
	return to.serve(ctx, c)
}

// authorise refuses a caller who may not do the route's action where it is done.
func (h *Handler) authorise(ctx context.Context, c *call, to route) error {
	if to.need == signedIn || to.owner != nil && to.owner(ctx, c) {
		return nil
	}
	at, err := to.where(ctx, c)
	if err != nil {
		return err
	}
	err = h.require(ctx, c.who, to.need, at)
	if !errors.Is(err, errDenied) || !to.partial {
		return err
	}
	// As in Azure, whoever has any role beneath may list, and sees what that role shows.
	below, found := h.Access.Assignments(ctx, access.AssignmentFilter{Scope: at, PrincipalID: c.who.ID(), Limit: 1})
	if found != nil || len(below) == 0 {
		return cmp.Or(found, err)
	}
	c.partial = true
	return nil
}

var errSubscriptionUnknown = fault.New(fault.NotFound, "SubscriptionNotFound", "the subscription could not be found")

func (h *Handler) route(req request) (route, error) {
	for _, to := range h.routes[req.method+" "+req.shape] {
		if to.at.has(req.scope) {
			return to, nil
		}
	}
	for key := range h.routes {
		if _, shape, _ := strings.Cut(key, " "); shape == req.shape {
			return route{}, errMethod.WithMessage("The requested resource does not support the method '%s' at this scope.", req.method)
		}
	}
	return route{}, fault.Newf(fault.NotFound, "InvalidResourceType", "There is nothing at this path: '%s' under '%s' is not known here.", req.shape, req.scope)
}

// may reports whether who may do an action at a scope.
func (h *Handler) may(ctx context.Context, who identity.Principal, action need, at resource.ID) (bool, error) {
	if action == "" {
		return false, nil
	}
	decision, err := h.Access.Check(ctx, who, access.Action{Name: string(action)}, at)
	return decision.Allowed, err
}

// Authenticator establishes who asks; api.Bearer is one.
type Authenticator interface {
	Authenticate(ctx context.Context, r *http.Request) (identity.Principal, error)
}

// Access decides, and keeps roles and assignments; *access.Engine is one.
type Access interface {
	Check(ctx context.Context, p identity.Principal, a access.Action, scope resource.ID) (access.Decision, error)
	Assignments
	Roles
}

// Assignments keeps role assignments.
type Assignments interface {
	Assign(ctx context.Context, a access.Assignment) (access.Assignment, error)
	Unassign(ctx context.Context, id resource.ID) error
	Assignment(ctx context.Context, id resource.ID) (access.Assignment, error)
	Assignments(ctx context.Context, f access.AssignmentFilter) ([]access.Assignment, error)
	DeleteUnder(ctx context.Context, scope resource.ID) error
}

// Roles keeps role definitions.
type Roles interface {
	Roles(ctx context.Context) ([]access.RoleDefinition, error)
	Role(ctx context.Context, guidOrName string) (access.RoleDefinition, error)
	PutRole(ctx context.Context, r access.RoleDefinition) (access.RoleDefinition, error)
	DeleteRole(ctx context.Context, guid string) error
}

// Directory keeps managed identities, their federations, and registries' admin users; *identity.Directory is one.
type Directory interface {
	Principal(ctx context.Context, objectID string) (identity.Principal, error)
	EnsureManaged(ctx context.Context, owner resource.ID, system bool, name string) (identity.ServicePrincipal, error)
	Managed(ctx context.Context, owner resource.ID) (identity.ServicePrincipal, error)
	DeleteManaged(ctx context.Context, owner resource.ID) error
	Federations
	Admins
}

// Federations keeps the federated credentials of managed identities.
type Federations interface {
	Federate(ctx context.Context, owner resource.ID, f identity.Federation) (stored identity.Federation, created bool, err error)
	Federations(ctx context.Context, owner resource.ID) ([]identity.Federation, error)
	Unfederate(ctx context.Context, owner resource.ID, name string) error
}

// Admins keeps the admin users of registries.
type Admins interface {
	SetAdmin(ctx context.Context, registry resource.ID, enabled bool) error
	AdminPasswords(ctx context.Context, registry resource.ID) ([2]secret.Text, error)
	RegenerateAdmin(ctx context.Context, registry resource.ID, which int) error
	DeleteAdmin(ctx context.Context, registry resource.ID) error
}

// Registries keeps what registries store; *registry.Service is one.
type Registries interface {
	// Create makes an empty registry; nil also when it is there.
	Create(ctx context.Context, id resource.ID) error
	// Delete removes a registry with its content; nil also when there is none.
	Delete(ctx context.Context, id resource.ID) error
}

// Workloads keeps what runs; *run.Service is one.
type Workloads interface {
	Put(ctx context.Context, g run.Group) error
	Delete(ctx context.Context, id resource.ID) error
	Group(ctx context.Context, id resource.ID) (run.Group, error)
	Status(ctx context.Context, id resource.ID) (run.Status, error)
	Switch
	Inside
}

// Clusters keeps managed clusters; *cluster.Service is one.
type Clusters interface {
	Put(ctx context.Context, c cluster.Cluster) error
	Delete(ctx context.Context, id resource.ID) error
	Cluster(ctx context.Context, id resource.ID) (cluster.Cluster, error)
	Status(ctx context.Context, id resource.ID) (cluster.Status, error)
	Access(ctx context.Context, id resource.ID) (cluster.Access, error)
	Version(ctx context.Context) (string, error)
	ClusterSwitch
}

// Connected keeps clusters of others; *connected.Service is one.
type Connected interface {
	Put(ctx context.Context, c connected.Cluster) error
	Delete(ctx context.Context, id resource.ID) error
	Status(ctx context.Context, id resource.ID) (connected.Status, error)
	Refresh(ctx context.Context, id resource.ID) (connected.Status, error)
}

// ClusterSwitch changes what clusters are at.
type ClusterSwitch interface {
	Start(ctx context.Context, id resource.ID) error
	Stop(ctx context.Context, id resource.ID) error
	RotateCertificates(ctx context.Context, id resource.ID) error
}

// Switch starts and stops workloads.
type Switch interface {
	Start(ctx context.Context, id resource.ID) error
	Stop(ctx context.Context, id resource.ID) error
	Restart(ctx context.Context, id resource.ID) error
}

// Inside looks into workloads.
type Inside interface {
	Logs(ctx context.Context, id resource.ID, container string, o run.LogOptions) (io.ReadCloser, error)
	Exec(ctx context.Context, id resource.ID, container string, spec run.ExecSpec) (exitCode int, err error)
	Attempts(ctx context.Context, id resource.ID, container string) (first, last *pull.Attempt, err error)
}

// Explainer tells why a workload can or cannot pull; *explain.Explainer is one. It shows the caller no more than the
// caller may read.
type Explainer interface {
	Why(ctx context.Context, caller identity.Principal, workload resource.ID) ([]explain.Report, error)
	WhyPods(ctx context.Context, caller identity.Principal, cluster resource.ID, e evidence.Evidence) (explain.PodsReport, error)
	Record(ctx context.Context, caller identity.Principal, a *pull.Attempt) (*pull.Attempt, error)
	Events(ctx context.Context, caller identity.Principal, events []run.Event) ([]run.Event, error)
}
