package arm

import (
	"context"
	"errors"
	"net/http"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// errorBody is how ARM writes an error.
type errorBody struct {
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Target  string      `json:"target,omitempty"`
	Details []errorBody `json:"details,omitempty"`
}

// internalCode is the code of a failure of our own, of which nothing else is told.
const internalCode = "InternalServerError"

// shown is an error as the caller gets it.
type shown struct {
	status          int
	code            string
	message, target string
}

// statuses maps kinds. Unsupported is the caller's to mend, and a 5xx would be repeated by clients (WIRE 1.5).
func statusOf(k fault.Kind) int {
	switch k {
	case fault.Invalid, fault.Unsupported:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Denied:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Exhausted:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// named gives the errors whose status or code is not that of their kind and their own.
func named(err error) (int, string, bool) {
	for _, n := range []struct {
		err    error
		status int
		code   string
	}{
		{api.ErrBodyTooLarge, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge"},
		{resource.ErrChanged, http.StatusPreconditionFailed, "PreconditionFailed"},
		{errPrecondition, http.StatusPreconditionFailed, "PreconditionFailed"},
		{errMethod, http.StatusMethodNotAllowed, "MethodNotAllowed"},
		{access.ErrAssignmentExists, http.StatusConflict, "RoleAssignmentExists"},
		// 429 and 503 would have clients try again, which is of no use.
		{cluster.ErrTooManyNodes, http.StatusConflict, "QuotaExceeded"},
		{cluster.ErrProgramMissing, http.StatusConflict, "KubernetesProgramMissing"},
		{identity.ErrAdminDisabled, http.StatusBadRequest, "UnAuthorizedForCredentialOperations"},
	} {
		if errors.Is(err, n.err) {
			return n.status, n.code, true
		}
	}
	return 0, "", false
}

// armFault gives an error as a caller sees it. An error of ours that nobody foresaw shows nothing.
func armFault(err error) shown {
	f := fault.From(err)
	out := shown{status: statusOf(f.Kind), code: f.Code, message: f.Message, target: f.Target}
	if f.Kind == fault.Internal {
		out.code = internalCode
		out.message, out.target = fault.From(errors.New("")).Message, ""
	}
	if status, code, ok := named(err); ok {
		out.status, out.code = status, code
	}
	if f.Hint != "" {
		out.message += " " + f.Hint
	}
	return out
}

// writeError is the one place where an error becomes an answer.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, err error) {
	out := armFault(err)
	if out.status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) { // a client that went away is no failure
		h.Log.ErrorContext(r.Context(), "request failed", "request_id", api.RequestID(r.Context()), "error", err)
	}
	if out.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="`+h.Origin.URL(resource.Login)+"/"+h.Tenant+`",error="invalid_token"`)
	}
	if out.status == http.StatusServiceUnavailable || out.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", retryAfter)
	}
	api.WriteJSON(w, out.status, map[string]errorBody{"error": {Code: out.code, Message: out.message, Target: out.target}})
}
