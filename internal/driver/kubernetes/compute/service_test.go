//go:build linux

package compute_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/kubernetes/compute"
	"fairlead.dev/internal/driver/kubernetes/reach"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

// fairlead is what runs workloads on the cluster: the real service, over what lives longer than it does.
type fairlead struct {
	*run.Service
	t      *testing.T
	b      *bench
	cfg    compute.Config
	store  run.Store
	sealer *secret.Sealer
	dir    string
	image  string
	driver *compute.Driver
	client kubernetes.Interface
	stop   func()

	life  time.Duration // of what is lent; 0 is without end
	mints atomic.Int64

	mu      sync.Mutex
	changed chan struct{} // closed when rights change
}

func newFairlead(t *testing.T, b *bench) *fairlead {
	t.Helper()
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	f := &fairlead{t: t, b: b, cfg: b.config(t), store: sql.NewRun(db, "tenant"), dir: t.TempDir(), changed: make(chan struct{})}
	f.sealer, err = secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	must(t, err)
	config, err := reach.Load(b.kubeconfig, "")
	must(t, err)
	f.client, err = kubernetes.NewForConfig(config)
	must(t, err)
	f.image = b.registry.push(t, v1.Config{Env: []string{"PATH=/bin"}})
	f.cfg.Changed = f.rightsChanged
	f.boot()
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *fairlead) rightsChanged() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// change has rights change, and tells of it.
func (f *fairlead) change(password string) {
	f.b.registry.change(password)
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// boot starts Fairlead, perhaps again.
func (f *fairlead) boot() {
	f.t.Helper()
	images, err := compute.OpenImages(filepath.Join(f.dir, "images"))
	must(f.t, err)
	puller := pull.New(f.b.registry, nil, images, pull.Limits{}, time.Now, slog.New(slog.DiscardHandler))
	cfg := f.cfg
	cfg.Lend = func(ctx context.Context, id resource.ID, container string) (pull.Login, error) {
		request, err := f.PullRequest(ctx, id, container)
		if err != nil {
			return pull.Login{}, err
		}
		login, err := puller.Lend(ctx, request)
		if n := f.mints.Add(1); f.life > 0 && n > 1 { // as of a managed identity; the first has to be good
			login.Username, login.Expires = fmt.Sprintf("%s-%d", username, n), time.Now().Add(f.life)
		} else if f.life > 0 {
			login.Expires = time.Now().Add(f.life)
		}
		return login, err
	}
	f.driver, err = compute.Open(f.t.Context(), cfg)
	must(f.t, err)
	f.Service = run.NewService(run.Config{
		Store: f.store, Runtime: f.driver, Execer: f.driver, Puller: puller, Sealer: f.sealer, LogDir: f.dir,
		Log: cfg.Log, Platform: content.Platform{OS: "linux", Architecture: runtime.GOARCH}, AccessChanged: f.rightsChanged,
		Warm: &http.Transport{DialContext: f.driver.DialContext, DisableKeepAlives: true},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, loop := range []func(context.Context) error{f.Run, f.driver.Run} {
		all.Go(func() {
			if err := loop(ctx); err != nil {
				f.t.Error(err)
			}
		})
	}
	driver := f.driver
	f.stop = func() {
		cancel()
		all.Wait()
		driver.Close()
	}
}

func (f *fairlead) group(name string, policy run.RestartPolicy, containers ...run.Container) run.Group {
	g := run.Group{
		ID:   resource.GroupID("00000000-0000-0000-0000-000000000001", "Shop_Group").Provider("Microsoft.ContainerInstance/containerGroups", name),
		Kind: run.KindContainerGroup, RestartPolicy: policy,
		Credentials: []run.Credential{{Server: f.b.registry.host, Username: username, Password: secret.New("first"), From: "imageRegistryCredentials[0]"}},
	}
	for _, c := range containers {
		c.Image = f.image
		g.Containers = append(g.Containers, c)
	}
	return g
}

func shell(name, script string) run.Container {
	return run.Container{Name: name, Command: []string{"sh", "-c", script}}
}

// put puts a group and waits until its status is as wanted.
func (f *fairlead) put(g run.Group, wanted func(run.Status) bool) run.Status {
	f.t.Helper()
	must(f.t, f.Put(f.t.Context(), g))
	return f.await(g.ID, wanted)
}

func (f *fairlead) await(id resource.ID, wanted func(run.Status) bool) run.Status {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 90*time.Second)
	defer cancel()
	changes, err := f.Watch(ctx, id)
	must(f.t, err)
	var last run.Status
	for last = range changes {
		if wanted(last) {
			return last
		}
	}
	shown, _ := json.MarshalIndent(last, "", " ")
	f.t.Fatalf("never as wanted: %s", shown)
	return last
}

func running(s run.Status) bool { return s.State == run.StateRunning }

func (f *fairlead) logs(id resource.ID, container string) string {
	f.t.Helper()
	r, err := f.Logs(f.t.Context(), id, container, run.LogOptions{})
	must(f.t, err)
	defer r.Close()
	raw, err := io.ReadAll(r)
	must(f.t, err)
	return string(raw)
}

// eventually asks until it holds: files and clusters tell tests nothing.
func (f *fairlead) eventually(what string, holds func() bool) {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("never: %s", what)
		}
	}
}

// mine gives the pods and secrets that the cluster has of this Fairlead.
func (f *fairlead) mine() ([]corev1.Pod, []corev1.Secret) {
	f.t.Helper()
	all := metav1.ListOptions{LabelSelector: "fairlead.dev/installation=" + f.cfg.Installation}
	pods, err := f.client.CoreV1().Pods("").List(f.t.Context(), all)
	must(f.t, err)
	secrets, err := f.client.CoreV1().Secrets("").List(f.t.Context(), all)
	must(f.t, err)
	return pods.Items, secrets.Items
}

// pullSecret gives what is in the one pull secret.
func (f *fairlead) pullSecret() string {
	_, secrets := f.mine()
	for _, s := range secrets {
		if s.Type == corev1.SecretTypeDockerConfigJson {
			return string(s.Data[corev1.DockerConfigJsonKey])
		}
	}
	return ""
}

// TestClusterWorkloads runs workloads on a cluster as a Fairlead does.
func TestClusterWorkloads(t *testing.T) {
	b := openBench(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *fairlead)
	}{
		{"two containers are one pod, and one restarts by itself", twoContainers},
		{"a Fairlead that starts again finds its pods and goes on with their logs", startsAgain},
		{"stop gives everything back, and start brings it about again", stopsAndStarts},
		{"a pull secret follows the rights", secretFollows},
		{"a pull secret is minted anew before it ends", secretIsRenewed},
		{"what the node cannot fetch is told", nodeCannotFetch},
		{"a web app is reached through the cluster", webApp},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.registry.change("first")
			c.test(t, newFairlead(t, b))
		})
	}
}

func twoContainers(t *testing.T, f *fairlead) {
	app := shell("app", "echo at $PLACE with $PASSWORD; echo page > /tmp/index.html; httpd -f -p 8080 -h /tmp")
	app.Env = []run.EnvVar{{Name: "PLACE", Value: "$(HOME)"}, {Name: "PASSWORD", Secure: secret.New("s3cret-value"), IsSecure: true}}
	app.Ports, app.MemoryGB, app.CPU = []run.Port{{Port: 8080}}, 0.1, 0.5
	g := f.group("two", run.Always, app, shell("crash", "while ! wget -q -O- http://127.0.0.1:8080/; do sleep 0.1; done; exit 3"))
	s := f.put(g, func(s run.Status) bool { return s.Containers[1].RestartCount >= 2 })
	if c := s.Containers; c[0].Current.State != run.Running || c[0].RestartCount != 0 || c[1].Previous == nil || c[1].Previous.ExitCode != 3 {
		t.Errorf("%+v, %+v, %+v", c[0].Current, c[1].Current, c[1].Previous)
	}
	pods, secrets := f.mine()
	if len(pods) != 1 || pods[0].Status.ContainerStatuses[0].RestartCount != 0 || !strings.HasPrefix(pods[0].Namespace, "shop-group-") {
		t.Fatalf("pods %+v", pods)
	}
	if raw, _ := json.Marshal(pods[0]); bytes.Contains(raw, []byte("s3cret-value")) || len(secrets) != 2 {
		t.Errorf("%d secrets, the pod is %s", len(secrets), raw)
	}
	if got := f.logs(g.ID, "app"); got != "at $(HOME) with s3cret-value\n" {
		t.Errorf("the app wrote %q", got)
	}
	f.eventually("each run of the other wrote once", func() bool { return strings.Count(f.logs(g.ID, "crash"), "page\n") == 3 })
	client := &http.Client{Transport: &http.Transport{DialContext: f.driver.DialContext}}
	defer client.CloseIdleConnections()
	answer, err := client.Get(fmt.Sprintf("http://%s:8080/", s.IP))
	must(t, err)
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); string(body) != "page\n" {
		t.Errorf("the workload answers %q", body)
	}
}

func startsAgain(t *testing.T, f *fairlead) {
	g := f.group("kept", run.Always, shell("app", "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done"))
	f.put(g, running)
	f.eventually("it writes", func() bool { return strings.Contains(f.logs(g.ID, "app"), "line 20\n") })
	before, _ := f.mine()
	f.stop()
	f.boot()
	s := f.await(g.ID, running)
	f.eventually("it goes on writing", func() bool { return strings.Contains(f.logs(g.ID, "app"), "line 100\n") })
	after, _ := f.mine()
	if len(after) != 1 || after[0].UID != before[0].UID || s.Containers[0].RestartCount != 0 {
		t.Errorf("before %s, after %+v, restarts %d", before[0].UID, after, s.Containers[0].RestartCount)
	}
	for i, line := range strings.Split(f.logs(g.ID, "app"), "\n")[:100] {
		if line != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
}

func stopsAndStarts(t *testing.T, f *fairlead) {
	g := f.group("stopped", run.OnFailure, shell("app", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done"))
	f.put(g, running)
	f.eventually("it is ready", func() bool { return f.logs(g.ID, "app") == "ready\n" })
	must(t, f.Stop(t.Context(), g.ID))
	if pods, secrets := f.mine(); len(pods) != 0 || len(secrets) != 0 || f.logs(g.ID, "app") != "ready\nbye\n" {
		t.Errorf("left %d pods and %d secrets; it wrote %q", len(pods), len(secrets), f.logs(g.ID, "app"))
	}
	must(t, f.Start(t.Context(), g.ID))
	f.await(g.ID, running)
	must(t, f.Restart(t.Context(), g.ID))
	f.await(g.ID, running)
	must(t, f.Delete(t.Context(), g.ID))
	services, err := f.client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{LabelSelector: "fairlead.dev/installation=" + f.cfg.Installation})
	must(t, err)
	if pods, secrets := f.mine(); len(pods) != 0 || len(secrets) != 0 || len(services.Items) != 0 {
		t.Errorf("left %d pods, %d secrets, %d services", len(pods), len(secrets), len(services.Items))
	}
	done := f.group("done", run.OnFailure, shell("good", "exit 0"), shell("bad", "[ -e /tried ] || exit 4"))
	s := f.put(done, func(s run.Status) bool { return s.Containers[1].RestartCount >= 1 })
	if good := s.Containers[0]; good.Current.State != run.Terminated || good.RestartCount != 0 {
		t.Errorf("what ended well is %+v, restarted %d times", good.Current, good.RestartCount)
	}
}

func secretFollows(t *testing.T, f *fairlead) {
	g := f.group("secret", run.Always, shell("app", "sleep 1000"))
	f.put(g, running)
	if s := f.pullSecret(); !strings.Contains(s, `"password":"first"`) || !strings.Contains(s, f.b.registry.host) {
		t.Errorf("the pull secret is %s", s)
	}
	f.change("second") // the workload's own password is refused from now on
	f.eventually("the pull secret holds nothing", func() bool { return f.pullSecret() == `{"auths":{}}` })
	if s, err := f.Status(t.Context(), g.ID); err != nil || s.State != run.StateRunning {
		t.Errorf("what runs is %s, %v", s.State, err)
	}
	f.change("first")
	f.eventually("the pull secret is as before", func() bool { return strings.Contains(f.pullSecret(), `"password":"first"`) })
}

func secretIsRenewed(t *testing.T, f *fairlead) {
	f.life = 4 * time.Second
	f.put(f.group("renewed", run.Always, shell("app", "sleep 1000")), running)
	first := f.mints.Load()
	f.eventually("it is minted three times more", func() bool { return f.mints.Load() >= first+3 })
	if !strings.Contains(f.pullSecret(), fmt.Sprintf(`"username":"%s-`, username)) {
		t.Errorf("the pull secret is %s", f.pullSecret())
	}
}

func nodeCannotFetch(t *testing.T, f *fairlead) {
	f.stop()
	f.cfg.Registry = func(string) string { return "127.0.0.1:1" } // nobody is there
	f.boot()
	g := f.group("astray", run.Always, shell("app", "sleep 1000"))
	s := f.put(g, func(s run.Status) bool { return s.Failure != nil })
	if s.Failure.Code != "NODE_PULL_FAILED" || !strings.Contains(s.Failure.Message, "127.0.0.1:1/team/app@sha256:") {
		t.Errorf("%+v", s.Failure)
	}
	first, last, err := f.Attempts(t.Context(), g.ID, "app")
	if err != nil || first != nil || last == nil {
		t.Fatalf("first %v, last %v, %v", first, last, err)
	}
	if role, _ := last.Stage(pull.StageRole); role.Outcome != pull.OK {
		t.Errorf("the right to pull: %+v", role)
	}
	if start, _ := last.Stage(pull.StageStart); start.Code != "NODE_PULL_FAILED" {
		t.Errorf("the start: %+v", start)
	}
	must(t, f.Delete(t.Context(), g.ID))
}

func webApp(t *testing.T, f *fairlead) {
	g := f.group("site", "", shell("site", "echo page > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"))
	g.Kind, g.Credentials = run.KindWebApp, nil
	g.Web = &run.Web{SiteName: "site", Hostname: "site.example", Server: f.b.registry.host, Username: username, Password: secret.New("first")}
	must(t, f.Put(t.Context(), g))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	backend, err := f.Backend(ctx, g.ID)
	must(t, err)
	s, err := f.Status(t.Context(), g.ID)
	if err != nil || backend != s.IP+":8080" {
		t.Errorf("backend %s of %s, %v", backend, s.IP, err)
	}
}
