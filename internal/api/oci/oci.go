// Package oci speaks the OCI distribution protocol, version 1.1, beneath /v2/ of a registry's host name: it parses a
// request, authorises it, calls the registry's View and encodes the answer. Registry tokens are made elsewhere
// (api/acr); here they are asked for and checked. What may be seen and what is stored is the business of access and
// registry.
//
// Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
package oci

import (
	"context"
	"log/slog"
	"net/http"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/token"
)

// Authenticator establishes who asks; *api.RegistryAuth is one.
type Authenticator interface {
	// Authenticate gives the principal behind the request's Authorization header, and what its token is good for, or nil
	// when a password was presented, which is good for all that the principal may do. A fault of kind Unauthenticated
	// says that there is no such principal.
	Authenticate(ctx context.Context, r *http.Request, reg resource.ID) (identity.Principal, []token.ScopedAccess, error)
}

// Granter says what a principal may do; *access.Engine is one.
type Granter interface {
	// Grant gives the part of actions that p may do on scope; the zero Grant when that is none.
	Grant(ctx context.Context, p identity.Principal, scope resource.ID, actions ...access.Action) (access.Grant, error)
}

// Deps is what the surface needs.
type Deps struct {
	// Resolve gives the registry that a request's host name means; registry.ErrRegistryUnknown.
	Resolve  func(r *http.Request) (registry.Registry, error)
	Registry *registry.Service
	Auth     Authenticator
	Access   Granter
	Log      *slog.Logger
}

// New gives the handler of /v2/ and all beneath it. It must get paths as they were sent: a mux that cleans them would
// answer with redirects.
func New(deps Deps) http.Handler { return &handler{deps} }

type handler struct{ Deps }

// operation is how one kind of request is authorised and answered.
type operation struct {
	anyRight bool     // whoever has any right on the registry may ask
	needs    []string // actions of a token's scope, one of which is needed; the first says what the principal must be allowed
	asks     string   // the actions that the challenge names
	handle   func(*handler, exchange) error
}

const (
	catalog  = registry.ScopeAll
	pull     = registry.ScopePull
	push     = registry.ScopePush
	remove   = registry.ScopeDelete
	metadata = registry.ScopeMetadataRead
	pullPush = pull + "," + push
)

// table declares every kind of request. One that declares neither anyRight nor needs is refused to all.
var table = [kinds]operation{ //nolint:gochecknoglobals // a constant in all but the language
	kindBase:           {anyRight: true, handle: (*handler).base},
	kindCatalog:        {needs: []string{catalog}, asks: catalog, handle: (*handler).catalog},
	kindTags:           {needs: []string{metadata, pull}, asks: metadata, handle: (*handler).tags},
	kindManifestGet:    {needs: []string{pull}, asks: pull, handle: (*handler).getManifest},
	kindManifestPut:    {needs: []string{push}, asks: pullPush, handle: (*handler).putManifest},
	kindManifestDelete: {needs: []string{remove}, asks: remove, handle: (*handler).deleteManifest},
	kindTagDelete:      {needs: []string{remove}, asks: remove, handle: (*handler).deleteTag},
	kindReferrers:      {needs: []string{pull}, asks: pull, handle: (*handler).referrers},
	kindBlobGet:        {needs: []string{pull}, asks: pull, handle: (*handler).getBlob},
	kindBlobDelete:     {needs: []string{remove}, asks: remove, handle: (*handler).deleteBlob},
	kindUploadStart:    {needs: []string{push}, asks: pullPush, handle: (*handler).startUpload},
	kindUploadStatus:   {needs: []string{push}, asks: pullPush, handle: (*handler).uploadStatus},
	kindUploadAppend:   {needs: []string{push}, asks: pullPush, handle: (*handler).appendUpload},
	kindUploadCommit:   {needs: []string{push}, asks: pullPush, handle: (*handler).commitUpload},
	kindUploadCancel:   {needs: []string{push}, asks: pullPush, handle: (*handler).cancelUpload},
}

// exchange is one authorised request with the way to answer it.
type exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	req  request
	view *registry.View
	with bound
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := h.serve(w, r); err != nil {
		h.fail(w, r, err)
	}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) error {
	reg, err := h.Resolve(r)
	if err != nil {
		return err
	}
	req, err := parse(r.Method, r.URL.Path, r.URL.Query())
	if err != nil {
		return err
	}
	view, with, err := h.authorize(r, reg, req)
	if err != nil {
		return err
	}
	return table[req.kind].handle(h, exchange{w, r, req, view, with})
}
