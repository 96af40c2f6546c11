// Package appservice owns the web apps' front door: it passes requests for a web app's host name to its container,
// holding them while the container starts, and says what is the matter when there is none. How a web app is kept running
// is package run's business, and how one is made api/arm's.
package appservice

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"fairlead.dev/internal/resource"
)

// hold is for how long a request waits for its container to start, as in App Service.
const hold = 230 * time.Second

// Sites gives the addresses of web apps; *run.Service is one.
type Sites interface {
	// Backend gives "ip:port", waiting for the app to start. It returns run.ErrNotFound, run.ErrStopped, or an Unavailable
	// fault when the app cannot be started for now.
	Backend(ctx context.Context, id resource.ID) (string, error)
}

// Deps is what the front door needs. Run and Find must be set.
type Deps struct {
	Run Sites
	// Find gives the web app that a host name, with or without a port, belongs to; a NotFound fault when there is none.
	Find func(ctx context.Context, host string) (resource.ID, error)
	// Transport reaches the containers; nil is one that knows no proxies.
	Transport http.RoundTripper
	Log       *slog.Logger // nil discards
}

// backendKey carries a request's backend from the handler to the proxy.
type backendKey struct{}

// New makes the front door's handler.
func New(d Deps) http.Handler {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Transport == nil {
		d.Transport = &http.Transport{
			DialContext:     (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			MaxIdleConns:    256,
			IdleConnTimeout: time.Minute, ResponseHeaderTimeout: hold,
			DisableCompression: true, // what the app sends is what the client gets
		}
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: d.Transport, FlushInterval: -1,
		ErrorLog:     slog.NewLogLogger(d.Log.Handler(), slog.LevelDebug),
		ErrorHandler: unreachable,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := d.Find(r.Context(), r.Host)
		if err == nil {
			var backend string
			if backend, err = wait(r.Context(), d.Run, id); err == nil {
				proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), backendKey{}, backend)))
				return
			}
		}
		refuse(w, r, d.Log, id, err)
	})
}

// wait holds a request until the web app answers.
func wait(ctx context.Context, sites Sites, id resource.ID) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	return sites.Backend(ctx, id)
}

// rewrite sends a request to its container as App Service does: under its own host name, with who asked in the
// X-Forwarded headers and nothing there that the client made up.
func rewrite(p *httputil.ProxyRequest) {
	backend, _ := p.In.Context().Value(backendKey{}).(string)
	p.SetURL(&url.URL{Scheme: "http", Host: backend})
	p.Out.URL.RawQuery = p.In.URL.RawQuery // also what Go would not parse, and has taken out: the app is to judge it
	p.Out.Host = p.In.Host
	p.SetXForwarded()
}

// unreachable answers for a container that ended in between or broke the connection.
func unreachable(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // nobody is there any more
	}
	status := http.StatusBadGateway
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		status = http.StatusGatewayTimeout
	}
	page(w, status, "The web app did not answer. Please try again.")
}
