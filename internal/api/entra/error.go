package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
)

// Errors of this protocol; the Code is the number behind Entra's "AADSTS".
//
// Source: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var (
	errNoRoute            = fault.New(fault.NotFound, "90144", "There is nothing here for this path.")
	errMethod             = fault.New(fault.Unsupported, "900561", "The endpoint does not accept this method.")
	errMissing            = fault.New(fault.Invalid, "900144", "The request body lacks a parameter.")
	errMalformed          = fault.New(fault.Invalid, "9002313", "Invalid request. Request is malformed or invalid.")
	errDuplicate          = fault.New(fault.Invalid, "9000411", "The request is not properly formatted.")
	errTenantUnknown      = fault.New(fault.Invalid, "90002", "Tenant not found.")
	errNoTenant           = fault.New(fault.Invalid, "50059", "No tenant-identifying information found in either the request or implied by any provided credentials.")
	errGrantType          = fault.New(fault.Invalid, "70003", "The app requested an unsupported grant type.")
	errNoSecret           = fault.New(fault.Unauthenticated, "7000218", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	errSecretWrong        = fault.New(fault.Unauthenticated, "7000215", "Invalid client secret provided.")
	errSecretExpired      = fault.New(fault.Unauthenticated, "7000222", "The provided client secret keys are expired.")
	errAppUnknown         = fault.New(fault.Invalid, "700016", "Application was not found in the directory.")
	errNoPrincipal        = fault.New(fault.Invalid, "7000229", "The client application is missing service principal in the tenant.")
	errDisabled           = fault.New(fault.Invalid, "7000112", "Application is disabled.")
	errAssertion          = fault.New(fault.Invalid, "50027", "JWT token is invalid or malformed.")
	errAssertionAlgorithm = fault.New(fault.Invalid, "5002738", "Invalid JWT token. Its signature algorithm is not supported: it must be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or ES512.")
	errAssertionKey       = fault.New(fault.Unauthenticated, "7000272", "The key used to sign the federated credential could not be found in the metadata of its identity provider.")
	errAssertionSignature = fault.New(fault.Unauthenticated, "50013", "Assertion failed signature validation.")
	errAssertionPeriod    = fault.New(fault.Unauthenticated, "700024", "Client assertion is not within its valid time range.")
	errFederation         = fault.New(fault.Unauthenticated, "70021", "No matching federated identity record found for presented assertion.")
	errFederationAudience = fault.New(fault.Unauthenticated, "700212", "No matching federated identity record found for presented assertion audience.")
	errIssuer             = fault.New(fault.Invalid, "50166", "Request to External OIDC endpoint failed.")
	errIssuerOurs         = fault.New(fault.Invalid, "700222", "Tokens that were issued here may not be used for federated identity flows.")
	errScope              = fault.New(fault.Invalid, "70011", "The provided value for the input parameter 'scope' is not valid.")
	errScopeDefault       = fault.New(fault.Invalid, "1002012", "The provided value for scope is not valid.")
	errScopeMany          = fault.New(fault.Invalid, "28000", "Provided value for the input parameter scope is not valid because it contains more than one resource.")
	errResource           = fault.New(fault.Invalid, "500011", "The resource principal was not found in the tenant.")
	errResourceV2         = fault.New(fault.Invalid, "901002", "The 'resource' request parameter is not supported.")
)

// oauthError gives the "error" of RFC 6749 section 5.2 for those that are not plainly "invalid_request".
func oauthError(f *fault.Error) string {
	switch f.Code {
	case errNoSecret.Code, errSecretWrong.Code, errSecretExpired.Code, errAssertionKey.Code, errAssertionSignature.Code, errAssertionPeriod.Code,
		errFederation.Code, errFederationAudience.Code:
		return "invalid_client"
	case errAppUnknown.Code, errNoPrincipal.Code, errDisabled.Code:
		return "unauthorized_client"
	case errScope.Code, errScopeDefault.Code, errScopeMany.Code:
		return "invalid_scope"
	case errResource.Code:
		return "invalid_resource"
	case errGrantType.Code:
		return "unsupported_grant_type"
	}
	return "invalid_request"
}

func missing(parameter string) error {
	return errMissing.WithMessage("The request body must contain the following parameter: '%s'.", parameter)
}

// errorBody is how Entra writes an error.
type errorBody struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
}

// fail writes err. Correlation is by the client's own id where it sends one.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, body := describe(err)
	if status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		h.Log.ErrorContext(r.Context(), "token request failed", "request_id", api.RequestID(r.Context()), "error", err)
	}
	switch status {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
		if rt, ok := parse(r.URL.Path); ok && rt.kind != kindToken {
			w.Header().Set("Allow", http.MethodGet)
		}
	case http.StatusUnauthorized:
		if _, _, basic := r.BasicAuth(); basic { // RFC 6749 section 5.2
			w.Header().Set("WWW-Authenticate", `Basic realm="`+hostOf(h.Origin.URL("login"))+`"`)
		}
	}
	body.TraceID, body.CorrelationID = api.RequestID(r.Context()), api.CorrelationID(r.Context())
	if given, err := uuid.Parse(r.Header.Get("Client-Request-Id")); err == nil {
		body.CorrelationID = given.String()
		w.Header().Set("Client-Request-Id", body.CorrelationID)
	}
	body.Timestamp = h.Now().UTC().Format("2006-01-02 15:04:05Z")
	body.Description += fmt.Sprintf(" Trace ID: %s Correlation ID: %s Timestamp: %s", body.TraceID, body.CorrelationID, body.Timestamp)
	api.WriteJSON(w, status, body)
}

// describe gives status and body of an error. One that is not of this protocol shows nothing.
func describe(err error) (int, errorBody) {
	f := fault.From(err)
	number, notOurs := strconv.Atoi(f.Code)
	status, ok := map[fault.Kind]int{
		fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized,
		fault.NotFound: http.StatusNotFound, fault.Unsupported: http.StatusMethodNotAllowed,
	}[f.Kind]
	if notOurs != nil || !ok {
		return http.StatusInternalServerError, errorBody{
			Error: "server_error", Codes: []int{90033}, Description: "AADSTS90033: A transient error has occurred. Please try again.",
		}
	}
	return status, errorBody{Error: oauthError(f), Codes: []int{number}, Description: "AADSTS" + f.Code + ": " + f.Message}
}
