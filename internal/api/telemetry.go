package api

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Telemetry wraps a surface: it gives every request its ids, logs one line per request, counts and times it under the
// surface's name, and turns a panic into a 500 with no detail.
type Telemetry struct {
	log      *slog.Logger
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewTelemetry registers the HTTP metrics with reg.
func NewTelemetry(log *slog.Logger, reg prometheus.Registerer) *Telemetry {
	t := &Telemetry{
		log: log,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_http_requests_total", Help: "Requests answered, by surface, method and status.",
		}, []string{"surface", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fairlead_http_request_seconds", Help: "Time to answer, by surface.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}, []string{"surface"}),
	}
	reg.MustRegister(t.requests, t.seconds)
	return t
}

// Wrap mounts next under the surface's name.
func (t *Telemetry) Wrap(surface string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		r = withIDs(w, r)
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if v := recover(); v != nil {
				t.panicked(rec, r, v)
			}
			t.done(surface, rec, r, time.Since(start))
		}()
		next.ServeHTTP(rec, r)
	})
}

// panicked answers a request whose handler panicked. http.ErrAbortHandler is the handler's own wish to cut the
// connection, and is passed on.
func (t *Telemetry) panicked(rec *recorder, r *http.Request, v any) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	t.log.ErrorContext(r.Context(), "handler panicked", "request_id", RequestID(r.Context()), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if rec.status == 0 {
		WriteJSON(rec, http.StatusInternalServerError, map[string]any{"error": map[string]string{
			"code": "InternalServerError", "message": "the server met an error it did not expect; its log has the detail under this request's id",
		}})
	}
}

func (t *Telemetry) done(surface string, rec *recorder, r *http.Request, took time.Duration) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	t.requests.WithLabelValues(surface, method(r.Method), strconv.Itoa(rec.status)).Inc()
	t.seconds.WithLabelValues(surface).Observe(took.Seconds())
	principal := ""
	if p, ok := PrincipalFrom(r.Context()); ok {
		principal = p.ID()
	}
	// The query is left out: clients put secrets there against all advice.
	t.log.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("surface", surface), slog.String("method", r.Method), slog.String("host", r.Host), slog.String("path", r.URL.Path),
		slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("took", took), slog.String("principal", principal),
		slog.String("remote", r.RemoteAddr), slog.String("request_id", RequestID(r.Context())), slog.String("correlation_id", CorrelationID(r.Context())))
}

// method keeps a stranger's invented methods from becoming metric labels.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// recorder notes status and size, and passes streaming and hijacking through.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush passes a flush on.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Hijack hands the connection over, for websockets.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.status = http.StatusSwitchingProtocols
	return http.NewResponseController(r.ResponseWriter).Hijack()
}
