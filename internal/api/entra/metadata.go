package entra

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Principals says whether a principal is there still; *identity.Directory does.
type Principals interface {
	// Principal returns identity.ErrPrincipalUnknown and identity.ErrPrincipalDisabled.
	Principal(ctx context.Context, objectID string) (identity.Principal, error)
}

// AccessIssuer signs access tokens; *token.Service is one.
type AccessIssuer interface {
	IssueAccess(ctx context.Context, p identity.Principal, audience string, version int) (secret.Text, time.Time, error)
}

// MetadataDeps is what the instance metadata service needs.
type MetadataDeps struct {
	Directory Principals
	Tokens    AccessIssuer
	Origin    resource.Origin
	Tenant    string
	Now       func() time.Time
	Log       *slog.Logger
	// Identities gives the managed identities of the machine that asks; none when it has none. Any error but a fault that
	// the caller may see is answered with 500 and no detail.
	Identities func(r *http.Request) ([]pull.Identity, error)
}

// NewMetadata gives the handler of http://169.254.169.254, where a machine's programs ask for tokens of its managed
// identities. Whoever reaches it acts as the machine, so what is put in front of it must tell machines apart; it refuses
// whatever was passed on by a proxy, so that a program on the machine that fetches URLs for others does not fetch tokens
// for them.
//
// Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
func NewMetadata(deps MetadataDeps) http.Handler { return &metadata{deps} }

type metadata struct{ MetadataDeps }

// metadataToken is the one path that is served.
const metadataToken = "/metadata/identity/oauth2/token"

// Errors of the instance metadata service; the Code is what stands in "error".
var (
	errMetadataPath     = fault.New(fault.NotFound, "not_found", "There is nothing here for this path: instance metadata has "+metadataToken+" only.")
	errMetadataMethod   = fault.New(fault.Unsupported, "method_not_allowed", "The endpoint only accepts GET requests.")
	errMetadataHeader   = fault.New(fault.Invalid, "bad_request_102", "Required metadata header not specified")
	errMetadataProxy    = fault.New(fault.Invalid, "bad_request_103", "The request carries the header X-Forwarded-For: instance metadata does not answer through a proxy")
	errMetadataRequest  = fault.New(fault.Invalid, "invalid_request", "The request is malformed")
	errMetadataNone     = fault.New(fault.Invalid, "invalid_request", "Identity not found")
	errMetadataMany     = fault.New(fault.Invalid, "invalid_request", "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request")
	errMetadataResource = fault.New(fault.Invalid, "invalid_resource", "AADSTS50001: The application was not found in the tenant.")
	errMetadataDisabled = fault.New(fault.Invalid, "unauthorized_client", "AADSTS7000112: The identity is disabled.")
)

// metadataReply is a token as the instance metadata service gives it: all numbers are strings.
type metadataReply struct {
	AccessToken  string `json:"access_token"`
	ClientID     string `json:"client_id"`
	ExpiresIn    string `json:"expires_in"` // seconds
	ExpiresOn    string `json:"expires_on"` // seconds since 1970
	ExtExpiresIn string `json:"ext_expires_in"`
	NotBefore    string `json:"not_before"` // seconds since 1970
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token"` // always empty
}

// ServeHTTP implements http.Handler.
func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	reply, err := m.serve(r)
	if err != nil {
		m.fail(w, r, err)
		return
	}
	api.WriteJSON(w, http.StatusOK, reply)
}

func (m *metadata) serve(r *http.Request) (metadataReply, error) {
	q, err := parseMetadata(r)
	if err != nil {
		return metadataReply{}, err
	}
	audience, version, ok := m.Origin.TokenAudience(q.audience, true)
	if !ok {
		return metadataReply{}, errMetadataResource.WithMessage("AADSTS50001: The application named %.200s was not found in the tenant named %s. Ask for %s, %s or %s.", q.audience, m.Tenant, m.Origin.URL(resource.ARM), m.Origin.URL(resource.Graph), resource.AzureRegistry)
	}
	p, err := m.principal(r, q)
	if err != nil {
		return metadataReply{}, err
	}
	api.WithPrincipal(r.Context(), p)
	raw, expires, err := m.Tokens.IssueAccess(r.Context(), p, audience, version)
	if err != nil {
		return metadataReply{}, err
	}
	now := m.Now()
	life := strconv.FormatInt(max(0, expires.Unix()-now.Unix()-1), 10) // 86399, as Azure counts
	return metadataReply{
		AccessToken: raw.Reveal(), ClientID: p.ClientID(), ExpiresIn: life, ExtExpiresIn: life,
		ExpiresOn: strconv.FormatInt(expires.Unix(), 10), NotBefore: strconv.FormatInt(now.Unix(), 10),
		Resource: audience, TokenType: "Bearer",
	}, nil
}

// metadataQuery is a request for a token.
type metadataQuery struct {
	audience string
	by, id   string // selector and its value; both empty when none is given
}

// parseMetadata reads a request. The header comes first: libraries find out that somebody is here by asking without it.
func parseMetadata(r *http.Request) (metadataQuery, error) {
	var q metadataQuery
	switch path := strings.TrimRight(r.URL.Path, "/"); {
	case !equal(path, metadataToken):
		return q, errMetadataPath
	case r.Method != http.MethodGet:
		return q, errMetadataMethod
	case len(r.Header.Values("X-Forwarded-For")) > 0:
		return q, errMetadataProxy
	case !equal(r.Header.Get("Metadata"), "true"):
		return q, errMetadataHeader
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, errMetadataRequest.WithMessage("The query of the request is malformed")
	}
	for name, given := range values {
		if len(given) > 1 {
			return q, errMetadataRequest.WithMessage("Query variable '%.80s' is given more than once", name)
		}
	}
	for _, needed := range []string{"api-version", "resource"} {
		if values.Get(needed) == "" {
			return q, errMetadataRequest.WithMessage("Required query variable '%s' is missing", needed)
		}
	}
	for _, by := range selectors() {
		switch id := values.Get(by); {
		case id == "":
		case q.by != "":
			return q, errMetadataRequest.WithMessage("Only one of '%s' and '%s' may be specified", q.by, by)
		default:
			q.by, q.id = by, id
		}
	}
	q.audience = strings.TrimSuffix(values.Get("resource"), "/.default")
	return q, nil
}

// selectors are the ways to name one of several identities. Libraries have used both spellings of the last.
func selectors() []string { return []string{"client_id", "object_id", "msi_res_id", "mi_res_id"} }

// names reports whether the request means the identity.
func (q metadataQuery) names(id pull.Identity) bool {
	switch q.by {
	case "client_id":
		return equal(q.id, id.ClientID)
	case "object_id":
		return equal(q.id, id.PrincipalID)
	}
	return !id.System && equal(q.id, id.Resource.String()) // a system-assigned one has no resource id of its own
}

// principal picks the machine's identity that is meant, which must be there still.
func (m *metadata) principal(r *http.Request, q metadataQuery) (identity.Principal, error) {
	all, err := m.Identities(r)
	if err != nil {
		return identity.Principal{}, err
	}
	one, err := q.choose(all)
	if err != nil {
		return identity.Principal{}, err
	}
	p, err := m.Directory.Principal(r.Context(), one.PrincipalID)
	switch {
	case errors.Is(err, identity.ErrPrincipalUnknown):
		return p, errMetadataNone
	case errors.Is(err, identity.ErrPrincipalDisabled):
		return p, errMetadataDisabled.WithMessage("AADSTS7000112: Application '%.80s' is disabled.", one.ClientID)
	case err == nil && p.Kind() != identity.KindManaged:
		return p, errMetadataNone
	}
	return p, err
}

// choose gives the identity that is named; without a name the system-assigned one, else the only one.
func (q metadataQuery) choose(all []pull.Identity) (pull.Identity, error) {
	for _, id := range all {
		if q.by == "" && id.System || q.by != "" && q.names(id) {
			return id, nil
		}
	}
	switch {
	case q.by != "" || len(all) == 0:
		return pull.Identity{}, errMetadataNone
	case len(all) > 1:
		return pull.Identity{}, errMetadataMany
	}
	return all[0], nil
}

// fail writes err as the service writes errors.
func (m *metadata) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.From(err)
	status, known := map[fault.Kind]int{
		fault.Invalid: http.StatusBadRequest, fault.NotFound: http.StatusNotFound, fault.Unsupported: http.StatusMethodNotAllowed,
		fault.Unavailable: http.StatusServiceUnavailable,
	}[f.Kind]
	body := map[string]string{"error": f.Code, "error_description": f.Message}
	switch {
	case !known:
		status = http.StatusInternalServerError
		body = map[string]string{"error": "unknown", "error_description": "Failed to retrieve token from the Active directory. For details see the log of the server, request " + api.RequestID(r.Context()) + "."}
		if !errors.Is(err, context.Canceled) {
			m.Log.ErrorContext(r.Context(), "instance metadata failed", "request_id", api.RequestID(r.Context()), "error", err)
		}
	case status == http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	}
	api.WriteJSON(w, status, body)
}
