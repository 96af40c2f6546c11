package arm

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/cluster/clustertest"
	"fairlead.dev/internal/cluster/connected"
	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/files"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/explain"
	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

var update = flag.Bool("update", false, "rewrite the golden bodies")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testTenant = "11111111-1111-1111-1111-111111111111"
	testSub    = "22222222-2222-2222-2222-222222222222"
	testHost   = "management.fairlead.localhost:8443"
	sub        = "/subscriptions/" + testSub
	group      = sub + "/resourceGroups/rg"
	version    = "?api-version=2023-05-01"
)

// world is the surface over real cores; what cannot be real in a test is the node: pulling and running.
type world struct {
	t        *testing.T
	h        *Handler
	server   *httptest.Server
	client   *http.Client
	dir      *identity.Directory
	engine   *access.Engine
	tokens   *token.Service
	runs     *run.Service
	node     *node
	clusters *cluster.Service
	others   *connected.Service
	remote   *remoteCluster
	machine  *clustertest.Machine
	logs     *journal

	host  string // that requests are sent to
	owner string // an access token of an Owner at the root
	boot  func()
	stop  func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, node: newNode(), machine: &clustertest.Machine{}, remote: &remoteCluster{}, host: testHost, logs: &journal{}}
	log := slog.New(slog.NewTextHandler(w.logs, nil))
	origin := resource.Origin{Domains: []string{"fairlead.localhost", "fairlead.internal"}, Port: 8443}
	w.dir = identity.NewDirectory(sql.NewDirectory(db, testTenant), sealer, testTenant, time.Now)
	w.engine = access.NewEngine(sql.NewAccess(db, testTenant), testTenant)
	w.tokens = token.NewService(sql.NewKeys(db, testTenant), sealer, origin, testTenant, time.Now)
	blobs, err := files.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	logDir, store := t.TempDir(), sql.NewResources(db, testTenant)
	w.boot = func() {
		runtime := w.node.runtime()
		w.runs = run.NewService(run.Config{
			Store: sql.NewRun(db, testTenant), Runtime: runtime, Execer: runtime, Puller: w.node, Sealer: sealer, LogDir: logDir,
			Platform: content.Platform{OS: "linux", Architecture: "amd64"}, Warm: alwaysWarm{},
		})
		w.clusters = cluster.NewService(cluster.Config{Store: sql.NewClusters(db, testTenant), Machine: w.machine, Sealer: sealer})
		w.others = w.remote.service(sql.NewConnected(db, testTenant), sealer)
		w.h = New(Deps{
			Origin: origin, Tenant: testTenant, Subscription: testSub, Store: store, Operations: store,
			Bearer: api.Bearer{Tokens: w.tokens, Directory: w.dir, Accept: func(aud string) bool { return origin.IsAudience(aud, resource.ARM) }},
			Access: w.engine, Directory: w.dir, Registries: registry.New(sql.NewRegistry(db, testTenant), blobs, time.Now),
			Workloads: w.runs, Clusters: w.clusters, Connected: w.others, Explainer: explained{}, Sealer: sealer, Now: time.Now, Log: log,
		})
		w.serve(log)
	}
	w.boot()
	t.Cleanup(func() {
		w.stop()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w.owner = w.principal("Owner", resource.Root)
	return w
}

// restart stops the server, as a kill would as far as anything stored goes, and starts it anew. Containers run on.
func (w *world) restart() {
	w.stop()
	w.boot()
}

// serve runs everything until stop.
func (w *world) serve(log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context) error{w.runs.Run, w.clusters.Run, w.others.Run, w.h.Run} {
		loops.Go(func() {
			if err := loop(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	w.server = httptest.NewUnstartedServer(api.NewTelemetry(log, prometheus.NewRegistry()).Wrap("arm", w.h))
	w.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	w.server.StartTLS()
	w.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // a test's own server
	w.stop = func() {
		cancel()
		loops.Wait()
		w.client.CloseIdleConnections()
		w.server.Close()
	}
}

// journal keeps what was logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// principal makes a service principal, gives it a role when one is named, and gives an access token of it.
func (w *world) principal(role string, at resource.ID) string {
	_, token := w.newPrincipal(role, at)
	return token
}

func (w *world) newPrincipal(role string, at resource.ID) (identity.ServicePrincipal, string) {
	w.t.Helper()
	ctx := w.t.Context()
	app, err := w.dir.CreateApplication(ctx, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	sp, err := w.dir.CreateServicePrincipal(ctx, app.ClientID)
	if err != nil {
		w.t.Fatal(err)
	}
	if role != "" {
		definition, err := w.engine.Role(ctx, role)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.engine.Assign(ctx, access.Assignment{Scope: at, PrincipalID: sp.ID, RoleGUID: definition.GUID}); err != nil {
			w.t.Fatal(err)
		}
	}
	p, err := w.dir.Principal(ctx, sp.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	text, _, err := w.tokens.IssueAccess(ctx, p, "https://"+testHost+"/", 1)
	if err != nil {
		w.t.Fatal(err)
	}
	return sp, text.Reveal()
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// code gives the code of an error body, "" when it is none.
func (a answer) code() string { return a.text("error.code") }

// text gives the text at a path, "" when there is none.
func (a answer) text(path string) string { s, _ := a.at(path).(string); return s }

// at gives what stands at a path of names, and of numbers in lists.
func (a answer) at(path string) any {
	var v any = a.body
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// as sends a request with a token and optional "Name: value" headers.
func (w *world) as(token, method, path, body string, headers ...string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Host = w.host
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, v, _ := strings.Cut(h, ": ")
		r.Header.Set(name, v)
	}
	res, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	out := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if len(raw) > 0 {
		_ = json.Unmarshal(raw, &out.body) // XML and plain texts stay raw
	}
	return out
}

// do sends a request of the Owner. A path without a query gets an api-version.
func (w *world) do(method, path, body string, headers ...string) answer {
	w.t.Helper()
	if !strings.Contains(path, "?") {
		path += version
	}
	return w.as(w.owner, method, path, body, headers...)
}

// want is do that must give one of the statuses.
func (w *world) want(status int, method, path, body string, headers ...string) answer {
	w.t.Helper()
	a := w.do(method, path, body, headers...)
	if a.status != status {
		w.t.Fatalf("%s %s: %d, want %d: %s", method, path, a.status, status, a.raw)
	}
	return a
}

// group makes the resource group that most tests work in.
func (w *world) group() *world {
	w.t.Helper()
	w.want(http.StatusCreated, "PUT", group, `{"location":"westus2"}`)
	return w
}

// finish follows the operation of an answer to its end and gives the last status document.
func (w *world) finish(a answer) answer {
	w.t.Helper()
	url := a.header.Get("Azure-AsyncOperation")
	path, ok := strings.CutPrefix(url, "https://"+testHost)
	if !ok || a.header.Get("Retry-After") != "1" {
		w.t.Fatalf("no operation to follow: %d %v %s", a.status, a.header, a.raw)
	}
	var last answer
	w.eventually("the operation ends", func() bool {
		last = w.want(http.StatusOK, "GET", path, "")
		return last.at("status") != "InProgress"
	})
	return last
}

// eventually waits for what other goroutines bring about.
func (w *world) eventually(what string, done func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		if done() {
			return
		}
	}
	w.t.Fatalf("%s: not within 20 s", what)
}

var (
	guids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
)

// golden compares status and body with testdata/<name>.json. GUIDs that are made anew each time are numbered.
func (w *world) golden(name string, a answer) {
	w.t.Helper()
	body := []byte(strconv.Quote(a.raw))
	if a.raw == "" || json.Valid([]byte(a.raw)) {
		var indented bytes.Buffer
		if a.raw != "" && json.Indent(&indented, []byte(a.raw), "", "  ") != nil {
			w.t.Fatal(a.raw)
		}
		body = bytes.TrimSpace(indented.Bytes())
	}
	seen := map[string]string{testTenant: "TENANT", testSub: "SUBSCRIPTION"}
	got := guids.ReplaceAllStringFunc(string(body), func(g string) string {
		if isBuiltIn(g) {
			return g
		}
		if seen[g] == "" {
			seen[g] = "GUID-" + strconv.Itoa(len(seen)-1)
		}
		return seen[g]
	})
	got = strconv.Itoa(a.status) + "\n" + times.ReplaceAllString(got, "TIME") + "\n"
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func isBuiltIn(guid string) bool {
	for _, r := range access.BuiltIn() {
		if r.GUID == guid {
			return true
		}
	}
	return false
}

// explained answers why with one report.
type explained struct{}

func (explained) Why(_ context.Context, caller identity.Principal, _ resource.ID) ([]explain.Report, error) {
	if caller.IsZero() {
		return nil, errors.New("nobody asks")
	}
	return []explain.Report{{Container: "app", Verdict: explain.CanPull}}, nil
}

// WhyPods tells the cluster and how many pods there are evidence of.
func (explained) WhyPods(_ context.Context, caller identity.Principal, cluster resource.ID, e evidence.Evidence) (explain.PodsReport, error) {
	if caller.IsZero() {
		return explain.PodsReport{}, errors.New("nobody asks")
	}
	return explain.PodsReport{
		Kind: e.Asked.Kind, Namespace: e.Namespace, Name: e.Asked.Name, Pods: len(e.Pods), Summary: "in " + cluster.String(),
		Reports: []explain.PodReport{}, Unread: []evidence.Unread{},
	}, nil
}

func (explained) Record(_ context.Context, caller identity.Principal, a *pull.Attempt) (*pull.Attempt, error) {
	if caller.IsZero() {
		return nil, errors.New("nobody asks")
	}
	return a, nil
}

func (explained) Events(_ context.Context, caller identity.Principal, events []run.Event) ([]run.Event, error) {
	if caller.IsZero() {
		return nil, errors.New("nobody asks")
	}
	return events, nil
}
