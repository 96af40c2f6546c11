package graph

import (
	"context"
	"errors"
	"net/http"
	"time"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
)

// Errors of this protocol; the Code is Graph's.
var (
	errNoRoute      = fault.New(fault.Invalid, "BadRequest", "Resource not found for the segment.")
	errMethod       = fault.New(fault.Unsupported, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
	errBadRequest   = fault.New(fault.Invalid, "Request_BadRequest", "The request is not valid.")
	errFilter       = fault.New(fault.Invalid, "Request_UnsupportedQuery", "Unsupported query.")
	errDenied       = fault.New(fault.Denied, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
	errDuplicate    = fault.New(fault.Conflict, "Request_MultipleObjectsWithSameKeyValue", "Another object with the same value exists already.")
	errNotDelegated = fault.New(fault.Invalid, "BadRequest", "/me request is only valid with delegated authentication flow.")
)

// errorBody is how Graph writes an error.
type errorBody struct {
	Code    string     `json:"code"`
	Message string     `json:"message"`
	Inner   innerError `json:"innerError"`
}

type innerError struct {
	Date            string `json:"date"`
	RequestID       string `json:"request-id"`
	ClientRequestID string `json:"client-request-id"`
}

// fail writes err. What went wrong inside goes to the log and not to the client.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, body := describe(err)
	if status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		h.Log.ErrorContext(r.Context(), "directory request failed", "request_id", api.RequestID(r.Context()), "error", err)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="",authorization_uri="`+h.Origin.URL("login")+`/common/oauth2/authorize"`)
	}
	body.Inner = innerError{
		Date:      time.Now().UTC().Format("2006-01-02T15:04:05"),
		RequestID: api.RequestID(r.Context()), ClientRequestID: api.CorrelationID(r.Context()),
	}
	api.WriteJSON(w, status, map[string]errorBody{"error": body})
}

func describe(err error) (int, errorBody) {
	f := fault.From(err)
	body := errorBody{Code: f.Code, Message: f.Message}
	switch {
	case errors.Is(err, api.ErrBodyTooLarge):
		return http.StatusRequestEntityTooLarge, errorBody{Code: errBadRequest.Code, Message: f.Message}
	case errors.Is(err, api.ErrBodyMalformed), errors.Is(err, identity.ErrInvalid):
		return http.StatusBadRequest, errorBody{Code: errBadRequest.Code, Message: f.Message}
	case errors.Is(err, identity.ErrNotFound):
		return http.StatusNotFound, errorBody{Code: "Request_ResourceNotFound", Message: "Resource does not exist or one of its queried reference-property objects are not present."}
	case errors.Is(err, api.ErrNoToken):
		return http.StatusUnauthorized, errorBody{Code: "InvalidAuthenticationToken", Message: "Access token is empty."}
	}
	switch f.Kind {
	case fault.Invalid:
		return http.StatusBadRequest, body
	case fault.Unauthenticated:
		return http.StatusUnauthorized, body
	case fault.Denied:
		return http.StatusForbidden, body
	case fault.Conflict:
		return http.StatusConflict, body
	case fault.Unsupported:
		return http.StatusMethodNotAllowed, body
	case fault.Unavailable:
		return http.StatusServiceUnavailable, body
	}
	return http.StatusInternalServerError, errorBody{Code: "InternalServerError", Message: f.Message}
}
