//go:build linux

package containerd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/driver/containerd/nodes"
	"fairlead.dev/internal/driver/containerd/process"
)

// clusterBench is a machine of clusters for a test.
type clusterBench struct {
	node
	machine *nodes.Nodes
}

// openClusters gives the machine. fairlead-kube takes long to build, so that only 'make test-kube' has it.
func openClusters(t *testing.T) clusterBench {
	t.Helper()
	program := os.Getenv("FAIRLEAD_KUBE")
	if program == "" {
		t.Skip("FAIRLEAD_KUBE names no fairlead-kube: make test-kube")
	}
	n := open(t, Config{})
	return clusterBench{n, n.Clusters(ClusterConfig{Program: program, Metadata: func(string) http.Handler { return http.NotFoundHandler() }})}
}

func planOf(nodes int) cluster.Plan {
	p := cluster.Plan{
		Key: "0123456789abcdef", Name: "demo", PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.0.0.0/16"),
		DNSDomain: "cluster.local", Hosts: []string{"demo.example"},
	}
	for i := range nodes {
		p.Nodes = append(p.Nodes, cluster.NodePlan{Name: "node" + strconv.Itoa(i)})
	}
	return p
}

func (b clusterBench) start(t *testing.T, plan cluster.Plan) cluster.Running {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r, err := b.machine.Start(ctx, plan, func(s string) { t.Log(s) })
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(b.names.clusters, plan.Key, "node0", "fairlead-kube.log"))
		t.Logf("%s", log[max(0, len(log)-4000):])
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // again, where the test has done it
	return r
}

// readyNodes asks the API server, by the name that the plan gives it, which nodes are ready.
func readyNodes(t *testing.T, r cluster.Running) []string {
	t.Helper()
	access, err := r.Access()
	must(t, err)
	pair, err := tls.X509KeyPair(access.Certificate, access.Key)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(access.Authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "demo.example",
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + access.Server.String() + "/api/v1/nodes")
	must(t, err)
	defer resp.Body.Close()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	must(t, json.NewDecoder(resp.Body).Decode(&list))
	var ready []string
	for _, n := range list.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				ready = append(ready, n.Metadata.Name)
			}
		}
	}
	slices.Sort(ready)
	return ready
}

// hostSettings gives what a kubelet changes of a machine that is its own.
func hostSettings(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, file := range []string{"/proc/sys/vm/overcommit_memory", "/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops"} {
		value, err := os.ReadFile(file)
		must(t, err)
		out[file] = string(value)
	}
	for _, dir := range []string{"/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/run/containerd", "/var/lib/cni", "/etc/kubernetes"} {
		_, err := os.Stat(dir)
		out[dir] = strconv.FormatBool(err == nil)
	}
	return out
}

func TestClusterOfTwoNodes(t *testing.T) {
	b := openClusters(t)
	before := hostSettings(t)
	plan := planOf(2)
	r := b.start(t, plan)
	if ready := readyNodes(t, r); !slices.Equal(ready, []string{"node0", "node1"}) {
		t.Errorf("ready are %v", ready)
	}
	for what, now := range hostSettings(t) {
		if now != before[what] {
			t.Errorf("%s was %q and is %q: the kubelet reached the machine", what, before[what], now)
		}
	}
	one, err := r.Access()
	must(t, err)
	must(t, r.Close())
	again := b.start(t, plan) // finds it running
	two, err := again.Access()
	must(t, err)
	if one.Server != two.Server || string(one.Authority) != string(two.Authority) {
		t.Errorf("the API server was at %s and is at %s", one.Server, two.Server)
	}
	must(t, b.machine.Remove(t.Context(), plan.Key))
	for _, dir := range []string{filepath.Join(b.names.clusters, plan.Key), filepath.Join(b.names.nodes, plan.Key[:8]+"0")} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
}

// command is upstream's kubectl as the cluster's administrator.
func (b clusterBench) command(t *testing.T, plan cluster.Plan, args ...string) *exec.Cmd {
	config := filepath.Join(b.names.clusters, plan.Key, "pki", "admin.kubeconfig")
	return exec.CommandContext(t.Context(), os.Getenv("FAIRLEAD_KUBE"), append([]string{"kubectl", "--kubeconfig", config, "--request-timeout=60s"}, args...)...)
}

// kubectl runs upstream's kubectl as the cluster's administrator and gives what it prints.
func (b clusterBench) kubectl(t *testing.T, plan cluster.Plan, args ...string) string {
	t.Helper()
	out, err := b.command(t, plan, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %v: %v: %s", args, err, out)
	}
	return string(out)
}

// TestClusterKeepsPodsWhenKilled runs a pod of the one image that every node has, kills Kubernetes and its containerd, and
// finds the same pod as before.
func TestClusterKeepsPodsWhenKilled(t *testing.T) {
	b := openClusters(t)
	plan := planOf(1)
	r := b.start(t, plan)
	b.kubectl(t, plan, "wait", "--for=create", "serviceaccount/default", "--timeout=60s")
	b.kubectl(t, plan, "run", "kept", "--image=fairlead.dev/pause:1", "--image-pull-policy=Never")
	b.kubectl(t, plan, "wait", "--for=condition=Ready", "pod/kept", "--timeout=60s")
	look := []string{"get", "pod", "kept", "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}"}
	before := b.kubectl(t, plan, look...)
	must(t, r.Close())
	killed, err := process.Find(func(argv []string) bool {
		return slices.ContainsFunc(argv[1:], func(arg string) bool { return strings.HasPrefix(arg, b.names.clusters+"/") })
	})
	must(t, err)
	if len(killed) != 2 {
		t.Errorf("%d programs, want fairlead-kube and containerd", len(killed))
	}
	must(t, killed.Signal(unix.SIGKILL))
	must(t, killed.End(t.Context(), time.Minute))
	killed.Close()
	b.start(t, plan)
	b.kubectl(t, plan, "wait", "--for=condition=Ready", "pod/kept", "--timeout=60s")
	if after := b.kubectl(t, plan, look...); after != before {
		t.Errorf("the pod was %q and is %q", before, after)
	}
	must(t, b.machine.Remove(t.Context(), plan.Key))
}

// TestClusterIsPurged leaves a cluster running for the purge at the end of the test.
func TestClusterIsPurged(t *testing.T) {
	b := openClusters(t)
	b.start(t, planOf(1))
}
