// Package pki owns a cluster's certificates: its authorities, the certificate of every part, and the kubeconfig files
// that lead the parts to the API server. Everything stands as files, because the parts re-read files by themselves:
// renewing a certificate is writing it again. Who may do what with one is the cluster's RBAC's business.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	// renewBefore is when a certificate is old: a machine that sleeps for weeks still finds it valid.
	renewBefore = leafLife / 3
	// skew is how far back a certificate is valid: clocks are set back, and machines differ.
	skew = 48 * time.Hour
)

// Authority signs certificates of one kind.
type Authority struct {
	dir, name string
	cert      *x509.Certificate
	key       crypto.Signer
	now       func() time.Time

	mu     sync.Mutex
	leaves map[string]Leaf // that were asked for, by name
}

// OpenAuthority reads an authority from dir/name.crt and dir/name.key, or makes it there.
func OpenAuthority(dir, name string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: dir, name: name, now: now, leaves: map[string]Leaf{}}
	err := a.read()
	if errors.Is(err, fs.ErrNotExist) {
		err = a.create()
	}
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	return a, nil
}

// File is where the authority's certificate stands.
func (a *Authority) File() string { return filepath.Join(a.dir, a.name+".crt") }

// KeyFile is where the authority's key stands.
func (a *Authority) KeyFile() string { return filepath.Join(a.dir, a.name+".key") }

func (a *Authority) read() error {
	key, err := readPEM(a.KeyFile())
	if err != nil {
		return err
	}
	if a.key, err = x509.ParseECPrivateKey(key); err != nil {
		return err
	}
	cert, err := readPEM(a.File())
	if err != nil {
		return err
	}
	a.cert, err = x509.ParseCertificate(cert)
	return err
}

func (a *Authority) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := a.template(pkix.Name{CommonName: a.name}, authorityLife)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		return err
	}
	a.key = key
	// The certificate goes last but the key is made anew when it is missing, so a kill in between leaves nothing wrong.
	return errors.Join(writeKey(a.KeyFile(), key), writePEM(a.File(), "CERTIFICATE", raw, 0o644))
}

func (a *Authority) template(subject pkix.Name, life time.Duration) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // crypto/rand does not fail
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject, NotBefore: a.now().Add(-skew), NotAfter: a.now().Add(life),
	}
}

// Leaf is a certificate that a part of the cluster shows, as a server, as a client or as both.
type Leaf struct {
	Name   string // of its files
	User   string // the common name: who a client is
	Groups []string
	Hosts  []string // names and addresses of a server; none for a client
}

// Ensure gives the leaf's certificate and key files, which it makes or renews when they are missing, old, of another
// authority, or lack a host. renewed tells whether it did.
func (a *Authority) Ensure(l Leaf) (cert, key string, renewed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaves[l.Name] = l
	cert, key = filepath.Join(a.dir, l.Name+".crt"), filepath.Join(a.dir, l.Name+".key")
	if a.good(cert, key, l) {
		return cert, key, false, nil
	}
	if err := a.issue(cert, key, l); err != nil {
		return "", "", false, fmt.Errorf("certificate %s: %w", l.Name, err)
	}
	return cert, key, true, nil
}

// renew ensures all leaves that were asked for.
func (a *Authority) renew() error {
	a.mu.Lock()
	leaves := slices.Collect(maps.Values(a.leaves))
	a.mu.Unlock()
	var errs []error
	for _, l := range leaves {
		_, _, _, err := a.Ensure(l)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (a *Authority) good(certFile, keyFile string, l Leaf) bool {
	raw, err := readPEM(certFile)
	if err != nil {
		return false
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil || cert.CheckSignatureFrom(a.cert) != nil {
		return false
	}
	if now := a.now(); now.Before(cert.NotBefore) || now.After(cert.NotAfter.Add(-renewBefore)) {
		return false
	}
	for _, host := range l.Hosts {
		if cert.VerifyHostname(host) != nil {
			return false
		}
	}
	rawKey, err := readPEM(keyFile)
	if err != nil {
		return false
	}
	key, err := x509.ParseECPrivateKey(rawKey)
	return err == nil && key.PublicKey.Equal(cert.PublicKey)
}

func (a *Authority) issue(certFile, keyFile string, l Leaf) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := a.template(pkix.Name{CommonName: l.User, Organization: l.Groups}, leafLife)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(l.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	return errors.Join(writeKey(keyFile, key), writePEM(certFile, "CERTIFICATE", raw, 0o644))
}

// ensureKey makes the file of a key that signs tokens when it is missing, and beside it that of its public key, which
// whoever is to trust the tokens reads.
func ensureKey(path, public string) error {
	raw, err := readPEM(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		if err := writeKey(path, key); err != nil {
			return err
		}
		return ensureKey(path, public)
	}
	if err != nil {
		return err
	}
	key, err := x509.ParseECPrivateKey(raw)
	if err != nil {
		return err
	}
	if raw, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return err
	}
	return writePEM(public, "PUBLIC KEY", raw, 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", raw, 0o600)
}

// writePEM replaces a file whole: a reader sees the old one or the new one, also after a kill.
func writePEM(path, kind string, raw []byte, mode fs.FileMode) error {
	return WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), mode)
}

// WriteFile replaces a file whole: a reader sees the old one or the new one, also after a kill.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func readPEM(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", path)
	}
	return block.Bytes, nil
}
