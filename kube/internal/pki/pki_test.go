package pki

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// clock is a time that a test moves.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func ensure(t *testing.T, a *Authority, l Leaf) (cert *x509.Certificate, renewed bool) {
	t.Helper()
	file, _, renewed, err := a.Ensure(l)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := readPEM(file)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return cert, renewed
}

func open(t *testing.T, dir string, c *clock) *Cluster {
	t.Helper()
	cluster, err := OpenCluster(dir, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

func TestCertificatesAreRenewed(t *testing.T) {
	c := &clock{time.Now()}
	dir := t.TempDir()
	leaf := Leaf{Name: "apiserver", User: "kube-apiserver", Hosts: []string{"kubernetes", "10.0.0.1"}}
	first, made := ensure(t, open(t, dir, c).CA, leaf)
	if !made || first.VerifyHostname("10.0.0.1") != nil {
		t.Errorf("made: %v, names: %v %v", made, first.DNSNames, first.IPAddresses)
	}
	for _, step := range []struct {
		why  string
		do   func()
		want bool
	}{
		{"nothing has changed", func() {}, false},
		{"a host is new", func() { leaf.Hosts = append(leaf.Hosts, "10.64.0.9") }, true},
		{"a day has passed", func() { c.Time = c.Add(24 * time.Hour) }, false},
		{"most of its life has passed", func() { c.Time = c.Add(300 * 24 * time.Hour) }, true},
		{"the clock was set back by a day", func() { c.Time = c.Add(-24 * time.Hour) }, false},
		{"its key is lost", func() { _ = os.Remove(filepath.Join(dir, "apiserver.key")) }, true},
	} {
		step.do()
		cert, renewed := ensure(t, open(t, dir, c).CA, leaf)
		if renewed != step.want {
			t.Errorf("%s: renewed is %v", step.why, renewed)
		}
		if c.Before(cert.NotBefore) || c.After(cert.NotAfter) {
			t.Errorf("%s: valid from %s to %s", step.why, cert.NotBefore, cert.NotAfter)
		}
	}
}

// What runs for longer than a certificate lives renews it, and whoever takes a kubeconfig then gets the new one.
func TestAClusterKeepsItsCertificatesFresh(t *testing.T) {
	c := &clock{time.Now()}
	cluster := open(t, t.TempDir(), c)
	leaf := Leaf{Name: "store", User: "store", Hosts: []string{"localhost"}}
	ensure(t, cluster.Store, leaf)
	admin, err := cluster.Kubeconfig(Leaf{Name: "admin", User: "admin"}, "https://10.64.0.9:6443", true)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, later := range []struct {
		days    int
		changed bool
	}{{100, false}, {200, true}} {
		c.Time = c.Add(time.Duration(later.days) * 24 * time.Hour)
		if err := cluster.Renew(); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(admin)
		if err != nil || bytes.Equal(before, after) == later.changed {
			t.Errorf("after %d days more: the administrator's kubeconfig: changed is %v, %v", later.days, !later.changed, err)
		}
		if cert, renewed := ensure(t, cluster.Store, leaf); renewed || c.After(cert.NotAfter) {
			t.Errorf("after %d days more: the datastore's certificate was left as it was", later.days)
		}
	}
}

func TestAuthoritiesStay(t *testing.T) {
	c, dir := &clock{time.Now()}, t.TempDir()
	one, two := open(t, dir, c), open(t, dir, c)
	if !one.CA.cert.Equal(two.CA.cert) {
		t.Error("the authority was made anew")
	}
	if one.CA.cert.Equal(one.Store.cert) || one.CA.cert.Equal(one.Front.cert) {
		t.Error("the datastore's and the front proxy's clients are the cluster's too")
	}
	private, err := readPEM(one.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	public, err := readPEM(filepath.Join(dir, "service-accounts.pub"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParseECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x509.ParsePKIXPublicKey(public); err != nil || !key.PublicKey.Equal(got) {
		t.Errorf("the public key beside the tokens' is another one: %v", err)
	}
}

func TestSecretsAreTheOwners(t *testing.T) {
	dir := t.TempDir()
	cluster := open(t, dir, &clock{time.Now()})
	if _, err := cluster.Kubeconfig(Leaf{Name: "admin", User: "admin"}, "https://10.64.0.9:6443", true); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.key", "admin.key", "admin.kubeconfig", "service-accounts.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
