//go:build linux

package compute_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/kubernetes/compute"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

const username = "puller"

// privateRegistry is a registry over TLS that gives tokens to one user.
type privateRegistry struct {
	host      string
	authority string // file
	client    *http.Client
	content   http.Handler

	mu     sync.Mutex
	secret string
	logins int
}

func newRegistry(t *testing.T, ip netip.Addr, port int) *privateRegistry {
	t.Helper()
	r := &privateRegistry{
		host: netip.AddrPortFrom(ip, uint16(port)).String(), authority: filepath.Join(t.TempDir(), "ca.pem"), //nolint:gosec // a port has 16 bits
		content: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))), secret: "first",
	}
	l, err := net.Listen("tcp", r.host)
	must(t, err)
	s := httptest.NewUnstartedServer(r)
	s.Listener = l
	pair, pool := certificate(t, ip, r.authority)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	r.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

func certificate(t *testing.T, ip netip.Addr, file string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{ip.AsSlice()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func (r *privateRegistry) password() secret.Text {
	r.mu.Lock()
	defer r.mu.Unlock()
	return secret.New(r.secret)
}

// change gives the user another password; tokens for the old one are refused from now on.
func (r *privateRegistry) change(password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = password
}

func (r *privateRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	password := r.password().Reveal()
	if req.URL.Path == "/oauth2/token" {
		user, given, _ := req.BasicAuth()
		if req.Method == http.MethodPost {
			user, given = req.FormValue("username"), req.FormValue("password")
		}
		if user != username || given != password {
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		r.mu.Lock()
		r.logins++
		r.mu.Unlock()
		fmt.Fprintf(w, `{"access_token":%q}`, "token-"+password)
		return
	}
	if req.Header.Get("Authorization") != "Bearer token-"+password {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/oauth2/token",service=%q`, r.host, r.host))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.content.ServeHTTP(w, req)
}

// Endpoint implements pull.Registries.
func (r *privateRegistry) Endpoint(context.Context, string) (pull.Endpoint, error) {
	return pull.Endpoint{
		Registry: resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r"),
		BaseURL:  "https://" + r.host, Service: r.host, Client: r.client,
	}, nil
}

// push makes an image of a small Unix, which nobody else has, and gives its reference.
func (r *privateRegistry) push(t *testing.T, config v1.Config) string {
	t.Helper()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(busybox(t))), nil }, tarball.WithCompressionLevel(gzip.BestSpeed))
	must(t, err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	must(t, err)
	file, err := img.ConfigFile()
	must(t, err)
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config, file.Author = "linux", runtime.GOARCH, config, strconv.FormatInt(time.Now().UnixNano(), 10)
	img, err = mutate.ConfigFile(img, file)
	must(t, err)
	ref := r.host + "/team/app:v1"
	tag, err := name.ParseReference(ref)
	must(t, err)
	direct := httptest.NewServer(r.content)
	defer direct.Close()
	local, err := name.ParseReference(direct.Listener.Addr().String() + "/team/app:v1")
	must(t, err)
	must(t, remote.Write(local, img))
	return tag.Name()
}

// image pulls an image as Fairlead does: the right is asked, the bytes are the cluster's to fetch.
func (r *privateRegistry) image(t *testing.T, dir string, config v1.Config) pull.Image {
	t.Helper()
	ref := r.push(t, config)
	node, err := compute.OpenImages(dir)
	must(t, err)
	puller := pull.New(r, nil, node, pull.Limits{}, time.Now, slog.New(slog.DiscardHandler))
	image, _, err := puller.Pull(t.Context(), pull.Request{
		Container: "c", Image: ref, Platform: content.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Candidates: []pull.Candidate{{Source: pull.SourceCredentials, Server: r.host, Username: username, Password: r.password()}},
	}, nil)
	must(t, err)
	return image
}

// busybox gives the files of a small system.
func busybox(t *testing.T) []byte {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs busybox-static")
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h tar.Header, body []byte) {
		h.Size = int64(len(body))
		must(t, w.WriteHeader(&h))
		_, err := w.Write(body)
		must(t, err)
	}
	add(tar.Header{Name: "bin/", Mode: 0o755, Typeflag: tar.TypeDir}, nil)
	add(tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}, nil)
	add(tar.Header{Name: "bin/busybox", Mode: 0o755, Typeflag: tar.TypeReg}, program)
	for _, applet := range []string{"sh", "sleep", "cat", "tail", "touch", "env", "hostname", "httpd", "wget"} {
		add(tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	must(t, w.Close())
	return out.Bytes()
}
