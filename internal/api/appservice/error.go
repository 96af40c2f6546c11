package appservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// refuse answers a request that reaches no container. It names the command that tells why, and not the reason itself:
// whoever asks here is a stranger.
func refuse(w http.ResponseWriter, r *http.Request, log *slog.Logger, id resource.ID, err error) {
	switch kind := fault.KindOf(err); {
	case r.Context().Err() != nil: // nobody is there any more
	case errors.Is(err, run.ErrStopped):
		page(w, http.StatusForbidden, "Error 403 - This web app is stopped.")
	case kind == fault.NotFound:
		page(w, http.StatusNotFound, "404 Web Site not found.")
	case kind == fault.Unavailable, errors.Is(err, context.DeadlineExceeded):
		w.Header().Set("Retry-After", "10")
		page(w, http.StatusServiceUnavailable, fmt.Sprintf("The web app %s is not available: its container could not be started.\n\nWhoever runs it can see why with\n\n    fairlead why webapp/%s", id.Name(), id.Name()))
	default:
		log.ErrorContext(r.Context(), "a web app could not be looked up", "host", r.Host, "error", err)
		page(w, http.StatusInternalServerError, "The server met an error it did not expect.")
	}
}

func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a client that is gone needs no answer
}
