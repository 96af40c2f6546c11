// Package entra speaks the part of Microsoft Entra's sign-in protocol that programs need: the OAuth2 token endpoints (v1
// and v2.0, and the same under /adfs, an authority that clients ask no instance discovery about), OpenID Connect
// discovery, the signing keys, and instance discovery; beside it, the OpenID Connect descriptions of the clusters that
// run here, and the instance metadata service, where a machine gets tokens of its managed identities. The directory checks
// who asks (for an assertion this package checks what another issuer has signed) and package token signs; what an access
// token opens is the business of the surface that it is meant for.
//
// Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
package entra

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Issuer signs access tokens; *token.Service is one.
type Issuer interface {
	IssueAccess(ctx context.Context, p identity.Principal, audience string, version int) (secret.Text, time.Time, error)
	JWKS(ctx context.Context) (jose.JSONWebKeySet, error)
}

// Authenticator checks client secrets and assertions; *identity.Directory is one.
type Authenticator interface {
	Authenticate(ctx context.Context, c identity.Credential) (identity.Principal, error)
}

// Foreign gives the keys of issuers elsewhere, asking them over the network; *oidc.Keys is one.
type Foreign interface {
	// Keys gives an issuer's keys, among them, if it has it, the one with the id kid. A fault of the kind Unavailable, whose
	// message may be shown, says that they cannot be had.
	Keys(ctx context.Context, issuer, kid string) (jose.JSONWebKeySet, error)
}

// Deps is what the surface needs.
type Deps struct {
	Directory Authenticator
	Tokens    Issuer
	Issuers   Issuers // that run here
	Foreign   Foreign // all others
	Origin    resource.Origin
	Tenant    string // the one tenant's id
	Now       func() time.Time
	Log       *slog.Logger
}

// New gives the handler of the login host.
func New(deps Deps) http.Handler { return &handler{deps} }

type handler struct{ Deps }

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	reply, err := h.serve(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	api.WriteJSON(w, http.StatusOK, reply)
}

func (h *handler) serve(r *http.Request) (any, error) {
	rt, ok := parse(r.URL.Path)
	if !ok {
		return nil, errNoRoute
	}
	wantMethod := http.MethodGet
	if rt.kind == kindToken {
		wantMethod = http.MethodPost
	}
	if r.Method != wantMethod {
		return nil, errMethod.WithMessage("The endpoint only accepts %s requests. Received a %.20s request.", wantMethod, r.Method)
	}
	if err := h.checkTenant(rt); err != nil {
		return nil, err
	}
	switch rt.kind {
	case kindToken:
		return h.token(r, rt)
	case kindConfiguration:
		return h.configuration(r.Host, rt), nil
	case kindKeys:
		return h.keys(r.Context())
	case kindInstance:
		return h.instance(), nil
	}
	return nil, errNoRoute
}

// checkTenant refuses every tenant but ours. "common" and "organizations" lead to descriptions, but nobody signs in
// there: a program must say which tenant it means.
func (h *handler) checkTenant(rt route) error {
	switch {
	case rt.tenant == "" || equal(rt.tenant, h.Tenant):
		return nil
	case rt.shared() && rt.kind != kindToken:
		return nil
	case rt.shared():
		return errNoTenant
	}
	return errTenantUnknown.WithMessage("Tenant '%.80s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.", rt.tenant)
}

// configuration describes the endpoints under the host and the authority that was asked, so that a client stays where it
// can reach us. The issuer of the v2.0 and ADFS descriptions carries that host with its port too: MSAL
// refuses any other. That of tokens does not, so on another port than 443 whoever verifies tokens by this description
// must be told their issuer. A strict one has the issuer of version 2.0 tokens instead, for verifiers that cannot be told,
// such as Kubernetes' API server.
func (h *handler) configuration(host string, rt route) any {
	tenant := h.Tenant
	if rt.shared() {
		tenant = "{tenantid}"
	}
	base, version, keys := "https://"+host+"/"+orDefault(rt.tenant, h.Tenant), "", "/discovery/keys"
	issuer := h.Origin.IssuerV1(tenant)
	if rt.v2 {
		version, keys = "/v2.0", "/discovery/v2.0/keys"
		issuer = "https://" + host + "/" + tenant + "/v2.0"
	}
	if rt.adfs {
		base = "https://" + host + "/adfs"
		issuer = base
		if rt.tenant != "" {
			base += "/" + rt.tenant
		}
	}
	if rt.strict {
		issuer = h.Origin.Issuer(tenant)
	}
	return map[string]any{
		"issuer":                                issuer,
		"token_endpoint":                        base + "/oauth2" + version + "/token",
		"authorization_endpoint":                base + "/oauth2" + version + "/authorize",
		"device_authorization_endpoint":         base + "/oauth2" + version + "/devicecode",
		"jwks_uri":                              base + keys,
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"grant_types_supported":                 []string{"client_credentials"},
		"response_types_supported":              []string{"token"},
		"response_modes_supported":              []string{"query"},
		"subject_types_supported":               []string{"pairwise"},
		"scopes_supported":                      []string{"openid", "profile", "offline_access"},
		"id_token_signing_alg_values_supported": []string{string(jose.RS256)},
		"claims_supported":                      []string{"aud", "iss", "iat", "nbf", "exp", "sub", "oid", "tid", "ver", "uti", "idtyp"},
		"tenant_region_scope":                   nil,
		"cloud_instance_name":                   "login." + h.Origin.Domain(),
		"msgraph_host":                          "graph." + h.Origin.Domain(),
	}
}

func (h *handler) keys(ctx context.Context) (any, error) { return h.Tokens.JWKS(ctx) }

// instance answers the instance discovery of MSAL. Each of our domains is a cloud of its own, so that a client stays on
// the host name that it can reach.
func (h *handler) instance() any {
	var clouds []map[string]any
	for _, domain := range h.Origin.Domains {
		host := hostOf(resource.Origin{Domains: []string{domain}, Port: h.Origin.Port}.URL(resource.Login))
		clouds = append(clouds, map[string]any{"preferred_network": host, "preferred_cache": host, "aliases": []string{host}})
	}
	return map[string]any{
		"tenant_discovery_endpoint": h.Origin.URL(resource.Login) + "/" + h.Tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  clouds,
	}
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
