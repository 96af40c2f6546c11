//go:build linux

package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"fairlead.dev/internal/resource"
)

func testAuthority(t *testing.T, domains ...string) *authority {
	t.Helper()
	d, err := openData(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	a, err := openAuthority(d, resource.Origin{Domains: domains, Port: 1}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLeavesAreMadeForOurNamesOnly(t *testing.T) {
	a := testAuthority(t, "one.test", "two.test")
	l, err := tls.Listen("tcp", "127.0.0.1:0", a.tlsConfig(nothingElse))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go server.Serve(l)
	defer server.Close()
	for name, ours := range map[string]bool{
		"management.one.test": true, "a.azurecr.two.test": true, "127.0.0.1": true,
		"one.test.evil.example": false, "myacr.azurecr.io": false, "xone.test": false,
	} {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: name, RootCAs: a.pool()})
		if (err == nil) != ours {
			t.Errorf("%s: handshake gives %v, want success %v", name, err, ours)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// TestHostsOfOthers serves hosts that are not under our domains: with the certificate that somebody has for them, else with
// one of ours, which nobody may believe.
func TestHostsOfOthers(t *testing.T) {
	a, theirs := testAuthority(t, "one.test"), testAuthority(t, "shop.example")
	config := a.tlsConfig(func(_ context.Context, host string) (*tls.Certificate, bool, bool) {
		switch host {
		case "a.shop.example":
			leaf, err := theirs.leaf(host)
			return leaf, true, err == nil
		case "b.shop.example":
			return nil, true, false
		}
		return nil, false, false
	})
	served := func(name string) (*x509.Certificate, error) {
		c, err := config.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			return nil, err
		}
		return c.Leaf, c.Leaf.VerifyHostname(name)
	}
	for name, by := range map[string]*authority{"a.SHOP.example": theirs, "b.shop.example": a, "c.shop.example": nil} {
		leaf, err := served(name)
		if (err == nil) != (by != nil) || by != nil && leaf.CheckSignatureFrom(by.cert) != nil {
			t.Errorf("%s: %v, signed by %v", name, err, leaf.Issuer)
		}
	}
	leaf, err := served("b.shop.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.pool()}); err == nil {
		t.Error("who trusts our authority believes it about somebody else's name")
	}
}

// TestAuthorityIsConstrained signs, with the authority's own key, a certificate for somebody else's name: nobody who
// trusts the authority may believe it.
func TestAuthorityIsConstrained(t *testing.T) {
	a := testAuthority(t, "one.test")
	for name, want := range map[string]bool{"login.one.test": true, "login.microsoftonline.com": false, "8.8.8.8": false, "10.1.2.3": false, "10.64.9.1": true} {
		leaf, err := a.issue(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: a.pool()})
		if (err == nil) != want {
			t.Errorf("%s: verifying gives %v, want success %v", name, err, want)
		}
	}
}

// TestAuthorityIsMadeAgainWhenHalfMade has a start killed between the new key and the new certificate.
func TestAuthorityIsMadeAgainWhenHalfMade(t *testing.T) {
	d, err := openData(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	origin := resource.Origin{Domains: []string{"one.test"}}
	if _, err := openAuthority(d, origin, time.Now); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(d.file("keys", "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(d, resource.Origin{Domains: []string{"one.test", "two.test"}}, time.Now); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.file("keys", "ca.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := openAuthority(d, origin, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.issue("login.one.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: a.pool()}); err != nil {
		t.Errorf("the authority signs what itself does not bear out: %v", err)
	}
}

func TestAuthorityIsMadeAgainForAnotherDomain(t *testing.T) {
	d, err := openData(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	open := func(anew bool, domains ...string) string {
		t.Helper()
		a, err := openAuthority(d, resource.Origin{Domains: domains}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if a.anew != anew {
			t.Errorf("for %v the authority is anew: %v", domains, a.anew)
		}
		return string(a.pem)
	}
	first := open(false, "one.test")
	if open(false, "one.test") != first {
		t.Error("the authority changed though the domain did not")
	}
	if open(true, "one.test", "two.test") == first {
		t.Error("the authority did not change though it does not cover the new domain")
	}
}

// nothingElse is served besides.
func nothingElse(context.Context, string) (*tls.Certificate, bool, bool) { return nil, false, false }
