package api_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/internal/api"
)

func TestAPanicIsAnsweredAndLoggedWithItsPlace(t *testing.T) {
	var log bytes.Buffer
	telemetry := api.NewTelemetry(slog.New(slog.NewJSONHandler(&log, nil)), prometheus.NewRegistry())
	h := telemetry.Wrap("arm", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panicking("hidden") }))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/x?secret=hidden", nil))
	if rec.Code != http.StatusInternalServerError || !json.Valid(rec.Body.Bytes()) || strings.Contains(rec.Body.String(), "hidden") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	first, second, _ := strings.Cut(log.String(), "\n")
	id := rec.Header().Get("X-Ms-Request-Id")
	if id == "" || !strings.Contains(first, id) || !strings.Contains(first, "panicking") {
		t.Errorf("the panic's line does not tell where it happened: %s", first)
	}
	if !strings.Contains(second, id) || !strings.Contains(second, `"status":500`) || strings.Contains(second, "hidden") {
		t.Errorf("the request's line: %s", second)
	}
}

//go:noinline
func panicking(what string) { panic(what) }
