// Package credentialprovider owns what a kubelet asks an image credential provider: the request and the answer, the
// configuration, and the way from an image to a login. That is the way of a cloud's node: a token of its managed
// identity from the instance metadata service, or one for the pod's service account from the authority, turned into a
// login at the registry. It serves any cluster, and so knows no ready file and no login; the last error of each registry
// is left in a file, for the kubelet shows none in the pod.
package credentialprovider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"fairlead.dev/client"
)

// audience is Azure's name of the registry service, the same in every cloud.
const audience = "https://containerregistry.azure.net"

// tokenUser is the user name that stands for a refresh token as the password.
const tokenUser = "00000000-0000-0000-0000-000000000000"

// annotations gives those of a service account that name its managed identity, by what their names end with, in the order
// in which they count.
func annotations(end string) []string {
	return slices.DeleteFunc(client.ProviderAnnotations(), func(name string) bool { return !strings.HasSuffix(name, end) })
}

func clientAnnotations() []string { return annotations("client-id") }

func tenantAnnotations() []string { return annotations("tenant-id") }

// Provider answers requests.
type Provider struct {
	config Config
	client *http.Client
	direct *http.Client // of the instance metadata, which is never behind a proxy
}

// New makes a Provider. Call Close in the end.
func New(c Config) (*Provider, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading caFile: %w", err)
		}
		if trust.RootCAs, err = x509.SystemCertPool(); err != nil {
			trust.RootCAs = x509.NewCertPool()
		}
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caFile: %s holds no certificate in PEM", c.CAFile)
		}
	}
	// A redirect would take a token to where it was not meant for.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	far := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust}
	if c.Address != "" {
		far.Proxy = nil
		far.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.Address)
		}
	}
	return &Provider{
		config: c,
		client: &http.Client{CheckRedirect: stay, Transport: far},
		direct: &http.Client{CheckRedirect: stay, Transport: &http.Transport{TLSClientConfig: trust}},
	}, nil
}

// Close ends connections.
func (p *Provider) Close() {
	p.client.CloseIdleConnections()
	p.direct.CloseIdleConnections()
}

// Answer gives the login for an image: an empty answer for one that is none of ours, a *Failure when a step failed. It
// takes no longer than the configuration's timeout.
func (p *Provider) Answer(ctx context.Context, req Request) (Response, error) {
	host, ok := hostOf(req.Image)
	if !ok {
		return nothing(), nil
	}
	server, ok := p.config.loginServer(host)
	if !ok {
		return nothing(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.config.Timeout))
	defer cancel()
	refresh, err := p.login(ctx, server, readSubject(req, p.config))
	if err != nil {
		return Response{}, err
	}
	return loginFor(host, Login{tokenUser, string(refresh)}, p.keep(refresh)), nil
}

// login gets a refresh token of the registry at server.
func (p *Provider) login(ctx context.Context, server string, s subject) (client.Secret, error) {
	step := p.fromMetadata
	if s.assertion != "" {
		step = p.fromServiceAccount
	}
	access, s, err := step(ctx, s)
	if err != nil {
		return "", err
	}
	return p.exchange(ctx, server, s, access)
}

// keep gives for how long the kubelet may keep a login: no longer than half of what is left of it.
func (p *Provider) keep(refresh client.Secret) time.Duration {
	keep := time.Duration(p.config.CacheDuration)
	if ends := readClaims(refresh).Expires; ends != 0 {
		keep = min(keep, time.Until(time.Unix(ends, 0))/2)
	}
	return max(0, keep.Truncate(time.Second))
}

// subject is as whom is asked.
type subject struct {
	clientID, tenant string
	assertion        client.Secret // the service account's token; "" for the node's identity
}

// readSubject tells as whom a request is to be answered: the managed identity that the service account names, or the
// node's own.
func readSubject(req Request, c Config) subject {
	id := first(req.ServiceAccountAnnotations, clientAnnotations())
	if req.ServiceAccountToken == "" || id == "" {
		return subject{clientID: c.ClientID, tenant: c.TenantID}
	}
	tenant := first(req.ServiceAccountAnnotations, tenantAnnotations())
	if tenant == "" {
		tenant = c.TenantID
	}
	return subject{id, tenant, req.ServiceAccountToken}
}

func first(values map[string]string, names []string) string {
	for _, name := range names {
		if v := strings.TrimSpace(values[name]); v != "" {
			return v
		}
	}
	return ""
}
