package credentialprovider_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/acr"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/api/entra"
	"fairlead.dev/internal/cli"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var acme = resource.GroupID("s", "g").Provider("Microsoft.ContainerRegistry/registries", "acme")

// world is a node with its instance metadata, and a Fairlead that it reaches over HTTPS: the real handlers of both, but for
// the authority's federation, which is a handler of the test's.
type world struct {
	*apitest.World
	dir                  string
	node                 []pull.Identity
	federation           http.HandlerFunc
	fairlead, metadata   *httptest.Server
	hosts                []string // that were asked over HTTPS
	out, err             bytes.Buffer
	wrapped, wrappedNode http.Handler // what stands in front, for tests that put something else there
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: apitest.New(t), dir: t.TempDir()}
	w.wrapped = apitest.Wrap(acr.New(acr.Deps{
		Resolve: w.resolve, Auth: &api.RegistryAuth{Tokens: w.Tokens, Directory: w.Directory},
		Entra: w.Tokens, Tokens: w.Tokens, Access: w.Access, Origin: w.Origin, Log: apitest.Log(),
	}))
	w.wrappedNode = apitest.Wrap(entra.NewMetadata(entra.MetadataDeps{
		Directory: w.Directory, Tokens: w.Tokens, Origin: w.Origin, Tenant: apitest.Tenant, Now: w.Clock, Log: apitest.Log(),
		Identities: func(*http.Request) ([]pull.Identity, error) { return w.node, nil },
	}))
	w.metadata = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.wrappedNode.ServeHTTP(rw, r) }))
	t.Cleanup(w.metadata.Close)
	w.fairlead = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	certificate, authority := certificates(t)
	w.fairlead.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	w.fairlead.StartTLS()
	t.Cleanup(w.fairlead.Close)
	apitest.Must(t, os.WriteFile(filepath.Join(w.dir, "ca.pem"), authority, 0o600))
	w.configure()
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	w.hosts = append(w.hosts, r.Host)
	if strings.HasPrefix(r.Host, "login.") {
		w.federation(rw, r)
		return
	}
	w.wrapped.ServeHTTP(rw, r)
}

func (w *world) resolve(r *http.Request) (registry.Registry, error) {
	if kind, name := w.Origin.ParseHost(r.Host); kind == resource.HostRegistry && name == "acme" {
		return registry.Registry{ID: acme, Name: "acme"}, nil
	}
	return registry.Registry{}, registry.ErrRegistryUnknown
}

// certificates makes an authority and a certificate of it for Fairlead's names.
func certificates(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	make := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		apitest.Must(t, err)
		if signer == nil {
			signer = key
		}
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		apitest.Must(t, err)
		return der, key
	}
	ca := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	authority, key := make(ca, ca, nil)
	leaf, leafKey := make(&x509.Certificate{DNSNames: []string{"*.azurecr.fairlead.internal", "login.fairlead.internal"}}, ca, key)
	return tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: leafKey}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority})
}

// configure writes the configuration; lines replace those that name the same field, or take them out when nothing
// follows the name.
func (w *world) configure(lines ...string) {
	w.T.Helper()
	all := []string{
		"caFile: ca.pem", "metadataEndpoint: " + w.metadata.URL, "address: " + w.fairlead.Listener.Addr().String(),
		"authority: https://login.fairlead.internal:8443", "stateDir: state",
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		for i, old := range all {
			if strings.HasPrefix(old, name+":") {
				all[i] = ""
			}
		}
		if value != "" {
			all = append(all, line)
		}
	}
	text := `registries:
- host: "*.azurecr.fairlead.internal:8443"
- host: "*.azurecr.io"
  loginServer: "*.azurecr.fairlead.internal:8443"
` + strings.Join(all, "\n")
	apitest.Must(w.T, os.WriteFile(w.config(), []byte(text), 0o600))
}

func (w *world) config() string { return filepath.Join(w.dir, "credentials.yaml") }

// identity makes a managed identity.
func (w *world) identity(name string) pull.Identity {
	w.T.Helper()
	owner := resource.GroupID("s", "g").Provider("Microsoft.ManagedIdentity/userAssignedIdentities", name)
	sp, err := w.Directory.EnsureManaged(w.T.Context(), owner, false, name)
	apitest.Must(w.T, err)
	return pull.Identity{Resource: owner, ClientID: sp.ClientID, PrincipalID: sp.ID}
}

// puller makes a managed identity that may pull from acme.
func (w *world) puller(name string) pull.Identity {
	w.T.Helper()
	id := w.identity(name)
	p, err := w.Directory.Principal(w.T.Context(), id.PrincipalID)
	apitest.Must(w.T, err)
	w.Assign(p, apitest.AcrPull, acme)
	return id
}

// run runs the command as the kubelet does and gives its exit code.
func (w *world) run(request string) int {
	w.T.Helper()
	w.out.Reset()
	w.err.Reset()
	return cli.Main(w.T.Context(), []string{"credential-provider", "--config", w.config()}, cli.Streams{
		In: strings.NewReader(request), Out: &w.out, Err: &w.err, Env: func(string) string { return "" },
	}, cli.Local{})
}

// request writes a request of the kubelet's. serviceAccount, unless "", is the token, which pairs annotate.
func request(image, serviceAccount string, pairs ...string) string {
	m := map[string]any{"kind": "CredentialProviderRequest", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "image": image}
	if serviceAccount != "" {
		annotations := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			annotations[pairs[i]] = pairs[i+1]
		}
		m["serviceAccountToken"], m["serviceAccountAnnotations"] = serviceAccount, annotations
	}
	text, _ := json.Marshal(m)
	return string(text) + "\n"
}

// wantLogin demands that the last answer was a login for a host, of an identity, at acme.
func (w *world) wantLogin(host string, want pull.Identity) {
	w.T.Helper()
	var answer struct {
		Auth map[string]struct{ Username, Password string }
	}
	apitest.Must(w.T, json.Unmarshal(w.out.Bytes(), &answer))
	login, ok := answer.Auth[host]
	if !ok || len(answer.Auth) != 1 {
		w.T.Fatalf("the answer is not for %s alone: %s", host, w.out.String())
	}
	claims, err := w.Tokens.VerifyRegistryRefresh(w.T.Context(), secret.New(login.Password), "acme")
	if err != nil || claims.Subject != want.PrincipalID {
		w.T.Errorf("the login is of %q, not of %q: %v", claims.Subject, want.PrincipalID, err)
	}
}

// state gives what is left of an error; "" when nothing is.
func (w *world) state(file string) string {
	w.T.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "state", file))
	if err != nil && !os.IsNotExist(err) {
		w.T.Fatal(err)
	}
	return string(text)
}

// golden compares a text with testdata/<name>, after what differs from run to run is taken out.
func (w *world) golden(name, text string) {
	w.T.Helper()
	for address, stands := range map[string]string{
		w.fairlead.Listener.Addr().String(): "FAIRLEAD", w.metadata.Listener.Addr().String(): "METADATA", w.dir: "DIR",
	} {
		text = strings.ReplaceAll(text, address, stands)
	}
	text = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`).ReplaceAllString(text, "<token>")
	text = regexp.MustCompile(`"time": "[^"]*"`).ReplaceAllString(text, `"time": "<now>"`)
	text = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`).ReplaceAllString(text, "<client id>")
	path := filepath.Join("testdata", name)
	if flag.Lookup("update").Value.String() == "true" {
		apitest.Must(w.T, os.WriteFile(path, []byte(text), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		w.T.Fatalf("%v (run the test with -update to make it)", err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		w.T.Errorf("%s: -want +got:\n%s", name, diff)
	}
}
