package entra

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/resource"
)

// Issuers knows the issuers that this Fairlead itself runs: its clusters, which sign the tokens of service accounts.
type Issuers interface {
	// Keys gives the public keys of an issuer (see resource.Origin.ClusterIssuer); false when it is none of ours.
	Keys(ctx context.Context, issuer string) (jose.JSONWebKeySet, bool, error)
}

// NewIssuers gives the handler of the host oidc.<domain>, which shows each cluster's OpenID Connect description and
// public keys to everybody, as AKS does: "/<tenant>/<cluster>/.well-known/openid-configuration" and
// "/<tenant>/<cluster>/openid/v1/jwks".
func NewIssuers(origin resource.Origin, issuers Issuers, log *slog.Logger) http.Handler {
	return &issuersHandler{origin, issuers, log}
}

type issuersHandler struct {
	origin  resource.Origin
	issuers Issuers
	log     *slog.Logger
}

// The documents of an issuer, behind its path.
const (
	issuerDescription = ".well-known/openid-configuration"
	issuerKeys        = "openid/v1/jwks"
)

// ServeHTTP implements http.Handler.
func (h *issuersHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeIssuerError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "an issuer is only read")
		return
	}
	tenant, cluster, document, ok := parseIssuerPath(r.URL.Path)
	if !ok {
		writeIssuerError(w, http.StatusNotFound, "NotFound", "an issuer's path is /<tenant>/<cluster>/"+issuerDescription)
		return
	}
	issuer := h.origin.ClusterIssuer(tenant, cluster)
	set, ours, err := h.issuers.Keys(r.Context(), issuer)
	switch {
	case err != nil:
		if !errors.Is(err, context.Canceled) {
			h.log.ErrorContext(r.Context(), "an issuer's keys could not be read", "request_id", api.RequestID(r.Context()), "issuer", issuer, "error", err)
		}
		writeIssuerError(w, http.StatusInternalServerError, "InternalServerError", "the keys cannot be read at present")
		return
	case !ours:
		writeIssuerError(w, http.StatusNotFound, "NotFound", "no cluster here has this issuer")
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	if document == issuerKeys {
		api.WriteJSON(w, http.StatusOK, publicOnly(set))
		return
	}
	api.WriteJSON(w, http.StatusOK, map[string]any{
		"issuer":                                issuer,
		"jwks_uri":                              "https://" + r.Host + "/" + tenant + "/" + cluster + "/" + issuerKeys, // where the client is
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": algorithmsOf(set),
	})
}

// parseIssuerPath reads "/<tenant>/<cluster>/<document>"; both names are GUIDs.
func parseIssuerPath(path string) (tenant, cluster, document string, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 3)
	if len(parts) != 3 || !isGUID(parts[0]) || !isGUID(parts[1]) {
		return "", "", "", false
	}
	return strings.ToLower(parts[0]), strings.ToLower(parts[1]), parts[2], parts[2] == issuerDescription || parts[2] == issuerKeys
}

func isGUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }

// publicOnly takes care that a private or shared key never leaves, whoever put it into the set.
func publicOnly(set jose.JSONWebKeySet) jose.JSONWebKeySet {
	out := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range set.Keys {
		if k = k.Public(); k.Valid() {
			out.Keys = append(out.Keys, k)
		}
	}
	return out
}

// algorithmsOf gives the algorithms that the keys of a set are for, each once.
func algorithmsOf(set jose.JSONWebKeySet) []string {
	out, seen := []string{}, map[string]bool{}
	for _, k := range set.Keys {
		if k.Algorithm != "" && !seen[k.Algorithm] {
			seen[k.Algorithm] = true
			out = append(out, k.Algorithm)
		}
	}
	if len(out) == 0 {
		return []string{string(jose.RS256)}
	}
	return out
}

func writeIssuerError(w http.ResponseWriter, status int, code, message string) {
	api.WriteJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}
