//go:build linux

package server

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"fairlead.dev/client"
	"fairlead.dev/internal/access"
	"fairlead.dev/internal/cli"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// TestMain lets the test binary be containerd and its shim, as the program is, and what kubelets ask for credentials.
func TestMain(m *testing.M) {
	if run, ok := Applet(os.Args); ok {
		os.Exit(run())
	}
	if len(os.Args) > 1 && os.Args[1] == "credential-provider" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.System(), cli.Local{}))
	}
	os.Exit(m.Run())
}

// pulls is a whole server with a cluster of one node.
type pulls struct {
	*Server
	t       *testing.T
	program string // fairlead-kube
	id      resource.ID
	kubelet pull.Identity
}

// rolePull is AcrPull.
const rolePull = "7f951dda-4ed3-4680-a7ca-43fe172d538d"

// openPulls starts both. fairlead-kube takes long to build, so that only 'make test-kube' has it.
func openPulls(t *testing.T) *pulls {
	t.Helper()
	p := &pulls{t: t, program: os.Getenv("FAIRLEAD_KUBE")}
	if p.program == "" {
		t.Skip("FAIRLEAD_KUBE names no fairlead-kube: make test-kube")
	}
	t.Setenv("PATH", filepath.Dir(p.program)+":"+os.Getenv("PATH"))
	data := t.TempDir()
	t.Cleanup(func() { must(t, Down(context.Background(), data, true, io.Discard, t.Output())) })
	s, err := New(t.Context(), Config{Data: data, Listen: "127.0.0.1:0", OCIRuntime: os.Getenv("FAIRLEAD_TEST_OCI_RUNTIME")}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	must(t, err)
	p.Server = s
	ready := make(chan struct{})
	said := sync.OnceFunc(func() { close(ready) })
	background(t, "the server", func(ctx context.Context) error { return s.serve(ctx, "test", listener(func(string) { said() })) }, s.Close)
	<-ready
	p.kubelet = p.identity("kubelet")
	p.id = resource.GroupID(s.stored.Subscription, "g").Provider("Microsoft.ContainerService/managedClusters", "demo")
	must(t, s.core.clusters.Put(t.Context(), cluster.Cluster{
		ID: p.id, Hosts: []string{"demo.fairlead.localhost"}, Pools: []cluster.Pool{{Name: "nodepool1", Count: 1, Mode: "System"}},
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.0.0.0/16"), Kubelet: p.kubelet.Resource,
	}))
	p.awaitCluster()
	p.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
	return p
}

// awaitCluster waits until the cluster is as it is wanted.
func (p *pulls) awaitCluster() {
	p.t.Helper()
	limit := time.After(5 * time.Minute)
	for tick := time.Tick(100 * time.Millisecond); ; {
		status, err := p.core.clusters.Status(p.t.Context(), p.id)
		must(p.t, err)
		if status.Provisioning == cluster.ProvisioningSucceeded {
			return
		}
		select {
		case <-tick:
		case <-limit:
			p.t.Fatalf("the cluster is %+v", status)
		}
	}
}

// background runs something until the end of the test.
func background(t *testing.T, what string, run func(context.Context) error, end func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
		must(t, end())
	})
}

// identity makes a managed identity.
func (p *pulls) identity(called string) pull.Identity {
	p.t.Helper()
	id := resource.GroupID(p.stored.Subscription, "g").Provider("Microsoft.ManagedIdentity/userAssignedIdentities", called)
	sp, err := p.core.directory.EnsureManaged(p.t.Context(), id, false, called)
	must(p.t, err)
	return pull.Identity{Resource: id, ClientID: sp.ClientID, PrincipalID: sp.ID}
}

// assign gives AcrPull on a registry, and the assignment's id.
func (p *pulls) assign(registry resource.ID, principal string) resource.ID {
	p.t.Helper()
	a, err := p.core.access.Assign(p.t.Context(), access.Assignment{Scope: registry, PrincipalID: principal, RoleGUID: rolePull})
	must(p.t, err)
	return a.ID
}

// registry makes a registry with the image app:1, which sleeps.
func (p *pulls) registry(called string) resource.ID {
	p.t.Helper()
	id := resource.GroupID(p.stored.Subscription, "g").Provider(typeRegistry, called)
	must(p.t, p.core.registry.Create(p.t.Context(), id))
	busybox, err := os.ReadFile("/bin/busybox")
	must(p.t, err)
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: v1.Config{Entrypoint: []string{"/sleep", "3600"}}})
	must(p.t, err)
	image, err = mutate.AppendLayers(image, layerOf(p.t, "sleep", busybox))
	must(p.t, err)
	ref, err := name.ParseReference(p.origin.LoginServer(called) + "/app:1")
	must(p.t, err)
	ready, err := client.ReadReady(ReadyFile(p.data.path))
	must(p.t, err)
	node := newNodeClient(p.authority, p.listeners[0].Addr())
	defer node.CloseIdleConnections()
	must(p.t, remote.Write(ref, image, remote.WithTransport(node.Transport), remote.WithContext(p.t.Context()),
		remote.WithAuth(&authn.Basic{Username: ready.Admin.ClientID, Password: string(ready.Admin.ClientSecret)})))
	return id
}

// kubectl runs upstream's kubectl as the cluster's administrator and gives what it prints.
func (p *pulls) kubectl(args ...string) string {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("kubectl %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (p *pulls) command(args ...string) *exec.Cmd {
	config := filepath.Join(p.data.path, "clusters", cluster.Key(p.id), "pki", "admin.kubeconfig")
	return exec.CommandContext(p.t.Context(), p.program, append([]string{"kubectl", "--kubeconfig", config, "--request-timeout=60s"}, args...)...)
}

func (p *pulls) apply(document string) {
	p.t.Helper()
	cmd := p.command("apply", "-f", "-")
	cmd.Stdin = strings.NewReader(document)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("apply: %v: %s", err, out)
	}
}

// pod makes a pod of an image; more is added to its spec.
func (p *pulls) pod(namespace, called, image, more string) {
	p.t.Helper()
	p.apply(fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"namespace":%q},
		"spec":{"containers":[{"name":"app","image":%q}],"terminationGracePeriodSeconds":0%s}}`, called, namespace, image, more))
}

func (p *pulls) runs(namespace, called string) {
	p.t.Helper()
	out, err := p.command("-n", namespace, "wait", "--for=condition=Ready", "pod/"+called, "--timeout=60s").CombinedOutput()
	if err != nil {
		p.t.Errorf("%s does not run: %s: %s", called, out, p.kubectl("-n", namespace, "get", "events", "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`))
	}
}

// refused waits for a pod's container to wait with a message that holds all of texts.
func (p *pulls) refused(namespace, called string, texts ...string) {
	p.t.Helper()
	path := "jsonpath={.status.containerStatuses[0].state.waiting.message}"
	p.kubectl("-n", namespace, "wait", "--for="+path, "pod/"+called, "--timeout=60s")
	message := p.kubectl("-n", namespace, "get", "pod", called, "-o", path)
	for _, text := range texts {
		if !strings.Contains(message, text) {
			p.t.Errorf("%s: %q does not say %q", called, message, text)
		}
	}
}

// TestClusterPulls has pods of a real cluster pull from registries of a whole server.
func TestClusterPulls(t *testing.T) {
	p := openPulls(t)
	acme := p.registry("acme") // that the cluster did not know when it started
	role := p.assign(acme, p.kubelet.PrincipalID)
	port := strconv.Itoa(p.origin.Port)
	images := map[string]string{
		"azure": "acme.azurecr.io/app:1", "internal": "acme.azurecr.fairlead.internal:" + port + "/app:1", "localhost": "acme.azurecr.fairlead.localhost:" + port + "/app:1",
	}
	for called, image := range images {
		p.pod("default", called, image, "")
	}
	p.pod("default", "unknown", "nosuch.azurecr.io/app:1", "")
	for called := range images {
		p.runs("default", called)
	}
	p.refused("default", "unknown", "nosuch.azurecr.io", "no such host")
	// The API server is reached through the server's listener too, upgrades of connections included.
	p.kubectl("--server", "https://127.0.0.1:"+port, "--tls-server-name", "demo.fairlead.localhost", "exec", "azure", "--", "/sleep", "0")

	must(t, p.core.access.Unassign(t.Context(), role))
	p.kubectl("create", "namespace", "shop")
	p.kubectl("-n", "shop", "wait", "--for=create", "serviceaccount/default", "--timeout=60s")
	p.pod("shop", "without", "acme.azurecr.io/app:1", "")
	p.refused("shop", "without", "failed to authorize", "401 Unauthorized")
	p.left(p.core.clusters.CredentialFailure(p.id, "acme.azurecr.io", ""), "exchange", p.kubelet.ClientID)
	user, password := p.puller("sp", acme)
	p.kubectl("-n", "shop", "create", "secret", "docker-registry", "pull", "--docker-server=acme.azurecr.io", "--docker-username="+user, "--docker-password="+password)
	p.pod("shop", "with", "acme.azurecr.io/app:1", `,"imagePullSecrets":[{"name":"pull"}]`)
	p.runs("shop", "with")

	// A service account with an identity of its own (KEP-4412), which does not trust it yet.
	web := p.identity("web")
	p.assign(acme, web.PrincipalID)
	p.apply(`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"web","namespace":"shop","annotations":{"azure.workload.identity/client-id":"` + web.ClientID + `"}}}`)
	p.pod("shop", "federated", "acme.azurecr.io/app:1", `,"serviceAccountName":"web"`)
	p.refused("shop", "federated", "401 Unauthorized")
	p.left(p.core.clusters.CredentialFailure(p.id, "acme.azurecr.io", "shop/web"), "federation", web.ClientID, "system:serviceaccount:shop:web")
	issuer, err := p.core.clusters.Issuer(t.Context(), p.id)
	must(t, err)
	_, _, err = p.core.directory.Federate(t.Context(), web.Resource, identity.Federation{
		Name: "web", Issuer: issuer, Subject: "system:serviceaccount:shop:web", Audiences: []string{"api://AzureADTokenExchange"},
	})
	must(t, err)
	p.runs("shop", "federated")

	// That the image is on the node now is no permission for others there.
	p.pod("shop", "other", "acme.azurecr.io/app:1", "")
	p.refused("shop", "other", "401 Unauthorized")
}

// left looks for texts in the file of a failure of the credential provider.
func (p *pulls) left(file string, texts ...string) {
	p.t.Helper()
	text, err := os.ReadFile(file)
	must(p.t, err)
	for _, wanted := range texts {
		if !strings.Contains(string(text), wanted) {
			p.t.Errorf("%q is not in %s", wanted, text)
		}
	}
}

// puller makes a program that may pull from a registry, and gives its client id and secret.
func (p *pulls) puller(called string, registry resource.ID) (string, string) {
	p.t.Helper()
	ctx := p.t.Context()
	app, err := p.core.directory.CreateApplication(ctx, called)
	must(p.t, err)
	sp, err := p.core.directory.CreateServicePrincipal(ctx, app.ClientID)
	must(p.t, err)
	_, value, err := p.core.directory.AddSecret(ctx, app.ObjectID, "first", time.Time{}, time.Time{})
	must(p.t, err)
	p.assign(registry, sp.ID)
	return app.ClientID, value.Reveal()
}

// layerOf makes a layer of one program.
func layerOf(t *testing.T, program string, body []byte) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	must(t, w.WriteHeader(&tar.Header{Name: program, Mode: 0o755, Size: int64(len(body))}))
	_, err := w.Write(body)
	must(t, err)
	must(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	must(t, err)
	return layer
}
