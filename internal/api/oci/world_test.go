package oci_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/oci"
	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/files"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tenant = "11111111-2222-3333-4444-555555555555"

var acme = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/acme")

// world is a registry behind HTTPS with real credentials, roles and stores.
type world struct {
	t         testing.TB
	dir       string
	server    *httptest.Server
	service   *registry.Service
	directory *identity.Directory
	engine    *access.Engine
	tokens    *token.Service
	auth      *api.RegistryAuth
	stop      func()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	w.start()
	t.Cleanup(func() { w.stop() })
	must(t, w.service.Create(context.Background(), acme))
	return w
}

// start opens everything over the world's directory, as a start of the program does.
func (w *world) start() {
	w.t.Helper()
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	must(w.t, err)
	db, err := sql.Open(context.Background(), filepath.Join(w.dir, "fairlead.db"))
	must(w.t, err)
	blobs, err := files.Open(filepath.Join(w.dir, "content"))
	must(w.t, err)
	origin := resource.Origin{Domains: []string{"fairlead.localhost"}, Port: 8443}
	w.service = registry.New(sql.NewRegistry(db, tenant), blobs, time.Now)
	w.directory = identity.NewDirectory(sql.NewDirectory(db, tenant), sealer, tenant, time.Now)
	w.engine = access.NewEngine(sql.NewAccess(db, tenant), tenant)
	w.tokens = token.NewService(sql.NewKeys(db, tenant), sealer, origin, tenant, time.Now)
	w.auth = &api.RegistryAuth{Tokens: w.tokens, Directory: w.directory}
	w.server = httptest.NewUnstartedServer(w.handler())
	w.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	w.server.StartTLS()
	w.stop = func() {
		w.server.Close()
		must(w.t, db.Close())
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// handler serves the registry acme under any name that does not name another, and a small token endpoint beside it.
func (w *world) handler() http.Handler {
	surface := oci.New(oci.Deps{
		Resolve: func(r *http.Request) (registry.Registry, error) {
			if name, ok := strings.CutSuffix(r.Host, ".azurecr.test"); ok {
				return w.service.Lookup(r.Context(), name)
			}
			return w.service.Lookup(r.Context(), "acme")
		},
		Registry: w.service, Auth: w.auth, Access: w.engine, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth2/token" {
			w.serveToken(rw, r)
			return
		}
		surface.ServeHTTP(rw, r)
	})
}

// serveToken is as much of api/acr as clients need to log in with a password: GET with Basic.
func (w *world) serveToken(rw http.ResponseWriter, r *http.Request) {
	p, _, err := w.auth.Authenticate(r.Context(), r, acme)
	if err != nil {
		http.Error(rw, "unauthorized", http.StatusUnauthorized)
		return
	}
	asked, err := token.ParseScopes(strings.Join(r.URL.Query()["scope"], " "))
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	api.WriteJSON(rw, http.StatusOK, map[string]string{"access_token": w.tokenOf(p, asked...).Reveal()})
}

// tokenOf gives a registry token of p for the part of what is asked that p may do.
func (w *world) tokenOf(p identity.Principal, asked ...token.ScopedAccess) secret.Text {
	w.t.Helper()
	var allowed []token.ScopedAccess
	for _, scope := range asked {
		var actions []string
		for _, name := range scope.Actions {
			action, ok := registry.ActionOf(scope.Type, scope.Name, name)
			if !ok {
				continue
			}
			d, err := w.engine.Check(context.Background(), p, action, acme)
			must(w.t, err)
			if d.Allowed {
				actions = append(actions, name)
			}
		}
		allowed = append(allowed, token.ScopedAccess{Type: scope.Type, Name: scope.Name, Actions: actions})
	}
	raw, err := w.tokens.IssueRegistryAccess(context.Background(), p, "acme.azurecr.fairlead.localhost:8443", allowed)
	must(w.t, err)
	return raw
}

// client is a service principal with its secret.
type client struct {
	w         *world
	principal identity.Principal
	id        string
	password  string
	token     string // sent instead of the password when it is not ""
}

// client makes a service principal with roles on the registry.
func (w *world) client(roles ...string) *client {
	w.t.Helper()
	ctx := context.Background()
	app, err := w.directory.CreateApplication(ctx, "test")
	must(w.t, err)
	sp, err := w.directory.CreateServicePrincipal(ctx, app.ClientID)
	must(w.t, err)
	_, value, err := w.directory.AddSecret(ctx, app.ObjectID, "test", time.Time{}, time.Time{})
	must(w.t, err)
	p, err := w.directory.Principal(ctx, sp.ID)
	must(w.t, err)
	c := &client{w: w, principal: p, id: app.ClientID, password: value.Reveal()}
	for _, role := range roles {
		c.assign(role)
	}
	return c
}

func (c *client) assign(role string) access.Assignment {
	c.w.t.Helper()
	definition, err := c.w.engine.Role(context.Background(), role)
	must(c.w.t, err)
	a, err := c.w.engine.Assign(context.Background(), access.Assignment{Scope: acme, PrincipalID: c.principal.ID(), RoleGUID: definition.GUID})
	must(c.w.t, err)
	return a
}

// allow gives a role of its own for just these actions.
func (c *client) allow(actions ...access.Action) {
	c.w.t.Helper()
	var names []string
	for _, a := range actions {
		names = append(names, a.Name)
	}
	role, err := c.w.engine.PutRole(context.Background(), access.RoleDefinition{
		Name: "only " + strings.Join(names, " "), Permissions: []access.Permission{{Actions: names}},
		AssignableScopes: []resource.ID{resource.MustParseID("/subscriptions/s")},
	})
	must(c.w.t, err)
	c.assign(role.GUID)
}

// pusher may pull, push and delete.
func (w *world) pusher() *client { return w.client("AcrPush", "AcrDelete") }

// withToken gives a client that presents a token for the scopes instead of its password.
func (c *client) withToken(scopes string) *client {
	c.w.t.Helper()
	asked, err := token.ParseScopes(scopes)
	must(c.w.t, err)
	other := *c
	other.token = c.w.tokenOf(c.principal, asked...).Reveal()
	return &other
}

// header is one more header of a request, "Name: value".
type header string

// do sends a request; target is a path with query, body a string, a reader or nil.
func (c *client) do(method, target string, body any, headers ...header) *http.Response {
	c.w.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case string:
		reader = strings.NewReader(b)
	case io.Reader:
		reader = b
	}
	r, err := http.NewRequestWithContext(context.Background(), method, c.w.server.URL+target, reader)
	must(c.w.t, err)
	c.authorize(r.Header)
	for _, h := range headers {
		name, value, _ := strings.Cut(string(h), ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	response, err := c.w.server.Client().Do(r)
	must(c.w.t, err)
	return response
}

func (c *client) authorize(h http.Header) {
	switch {
	case c.token != "":
		h.Set("Authorization", "Bearer "+c.token)
	case c.id != "":
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.id+":"+c.password)))
	}
}

// want sends a request, wants the status, and gives header and body.
func (c *client) want(status int, method, target string, body any, headers ...header) (http.Header, string) {
	c.w.t.Helper()
	response := c.do(method, target, body, headers...)
	text, err := io.ReadAll(response.Body)
	must(c.w.t, err)
	_ = response.Body.Close()
	if response.StatusCode != status {
		c.w.t.Fatalf("%s %s: %d %s, want %d", method, target, response.StatusCode, text, status)
	}
	return response.Header, string(text)
}

// push puts an image whose config is text, and gives its manifest.
func (c *client) push(repository, tag, text string) string {
	c.w.t.Helper()
	c.want(http.StatusCreated, "POST", "/v2/"+repository+"/blobs/uploads/?digest="+digest(text), text)
	manifest := imageOf(text)
	c.want(http.StatusCreated, "PUT", "/v2/"+repository+"/manifests/"+tag, manifest, "Content-Type: "+content.MediaTypeManifest)
	return manifest
}

func digest(text string) string { return content.FromBytes([]byte(text)).String() }

func imageOf(text string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`, content.MediaTypeConfig, digest(text), len(text))
}

// host gives the server's host and port.
func (w *world) host() string { return strings.TrimPrefix(w.server.URL, "https://") }

// dial opens a connection for a client that behaves badly.
func (w *world) dial() *tls.Conn {
	w.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(w.server.Certificate())
	conn, err := tls.Dial("tcp", w.host(), &tls.Config{RootCAs: roots})
	must(w.t, err)
	return conn
}
