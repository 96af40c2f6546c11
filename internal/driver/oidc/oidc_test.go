package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fairlead.dev/internal/fault"
)

// provider is an OpenID Connect provider over real TLS.
type provider struct {
	t        *testing.T
	server   *httptest.Server
	issuer   string
	requests atomic.Int32
	mux      *http.ServeMux

	mu   sync.Mutex
	set  jose.JSONWebKeySet
	down bool
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t, mux: http.NewServeMux()}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		p.mu.Lock()
		down := p.down
		p.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		p.mux.ServeHTTP(w, r)
	}))
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	p.issuer = p.server.URL + "/t/c/"
	p.mux.HandleFunc("/t/c/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.issuer, "jwks_uri": p.server.URL + "/keys"})
	})
	p.mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = json.NewEncoder(w).Encode(p.set)
	})
	p.add("one")
	return p
}

func (p *provider) add(kid string) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set.Keys = append(p.set.Keys, jose.JSONWebKey{Key: &key.PublicKey, KeyID: kid, Algorithm: "ES256", Use: "sig"})
}

func (p *provider) stop(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *provider) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.server.Certificate())
	return pool
}

// fetcher gives Keys with a clock of the test's own.
func (p *provider) fetcher(allowed ...string) (*Keys, *time.Time) {
	now := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	return New(Config{Allowed: allowed, Roots: p.roots(), Now: func() time.Time { return now }}), &now
}

func TestKeysAreBelievedForAWhile(t *testing.T) {
	p := newProvider(t)
	k, now := p.fetcher("127.0.0.1")
	want := func(what, kid string, keys, requests int) {
		t.Helper()
		set, err := k.Keys(t.Context(), p.issuer, kid)
		if err != nil || len(set.Keys) != keys {
			t.Fatalf("%s: %d keys, %v", what, len(set.Keys), err)
		}
		if got := int(p.requests.Load()); got != requests {
			t.Errorf("%s: %d requests so far, want %d", what, got, requests)
		}
	}
	want("first", "one", 1, 2)
	want("again", "one", 1, 2)
	p.add("two")
	want("an unknown key at once", "two", 1, 2)
	*now = now.Add(lookAgain)
	want("an unknown key later", "two", 2, 4)
	for range 100 {
		want("many unknown keys", "nothing", 2, 4)
	}
	*now = now.Add(believed)
	p.stop(true)
	if _, err := k.Keys(t.Context(), p.issuer, "one"); !errors.Is(err, ErrIssuer) || !strings.Contains(err.Error(), "answered 502") {
		t.Errorf("keys that are too old are used: %v", err)
	}
	p.stop(false)
	if _, err := k.Keys(t.Context(), p.issuer, "one"); err == nil {
		t.Error("an issuer that is down is asked at every request")
	}
	*now = now.Add(tryAgain)
	want("up again", "one", 2, 7)
	p.stop(true)
	*now = now.Add(lookAgain)
	want("down, but its keys are fresh", "nothing", 2, 8)
}

func TestOneQuestionForMany(t *testing.T) {
	p := newProvider(t)
	k, _ := p.fetcher("127.0.0.1")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := k.Keys(t.Context(), p.issuer, "one"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := p.requests.Load(); got != 2 {
		t.Errorf("%d requests, want 2", got)
	}
}

// TestWhoeverGoesAwayTakesNothingAlong: the request that asks first may be given up by its client.
func TestWhoeverGoesAwayTakesNothingAlong(t *testing.T) {
	p := newProvider(t)
	k, _ := p.fetcher("127.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Keys(ctx, p.issuer, "one"); err != nil {
		t.Error(err)
	}
}

// TestAttackIssuerInside: who may write federated credentials names an issuer inside our network, to have Fairlead ask
// there. Nothing may connect unless the host was allowed by name.
func TestAttackIssuerInside(t *testing.T) {
	p := newProvider(t)
	port := p.server.URL[strings.LastIndexByte(p.server.URL, ':'):]
	for _, allowed := range [][]string{nil, {"localhost"}, {"127.0.0.1:1"}, {"example.com"}} {
		k, _ := p.fetcher(allowed...)
		_, err := k.Keys(t.Context(), p.issuer, "one")
		if !errors.Is(err, ErrIssuer) || !strings.Contains(fault.From(err).Message, "--allow-issuer 127.0.0.1") {
			t.Errorf("allowed %v: %v", allowed, err)
		}
	}
	for _, host := range []string{"[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "[fe80::1]", "[fd00::1]"} {
		k, _ := p.fetcher()
		if _, err := k.Keys(t.Context(), "https://"+host+port, ""); err == nil || !strings.Contains(fault.From(err).Message, "not a public one") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if got := p.requests.Load(); got != 0 {
		t.Errorf("%d requests came in", got)
	}
	for _, allowed := range []string{"127.0.0.1", "127.0.0.1" + port} {
		k, _ := p.fetcher(allowed)
		if _, err := k.Keys(t.Context(), p.issuer, "one"); err != nil {
			t.Error(err)
		}
	}
}

// TestAttackKeysElsewhere: an issuer that may be asked sends Fairlead on, to a host that may not.
func TestAttackKeysElsewhere(t *testing.T) {
	inside := newProvider(t)
	for name, answer := range map[string]http.HandlerFunc{
		"by its description": func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": "https://" + r.Host, "jwks_uri": strings.Replace(inside.server.URL, "127.0.0.1", "localhost", 1) + "/keys"})
		},
		"by plain HTTP": func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": "https://" + r.Host, "jwks_uri": "http://" + r.Host + "/keys"})
		},
		"by another scheme": func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": "https://" + r.Host, "jwks_uri": "file:///etc/passwd"})
		},
		"by a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside.server.URL+"/t/c/.well-known/openid-configuration", http.StatusFound)
		},
		"in another's name": func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": inside.issuer, "jwks_uri": inside.server.URL + "/keys"})
		},
		"with no end": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"issuer":"` + strings.Repeat("x", maxBody) + `"}`))
		},
		"with no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
	} {
		server := httptest.NewTLSServer(answer)
		roots := inside.roots()
		roots.AddCert(server.Certificate())
		k := New(Config{Allowed: []string{"127.0.0.1"}, Roots: roots, Now: time.Now})
		if _, err := k.Keys(t.Context(), server.URL, "one"); !errors.Is(err, ErrIssuer) {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
	if got := inside.requests.Load(); got != 0 {
		t.Errorf("%d requests came in", got)
	}
}

func TestUntrustedCertificatesAreRefused(t *testing.T) {
	p := newProvider(t)
	k := New(Config{Allowed: []string{"127.0.0.1"}, Roots: x509.NewCertPool(), Now: time.Now})
	if _, err := k.Keys(t.Context(), p.issuer, "one"); err == nil || !strings.Contains(fault.From(err).Message, "certificate is not trusted") {
		t.Error(err)
	}
}

func TestPublicAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true, "172.32.0.1": true,
		"127.0.0.1": false, "::1": false, "0.0.0.0": false, "::": false, "10.1.2.3": false, "172.31.255.255": false, "192.168.0.1": false,
		"169.254.169.254": false, "fe80::1": false, "fd00::1": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false,
		"100.64.0.1": false, "198.18.0.1": false, "203.0.113.9": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
		"::ffff:127.0.0.1": false, "::7f00:1": false, "2001:db8::1": false, "fec0::1": false, "0.1.2.3": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: public is %v", text, got)
		}
	}
}

func FuzzIssuer(f *testing.F) {
	f.Add("https://[::1]/x")
	f.Add("https://127.1/x")
	f.Add("https://2130706433/x")
	k := New(Config{Now: time.Now})
	f.Fuzz(func(t *testing.T, issuer string) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		// Names are not resolved here: only that nothing crashes and nothing but a fault comes back.
		if err := k.get(ctx, issuer, &struct{}{}); !errors.Is(err, ErrIssuer) {
			t.Errorf("%q: %v", issuer, err)
		}
	})
}
