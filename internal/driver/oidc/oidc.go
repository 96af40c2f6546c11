// Package oidc owns asking token issuers elsewhere for the keys that they sign with: OpenID Connect discovery, the key
// set behind it, and how long both are believed. It goes out to hosts that other people named, so it is careful where
// it connects to, what it reads and how often. Whose tokens are trusted, and what they must say, is for others.
//
// Source: https://openid.net/specs/openid-connect-discovery-1_0.html
package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fairlead.dev/internal/fault"
)

// Bounds of what is asked and believed.
const (
	believed  = 10 * time.Minute // how long keys are used before they are asked for anew
	lookAgain = time.Minute      // between two questions for a key that an issuer did not have
	tryAgain  = 10 * time.Second // between two questions to an issuer that did not answer
	patience  = 10 * time.Second // for one issuer's whole answer
	maxBody   = 256 << 10        // bytes of a document
	maxKnown  = 1 << 10          // issuers remembered
)

// ErrIssuer: an issuer's keys cannot be had; the message says why.
var ErrIssuer = fault.New(fault.Unavailable, "IssuerUnavailable", "the issuer's keys cannot be fetched")

// Config says where connections may go.
type Config struct {
	// Allowed names hosts, "host" or "host:port", that may be on private, loopback and link-local addresses. All others
	// must be on public ones.
	Allowed []string
	Roots   *x509.CertPool // of the authorities trusted; nil for the system's
	Now     func() time.Time
}

// Keys gives the keys of issuers. All methods are safe for concurrent use.
type Keys struct {
	now    func() time.Time
	client *http.Client

	mu    sync.Mutex
	known map[string]*issuer
}

// issuer is what is known of one. It is asked by one caller at a time; the others wait for that answer.
type issuer struct {
	mu      sync.Mutex
	keys    jose.JSONWebKeySet
	fetched time.Time // zero before the first answer
	tried   time.Time
	failure error // of the last try, nil when it went well
}

// New makes Keys that know nothing yet.
func New(cfg Config) *Keys {
	guard := &guard{allowed: map[string]bool{}}
	for _, host := range cfg.Allowed {
		guard.allowed[strings.ToLower(host)] = true
	}
	return &Keys{now: cfg.Now, known: map[string]*issuer{}, client: &http.Client{
		Transport: &http.Transport{
			// No proxy: it would connect in our place, to wherever it likes.
			DialContext:            guard.dial,
			TLSClientConfig:        &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    patience,
			ResponseHeaderTimeout:  patience,
			MaxResponseHeaderBytes: 64 << 10,
			DisableKeepAlives:      true,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Keys gives the keys of an issuer, among them, if it has it, the one with the id kid; ErrIssuer. An issuer is asked once
// in ten minutes, and for a key that it did not have at most once in a minute.
func (k *Keys) Keys(ctx context.Context, url, kid string) (jose.JSONWebKeySet, error) {
	i := k.issuer(url)
	i.mu.Lock()
	defer i.mu.Unlock()
	now := k.now()
	fresh := !i.fetched.IsZero() && now.Before(i.fetched.Add(believed))
	switch {
	case fresh && (kid == "" || len(i.keys.Key(kid)) > 0 || now.Before(i.tried.Add(lookAgain))):
		return i.keys, nil
	case !fresh && i.failure != nil && now.Before(i.tried.Add(tryAgain)):
		return jose.JSONWebKeySet{}, i.failure
	}
	// The answer is for everybody, so it does not end with the one request that asked.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	keys, err := k.fetch(ctx, url)
	i.tried, i.failure = now, err
	switch {
	case err == nil:
		i.keys, i.fetched = keys, now
	case !fresh:
		return jose.JSONWebKeySet{}, err
	}
	return i.keys, nil
}

func (k *Keys) issuer(url string) *issuer {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := k.known[url]
	if i == nil {
		if len(k.known) >= maxKnown {
			clear(k.known)
		}
		i = &issuer{}
		k.known[url] = i
	}
	return i
}

// fetch asks an issuer for its description and for the keys that it names there.
func (k *Keys) fetch(ctx context.Context, issuer string) (jose.JSONWebKeySet, error) {
	var about struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := k.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &about); err != nil {
		return jose.JSONWebKeySet{}, err
	}
	if about.Issuer != issuer {
		return jose.JSONWebKeySet{}, ErrIssuer.WithMessage("what answers under %.200q calls itself the issuer %.200q", issuer, about.Issuer)
	}
	var set jose.JSONWebKeySet
	return set, k.get(ctx, about.Keys, &set)
}

// get reads one JSON document over HTTPS.
func (k *Keys) get(ctx context.Context, address string, v any) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return ErrIssuer.WithMessage("%.200q is no https URL", address)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return ErrIssuer.WithMessage("%.200q is no https URL", address).WithCause(err)
	}
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	res, err := k.client.Do(r)
	if err != nil {
		return ErrIssuer.WithMessage("%s: %s", u.Host, why(err)).WithCause(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return ErrIssuer.WithMessage("%s answered %d to %.200s, where 200 is expected (redirects are not followed)", u.Host, res.StatusCode, u.Path)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return ErrIssuer.WithMessage("%s: its answer ended early", u.Host).WithCause(err)
	case len(body) > maxBody:
		return ErrIssuer.WithMessage("%s: its answer is over %d bytes long", u.Host, maxBody)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return ErrIssuer.WithMessage("%s: its answer to %.200s is not the JSON that is expected", u.Host, u.Path).WithCause(err)
	}
	return nil
}

// why says what is wrong with a connection in words that may be shown; all else stands in the log.
func why(err error) string {
	if refused, ok := errors.AsType[*refusedAddress](err); ok {
		return refused.Error()
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the name is not known"
	}
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Sprintf("its certificate is not trusted: %v", failed.Err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", patience)
	}
	return "it cannot be reached"
}
