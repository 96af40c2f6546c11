package cli_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/uuid"

	"fairlead.dev/internal/cli"
)

type object = map[string]any

const (
	domain       = "fl.test"
	tenant       = "11111111-1111-1111-1111-111111111111"
	subscription = "22222222-2222-2222-2222-222222222222"
	adminID      = "33333333-3333-3333-3333-333333333333"
	adminSecret  = "admin-secret-Zx81"
	acrPull      = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
)

// fake stands in for a Fairlead: the resource manager keeps what is put, the directory makes principals, a registry
// keeps images, and a workload pulls when allowed says so. It checks tokens, since the client must send them.
type fake struct {
	t      *testing.T
	server *httptest.Server
	ready  string // path of the ready file
	dir    string

	mu        sync.Mutex
	resources map[string]object // by lower-case id
	apps      []object
	sps       []object
	requests  []string
	pulls     int         // changes to workloads, each of which pulls anew
	allowed   func() bool // whether workloads may pull
	stuck     bool        // clusters stay as they are at first
	exitCode  int         // with which containers end that are not to run for ever
	override  map[string]http.HandlerFunc
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, dir: t.TempDir(), resources: map[string]object{}, override: map[string]http.HandlerFunc{}, allowed: func() bool { return true }}
	mux := http.NewServeMux()
	mux.HandleFunc("management."+domain+"/", f.arm)
	mux.HandleFunc("graph."+domain+"/", f.graph)
	mux.HandleFunc("login."+domain+"/", f.login)
	mux.Handle("myacr.azurecr."+domain+"/", f.registry())
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.requests = append(f.requests, r.Method+" "+r.URL.Path)
		override := f.override[r.Method+" "+r.URL.Path]
		f.mu.Unlock()
		if override != nil {
			override(w, r)
			return
		}
		r.Host, _, _ = net.SplitHostPort(r.Host)
		mux.ServeHTTP(w, r)
	}))
	certificate, ca := authority(t)
	f.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	f.writeReady(ca)
	return f
}

// authority makes an authority and a certificate for the fake's names.
func authority(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*." + domain, "*.azurecr." + domain}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (f *fake) port() int { return f.server.Listener.Addr().(*net.TCPAddr).Port }

func (f *fake) url(service string) string {
	return fmt.Sprintf("https://%s.%s:%d", service, domain, f.port())
}

func (f *fake) writeReady(ca []byte) {
	f.ready = filepath.Join(f.dir, "ready.json")
	caFile := filepath.Join(f.dir, "ca.pem")
	text, _ := json.Marshal(object{
		"version": "test", "pid": 1, "domain": domain, "port": f.port(), "arm": f.url("management"), "login": f.url("login"), "graph": f.url("graph"),
		"registrySuffix": ".azurecr." + domain + ":" + strconv.Itoa(f.port()), "caFile": caFile, "tenantId": tenant, "subscriptionId": subscription,
		"admin": object{"clientId": adminID, "clientSecret": adminSecret},
	})
	for path, data := range map[string][]byte{f.ready: text, caFile: ca} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
}

// file writes a file beside the ready file and gives its path.
func (f *fake) file(name, text string) string {
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		f.t.Fatal(err)
	}
	return path
}

type result struct {
	out, err string
	code     int
}

// run runs a command line against the fake.
func (f *fake) run(args ...string) result { return f.pipe("", args...) }

// pipe is run with text on stdin.
func (f *fake) pipe(stdin string, args ...string) result {
	return runCLI(f.t.Context(), map[string]string{"FAIRLEAD_READY_FILE": f.ready, "FAIRLEAD_CONFIG_DIR": filepath.Join(f.dir, "config")}, stdin, args...)
}

func runCLI(ctx context.Context, env map[string]string, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	streams := cli.Streams{In: strings.NewReader(stdin), Out: &out, Err: &errs, Env: func(name string) string { return env[name] }}
	code := cli.Main(ctx, args, streams, cli.Local{})
	return result{out.String(), errs.String(), code}
}

// ok runs a command line that must succeed and gives what it prints.
func (f *fake) ok(args ...string) string {
	f.t.Helper()
	r := f.run(args...)
	if r.code != 0 {
		f.t.Fatalf("fairlead %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

// decode runs a command with --output json and decodes what it prints.
func (f *fake) decode(v any, args ...string) {
	f.t.Helper()
	if err := json.Unmarshal([]byte(f.ok(append(args, "-o", "json")...)), v); err != nil {
		f.t.Fatalf("fairlead %s: %v", strings.Join(args, " "), err)
	}
}

func (f *fake) resource(id string) object {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resources[strings.ToLower(id)]
}

// asked counts the requests that begin with text.
func (f *fake) asked(text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(slices.Collect(func(yield func(string) bool) {
		for _, r := range f.requests {
			if strings.HasPrefix(r, text) && !yield(r) {
				return
			}
		}
	}))
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-ms-request-id", "44444444-4444-4444-4444-444444444444")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, object{"error": object{"code": code, "message": message}})
}

func (f *fake) login(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/"+tenant+"/oauth2/v2.0/token" {
		refuse(w, 404, "NotFound", r.URL.Path)
		return
	}
	if r.FormValue("client_id") != adminID || r.FormValue("client_secret") != adminSecret {
		answer(w, 401, object{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."})
		return
	}
	answer(w, 200, object{"token_type": "Bearer", "expires_in": 3599, "access_token": "token for " + r.FormValue("scope")})
}

// registry is an image registry that lets in who exchanged a token.
func (f *fake) registry() http.Handler {
	content := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth2/exchange" {
			if r.FormValue("access_token") != "token for https://containerregistry.azure.net/.default" || r.FormValue("tenant") != tenant {
				answer(w, 401, object{"errors": []object{{"code": "UNAUTHORIZED", "message": "no"}}})
				return
			}
			answer(w, 200, object{"refresh_token": "refresh"})
			return
		}
		if user, password, _ := r.BasicAuth(); user != uuid.Nil.String() || password != "refresh" {
			w.Header().Set("WWW-Authenticate", `Basic realm="Azure Container Registry"`)
			answer(w, 401, object{"errors": []object{{"code": "UNAUTHORIZED"}}})
			return
		}
		content.ServeHTTP(w, r)
	})
}

func (f *fake) graph(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer token for "+f.url("graph")+"/.default" {
		refuse(w, 401, "InvalidAuthenticationToken", "no")
		return
	}
	body := object{}
	_ = json.NewDecoder(r.Body).Decode(&body)
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1.0/"), "/")
	list := &f.apps
	if path[0] == "servicePrincipals" {
		list = &f.sps
	}
	switch {
	case r.Method == http.MethodPost && len(path) == 1:
		body["id"] = uuid.NewString()
		if path[0] == "applications" {
			body["appId"] = uuid.NewString()
		}
		*list = append(*list, body)
		answer(w, 201, body)
	case r.Method == http.MethodGet && len(path) == 1:
		found := []object{}
		property, value, filtered := strings.Cut(r.URL.Query().Get("$filter"), " eq ")
		for _, o := range *list {
			if !filtered || o[property] == strings.Trim(value, "'") {
				found = append(found, o)
			}
		}
		answer(w, 200, object{"value": found})
	default:
		f.directoryObject(w, r, list, path, body)
	}
}

func (f *fake) directoryObject(w http.ResponseWriter, r *http.Request, list *[]object, path []string, body object) {
	i := slices.IndexFunc(*list, func(o object) bool { return o["id"] == path[1] })
	if i < 0 {
		refuse(w, 404, "Request_ResourceNotFound", "no "+path[1])
		return
	}
	o := (*list)[i]
	switch {
	case r.Method == http.MethodDelete:
		*list = slices.Delete(*list, i, i+1)
		w.WriteHeader(204)
	case len(path) == 2:
		answer(w, 200, o)
	case path[2] == "addPassword":
		made := maps.Clone(body["passwordCredential"].(object))
		made["keyId"] = uuid.NewString()
		passwords, _ := o["passwordCredentials"].([]any)
		o["passwordCredentials"] = append(passwords, made)
		shown := maps.Clone(made)
		shown["secretText"] = "new-secret-" + made["keyId"].(string)
		answer(w, 200, shown)
	case path[2] == "removePassword":
		passwords := o["passwordCredentials"].([]any)
		o["passwordCredentials"] = slices.DeleteFunc(passwords, func(p any) bool { return p.(object)["keyId"] == body["keyId"] })
		w.WriteHeader(204)
	}
}
