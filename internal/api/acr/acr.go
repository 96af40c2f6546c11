// Package acr speaks the token protocol of Azure Container Registry under a registry's host name: it turns an Entra
// access token into a registry refresh token (/oauth2/exchange), and a refresh token or a password into a registry
// access token (/oauth2/token). A caller with no right at all on the registry gets 401 from both; one with some right
// gets what it asked for as far as it is allowed. What the tokens open is checked anew at every use, by api/oci.
//
// Source: https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
package acr

import (
	"context"
	"log/slog"
	"net/http"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

// Issuer signs registry tokens; *token.Service is one.
type Issuer interface {
	IssueRegistryRefresh(ctx context.Context, p identity.Principal, loginServer string, actions ...string) (secret.Text, error)
	IssueRegistryAccess(ctx context.Context, p identity.Principal, loginServer string, access []token.ScopedAccess) (secret.Text, error)
}

// Granter says what a principal may do; *access.Engine is one.
type Granter interface {
	// Grant gives the part of actions that p may do on scope; the zero Grant when that is none.
	Grant(ctx context.Context, p identity.Principal, scope resource.ID, actions ...access.Action) (access.Grant, error)
}

// Deps is what the surface needs.
type Deps struct {
	// Resolve gives the registry that a request's host name means; registry.ErrRegistryUnknown. The "service" that clients
	// name besides is not looked at.
	Resolve func(r *http.Request) (registry.Registry, error)
	Auth    *api.RegistryAuth // of passwords and registry tokens
	Entra   api.Verifier      // of the tokens to exchange
	Tokens  Issuer
	Access  Granter
	Origin  resource.Origin
	Log     *slog.Logger
}

// New gives the handler of /oauth2/exchange and /oauth2/token.
func New(deps Deps) http.Handler { return &handler{deps} }

type handler struct{ Deps }

// maxForm is the largest body that is read, in bytes: an access token and a long list of scopes fit.
const maxForm = 256 << 10

// Errors of requests that are not understood.
var (
	errNoRoute   = fault.New(fault.NotFound, "NOT_FOUND", "there is nothing here for this method and path")
	errForm      = fault.New(fault.Invalid, "INVALID_REQUEST", "the body must be a form (application/x-www-form-urlencoded)")
	errGrantType = fault.New(fault.Invalid, "UNSUPPORTED", "the grant_type is not supported")
	errNoRight   = fault.New(fault.Unauthenticated, "UNAUTHORIZED", "authentication required, visit https://aka.ms/acr/authorization for more information.")
)

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	reply, err := h.serve(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	api.WriteJSON(w, http.StatusOK, reply)
}

// serve picks the handler by method and path. A wrong method is not found, as in Azure.
func (h *handler) serve(r *http.Request) (map[string]string, error) {
	handle, ok := map[string]func(*http.Request, registry.Registry) (map[string]string, error){
		"POST /oauth2/exchange": h.exchange,
		"GET /oauth2/token":     h.tokenByHeader,
		"POST /oauth2/token":    h.tokenByForm,
	}[r.Method+" "+r.URL.Path]
	if !ok {
		return nil, errNoRoute
	}
	reg, err := h.Resolve(r)
	if err != nil {
		return nil, err
	}
	return handle(r, reg)
}

// exchange answers with a refresh token for whoever presents an Entra access token.
func (h *handler) exchange(r *http.Request, reg registry.Registry) (map[string]string, error) {
	form, err := readForm(r)
	if err != nil {
		return nil, err
	}
	switch grant := form.Get("grant_type"); grant {
	case "access_token", "access_token_refresh_token": // AKS sends the latter, with the same token in both fields
	default:
		return nil, errGrantType.WithMessage("the grant_type '%.80s' is not supported here: use access_token", grant)
	}
	p, err := h.entraPrincipal(r.Context(), secret.New(form.Get("access_token")))
	if err != nil {
		return nil, err
	}
	grant, err := h.grant(r, p, reg)
	if err != nil {
		return nil, err
	}
	var actions []string
	for _, a := range registry.AllActions() {
		if grant.Allows(a) {
			actions = append(actions, a.Name)
		}
	}
	refresh, err := h.Tokens.IssueRegistryRefresh(r.Context(), p, h.Origin.LoginServer(reg.Name), actions...)
	if err != nil {
		return nil, err
	}
	return map[string]string{"refresh_token": refresh.Reveal()}, nil
}

// entraPrincipal gives the live principal behind an access token for the registry service or the resource manager.
func (h *handler) entraPrincipal(ctx context.Context, raw secret.Text) (identity.Principal, error) {
	claims, err := h.Entra.VerifyAccess(ctx, raw, func(aud string) bool {
		return h.Origin.IsAudience(aud, resource.ARM) || isRegistryAudience(aud)
	})
	if err != nil {
		return identity.Principal{}, err
	}
	return h.Auth.Directory.Principal(ctx, claims.ObjectID)
}

// isRegistryAudience reports whether aud is Azure's name of the registry service, which is the same in every cloud.
func isRegistryAudience(aud string) bool {
	return aud == resource.AzureRegistry || aud == resource.AzureRegistry+"/"
}

// tokenByHeader answers the token request of docker, skopeo and others: user and password in the header, scopes in the
// query. It never adds a refresh token, not even for offline_token=true: docker would keep it in the place of the
// password, and be signed out three hours later.
func (h *handler) tokenByHeader(r *http.Request, reg registry.Registry) (map[string]string, error) {
	if _, _, ok := r.BasicAuth(); !ok {
		return nil, api.ErrNoCredential
	}
	p, bound, err := h.Auth.Authenticate(r.Context(), r, reg.ID)
	if err != nil {
		return nil, err
	}
	return h.accessToken(r, reg, p, bound, r.URL.Query()["scope"])
}

// tokenByForm answers the token request of az, the SDKs and containerd.
func (h *handler) tokenByForm(r *http.Request, reg registry.Registry) (map[string]string, error) {
	form, err := readForm(r)
	if err != nil {
		return nil, err
	}
	var p identity.Principal
	var bound []token.ScopedAccess
	switch grant := form.Get("grant_type"); grant {
	case "refresh_token":
		p, err = h.Auth.RefreshToken(r.Context(), secret.New(form.Get("refresh_token")), reg.ID)
	case "password":
		p, bound, err = h.Auth.Password(r.Context(), form.Get("username"), secret.New(form.Get("password")), reg.ID)
	default:
		return nil, errGrantType.WithMessage("the grant_type '%.80s' is not supported here: use refresh_token or password", grant)
	}
	if err != nil {
		return nil, err
	}
	return h.accessToken(r, reg, p, bound, form["scope"])
}

// accessToken answers with an access token for what is asked and allowed; bound, unless nil, limits it further.
func (h *handler) accessToken(r *http.Request, reg registry.Registry, p identity.Principal, bound []token.ScopedAccess, scopes []string) (map[string]string, error) {
	grant, err := h.grant(r, p, reg)
	if err != nil {
		return nil, err
	}
	asked, err := parseScopes(scopes)
	if err != nil {
		return nil, err
	}
	raw, err := h.Tokens.IssueRegistryAccess(r.Context(), p, h.Origin.LoginServer(reg.Name), intersect(asked, grant, bound))
	if err != nil {
		return nil, err
	}
	return map[string]string{"access_token": raw.Reveal()}, nil
}

// grant gives what p may do with the registry's content; errNoRight when that is nothing.
func (h *handler) grant(r *http.Request, p identity.Principal, reg registry.Registry) (access.Grant, error) {
	api.WithPrincipal(r.Context(), p)
	grant, err := h.Access.Grant(r.Context(), p, reg.ID, registry.AllActions()...)
	if err == nil && grant.IsZero() {
		err = errNoRight
	}
	return grant, err
}
