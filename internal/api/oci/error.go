package oci

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/registry"
)

// answers gives the status, and the code where it is not the fault's own, of the errors that are not answered by their
// kind alone.
var answers = []struct { //nolint:gochecknoglobals // a constant in all but the language
	err    error
	status int
	code   string
}{
	{registry.ErrRegistryUnknown, http.StatusNotFound, "NAME_UNKNOWN"},
	{registry.ErrRangeInvalid, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID"},
	{registry.ErrFull, http.StatusInsufficientStorage, "BLOB_UPLOAD_INVALID"},
	{content.ErrManifestTooLarge, http.StatusRequestEntityTooLarge, ""},
	{errRange, http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID"},
	{errTags, http.StatusRequestURITooLong, ""},
	{errMethod, http.StatusMethodNotAllowed, ""},
}

var statusOf = map[fault.Kind]int{ //nolint:gochecknoglobals // a constant in all but the language
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied:          http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Conflict:        http.StatusConflict,
	fault.Exhausted:       http.StatusTooManyRequests,
	fault.Unsupported:     http.StatusBadRequest,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.Internal:        http.StatusInternalServerError,
}

// entry is one error as the protocol writes it (spec, "Error Codes").
type entry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// fail writes err. What went wrong inside goes to the log and not to the client.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, e := describe(err)
	var u *unauthorized
	switch {
	case errors.As(err, &u):
		w.Header().Set("WWW-Authenticate", u.header)
	case status == http.StatusMethodNotAllowed:
		w.Header().Set("Allow", allowed(r))
	case status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled):
		h.Log.ErrorContext(r.Context(), "registry request failed", "request_id", api.RequestID(r.Context()), "error", err)
	}
	api.WriteJSON(w, status, map[string][]entry{"errors": {e}})
}

func describe(err error) (status int, e entry) {
	if u, ok := errors.AsType[*unauthorized](err); ok {
		e = entry{Code: "UNAUTHORIZED", Message: "authentication required, visit https://aka.ms/acr/authorization for more information."}
		if u.detail != nil {
			e.Detail = u.detail
		}
		return http.StatusUnauthorized, e
	}
	f := fault.From(err)
	status, e = statusOf[f.Kind], entry{Code: f.Code, Message: f.Message}
	if f.Kind == fault.Internal {
		e.Code = "UNKNOWN"
	}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			status = a.status
			if a.code != "" {
				e.Code = a.code
			}
		}
	}
	switch _, notDigest := content.ParseDigest(f.Target); {
	case f.Target == "":
	case notDigest == nil:
		e.Detail = map[string]string{"digest": f.Target}
	default:
		e.Detail = map[string]string{"field": f.Target}
	}
	return status, e
}

// allowed gives the methods that the request's path has.
func allowed(r *http.Request) string {
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if _, err := parse(m, r.URL.Path, r.URL.Query()); !errors.Is(err, errMethod) {
			methods = append(methods, m)
		}
	}
	return strings.Join(methods, ", ")
}
