// Package graph speaks the part of Microsoft Graph that tools need to manage applications, their secrets and service
// principals. Its pipeline is: parse the path, establish who asks, authorise the route's permission, and only then look
// at the body. The directory itself is package identity's; who may change it is decided by package access at the root
// scope.
//
// Source: https://learn.microsoft.com/graph/api/resources/application
package graph

import (
	"context"
	"log/slog"
	"net/http"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// Authenticator establishes who asks; api.Bearer is one.
type Authenticator interface {
	Authenticate(ctx context.Context, r *http.Request) (identity.Principal, error)
}

// Checker decides; *access.Engine is one.
type Checker interface {
	Check(ctx context.Context, p identity.Principal, a access.Action, scope resource.ID) (access.Decision, error)
}

// Deps is what the surface needs.
type Deps struct {
	Bearer    Authenticator // of tokens whose audience is Graph
	Access    Checker
	Directory *identity.Directory
	Origin    resource.Origin
	Log       *slog.Logger
}

// New gives the handler of the graph host.
func New(deps Deps) http.Handler { return &handler{Deps: deps, routes: routes()} }

type handler struct {
	Deps
	routes []route
}

// permission is what a route needs: an action at the root scope, or nothing but to be known. The zero permission is
// granted to nobody.
type permission struct {
	action string
	known  bool
}

// The actions on the directory. They stand under Microsoft.Authorization because whoever can add a secret to an
// application can act as it: Contributor, whose notActions take all writing there away, must not be able to become
// Owner by giving the administrator's application a secret.
const (
	actionRead            = "Microsoft.Authorization/directory/read"
	actionAppWrite        = "Microsoft.Authorization/directory/applications/write"
	actionAppDelete       = "Microsoft.Authorization/directory/applications/delete"
	actionPrincipalWrite  = "Microsoft.Authorization/directory/servicePrincipals/write"
	actionPrincipalDelete = "Microsoft.Authorization/directory/servicePrincipals/delete"
)

// route is one kind of request.
type route struct {
	method, shape string // "applications/{}/addPassword"
	needs         permission
	handle        func(*handler, call) (answer, error)
}

// routes lists every kind of request.
func routes() []route {
	action := func(name string) permission { return permission{action: name} }
	return []route{
		{http.MethodGet, "me", permission{known: true}, (*handler).me},
		{http.MethodGet, "applications", action(actionRead), (*handler).listApplications},
		{http.MethodPost, "applications", action(actionAppWrite), (*handler).createApplication},
		{http.MethodGet, "applications/{}", action(actionRead), (*handler).getApplication},
		{http.MethodDelete, "applications/{}", action(actionAppDelete), (*handler).deleteApplication},
		{http.MethodPost, "applications/{}/addpassword", action(actionAppWrite), (*handler).addPassword},
		{http.MethodPost, "applications/{}/removepassword", action(actionAppWrite), (*handler).removePassword},
		{http.MethodGet, "serviceprincipals", action(actionRead), (*handler).listPrincipals},
		{http.MethodPost, "serviceprincipals", action(actionPrincipalWrite), (*handler).createPrincipal},
		{http.MethodGet, "serviceprincipals/{}", action(actionRead), (*handler).getPrincipal},
		{http.MethodPatch, "serviceprincipals/{}", action(actionPrincipalWrite), (*handler).updatePrincipal},
		{http.MethodDelete, "serviceprincipals/{}", action(actionPrincipalDelete), (*handler).deletePrincipal},
		{http.MethodPost, "directoryobjects/getbyids", action(actionRead), (*handler).getByIDs},
	}
}

// call is one authorised request.
type call struct {
	r   *http.Request
	key key
}

// answer is what a handler gives back; a nil body is sent as 204.
type answer struct {
	status int
	body   any
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Request-Id", api.RequestID(r.Context()))
	w.Header().Set("Cache-Control", "no-store")
	out, err := h.serve(r)
	switch {
	case err != nil:
		h.fail(w, r, err)
	case out.body == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		api.WriteJSON(w, out.status, out.body)
	}
}

func (h *handler) serve(r *http.Request) (answer, error) {
	shape, k, ok := parsePath(r.URL.Path)
	rt, err := h.route(r.Method, shape)
	p, denied := h.Bearer.Authenticate(r.Context(), r)
	switch {
	case denied != nil:
		return answer{}, denied
	case !ok:
		return answer{}, errNoRoute
	case err != nil:
		return answer{}, err
	}
	api.WithPrincipal(r.Context(), p)
	if err := h.authorize(r.Context(), p, rt.needs); err != nil {
		return answer{}, err
	}
	return rt.handle(h, call{r, k})
}

// route finds the route of a method and shape; errNoRoute, errMethod.
func (h *handler) route(method, shape string) (route, error) {
	err := error(errNoRoute)
	for _, rt := range h.routes {
		if rt.shape == shape {
			if rt.method == method {
				return rt, nil
			}
			err = errMethod
		}
	}
	return route{}, err
}

func (h *handler) authorize(ctx context.Context, p identity.Principal, needs permission) error {
	if needs.known {
		return nil
	}
	if needs.action == "" {
		return errDenied
	}
	d, err := h.Access.Check(ctx, p, access.Action{Name: needs.action}, resource.Root)
	if err == nil && !d.Allowed {
		err = errDenied
	}
	return err
}

func (h *handler) me(call) (answer, error) { return answer{}, errNotDelegated }
