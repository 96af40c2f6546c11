package pull_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

const (
	username = "11111111-2222-3333-4444-555555555555"
	password = "correct-horse-battery-staple"
	minted   = "identity-access-token"
)

var amd64 = content.Platform{OS: "linux", Architecture: "amd64"}

// scripted is a registry that behaves, except where a test says otherwise.
type scripted struct {
	*httptest.Server
	mu        sync.Mutex
	content   map[string]pulltest.Blob // by "manifests/v1", "manifests/sha256:…", "blobs/sha256:…"
	asked     []string                 // method and path of each request, in order
	headers   []http.Header
	tokens    int  // that were given
	refused   bool // everybody's right
	expired   int  // tokens up to this one are good no longer
	intercept func(w http.ResponseWriter, r *http.Request) (handled bool)
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	s := &scripted{content: map[string]pulltest.Blob{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(s.Close)
	return s
}

// overPipes starts the registry on a network in memory, which a test needs that runs in virtual time.
func (s *scripted) overPipes() {
	network := pipes{dialled: make(chan net.Conn), closed: make(chan struct{})}
	network.close = sync.OnceFunc(func() { close(network.closed) })
	_ = s.Listener.Close()
	s.Listener = network
	s.StartTLS()
	s.Client().Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		network.dialled <- theirs
		return ours, nil
	}
}

// pipes is a net.Listener.
type pipes struct {
	dialled chan net.Conn
	closed  chan struct{}
	close   func()
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialled:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	p.close()
	return nil
}

func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8443} }

// host is the registry's login server.
func (s *scripted) host() string { return strings.TrimPrefix(s.URL, "https://") }

// push makes an image pullable as app:tag.
func (s *scripted) push(tag string, im pulltest.Image) {
	s.content["manifests/"+tag] = im.Manifest
	s.content["manifests/"+string(im.Manifest.Digest)] = im.Manifest
	s.content["blobs/"+string(im.Config.Digest)] = im.Config
	for _, l := range im.Layers {
		s.content["blobs/"+string(l.Digest)] = l
	}
}

func (s *scripted) count(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asked {
		if strings.HasPrefix(a, prefix) {
			n++
		}
	}
	return n
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	s.headers = append(s.headers, r.Header.Clone())
	intercept := s.intercept
	w.Header().Set("X-Ms-Request-Id", "served-"+strconv.Itoa(len(s.asked)))
	s.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	switch {
	case r.URL.Path == "/oauth2/exchange":
		s.grant(w, "refresh_token", r.FormValue("access_token") == minted && r.FormValue("grant_type") == "access_token")
	case r.URL.Path == "/oauth2/token" && r.Method == http.MethodPost:
		s.grant(w, "access_token", r.FormValue("refresh_token") == "refresh_token-1")
	case r.URL.Path == "/oauth2/token":
		user, pass, _ := r.BasicAuth()
		s.grant(w, "access_token", user == username && pass == password)
	default:
		s.serveContent(w, r)
	}
}

func (s *scripted) grant(w http.ResponseWriter, name string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok || s.refused {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return
	}
	if name == "access_token" {
		s.tokens++
	}
	fmt.Fprintf(w, `{%q:"%s-%d"}`, name, name, max(1, s.tokens))
}

func (s *scripted) serveContent(w http.ResponseWriter, r *http.Request) {
	presented, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer access_token-")
	number, err := strconv.Atoi(presented)
	s.mu.Lock()
	valid := err == nil && number > s.expired && number <= s.tokens
	s.mu.Unlock()
	if !valid {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/oauth2/token",service="%s"`, s.URL, s.host()))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	path, inApp := strings.CutPrefix(r.URL.Path, "/v2/team/app/")
	b, ok := s.content[path]
	if !ok {
		code := "MANIFEST_UNKNOWN"
		if !inApp {
			code = "NAME_UNKNOWN"
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"errors":[{"code":%q}]}`, code)
		return
	}
	w.Header().Set("Content-Type", b.MediaType)
	w.Header().Set("Docker-Content-Digest", string(b.Digest))
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b.Body)))
}

// on has intercept called for requests whose method and path begin so.
func (s *scripted) on(prefix string, do func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasPrefix(r.Method+" "+r.URL.Path, prefix) && do(w, r)
	}
}

// times has do called for the first n requests that begin so.
func (s *scripted) times(n int, prefix string, do http.HandlerFunc) {
	var mu sync.Mutex
	s.on(prefix, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if n == 0 {
			return false
		}
		n--
		do(w, r)
		return true
	})
}

// Endpoint implements pull.Registries for this one registry and the alias "alias.example".
func (s *scripted) Endpoint(_ context.Context, host string) (pull.Endpoint, error) {
	if host != s.host() && host != "alias.example" {
		return pull.Endpoint{}, pull.ErrHostUnknown.WithMessage("%s is unknown; the nearest are secret-registry.example", host)
	}
	return pull.Endpoint{
		Registry: resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r"),
		BaseURL:  s.URL, Service: s.host(), Client: s.Client(),
	}, nil
}

// identities mints one token for every identity but those that are gone.
type identities struct{ gone bool }

func (i identities) Token(_ context.Context, _ pull.Identity, audience string) (secret.Text, error) {
	if i.gone {
		return secret.Text{}, fault.New(fault.NotFound, "X", "no such principal")
	}
	if audience != resource.AzureRegistry {
		return secret.Text{}, fmt.Errorf("audience %q", audience)
	}
	return secret.New(minted), nil
}

// bench is a registry, a node and a puller between them.
type bench struct {
	*scripted
	disk   *pulltest.Disk
	puller *pull.Puller
	image  pulltest.Image
}

var quick = pull.Limits{BackOff: time.Millisecond}

func newBench(t *testing.T, limits pull.Limits) *bench {
	t.Helper()
	s := newScripted(t)
	s.StartTLS()
	return newBenchWith(t, s, limits)
}

func newBenchWith(t *testing.T, s *scripted, limits pull.Limits) *bench {
	t.Helper()
	b := &bench{scripted: s, disk: pulltest.NewDisk(t.TempDir())}
	noise := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{}).Read(noise)
	b.image = pulltest.NewImage(t, amd64, string(noise), "second layer")
	b.push("v1", b.image)
	b.puller = pull.New(b.scripted, identities{}, b.disk, limits, time.Now, slog.New(slog.DiscardHandler))
	return b
}

func (b *bench) request(candidates ...pull.Candidate) pull.Request {
	if candidates == nil {
		candidates = []pull.Candidate{userCandidate(b.host())}
	}
	return pull.Request{
		Workload:  resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerInstance/containerGroups/web"),
		Container: "app", Image: b.host() + "/team/app:v1", Platform: amd64, Candidates: candidates, Correlation: "correlated",
	}
}

func userCandidate(server string) pull.Candidate {
	return pull.Candidate{Source: pull.SourceCredentials, From: "imageRegistryCredentials[0]", Server: server, Username: username, Password: secret.New(password)}
}

func identityCandidate() pull.Candidate {
	return pull.Candidate{Source: pull.SourceIdentity, From: "imageRegistryCredentials[0].identity", Identity: &pull.Identity{
		Resource: resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web-id"),
		ClientID: "c", PrincipalID: "p",
	}}
}
