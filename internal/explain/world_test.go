package explain_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/acr"
	"fairlead.dev/internal/api/oci"
	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/files"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/explain"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant = "11111111-2222-3333-4444-555555555555"
	rg     = "/subscriptions/s/resourceGroups/rg"
)

var (
	origin = resource.Origin{Domains: []string{"fairlead.localhost"}, Port: 443}
	amd64  = content.Platform{OS: "linux", Architecture: "amd64"}

	myacr = registryID("myacr")
	other = registryID("other")
)

func registryID(name string) resource.ID {
	return resource.MustParseID(rg + "/providers/Microsoft.ContainerRegistry/registries/" + name)
}

func identityID(name string) resource.ID {
	return resource.MustParseID(rg + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name)
}

// world is everything but compute: real stores, real credentials and roles, real registry surfaces over HTTPS, and the
// real pull. Workloads are what a test says.
type world struct {
	t         *testing.T
	directory *identity.Directory
	access    *access.Engine
	tokens    *token.Service
	registry  *registry.Service
	server    *httptest.Server
	client    *http.Client
	puller    *pull.Puller
	disk      *pulltest.Disk
	explainer *explain.Explainer
	secrets   []string           // that must be seen nowhere
	admin     identity.Principal // Owner at the root

	group       run.Group
	status      run.Status
	first, last *pull.Attempt
	image       pulltest.Image // pushed as myacr/app:v1
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	must(t, err)
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	must(t, err)
	blobs, err := files.Open(t.TempDir())
	must(t, err)
	w.directory = identity.NewDirectory(sql.NewDirectory(db, tenant), sealer, tenant, time.Now)
	w.access = access.NewEngine(sql.NewAccess(db, tenant), tenant)
	w.tokens = token.NewService(sql.NewKeys(db, tenant), sealer, origin, tenant, time.Now)
	w.registry = registry.New(sql.NewRegistry(db, tenant), blobs, time.Now)
	w.serve()
	t.Cleanup(func() { w.client.CloseIdleConnections(); w.server.Close(); _ = db.Close() })

	w.disk = pulltest.NewDisk(t.TempDir())
	w.puller = pull.New(w, w, w.disk, pull.Limits{BackOff: time.Millisecond}, time.Now, slog.New(slog.DiscardHandler))
	w.explainer = explain.New(explain.Deps{
		Groups: w, Pull: w.puller, Access: w.access, Directory: w.directory, Registry: w.registry,
		Registries: w, Origin: origin, Platform: amd64, Now: time.Now,
	})
	w.admin = w.person("Owner", resource.Root)
	must(t, w.registry.Create(t.Context(), myacr))
	must(t, w.registry.Create(t.Context(), other))
	w.image = pulltest.NewImage(t, amd64, "hello")
	w.push(myacr, "app", "v1", w.image)
	return w
}

func (w *world) serve() {
	resolve := func(r *http.Request) (registry.Registry, error) {
		_, name := origin.ParseHost(r.Host)
		return w.registry.Lookup(r.Context(), name)
	}
	auth := &api.RegistryAuth{Tokens: w.tokens, Directory: w.directory}
	log := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	mux.Handle("/oauth2/", acr.New(acr.Deps{Resolve: resolve, Auth: auth, Entra: w.tokens, Tokens: w.tokens, Access: w.access, Origin: origin, Log: log}))
	mux.Handle("/", oci.New(oci.Deps{Resolve: resolve, Registry: w.registry, Auth: auth, Access: w.access, Log: log}))
	w.server = httptest.NewTLSServer(mux)
	pool := w.server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	w.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com"},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.server.Listener.Addr().String())
		},
	}}
}

// Endpoint implements pull.Registries, with Azure's names as aliases.
func (w *world) Endpoint(ctx context.Context, host string) (pull.Endpoint, error) {
	kind, name := origin.ParseHost(host)
	if alias, ok := strings.CutSuffix(host, ".azurecr.io"); ok {
		kind, name = resource.HostRegistry, alias
	}
	found, err := w.registry.Lookup(ctx, name)
	if kind != resource.HostRegistry || errors.Is(err, registry.ErrRegistryUnknown) {
		return pull.Endpoint{}, pull.ErrHostUnknown
	}
	server := origin.LoginServer(found.Name)
	return pull.Endpoint{Registry: found.ID, BaseURL: "https://" + server, Service: server, Client: w.client}, err
}

// Token implements pull.Identities.
func (w *world) Token(ctx context.Context, id pull.Identity, audience string) (secret.Text, error) {
	sp, err := w.directory.Managed(ctx, id.Resource)
	if err != nil {
		return secret.Text{}, err
	}
	p, err := w.directory.Principal(ctx, sp.ID)
	if err != nil {
		return secret.Text{}, err
	}
	raw, _, err := w.tokens.IssueAccess(ctx, p, audience, 2)
	return raw, err
}

// Group, Status and Attempts implement explain.Groups.
func (w *world) Group(_ context.Context, id resource.ID) (run.Group, error) {
	if !id.Equal(w.group.ID) {
		return run.Group{}, run.ErrNotFound
	}
	return w.group, nil
}

func (w *world) Status(context.Context, resource.ID) (run.Status, error) { return w.status, nil }

func (w *world) Attempts(context.Context, resource.ID, string) (first, last *pull.Attempt, err error) {
	return w.first, w.last, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// secretOf remembers a secret as one that nobody may see.
func (w *world) secretOf(t secret.Text) secret.Text {
	w.secrets = append(w.secrets, t.Reveal())
	return t
}

// person makes a caller with a role.
func (w *world) person(role string, scope resource.ID) identity.Principal {
	w.t.Helper()
	_, p, _ := w.application("person", time.Time{})
	w.assign(role, p.ID(), scope)
	return p
}

// application makes a service principal with a secret that ends at end.
func (w *world) application(name string, end time.Time) (identity.Application, identity.Principal, secret.Text) {
	w.t.Helper()
	ctx := w.t.Context()
	app, err := w.directory.CreateApplication(ctx, name)
	must(w.t, err)
	sp, err := w.directory.CreateServicePrincipal(ctx, app.ClientID)
	must(w.t, err)
	_, value, err := w.directory.AddSecret(ctx, app.ObjectID, "", time.Time{}, end)
	must(w.t, err)
	p, err := w.directory.Principal(ctx, sp.ID)
	must(w.t, err)
	app, err = w.directory.Application(ctx, app.ObjectID)
	must(w.t, err)
	return app, p, w.secretOf(value)
}

// managed makes a user-assigned identity, as a workload has it attached.
func (w *world) managed(name string) pull.Identity {
	w.t.Helper()
	sp, err := w.directory.EnsureManaged(w.t.Context(), identityID(name), false, name)
	must(w.t, err)
	return pull.Identity{Resource: sp.Resource, ClientID: sp.ClientID, PrincipalID: sp.ID}
}

func (w *world) assign(role, principalID string, scope resource.ID) {
	w.t.Helper()
	r, err := w.access.Role(w.t.Context(), role)
	must(w.t, err)
	_, err = w.access.Assign(w.t.Context(), access.Assignment{Scope: scope, PrincipalID: principalID, RoleGUID: r.GUID})
	if err != nil && !errors.Is(err, access.ErrAssignmentExists) {
		w.t.Fatal(err)
	}
}

// view opens a registry to the administrator.
func (w *world) view(id resource.ID) *registry.View {
	w.t.Helper()
	g, err := w.access.Grant(w.t.Context(), w.admin, id, registry.AllActions()...)
	must(w.t, err)
	r, err := w.registry.Lookup(w.t.Context(), id.Name())
	must(w.t, err)
	v, err := w.registry.Open(g, r)
	must(w.t, err)
	return v
}

func (w *world) push(id resource.ID, repository, tag string, im pulltest.Image) {
	w.t.Helper()
	w.pushAs(id, repository, string(im.Manifest.Digest), im)
	_, err := w.view(id).PutManifest(w.t.Context(), repository, tag, im.Manifest.MediaType, im.Manifest.Body)
	must(w.t, err)
}

func (w *world) pushAs(id resource.ID, repository, reference string, im pulltest.Image) {
	w.t.Helper()
	v := w.view(id)
	for _, b := range append([]pulltest.Blob{im.Config}, im.Layers...) {
		must(w.t, v.PutBlob(w.t.Context(), repository, b.Digest, strings.NewReader(string(b.Body))))
	}
	_, err := v.PutManifest(w.t.Context(), repository, reference, im.Manifest.MediaType, im.Manifest.Body)
	must(w.t, err)
}

// containerGroup makes the workload a container group of one container.
func (w *world) containerGroup(image string, credentials ...run.Credential) {
	id := resource.MustParseID(rg + "/providers/Microsoft.ContainerInstance/containerGroups/web")
	for i := range credentials {
		credentials[i].From = "imageRegistryCredentials[" + string(rune('0'+i)) + "]"
	}
	w.group = run.Group{ID: id, Kind: run.KindContainerGroup, Containers: []run.Container{{Name: "app", Image: image}}, Credentials: credentials}
	w.status = run.Status{ID: id, State: run.StatePending, NextRetry: time.Now().Add(time.Minute)}
}

// site makes the workload a web app with identities attached.
func (w *world) site(image string, web run.Web, identities ...pull.Identity) {
	id := resource.MustParseID(rg + "/providers/Microsoft.Web/sites/shop")
	w.group = run.Group{ID: id, Kind: run.KindWebApp, Containers: []run.Container{{Name: "shop", Image: image}}, Web: &web, Identities: identities}
	w.status = run.Status{ID: id, State: run.StatePending}
}

func byIdentity(id pull.Identity) run.Credential {
	return run.Credential{Server: "myacr.azurecr.io", Identity: id.Resource}
}

func byPassword(username string, password secret.Text) run.Credential {
	return run.Credential{Server: "myacr.azurecr.io", Username: username, Password: password}
}

// pull pulls as the workload's owner would and records the attempt.
func (w *world) pull() error {
	w.t.Helper()
	c := w.group.Containers[0]
	ref, err := content.ParseReference(c.Image)
	must(w.t, err)
	same := func(a, b string) bool {
		one, errOne := w.Endpoint(w.t.Context(), a)
		two, errTwo := w.Endpoint(w.t.Context(), b)
		return errOne == nil && errTwo == nil && one.Registry == two.Registry
	}
	_, attempt, err := w.puller.Pull(w.t.Context(), pull.Request{
		Workload: w.group.ID, Container: c.Name, Image: c.Image, Platform: amd64, Candidates: run.Candidates(w.group, ref, same),
	}, nil)
	if w.first == nil && err != nil {
		w.first = &attempt
	}
	w.last = &attempt
	return err
}

// paste does what the fixes of a report say, as far as commands go that they use.
func (w *world) paste(fixes []explain.Fix) {
	w.t.Helper()
	for _, f := range fixes {
		var piped secret.Text
		for command := range strings.SplitSeq(f.Command, " | ") {
			words := strings.Fields(command)
			flag := func(name string) string {
				if i := slices.Index(words, name); i >= 0 {
					return words[i+1]
				}
				return ""
			}
			switch strings.Join(words[:3], " ") {
			case "fairlead role assign":
				w.assign(words[3], w.principalID(flag("--to")), resource.MustParseID(flag("--on")))
			case "fairlead identity create":
				w.managed(words[3])
			case "fairlead sp reset":
				app, err := w.directory.ApplicationByClientID(w.t.Context(), words[3])
				must(w.t, err)
				_, piped, err = w.directory.AddSecret(w.t.Context(), app.ObjectID, "", time.Time{}, time.Time{})
				must(w.t, err)
				w.secretOf(piped)
			case "fairlead group update":
				w.updateGroup(flag, piped)
			case "fairlead webapp update":
				w.updateSite(words, flag, piped)
			default:
				w.t.Fatalf("no such command: %s", command)
			}
		}
	}
}

func (w *world) principalID(to string) string {
	if !strings.HasPrefix(to, "/") {
		return to
	}
	sp, err := w.directory.Managed(w.t.Context(), resource.MustParseID(to))
	must(w.t, err)
	return sp.ID
}

func (w *world) updateGroup(flag func(string) string, password secret.Text) {
	if image := flag("--image"); image != "" {
		w.group.Containers[0].Image = image
	}
	if id := flag("--identity"); id != "" {
		have := w.managed(resource.MustParseID(id).Name())
		w.group.Identities = append(w.group.Identities, have)
		w.group.Credentials = []run.Credential{byIdentity(have)}
	}
	if user := flag("--username"); user != "" {
		w.group.Credentials = []run.Credential{{Server: flag("--server"), Username: user, Password: password}}
	}
}

func (w *world) updateSite(words []string, flag func(string) string, password secret.Text) {
	if image := flag("--image"); image != "" {
		w.group.Containers[0].Image = image
	}
	if user := flag("--username"); user != "" {
		w.group.Web.Server, w.group.Web.Username, w.group.Web.Password = flag("--server"), user, password
	}
	if slices.Contains(words, "--use-identity") {
		w.group.Web.UseManagedIdentity, w.group.Web.UserManagedIdentityClientID = true, flag("--identity-client-id")
	}
	if id := flag("--identity"); id != "" {
		have := w.managed(resource.MustParseID(id).Name())
		w.group.Identities = append(w.group.Identities, have)
		w.group.Web.UserManagedIdentityClientID = have.ClientID
	}
}

func filterOf(principalID string) access.AssignmentFilter {
	return access.AssignmentFilter{PrincipalID: principalID}
}

// roundTripper is a transport made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// flipped changes the first byte that is read.
type flipped struct {
	io.ReadCloser
	done bool
}

func flip(r io.ReadCloser) io.ReadCloser { return &flipped{ReadCloser: r} }

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 && !f.done {
		p[0] ^= 1
		f.done = true
	}
	return n, err
}
