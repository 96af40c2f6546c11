package aks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// Access decides; *access.Engine is one.
type Access interface {
	Check(ctx context.Context, p identity.Principal, a access.Action, scope resource.ID) (access.Decision, error)
	Explain(ctx context.Context, p identity.Principal, a access.Action, scope resource.ID) (access.Decision, error)
	Role(ctx context.Context, guidOrName string) (access.RoleDefinition, error)
}

// Directory knows principals; *identity.Directory is one.
type Directory interface {
	Principal(ctx context.Context, objectID string) (identity.Principal, error)
}

// AuthorizerDeps is what the authoriser needs.
type AuthorizerDeps struct {
	// Caller gives the managed cluster whose API server makes a request.
	Caller    func(r *http.Request) (cluster resource.ID, ok bool)
	Access    Access
	Directory Directory
	Log       *slog.Logger
}

// NewAuthorizer gives the handler of the authorisation webhook: POST of a SubjectAccessReview (authorization.k8s.io/v1). A
// principal whose roles at the cluster, or at the namespace asked about, hold the data action is allowed; about everybody and
// everything else it has no opinion, so that the cluster's own RBAC may allow. It denies one thing: what a token of a principal
// asks that was disabled or deleted since. status.reason tells which data action lacks at which scope, and what would give it.
//
// Source: https://kubernetes.io/docs/reference/access-authn-authz/webhook/
func NewAuthorizer(deps AuthorizerDeps) http.Handler { return &authorizer{deps} }

type authorizer struct{ AuthorizerDeps }

// maxReview is the largest review that is read, in bytes; one of an API server with the longest names has a tenth of it.
const maxReview = 256 << 10

var (
	errReviewMethod    = fault.New(fault.Unsupported, "MethodNotAllowed", "a review is posted")
	errReviewCaller    = fault.New(fault.Unauthenticated, "Unauthorized", "the bearer token is not one that was given to a cluster")
	errReviewMediaType = fault.New(fault.Invalid, "UnsupportedMediaType", "the content type must be application/json")
	errReview          = fault.New(fault.Invalid, "BadRequest", "the body is no SubjectAccessReview of authorization.k8s.io/v1")
)

// ServeHTTP implements http.Handler.
func (h *authorizer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	status, err := h.review(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	api.WriteJSON(w, http.StatusOK, reviewReply{APIVersion: reviewVersion, Kind: reviewKind, Status: status})
}

func (h *authorizer) review(r *http.Request) (reviewStatus, error) {
	if r.Method != http.MethodPost {
		return reviewStatus{}, errReviewMethod
	}
	cluster, ok := h.Caller(r)
	if !ok {
		return reviewStatus{}, errReviewCaller
	}
	if api.MediaType(r) != "application/json" {
		return reviewStatus{}, errReviewMediaType
	}
	body, err := api.ReadBody(r, maxReview)
	if err != nil {
		return reviewStatus{}, err
	}
	spec, err := parseReview(body)
	if err != nil {
		return reviewStatus{}, err
	}
	return h.decide(r.Context(), spec, cluster)
}

// decide answers a review; an error means that it could not, and that the API server should ask again.
func (h *authorizer) decide(ctx context.Context, spec reviewSpec, cluster resource.ID) (reviewStatus, error) {
	if !isObjectID(spec.User) {
		return reviewStatus{Reason: fmt.Sprintf("Azure RBAC has no opinion on %.100q: it is no object id of an Entra principal.", spec.User)}, nil
	}
	p, err := h.Directory.Principal(ctx, spec.User)
	switch {
	case errors.Is(err, identity.ErrPrincipalUnknown) && spec.byToken():
		return reviewStatus{Denied: true, Reason: fmt.Sprintf("The principal %s was deleted from the directory: its token no longer counts.", spec.User)}, nil
	case errors.Is(err, identity.ErrPrincipalDisabled) && spec.byToken():
		return reviewStatus{Denied: true, Reason: fmt.Sprintf("The principal %s is disabled: its token does not count.", spec.User)}, nil
	case errors.Is(err, identity.ErrPrincipalUnknown):
		return reviewStatus{Reason: fmt.Sprintf("Azure RBAC has no opinion: the directory has no principal with the object id %s.", spec.User)}, nil
	case errors.Is(err, identity.ErrPrincipalDisabled):
		return reviewStatus{Reason: fmt.Sprintf("Azure RBAC has no opinion: the principal %s is disabled.", spec.User)}, nil
	case err != nil:
		return reviewStatus{}, err
	}
	q, err := spec.question(cluster)
	if err != nil {
		return reviewStatus{Reason: "Azure RBAC has no opinion: " + err.Error() + "."}, nil //nolint:nilerr // a question without sense is answered
	}
	for _, action := range q.actions {
		d, err := h.Access.Check(ctx, p, action, q.scope)
		if err != nil {
			return reviewStatus{}, err
		}
		if !d.Allowed {
			why, err := h.explain(ctx, p, action, q.scope)
			return reviewStatus{Reason: why}, err
		}
	}
	return reviewStatus{Allowed: true, Reason: fmt.Sprintf("Access allowed by Azure RBAC: data action %s at scope %s.", q.actions[0].Name, q.scope)}, nil
}

// maxNearMisses bounds how many of a principal's roles an explanation names.
const maxNearMisses = 3

// explain says what the principal lacks, which of its own roles come near, and what would give it. Other principals' roles
// are not the caller's to see.
func (h *authorizer) explain(ctx context.Context, p identity.Principal, a access.Action, scope resource.ID) (string, error) {
	d, err := h.Access.Explain(ctx, p, a, scope)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Azure RBAC: %s lacks the data action %s at scope %s.", p.ID(), a.Name, scope)
	near := 0
	for _, c := range d.Considered {
		if near == maxNearMisses || c.PrincipalID != p.ID() || !h.isNear(ctx, c, a) {
			continue
		}
		near++
		fmt.Fprintf(&out, " It has %q at %s, but %s.", c.Role, c.Scope, c.Why)
	}
	if role := smallestRole(a); role != "" {
		fmt.Fprintf(&out, " To give it: fairlead role assign %q --to %s --on %s", role, p.ID(), scope)
	}
	return out.String(), nil
}

// isNear reports whether a role is worth a word: it would do at another scope, or it is one on clusters, or on everything,
// that lacks this action.
func (h *authorizer) isNear(ctx context.Context, c access.Considered, a access.Action) bool {
	role, err := h.Access.Role(ctx, c.RoleGUID)
	if err != nil {
		return false // it is gone
	}
	if c.Reason == access.ReasonScope {
		return role.Allows(a)
	}
	return c.Reason == access.ReasonAction && slices.ContainsFunc(role.Permissions, func(p access.Permission) bool {
		return slices.Contains(p.Actions, "*") || slices.ContainsFunc(p.DataActions, func(pattern string) bool {
			return strings.HasPrefix(strings.ToLower(pattern), strings.ToLower(access.ClusterActions))
		})
	})
}

// smallestRole names the least of Azure's roles that holds a data action.
func smallestRole(a access.Action) string {
	roles := access.BuiltIn()
	for _, name := range []string{"Reader", "Writer", "Admin", "Cluster Admin"} {
		name = "Azure Kubernetes Service RBAC " + name
		for _, r := range roles {
			if r.Name == name && r.Allows(a) {
				return name
			}
		}
	}
	return ""
}

// fail writes an error as API servers do. They try again on 5xx, and log the message.
func (h *authorizer) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, reason, message := http.StatusInternalServerError, "InternalError", "the review could not be decided; request id "+api.RequestID(r.Context())
	known := func(code int, word string) { status, reason, message = code, word, err.Error() }
	switch {
	case errors.Is(err, errReviewMethod):
		w.Header().Set("Allow", http.MethodPost)
		known(http.StatusMethodNotAllowed, "MethodNotAllowed")
	case errors.Is(err, errReviewCaller):
		w.Header().Set("WWW-Authenticate", "Bearer")
		known(http.StatusUnauthorized, "Unauthorized")
	case errors.Is(err, errReviewMediaType):
		known(http.StatusUnsupportedMediaType, "UnsupportedMediaType")
	case errors.Is(err, api.ErrBodyTooLarge):
		known(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge")
	case fault.KindOf(err) == fault.Invalid:
		known(http.StatusBadRequest, "BadRequest")
	default:
		h.Log.ErrorContext(r.Context(), "a cluster's access review failed", "error", err)
	}
	api.WriteJSON(w, status, reviewFailure{APIVersion: "v1", Kind: "Status", Status: "Failure", Message: message, Reason: reason, Code: status})
}
