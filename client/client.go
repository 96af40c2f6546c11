// Package client is the Go client of Fairlead's HTTP surfaces: resource manager, directory, tokens and the registry's
// sign-in. It finds the server from a ready file or a login, acquires and caches tokens, retries what may be retried,
// polls long-running operations and turns every refusal into an *Error. Moving image content is left to OCI libraries,
// which take the transport and the credentials from here. What the server writes into files for the CLI to read, it writes
// with types of this package: the ready file, and what the credential provider on clusters' nodes is told and leaves behind.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Secret is a text that prints as "[redacted]". It is written out by encoding/json, which is for files of mode 0600.
type Secret string

// String hides the value.
func (Secret) String() string { return "[redacted]" }

// GoString hides the value from %#v.
func (Secret) GoString() string { return "[redacted]" }

// Server is what a client must know of a Fairlead. URLs are absolute, without a trailing slash.
type Server struct {
	Domain         string `json:"domain"`         // "fairlead.localhost"
	ARM            string `json:"arm"`            // "https://management.fairlead.localhost:8443"
	Login          string `json:"login"`          // "https://login.fairlead.localhost:8443"
	Graph          string `json:"graph"`          // "https://graph.fairlead.localhost:8443"
	RegistrySuffix string `json:"registrySuffix"` // ".azurecr.fairlead.localhost:8443"
	Tenant         string `json:"tenantId"`
	Subscription   string `json:"subscriptionId"`
	// CA is the PEM text of the authority to trust; empty means the system's.
	CA string `json:"ca,omitempty"`
	// Address is "host:port", dialled for every host under Domain, whose names then need not resolve. Empty means that
	// names are resolved.
	Address string `json:"address,omitempty"`
}

// Credential is a service principal's client id and secret.
type Credential struct {
	ClientID     string `json:"clientId"`
	ClientSecret Secret `json:"clientSecret"`
}

// Client speaks to one Fairlead as one principal. It is safe for concurrent use.
type Client struct {
	server     Server
	credential Credential
	http       *http.Client

	mu     sync.Mutex
	tokens map[string]token // by scope
}

// requestTimeout bounds one HTTP exchange, streams excepted; the server answers within 60 s.
const requestTimeout = 90 * time.Second

// New makes a client. It does not connect.
func New(server Server, credential Credential) (*Client, error) {
	for _, u := range []*string{&server.ARM, &server.Login, &server.Graph} {
		*u = strings.TrimRight(*u, "/")
		if parsed, err := url.Parse(*u); err != nil || parsed.Host == "" {
			return nil, fmt.Errorf("%q is not an absolute URL", *u)
		}
	}
	transport, err := newTransport(server)
	if err != nil {
		return nil, err
	}
	return &Client{
		server: server, credential: credential, tokens: map[string]token{},
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// Server gives what the client knows of its server.
func (c *Client) Server() Server { return c.server }

// ClientID gives the client id that the client signs in with.
func (c *Client) ClientID() string { return c.credential.ClientID }

// Transport gives the round tripper that reaches the server's hosts (its registries too) and trusts its authority. It
// adds no credentials.
func (c *Client) Transport() http.RoundTripper { return c.http.Transport }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func newTransport(s Server) (*http.Transport, error) {
	t := &http.Transport{
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     30 * time.Second,
		MaxIdleConnsPerHost: 8,
	}
	if s.CA != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(s.CA)) {
			return nil, errors.New("the certificate authority's file holds no PEM certificate")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if s.Address == "" {
		t.Proxy = http.ProxyFromEnvironment
		t.DialContext = dialer.DialContext
		return t, nil
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err == nil && s.owns(host) {
			address = s.Address
		}
		return dialer.DialContext(ctx, network, address)
	}
	return t, nil
}

// owns reports whether host (without a port) lies under the server's domain.
func (s Server) owns(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == s.Domain || strings.HasSuffix(host, "."+s.Domain)
}

// LoginServer gives the login server of the registry called name.
func (s Server) LoginServer(name string) string { return strings.ToLower(name) + s.RegistrySuffix }
