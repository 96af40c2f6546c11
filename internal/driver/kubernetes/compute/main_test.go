//go:build linux

package compute_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/driver/containerd"
	"fairlead.dev/internal/driver/containerd/daemon"
	"fairlead.dev/internal/driver/kubernetes/compute"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// TestMain lets the test binary be the containerd daemon and its shim, as the program is.
func TestMain(m *testing.M) {
	if run, ok := daemon.Applet(os.Args); ok {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a cluster of one node and a registry that its node reaches.
type bench struct {
	kubeconfig string // file
	registry   *privateRegistry
}

// openBench starts the cluster.
func openBench(t *testing.T) *bench {
	t.Helper()
	port := freePort(t)
	node := openNode(t, port)
	b := &bench{registry: newRegistry(t, node.Gateway(), port)}
	b.kubeconfig = startCluster(t, node, b.registry.authority)
	return b
}

// openNode gives the machine of the cluster's node, which reaches one port of ours. fairlead-kube takes long to build, so
// that only 'make test-kube' has it.
func openNode(t *testing.T, port int) *containerd.Driver {
	t.Helper()
	if os.Getenv("FAIRLEAD_KUBE") == "" {
		t.Skip("FAIRLEAD_KUBE names no fairlead-kube: make test-kube")
	}
	cfg := containerd.Config{
		DataDir: t.TempDir(), OCIRuntime: os.Getenv("FAIRLEAD_TEST_OCI_RUNTIME"), Services: []int{port},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	t.Cleanup(func() {
		if err := containerd.Purge(context.Background(), cfg); err != nil {
			t.Errorf("purge: %v", err)
		}
	})
	node, err := containerd.Open(t.Context(), cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- node.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := node.Close(); err != nil {
			t.Errorf("end of the node: %v", err)
		}
	})
	return node
}

// startCluster starts a cluster whose node trusts an authority, and gives the file of its kubeconfig.
func startCluster(t *testing.T, node *containerd.Driver, authority string) string {
	t.Helper()
	machine := node.Clusters(containerd.ClusterConfig{
		Program: os.Getenv("FAIRLEAD_KUBE"), Authority: authority, Metadata: func(string) http.Handler { return http.NotFoundHandler() },
	})
	starting, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	running, err := machine.Start(starting, cluster.Plan{
		Key: "0123456789abcdef", Name: "demo", PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.0.0.0/16"),
		DNSDomain: "cluster.local", Hosts: []string{"demo.example"}, Nodes: []cluster.NodePlan{{Name: "node0"}},
	}, func(s string) { t.Log(s) })
	must(t, err)
	t.Cleanup(func() { _ = running.Close() })
	access, err := running.Access()
	must(t, err)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(file, kubeconfig(t, access), 0o600))
	return file
}

func kubeconfig(t *testing.T, a cluster.Access) []byte {
	t.Helper()
	c := api.NewConfig()
	c.Clusters["demo"] = &api.Cluster{Server: "https://" + a.Server.String(), TLSServerName: "demo.example", CertificateAuthorityData: a.Authority}
	c.AuthInfos["admin"] = &api.AuthInfo{ClientCertificateData: a.Certificate, ClientKeyData: a.Key}
	c.Contexts["demo"] = &api.Context{Cluster: "demo", AuthInfo: "admin"}
	c.CurrentContext = "demo"
	raw, err := clientcmd.Write(*c)
	must(t, err)
	return raw
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

var (
	installing sync.Mutex
	installed  int
)

// installation names a Fairlead that the cluster has not seen before.
func installation() string {
	installing.Lock()
	defer installing.Unlock()
	installed++
	return "test" + strconv.Itoa(installed)
}

// config is a Fairlead on the cluster.
func (b *bench) config(t *testing.T) compute.Config {
	t.Helper()
	return compute.Config{
		Cluster: compute.Cluster{Kubeconfig: b.kubeconfig}, Installation: installation(),
		Registry: func(host string) string { return host },
		Lend: func(context.Context, resource.ID, string) (pull.Login, error) {
			return pull.Login{Host: b.registry.host, Username: username, Password: b.registry.password()}, nil
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// open is that Fairlead at work.
func open(t *testing.T, cfg compute.Config) *compute.Driver {
	t.Helper()
	d, err := compute.Open(t.Context(), cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		d.Close()
	})
	return d
}
