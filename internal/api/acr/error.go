package acr

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/registry"
)

// readForm reads a body that must be a form; errForm. The query is not looked at: secrets have no place there.
func readForm(r *http.Request) (url.Values, error) {
	if api.MediaType(r) != "application/x-www-form-urlencoded" {
		return nil, errForm
	}
	body, err := api.ReadBody(r, maxForm)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errForm.WithCause(err)
	}
	for name, values := range form {
		if len(values) > 1 && name != "scope" {
			return nil, errForm.WithMessage("the field '%.80s' is given twice", name)
		}
	}
	return form, nil
}

// entry is one error as registries write it (OCI distribution spec, "Error Codes").
type entry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

var statusOf = map[fault.Kind]int{ //nolint:gochecknoglobals // a constant in all but the language
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.NotFound:        http.StatusNotFound,
	fault.Exhausted:       http.StatusRequestEntityTooLarge,
	fault.Unavailable:     http.StatusServiceUnavailable,
}

// fail writes err. Whoever is refused learns nothing of the reason: the log has it, and `why` tells those entitled.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.From(err)
	status, ok := statusOf[f.Kind]
	e := entry{Code: f.Code, Message: f.Message}
	switch {
	case !ok:
		status, e = http.StatusInternalServerError, entry{Code: "UNKNOWN", Message: f.Message}
		if !errors.Is(err, context.Canceled) {
			h.Log.ErrorContext(r.Context(), "token request failed", "request_id", api.RequestID(r.Context()), "error", err)
		}
	case f.Kind == fault.Unauthenticated:
		w.Header().Set("WWW-Authenticate", `Basic realm="Azure Container Registry"`)
		e = entry{Code: errNoRight.Code, Message: errNoRight.Message}
		h.Log.DebugContext(r.Context(), "token refused", "request_id", api.RequestID(r.Context()), "error", err)
	case errors.Is(err, registry.ErrRegistryUnknown):
		e.Code = "NAME_UNKNOWN"
	case errors.Is(err, api.ErrBodyTooLarge), errors.Is(err, api.ErrBodyMalformed):
		e.Code = errForm.Code
	}
	api.WriteJSON(w, status, map[string][]entry{"errors": {e}})
}
