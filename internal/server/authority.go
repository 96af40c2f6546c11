//go:build linux

package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"fairlead.dev/internal/resource"
)

// Lifetimes. A leaf is renewed on demand when a third of its life is left.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
	maxLeaves     = 4096
)

// authority is the local certificate authority. It is made at first start and name-constrained to our domains and to
// addresses of this machine and its container network, so that trusting it trusts nothing else.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
	now  func() time.Time
	anew bool // another one was trusted before

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// openAuthority reads the authority from the data directory, making it when there is none or when it does not cover a
// domain that is served now.
func openAuthority(d *dataDir, origin resource.Origin, now func() time.Time) (*authority, error) {
	a := &authority{now: now, leaves: map[string]*tls.Certificate{}}
	err := a.read(d)
	if err == nil && a.covers(origin) {
		return a, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the certificate authority: %w", err)
	}
	a.anew = err == nil
	if err := a.create(d, origin); err != nil {
		return nil, fmt.Errorf("making the certificate authority: %w", err)
	}
	return a, a.read(d)
}

func (a *authority) read(d *dataDir) error {
	certPEM, err := os.ReadFile(d.file("ca.pem"))
	if err != nil {
		return err
	}
	keyPEM, err := os.ReadFile(d.file("keys", "ca.key"))
	if err != nil {
		return err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return errors.New("ca.pem or keys/ca.key is not PEM")
	}
	if a.cert, err = x509.ParseCertificate(certBlock.Bytes); err != nil {
		return err
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("keys/ca.key cannot sign")
	}
	if public, ok := a.cert.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(signer.Public()) {
		return fmt.Errorf("keys/ca.key is not that of ca.pem, as when the making of new ones is cut short: %w", os.ErrNotExist)
	}
	a.key, a.pem = signer, certPEM
	return nil
}

func (a *authority) covers(origin resource.Origin) bool {
	for _, domain := range origin.Domains {
		if !a.permits(domain) {
			return false
		}
	}
	return a.now().Add(leafLife).Before(a.cert.NotAfter)
}

func (a *authority) permits(name string) bool {
	for _, permitted := range a.cert.PermittedDNSDomains {
		if name == permitted || strings.HasSuffix(name, "."+permitted) {
			return true
		}
	}
	return false
}

func (a *authority) create(d *dataDir, origin resource.Origin) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:                serial(),
		Subject:                     pkix.Name{CommonName: "Fairlead local authority", Organization: []string{"Fairlead"}},
		NotBefore:                   a.now().Add(-time.Hour),
		NotAfter:                    a.now().Add(authorityLife),
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         origin.Domains,
		PermittedIPRanges:           localRanges(),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(d.file("keys", "ca.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return writeFile(d.file("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func localRanges() []*net.IPNet {
	var out []*net.IPNet
	for _, cidr := range []string{"127.0.0.0/8", "10.64.0.0/10", "::1/128"} { // the second has the container networks
		_, n, err := net.ParseCIDR(cidr)
		if err == nil {
			out = append(out, n)
		}
	}
	return out
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n
}

// pool gives a pool that trusts this authority only.
func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// certificate gives the leaf for the name that a client asks for (SNI); a client that names none gets one for the address
// it reached.
func (a *authority) certificate(name string, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if name == "" {
		host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
		if err != nil {
			return nil, err
		}
		name = host
	}
	return a.leaf(name)
}

// leaf gives the leaf for a name, made on demand.
func (a *authority) leaf(name string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if leaf, ok := a.leaves[name]; ok && a.now().Before(leaf.Leaf.NotAfter.Add(-leafLife/3)) {
		return leaf, nil
	}
	if len(a.leaves) >= maxLeaves { // names are a client's to choose: memory is not
		clear(a.leaves)
	}
	leaf, err := a.issue(name)
	if err != nil {
		return nil, err
	}
	a.leaves[name] = leaf
	return leaf, nil
}

func (a *authority) issue(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{Organization: []string{"Fairlead"}},
		NotBefore:    a.now().Add(-time.Hour),
		NotAfter:     a.now().Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// foreign gives the certificate that somebody else has for a host; served tells whether the host is served here at all.
type foreign func(ctx context.Context, host string) (certificate *tls.Certificate, served, ok bool)

// tlsConfig gives the listener's configuration. For a host outside our domains that is served here, and for which there is
// no certificate, there is one of ours: whoever verifies it is told that we may not vouch for that name.
func (a *authority) tlsConfig(others foreign) *tls.Config {
	certificate := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
		if name == "" || a.permits(name) {
			return a.certificate(name, hello)
		}
		found, served, ok := others(hello.Context(), name)
		switch {
		case ok:
			return found, nil
		case served:
			return a.leaf(name)
		}
		return nil, fmt.Errorf("no certificate for %q: it is under none of %s", name, strings.Join(a.cert.PermittedDNSDomains, ", "))
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate, NextProtos: []string{"h2", "http/1.1"}}
}
