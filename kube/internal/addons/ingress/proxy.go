package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// proxy leads requests to endpoints as the table says that is current.
type proxy struct {
	cluster string
	front   netip.Addr // whose X-Forwarded headers are believed
	table   atomic.Pointer[table]
	reverse httputil.ReverseProxy
}

// newProxy makes a proxy without any route.
func newProxy(cluster string, front netip.Addr) *proxy {
	p := &proxy{cluster: cluster, front: front}
	p.table.Store(&table{})
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}
	p.reverse = httputil.ReverseProxy{
		Rewrite: p.rewrite, FlushInterval: -1, // at once: who streams means it
		Transport: anyEndpoint{&http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, DisableCompression: true,
		}},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.Canceled) {
				return // the client has gone
			}
			http.Error(w, fmt.Sprintf("the service %s did not answer: %v", chosen(r.Context()).service, err), http.StatusBadGateway)
		},
		ErrorLog: log.New(io.Discard, "", 0), // what goes wrong, the client is told
	}
	return p
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b := p.table.Load().find(r.Host, r.URL.Path)
	switch {
	case b == nil:
		http.Error(w, fmt.Sprintf("no Ingress of the cluster %s serves %s at %s", p.cluster, r.URL.EscapedPath(), r.Host), http.StatusNotFound)
	case len(b.endpoints) == 0:
		problem := b.problem
		if problem == "" {
			problem = "none of its pods is ready"
		}
		http.Error(w, fmt.Sprintf("the service %s cannot answer: %s", b.service, problem), http.StatusServiceUnavailable)
	default:
		p.reverse.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), backendKey{}, b)))
	}
}

// backendKey is where a request's context has its backend.
type backendKey struct{}

func chosen(ctx context.Context) *backend {
	b, _ := ctx.Value(backendKey{}).(*backend)
	return b
}

// rewrite says in X-Forwarded headers how the request came, or leaves there what the proxy in front says. What others write
// there is not passed on.
func (p *proxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme = "http"
	r.SetXForwarded()
	peer, err := netip.ParseAddrPort(r.In.RemoteAddr)
	if err != nil || peer.Addr().Unmap() != p.front {
		return
	}
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := r.In.Header[name]; len(values) > 0 {
			r.Out.Header[name] = slices.Clone(values)
		}
	}
}

// anyEndpoint sends a request to one of its backend's endpoints. It tries another when one cannot be reached at all: the
// request has then not begun.
type anyEndpoint struct{ transport *http.Transport }

// attempts is how many endpoints a request is tried at.
const attempts = 3

// RoundTrip implements http.RoundTripper.
func (a anyEndpoint) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	endpoints := slices.Clone(chosen(r.Context()).endpoints)
	rand.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })
	for _, endpoint := range endpoints[:min(attempts, len(endpoints))] {
		out := r.Clone(r.Context())
		out.URL.Host = endpoint
		if r.Body != nil {
			out.Body = io.NopCloser(r.Body) // a failed attempt closes it, and the server does in the end
		}
		if resp, err = a.transport.RoundTrip(out); !unreached(err) {
			return resp, err
		}
	}
	return nil, err
}

func unreached(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
