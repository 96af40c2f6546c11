// Package controlplane owns a cluster's own parts: the datastore, the API server, the controllers and the scheduler, all
// of upstream and unpatched, as goroutines of one process. They are started by their exported halves and not by their
// commands, because the commands install signal handlers of their own, which only one part of a process can have. A
// fatal error of any part ends the process: whoever started it starts it again.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/kube/internal/addons"
	"fairlead.dev/kube/internal/config"
	"fairlead.dev/kube/internal/notify"
	"fairlead.dev/kube/internal/parts"
	"fairlead.dev/kube/internal/pki"
)

// Ports on the loopback interface of the cluster's network namespace, which is the cluster's alone.
const (
	storePort      = 2379
	storePeerPort  = 2380
	controllerPort = 10257
	schedulerPort  = 10259
)

// ControlPlane is a control plane that can be run.
type ControlPlane struct {
	cfg   config.Config
	certs *pki.Cluster
	say   notify.Socket
}

// New describes the control plane that cfg says this process is.
func New(cfg config.Config, certs *pki.Cluster, say notify.Socket) *ControlPlane {
	return &ControlPlane{cfg, certs, say}
}

// Run runs everything until ctx ends or a part fails. It calls ready once, when the API server answers /readyz.
func (c *ControlPlane) Run(ctx context.Context, ready func()) error {
	files, err := c.write()
	if err != nil {
		return err
	}
	c.say.Status("starting the datastore")
	store, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer store.Close() // after everything that writes to it
	g := parts.New(ctx)
	defer g.Close(0)
	g.Start("the datastore", func(ctx context.Context) error {
		select {
		case err := <-store.Err():
			return err
		case <-ctx.Done():
			return nil
		}
	})
	c.say.Status("waiting for the API server")
	g.Start("kube-apiserver", func(ctx context.Context) error { return runAPIServer(ctx, c.apiServerArgs(files)) })
	if err := untilReady(g.Context(), files.admin); err != nil {
		return errors.Join(err, context.Cause(g.Context()))
	}
	g.Start("kube-controller-manager", func(ctx context.Context) error { return runControllerManager(ctx, c.controllerArgs(files)) })
	g.Start("kube-scheduler", func(ctx context.Context) error { return runScheduler(ctx, c.schedulerArgs(files)) })
	ready()
	if err := addons.StartControlPlane(g, c.cfg, c.certs); err != nil {
		return err
	}
	return g.Err()
}

// files are the paths of what the parts are started with.
type files struct {
	serving, kubeletClient, front, store [2]string // certificate and key
	admin, controllers, scheduler        string    // kubeconfig
}

func (c *ControlPlane) write() (f files, err error) {
	server := "https://" + c.cfg.Server.String()
	pair := func(a *pki.Authority, l pki.Leaf) (p [2]string) {
		if err == nil {
			p[0], p[1], _, err = a.Ensure(l)
		}
		return p
	}
	hosts := append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.cfg.DNSDomain,
		"localhost", "127.0.0.1", c.cfg.ServiceAddress().String(), c.cfg.Server.Addr().String(),
	}, c.cfg.ControlPlane.Names...)
	f.serving = pair(c.certs.CA, pki.Leaf{Name: "apiserver", User: "kube-apiserver", Hosts: hosts})
	f.kubeletClient = pair(c.certs.CA, pki.Leaf{Name: "apiserver-kubelet-client", User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}})
	f.front = pair(c.certs.Front, pki.Leaf{Name: "front-proxy-client", User: "front-proxy-client"})
	f.store = pair(c.certs.Store, pki.Leaf{Name: "store-client", User: "kube-apiserver"})
	kubeconfig := func(l pki.Leaf, server string, inline bool) (file string) {
		if err == nil {
			file, err = c.certs.Kubeconfig(l, server, inline)
		}
		return file
	}
	f.admin = kubeconfig(pki.Leaf{Name: "admin", User: "admin", Groups: []string{"system:masters"}}, server, true)
	f.controllers = kubeconfig(pki.Leaf{Name: "controller-manager", User: "system:kube-controller-manager"}, server, false)
	f.scheduler = kubeconfig(pki.Leaf{Name: "scheduler", User: "system:kube-scheduler"}, server, false)
	return f, err
}

func (c *ControlPlane) apiServerArgs(f files) []string {
	store := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), storePort)
	args := []string{
		"--bind-address=0.0.0.0", "--advertise-address=" + c.cfg.Server.Addr().String(),
		"--secure-port=" + strconv.Itoa(int(c.cfg.Server.Port())),
		"--tls-cert-file=" + f.serving[0], "--tls-private-key-file=" + f.serving[1],
		"--client-ca-file=" + c.certs.CA.File(),
		"--etcd-servers=https://" + store.String(), "--etcd-cafile=" + c.certs.Store.File(),
		"--etcd-certfile=" + f.store[0], "--etcd-keyfile=" + f.store[1],
		"--kubelet-certificate-authority=" + c.certs.CA.File(),
		"--kubelet-client-certificate=" + f.kubeletClient[0], "--kubelet-client-key=" + f.kubeletClient[1],
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + c.certs.Front.File(), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + f.front[0], "--proxy-client-key-file=" + f.front[1],
		"--enable-aggregator-routing=true",
		"--service-account-key-file=" + c.certs.Tokens, "--service-account-signing-key-file=" + c.certs.Tokens,
		"--service-cluster-ip-range=" + c.cfg.ServiceCIDR.String(),
		"--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--profiling=false",
	}
	own := "https://kubernetes.default.svc." + c.cfg.DNSDomain
	p := c.cfg.ControlPlane
	if p.Issuer != "" {
		// What was issued before the cluster had an issuer of its own stays good.
		args = append(args, "--service-account-issuer="+p.Issuer, "--service-account-issuer="+own, "--api-audiences="+p.Issuer+","+own)
	} else {
		args = append(args, "--service-account-issuer="+own)
	}
	if p.Authentication != "" {
		args = append(args, "--authentication-config="+p.Authentication)
	}
	if p.Admission != "" {
		args = append(args, "--admission-control-config-file="+p.Admission)
	}
	if p.Authorization != "" {
		args = append(args, "--authorization-config="+p.Authorization)
	} else {
		args = append(args, "--authorization-mode=Node,RBAC")
	}
	return args
}

func (c *ControlPlane) controllerArgs(f files) []string {
	return []string{
		"--kubeconfig=" + f.controllers, "--authentication-kubeconfig=" + f.controllers, "--authorization-kubeconfig=" + f.controllers,
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(controllerPort), "--cert-dir=" + filepath.Join(c.certs.Dir, "controller-manager"),
		"--leader-elect=false", "--use-service-account-credentials=true", "--profiling=false",
		"--root-ca-file=" + c.certs.CA.File(), "--service-account-private-key-file=" + c.certs.Tokens,
		"--cluster-signing-cert-file=" + c.certs.CA.File(), "--cluster-signing-key-file=" + c.certs.CA.KeyFile(),
		"--cluster-cidr=" + c.cfg.PodCIDR.String(), "--service-cluster-ip-range=" + c.cfg.ServiceCIDR.String(),
		"--cluster-name=" + c.cfg.Cluster,
		// Each controller gets a service account at its start, one request after another: by upstream's 20 a second that alone
		// takes four seconds, in which no pod is let in.
		"--kube-api-qps=200", "--kube-api-burst=300",
	}
}

func (c *ControlPlane) schedulerArgs(f files) []string {
	return []string{
		"--kubeconfig=" + f.scheduler, "--authentication-kubeconfig=" + f.scheduler, "--authorization-kubeconfig=" + f.scheduler,
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(schedulerPort), "--cert-dir=" + filepath.Join(c.certs.Dir, "scheduler"),
		"--leader-elect=false", "--profiling=false",
	}
}

// untilReady asks the API server until everything in it is ready.
func untilReady(ctx context.Context, kubeconfig string) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	cfg.Timeout = 5 * time.Second
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(cfg, "fairlead-kube"))
	if err != nil {
		return err
	}
	for {
		if _, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the API server: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
