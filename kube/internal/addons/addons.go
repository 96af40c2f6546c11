// Package addons owns what people expect of a cluster besides Kubernetes' own parts: DNS, addresses of load balancers,
// ingress, volumes and the metrics API. Each is a package below this one and runs in this process; what they need of it is
// put together here. The cluster goes on while one of them fails, and it is started again.
package addons

import (
	"context"
	"os"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/kube/internal/addons/dns"
	"fairlead.dev/kube/internal/addons/ingress"
	"fairlead.dev/kube/internal/addons/loadbalancer"
	"fairlead.dev/kube/internal/addons/metrics"
	"fairlead.dev/kube/internal/addons/storage"
	"fairlead.dev/kube/internal/config"
	"fairlead.dev/kube/internal/parts"
	"fairlead.dev/kube/internal/pki"
)

// access is how the addons reach the API server.
type access struct {
	kubeconfig string
	rest       *rest.Config
	client     *kubernetes.Clientset
}

// open gives access as a user of its own, so that logs of audits tell who it was. The user may do everything: a narrower
// right would bind nobody in a process that holds the cluster's authority.
func open(cfg config.Config, certs *pki.Cluster) (a access, err error) {
	who := pki.Leaf{Name: "addons", User: "fairlead-kube", Groups: []string{"system:masters"}}
	if a.kubeconfig, err = certs.Kubeconfig(who, "https://"+cfg.Server.String(), false); err != nil {
		return a, err
	}
	if a.rest, err = clientcmd.BuildConfigFromFlags("", a.kubeconfig); err != nil {
		return a, err
	}
	a.rest.QPS, a.rest.Burst = 50, 100
	a.client, err = kubernetes.NewForConfig(a.rest)
	return a, err
}

// StartControlPlane starts those of which a cluster has one. The API server is ready.
func StartControlPlane(g *parts.Group, cfg config.Config, certs *pki.Cluster) error {
	a, err := open(cfg, certs)
	if err != nil {
		return err
	}
	own := cfg.Server.Addr()
	g.Keep("cluster DNS", func(ctx context.Context) error {
		return dns.Run(ctx, dns.Config{Client: a.client, Kubeconfig: a.kubeconfig, Domain: cfg.DNSDomain, Service: cfg.DNSAddress(), Listen: own})
	})
	g.Keep("storage classes", func(ctx context.Context) error {
		if err := storage.Publish(ctx, a.client); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	g.Keep("load balancers", func(ctx context.Context) error { return loadbalancer.Run(ctx, a.client, cfg.LoadBalancers) })
	g.Keep("ingress", func(ctx context.Context) error {
		return ingress.Run(ctx, ingress.Config{Client: a.client, Cluster: cfg.Cluster, Listen: own, Front: cfg.ControlPlane.Front, Hosts: cfg.IngressHosts()})
	})
	g.Keep("metrics API", func(ctx context.Context) error { return runMetrics(ctx, cfg, certs, a) })
	return nil
}

func runMetrics(ctx context.Context, cfg config.Config, certs *pki.Cluster, a access) error {
	cert, key, _, err := certs.CA.Ensure(pki.Leaf{Name: metrics.Name, User: metrics.Name, Hosts: []string{metrics.Host}})
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(certs.CA.File())
	if err != nil {
		return err
	}
	return metrics.Run(ctx, metrics.Config{
		Client: a.client, Rest: a.rest, Kubeconfig: a.kubeconfig, Listen: cfg.Server.Addr(), Serving: [2]string{cert, key}, Authority: authority,
	})
}

// StartNode starts those that every node has. The API server is ready.
func StartNode(g *parts.Group, cfg config.Config, certs *pki.Cluster) error {
	a, err := open(cfg, certs)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Node.Volumes, 0o700); err != nil {
		return err
	}
	g.Keep("volumes", func(ctx context.Context) error {
		return storage.Volumes{Node: cfg.Node.Name, Dir: cfg.Node.Volumes}.Run(ctx, a.client)
	})
	g.Keep("addresses of load balancers", func(ctx context.Context) error {
		return loadbalancer.Node{Name: cfg.Node.Name, Address: cfg.Node.Address, Pool: cfg.LoadBalancers}.Run(ctx, a.client)
	})
	return nil
}
