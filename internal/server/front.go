//go:build linux

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fairlead.dev/client"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/resource"
)

// surfaces are the handlers that the front routes to.
type surfaces struct {
	arm, login, issuers, clusters, graph, registry, site http.Handler
	ingress                                              func(host string) (http.Handler, bool)
}

// front routes each request by the host name it was sent to. Only the registry, ARM, login, issuers, clusters and graph names
// and the web apps' exist; health and metrics answer on every other name and address.
type front struct {
	origin   resource.Origin
	services map[resource.Service]http.Handler
	registry http.Handler
	site     http.Handler
	own      http.Handler
	// ingress gives what serves a host that is none of ours.
	ingress func(host string) (http.Handler, bool)
	wrap    func(name string, h http.Handler) http.Handler
}

func newFront(origin resource.Origin, s surfaces, telemetry *api.Telemetry, metrics prometheus.Gatherer, ready func(context.Context) error) *front {
	mount := func(name string, surface http.Handler) http.Handler {
		return telemetry.Wrap(name, patient(surface, bodyPatience))
	}
	return &front{
		origin: origin,
		services: map[resource.Service]http.Handler{
			resource.ARM:   mount("arm", ownPaths(s.arm, metrics, ready)),
			resource.Login: mount("login", s.login),
			resource.OIDC:  mount("issuers", s.issuers),
			resource.Graph: mount("graph", s.graph),

			resource.Clusters: mount("clusters", s.clusters),
		},
		registry: mount("registry", s.registry),
		site:     telemetry.Wrap("site", s.site), // how long a body may take is the web app's own business
		own:      mount("own", ownPaths(http.HandlerFunc(noSuchHost), metrics, ready)),
		ingress:  s.ingress, wrap: telemetry.Wrap,
	}
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch kind, name := f.origin.ParseHost(r.Host); kind {
	case resource.HostService:
		if h, ok := f.services[resource.Service(name)]; ok {
			h.ServeHTTP(w, r)
			return
		}
	case resource.HostRegistry:
		f.registry.ServeHTTP(w, r)
		return
	case resource.HostSite:
		f.site.ServeHTTP(w, r)
		return
	}
	if h, ok := f.ingress(resource.HostName(r.Host)); ok {
		f.wrap("ingress", h).ServeHTTP(w, r)
		return
	}
	f.own.ServeHTTP(w, r)
}

func noSuchHost(w http.ResponseWriter, r *http.Request) {
	api.WriteJSON(w, http.StatusNotFound, map[string]any{"error": map[string]string{
		"code": "HostNotFound", "message": fmt.Sprintf("nothing is served under the host name %q", clip(r.Host, 80)),
	}})
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}

// ownPaths answers /healthz, /readyz and /metrics, which tell nothing about content and need no token, and leaves the
// rest to next.
func ownPaths(next http.Handler, metrics prometheus.Gatherer, ready func(context.Context) error) http.Handler {
	expose := promhttp.HandlerFor(metrics, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			_, _ = w.Write([]byte("ok\n"))
		case "/readyz":
			ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
			defer cancel()
			if err := ready(ctx); err != nil {
				http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
				return
			}
			_, _ = w.Write([]byte("ready\n"))
		case "/metrics":
			expose.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// listen opens the HTTPS listener. Port 0 takes the port that this data directory had before, else a free one.
func listen(address string, before int) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port == "0" && before != 0 {
		port = strconv.Itoa(before)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("listening on %s (another program has it, or --listen names an address that this machine lacks): %w", net.JoinHostPort(host, port), err)
	}
	return l, nil
}

func portOf(l net.Listener) int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// serveAll serves h on every listener until ctx ends, then lets requests in flight finish for at most grace.
func serveAll(ctx context.Context, s *http.Server, listeners []net.Listener, grace time.Duration) error {
	failed := make(chan error, len(listeners))
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() { failed <- s.ServeTLS(l, "", "") })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if s.Shutdown(stop) != nil {
		err = errors.Join(err, s.Close())
	}
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// writeReady writes the ready file: all that a script needs to reach the server. It holds a secret, so it is for the
// owner's eyes only.
func writeReady(path string, ready client.Ready) error {
	text, err := json.MarshalIndent(ready, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(text, '\n'), 0o600)
}
