//go:build linux

package compute_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/internal/driver/dns"
	"fairlead.dev/internal/driver/kubernetes/compute"
	"fairlead.dev/internal/driver/kubernetes/reach"
)

// replicas are Fairleads as processes, with one data directory and one cluster.
type replicas struct {
	t      *testing.T
	binary string
	dir    string
	args   []string
}

// replica is one of them.
type replica struct {
	*exec.Cmd
	out   *output
	ended chan error
}

// output is what a process has written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (r *replicas) start(args ...string) *replica {
	r.t.Helper()
	p := &replica{Cmd: exec.Command(r.binary, append(append([]string{"up"}, r.args...), args...)...), out: &output{}, ended: make(chan error, 1)}
	p.Stdout, p.Stderr = p.out, p.out
	must(r.t, p.Start())
	go func() { p.ended <- p.Wait() }()
	r.t.Cleanup(func() { _ = p.Process.Kill() }) // of one that has not ended
	return p
}

// await waits until a process has written text.
func (r *replicas) await(p *replica, text string) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(p.out.String(), text); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never %q: %s", text, p.out)
		}
	}
}

// fairlead runs a command and gives what it printed.
func (r *replicas) fairlead(args ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.binary, args...)
	cmd.Env = append(os.Environ(), "FAIRLEAD_READY_FILE="+filepath.Join(r.dir, "data", "ready.json"))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("fairlead %s: %v: %s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return string(out)
}

// TestClusterReplicas has one Fairlead start a workload on a cluster, kills it, and finds the next one at the same pod.
func TestClusterReplicas(t *testing.T) {
	port := freePort(t)
	node := openNode(t, port)
	names, err := dns.Listen(dns.Config{Address: netip.AddrPortFrom(node.Gateway(), 53), Domains: []string{"fairlead.internal"}, Gateway: node.Gateway()})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- names.Run(ctx) }()
	t.Cleanup(func() { cancel(); must(t, <-done) })

	r := &replicas{t: t, dir: t.TempDir()}
	r.binary = filepath.Join(r.dir, "fairlead")
	if out, err := exec.Command("go", "build", "-o", r.binary, "fairlead.dev/cmd/fairlead").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data := filepath.Join(r.dir, "data")
	r.args = []string{"--data", data, "--listen", net.JoinHostPort("0.0.0.0", strconv.Itoa(port))}
	first := r.start("--compute", "none") // makes the authority that nodes are to trust
	r.await(first, "Fairlead is ready")
	must(t, first.Process.Signal(unix.SIGTERM))
	must(t, <-first.ended)
	kubeconfig := startCluster(t, node, strings.TrimSpace(r.fairlead("trust", "--data", data)))
	t.Cleanup(func() { r.fairlead("down", "--data", data) })
	doctor := r.fairlead("doctor", "--data", data, "--compute", "kubernetes", "--kubeconfig", kubeconfig)
	if !strings.Contains(doctor, "answers, and no right is missing") {
		t.Errorf("doctor says %s", doctor)
	}

	r.args = append(r.args, "--compute", "kubernetes", "--kubeconfig", kubeconfig)
	one := r.start()
	r.await(one, "Fairlead is ready")
	two := r.start()
	r.await(two, "stands by")
	r.workload()
	before := r.pods(kubeconfig)
	must(t, one.Process.Kill())
	<-one.ended
	r.await(two, "Fairlead is ready")
	if after := r.pods(kubeconfig); len(before) != 1 || len(after) != 1 || after[0] != before[0] {
		t.Errorf("the pods were %v and are %v", before, after)
	}
	r.fairlead("wait", "app")
	if logs := r.fairlead("logs", "app"); !strings.HasPrefix(logs, "started\n") || strings.Count(logs, "started") != 1 {
		t.Errorf("the workload wrote %q", logs)
	}
	r.connects(kubeconfig, port)
	r.strangers(kubeconfig, port)
	r.fairlead("down", "--data", data)
	if err := <-two.ended; err != nil {
		t.Errorf("the second: %v: %s", err, two.out)
	}
	if left := r.pods(kubeconfig); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// workload has a container group run an image of a private registry, with a managed identity that may pull it.
func (r *replicas) workload() {
	r.t.Helper()
	image := filepath.Join(r.dir, "image", "bin")
	must(r.t, os.MkdirAll(image, 0o750))
	program, err := os.ReadFile("/bin/busybox")
	must(r.t, err)
	must(r.t, os.WriteFile(filepath.Join(image, "busybox"), program, 0o755)) //nolint:gosec // a program
	must(r.t, os.Symlink("busybox", filepath.Join(image, "sh")))
	r.fairlead("registry", "create", "myacr")
	r.fairlead("push", filepath.Dir(image), "myacr/app:v1", "--entrypoint", "/bin/sh", "--cmd", "-c", "--cmd", "echo started; exec /bin/busybox sleep 3600")
	var id struct {
		ID         string
		Properties struct{ PrincipalID string }
	}
	must(r.t, json.Unmarshal([]byte(r.fairlead("identity", "create", "app-id", "-g", "demo", "--output", "json")), &id))
	r.fairlead("role", "assign", "AcrPull", "--to", id.Properties.PrincipalID, "--on", "myacr")
	r.fairlead("run", "myacr.azurecr.io/app:v1", "--name", "app", "-g", "demo", "--identity", id.ID)
	r.fairlead("wait", "app")
}

// connects has pull secrets kept in the cluster as one that others run, until the role goes.
func (r *replicas) connects(kubeconfig string, port int) {
	r.t.Helper()
	client := r.client(kubeconfig)
	pods, secrets := client.CoreV1().Pods("default"), client.CoreV1().Secrets("default")
	shown := r.fairlead("kube", "connect", "edge", "-g", "demo", "--kubeconfig", kubeconfig, "--registry", "myacr", "--identity", "app-id", "-n", "default", "--service-account", "default")
	if !strings.Contains(shown, "default\tfairlead-pull\tdefault\tmyacr.azurecr.") {
		r.t.Errorf("connected: %s", shown)
	}
	if listed := r.fairlead("kube", "list", "--connected"); !strings.Contains(listed, "edge\tdemo\tConnected\t") || !strings.Contains(listed, "\t1 of 1") {
		r.t.Errorf("listed: %s", listed)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "myacr.azurecr.fairlead.internal:" + strconv.Itoa(port) + "/app:v1", ImagePullPolicy: corev1.PullAlways,
	}}}}
	_, err := pods.Create(r.t.Context(), pod, metav1.CreateOptions{}) // names no secret: its service account does
	must(r.t, err)
	r.eventually("the pod runs", func() bool {
		now, err := pods.Get(r.t.Context(), "plain", metav1.GetOptions{})
		must(r.t, err)
		return now.Status.Phase == corev1.PodRunning
	})
	secret, err := secrets.Get(r.t.Context(), "fairlead-pull", metav1.GetOptions{})
	must(r.t, err)
	if secret.Type != corev1.SecretTypeDockerConfigJson {
		r.t.Errorf("the secret is of type %s", secret.Type)
	}
	r.fairlead("kube", "refresh-credentials", "edge")
	again, err := secrets.Get(r.t.Context(), "fairlead-pull", metav1.GetOptions{})
	must(r.t, err)
	if bytes.Equal(again.Data[corev1.DockerConfigJsonKey], secret.Data[corev1.DockerConfigJsonKey]) {
		r.t.Error("what was minted anew is as it was")
	}
	r.fairlead("role", "remove", "AcrPull", "--to", "app-id", "--on", "myacr")
	r.eventually("the secret goes with the role", func() bool {
		_, err := secrets.Get(r.t.Context(), "fairlead-pull", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	account, err := client.CoreV1().ServiceAccounts("default").Get(r.t.Context(), "default", metav1.GetOptions{})
	must(r.t, err)
	if len(account.ImagePullSecrets) != 0 {
		r.t.Errorf("the service account names %v", account.ImagePullSecrets)
	}
	r.fairlead("kube", "disconnect", "edge")
	now := int64(0)
	must(r.t, pods.Delete(r.t.Context(), "plain", metav1.DeleteOptions{GracePeriodSeconds: &now}))
}

// strangers are pods without any credential: Fairlead knows nothing of the cluster but its kubeconfig, and says what to do.
func (r *replicas) strangers(kubeconfig string, port int) {
	r.t.Helper()
	must(r.t, os.Symlink(os.Getenv("FAIRLEAD_KUBE"), filepath.Join(r.dir, "kubectl")))
	shell := func(script string) string {
		r.t.Helper()
		cmd := exec.CommandContext(r.t.Context(), "bash", "-eo", "pipefail", "-c", script)
		cmd.Env = append(os.Environ(), "PATH="+r.dir+":"+os.Getenv("PATH"), "KUBECONFIG="+kubeconfig,
			"FAIRLEAD_READY_FILE="+filepath.Join(r.dir, "data", "ready.json"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			r.t.Fatalf("%s: %v: %s", script, err, out)
		}
		return string(out)
	}
	shell(fmt.Sprintf("kubectl create deployment web --image=myacr.azurecr.fairlead.internal:%d/app:v1", port))
	r.eventually("the pod cannot pull", func() bool {
		return strings.Contains(shell("kubectl get pods -l app=web -o jsonpath='{.items[*].status.containerStatuses[0].state.waiting.reason}'"), "Image")
	})
	var why struct {
		Reports []struct {
			Code, Stage string
			Fix         []struct{ Command string }
		}
	}
	must(r.t, json.Unmarshal([]byte(shell("fairlead why deployment/web --kubeconfig $KUBECONFIG --output json || test $? = 5")), &why))
	if len(why.Reports) != 1 || why.Reports[0].Code != "CRED_NONE" || why.Reports[0].Stage != "credential" {
		r.t.Fatalf("why says %+v", why)
	}
	for _, fix := range why.Reports[0].Fix {
		shell(fix.Command)
	}
	shell("kubectl rollout status deployment/web --timeout=60s && kubectl delete deployment web --grace-period=0 --wait")
}

func (r *replicas) eventually(what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never: %s", what)
		}
	}
}

func (r *replicas) client(kubeconfig string) kubernetes.Interface {
	r.t.Helper()
	config, err := reach.Load(kubeconfig, "")
	must(r.t, err)
	client, err := kubernetes.NewForConfig(config)
	must(r.t, err)
	return client
}

// pods gives the ids of Fairlead's pods on the cluster.
func (r *replicas) pods(kubeconfig string) (ids []string) {
	r.t.Helper()
	list, err := r.client(kubeconfig).CoreV1().Pods("").List(r.t.Context(), metav1.ListOptions{LabelSelector: "fairlead.dev/sandbox"})
	must(r.t, err)
	for _, pod := range list.Items {
		ids = append(ids, string(pod.UID))
	}
	return ids
}

// TestCheckOfNoCluster says what is wrong with a kubeconfig that leads nowhere.
func TestCheckOfNoCluster(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no kubeconfig": {"{", "is no kubeconfig"},
		"no context":    {"apiVersion: v1\nkind: Config\n", `has no context ""`},
		"nobody there": {
			"apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n",
			"https://127.0.0.1:1 does not answer",
		},
	} {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		must(t, os.WriteFile(file, []byte(c.text), 0o600))
		_, problems := compute.Check(t.Context(), compute.Cluster{Kubeconfig: file})
		if len(problems) != 1 || !strings.Contains(problems[0].What, c.want) || problems[0].Remedy == "" {
			t.Errorf("%s: %+v", name, problems)
		}
	}
}
