package oci

import (
	"net/http"
	"slices"
	"strings"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/token"
)

// scope gives the type and the name that the request's token scope has.
func (r request) scope() (scopeType, name string) {
	if r.kind == kindCatalog {
		return registry.ScopeRegistry, registry.ScopeCatalog
	}
	return registry.ScopeRepository, r.repository
}

// authorize opens the view that a request may use, and gives what its token opens. Whoever is not known, whose token is
// not good for the request, and who has not the right all get the same 401 with a challenge, as ACR answers.
//
// So does whoever could read the repository to mount from, but with another token: clients come back with that one and are
// spared an upload, while to those who may not read it the answer is an upload (spec, "Mounting a blob from another
// repository").
func (h *handler) authorize(r *http.Request, reg registry.Registry, req request) (*registry.View, bound, error) {
	p, scopes, err := h.Auth.Authenticate(r.Context(), r, reg.ID)
	if err != nil {
		if kind := fault.KindOf(err); kind != fault.Unauthenticated && kind != fault.Denied {
			return nil, bound{}, err
		}
		return nil, bound{}, challenge(r, req, invalidToken).because(err)
	}
	api.WithPrincipal(r.Context(), p)
	with := bound{scopes: scopes, free: scopes == nil && !isBearer(r)}
	actions, ok := req.actions(with)
	if !ok {
		return nil, bound{}, challenge(r, req, insufficientScope)
	}
	grant, err := h.Access.Grant(r.Context(), p, reg.ID, actions...)
	if err != nil {
		return nil, bound{}, err
	}
	if grant.IsZero() || !table[req.kind].anyRight && !grant.Allows(actions[0]) {
		return nil, bound{}, challenge(r, req, insufficientScope)
	}
	if req.from != "" && grant.Allows(registry.ActionPull) && !with.covers(registry.ScopeRepository, req.from, []string{pull}) {
		return nil, bound{}, challenge(r, req, insufficientScope)
	}
	view, err := h.Registry.Open(grant, reg)
	return view, with, err
}

// actions gives what the request needs the right to do, the indispensable first; ok is false when the token is not good
// for it.
func (r request) actions(b bound) (actions []access.Action, ok bool) {
	op := table[r.kind]
	if op.anyRight {
		return registry.AllActions(), true
	}
	scopeType, name := r.scope()
	if !b.covers(scopeType, name, op.needs) {
		return nil, false
	}
	action, ok := registry.ActionOf(scopeType, name, op.needs[0])
	actions = append(actions, action)
	if r.mount != "" {
		actions = append(actions, registry.ActionPull)
	}
	return actions, ok
}

// bound is what a token may be used for; free when the caller presented a password.
type bound struct {
	scopes []token.ScopedAccess
	free   bool
}

func (b bound) covers(scopeType, name string, anyOf []string) bool {
	return b.free || slices.ContainsFunc(b.scopes, func(s token.ScopedAccess) bool {
		return s.Type == scopeType && s.Name == name &&
			slices.ContainsFunc(anyOf, func(a string) bool { return slices.Contains(s.Actions, a) })
	})
}

// readable names the repositories that a token opens for reading; nil when that is bounded by the principal's rights alone.
func (b bound) readable() []string {
	if b.free {
		return nil
	}
	names := []string{}
	for _, s := range b.scopes {
		if s.Type == registry.ScopeRepository && slices.Contains(s.Actions, pull) {
			names = append(names, s.Name)
		}
	}
	return names
}

func isBearer(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer")
}

// unauthorized is an error that fail answers with 401 and a challenge.
type unauthorized struct {
	header string
	detail []scopeDetail
	cause  error
}

// scopeDetail names a missing right as ACR does, with capitals.
type scopeDetail struct {
	Type   string
	Name   string
	Action string
}

func (u *unauthorized) Error() string {
	if u.cause != nil {
		return "unauthorized: " + u.cause.Error()
	}
	return "unauthorized"
}

func (u *unauthorized) Unwrap() error { return u.cause }

func (u *unauthorized) because(err error) *unauthorized { u.cause = err; return u }

// What is wrong with a token that was presented (RFC 6750 section 3.1).
const (
	invalidToken      = `,error="invalid_token"`
	insufficientScope = `,error="insufficient_scope"`
)

// challenge says where a token for the request is to be had: under the host name that the client used, which is one of
// the registry's. A comma in it is never followed by a space, which az cannot read. To a refused password the answer is
// ACR's, which asks for another.
func challenge(r *http.Request, req request, because string) *unauthorized {
	if _, _, basic := r.BasicAuth(); basic && because == invalidToken {
		return &unauthorized{header: `Basic realm="Azure Container Registry"`}
	}
	u := &unauthorized{header: `Bearer realm="https://` + r.Host + `/oauth2/token",service="` + r.Host + `"`}
	if asks := table[req.kind].asks; asks != "" {
		scopeType, name := req.scope()
		scope := scopeType + ":" + name + ":" + asks
		if req.from != "" {
			scope += " " + registry.ScopeRepository + ":" + req.from + ":" + pull
		}
		u.header += `,scope="` + scope + `"`
		for action := range strings.SplitSeq(asks, ",") {
			u.detail = append(u.detail, scopeDetail{scopeType, name, action})
		}
	}
	if isBearer(r) || because == insufficientScope {
		u.header += because
	}
	return u
}
