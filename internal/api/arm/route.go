package arm

import (
	"context"
	"maps"
	"net/http"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// need is the action that a route demands, in the words of role definitions.
type need string

// signedIn is the need of the few routes that answer whoever has a valid token, and show nothing that is not theirs.
const signedIn need = "*signed-in*"

// places is a set of the kinds of scope that a shape may stand behind.
type places uint8

const (
	atRoot places = 1 << iota
	atSubscription
	atGroup
	atResource
	anywhere = atRoot | atSubscription | atGroup | atResource
)

func (p places) has(scope resource.ID) bool {
	switch {
	case scope == resource.Root:
		return p&atRoot != 0
	case scope.Is("Microsoft.Resources/subscriptions"):
		return p&atSubscription != 0
	case scope.Is("Microsoft.Resources/resourceGroups"):
		return p&atGroup != 0
	}
	return p&atResource != 0
}

// route is one method on one shape of path.
type route struct {
	method string
	shape  string
	at     places
	need   need
	serve  func(context.Context, *call) (*reply, error)
	oldest string // api-version; "" is any
	// place says where the need must be met; nil is the resource that the path names, else its scope.
	place   func(context.Context, *call) (resource.ID, error)
	partial bool // see filtered
	// owner lets a caller in who has no such right, because the thing is the caller's own; nil lets nobody in.
	owner func(context.Context, *call) bool
}

// on declares a route. It takes the need as a parameter of its own so that none can be left out.
func on(method, shape string, at places, n need, serve func(context.Context, *call) (*reply, error)) route {
	return route{method: method, shape: strings.ToLower(shape), at: at, need: n, serve: serve}
}

func (r route) where(ctx context.Context, c *call) (resource.ID, error) {
	switch {
	case r.place != nil:
		return r.place(ctx, c)
	case !c.id.IsZero():
		return c.id, nil
	}
	return c.scope, nil
}

// filtered lets a caller list who has a right on no more than some of the items: serve shows each only to who may
// read it (see call.partial).
func (r route) filtered() route { r.partial = true; return r }

// call is an authorised request with all that a route needs to serve it.
type call struct {
	request
	h    *Handler
	http *http.Request
	who  identity.Principal
	need need // what was authorised, at id
	body []byte
	// partial: the caller may not list the whole collection, and is shown only what it may read.
	partial bool
}

// stillAllowed refuses what the call was allowed to do when it has been taken away since.
func (c *call) stillAllowed(ctx context.Context) error {
	if _, err := c.h.Directory.Principal(ctx, c.who.ID()); err != nil {
		return err
	}
	return c.h.require(ctx, c.who, c.need, c.id)
}

// strict reports whether the caller wants unknown fields refused instead of ignored.
func (c *call) strict() bool {
	return strings.EqualFold(c.http.Header.Get("X-Fairlead-Strict"), "true")
}

// decode reads the body into v; an empty body leaves v as it is.
func (c *call) decode(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	return api.DecodeJSON(c.body, v)
}

// origin gives the absolute URL that the caller reached us by, so that links lead back the same way.
func (c *call) origin() string {
	kind, name := c.h.Origin.ParseHost(c.http.Host)
	if kind == resource.HostService && resource.Service(name) == resource.ARM {
		return "https://" + strings.ToLower(c.http.Host)
	}
	return c.h.Origin.URL(resource.ARM)
}

// precondition checks If-Match and If-None-Match against what is stored.
func (c *call) precondition(old *resource.Resource) error {
	match, none := c.http.Header.Get("If-Match"), c.http.Header.Get("If-None-Match")
	tag := ""
	if old != nil {
		tag = old.ETag
	}
	switch {
	case match != "" && old == nil, match != "" && match != "*" && unquote(match) != tag:
		return errPrecondition
	case none == "*" && old != nil, none != "" && none != "*" && unquote(none) == tag:
		return errPrecondition
	}
	return nil
}

func quote(etag string) string { return `"` + etag + `"` }

func unquote(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }

// reply is an answer before it is written.
type reply struct {
	status int
	body   any // nil: no body
	header http.Header
}

// text is a body that is not JSON.
type text struct{ contentType, content string }

func ok(body any) (*reply, error) { return &reply{status: http.StatusOK, body: body}, nil }

func empty(status int) (*reply, error) { return &reply{status: status}, nil }

func (r *reply) with(name, value string) *reply {
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set(name, value)
	return r
}

func (r *reply) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.header)
	switch body := r.body.(type) {
	case nil:
		w.WriteHeader(r.status)
	case text:
		w.Header().Set("Content-Type", body.contentType)
		w.WriteHeader(r.status)
		_, _ = w.Write([]byte(body.content))
	default:
		api.WriteJSON(w, r.status, body)
	}
}

// value is how ARM writes a list.
type value struct {
	Value    any    `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// require refuses who, in Azure's words, unless they may do the action there.
func (h *Handler) require(ctx context.Context, who identity.Principal, action need, at resource.ID) error {
	allowed, err := h.may(ctx, who, action, at)
	if err != nil || allowed {
		return err
	}
	return errDenied.WithMessage("The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. "+
		"If access was recently granted, please refresh your credentials.", who.ClientID(), who.ID(), action, at)
}

// requireLinked is require for a resource that the request only links to.
func (h *Handler) requireLinked(ctx context.Context, c *call, l link) error {
	allowed, err := h.may(ctx, c.who, l.need, l.id)
	if err != nil || allowed {
		return err
	}
	return errLinkedDenied.WithMessage("The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; however, it does not have permission "+
		"to perform action '%s' on the linked scope(s) '%s' or the linked scope(s) are invalid.", c.who.ClientID(), c.who.ID(), c.id.Type()+"/write", c.id, l.need, l.id)
}

var (
	errMethod       = fault.New(fault.Unsupported, "MethodNotAllowed", "the resource does not support the method")
	errDenied       = fault.New(fault.Denied, "AuthorizationFailed", "the caller may not do this")
	errLinkedDenied = fault.New(fault.Denied, "LinkedAuthorizationFailed", "the caller may not use a resource that the request links to")
)
