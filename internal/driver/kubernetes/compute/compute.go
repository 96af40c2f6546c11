// Package compute owns Kubernetes as the engine of Fairlead's workloads: it is run.Runtime and run.Execer over a cluster,
// and the pull.Node that fetches nothing itself. A sandbox is a Service, whose address it has, and one Pod at most, which
// the containers are started as together; the kubelet fetches their images, with what the workload's right to pull is
// lent as. What should run is decided in package run, what may be fetched in package pull; Kubernetes is told of it, and
// restarts by itself what ended as the workload's policy says.
package compute

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/internal/driver/kubernetes/reach"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// Cluster says which cluster it is.
type Cluster struct {
	Kubeconfig string // file
	Context    string // of that; "" is its current one
}

func (c Cluster) connect() (*rest.Config, kubernetes.Interface, error) {
	config, err := reach.Load(c.Kubeconfig, c.Context)
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, reach.ErrKubeconfig.WithMessage("the kubeconfig %s cannot be used: %v", c.Kubeconfig, err)
	}
	return config, client, nil
}

// Config says which cluster, and what of Fairlead the cluster is told. All but the last two must be set.
type Config struct {
	Cluster
	// Installation tells this Fairlead's things on the cluster from those of others: a DNS label of at most 20 characters.
	Installation string
	// Registry gives the name by which the cluster's nodes reach the registry of a login server.
	Registry func(host string) string
	// Lend gives what a container's image is fetched with, after the right to pull was asked.
	Lend func(ctx context.Context, workload resource.ID, container string) (pull.Login, error)

	Changed func() <-chan struct{} // closed when rights may have changed; nil never
	Log     *slog.Logger           // nil is slog's default
}

// ErrCluster is returned when the cluster does not do what it was asked.
var ErrCluster = fault.New(fault.Unavailable, "ClusterUnavailable", "the cluster does not do what it was asked")

// Driver is a cluster at work for one Fairlead.
type Driver struct {
	cfg    Config
	log    *slog.Logger
	rest   *rest.Config
	client kubernetes.Interface
	seen   *seen
	minted chan struct{} // holds a token when Run has to look at pull secrets
	pods   cache.SharedIndexInformer
	boxes  cache.SharedIndexInformer // services
	end    context.CancelFunc
	alive  context.Context //nolint:containedctx // the driver's own life: what follows logs outlives the calls that begin it
	all    sync.WaitGroup
	logs   followers
}

// syncPatience bounds the first look at what the cluster has.
const syncPatience = 30 * time.Second

// Open looks at what the cluster has of this Fairlead.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Changed == nil {
		cfg.Changed = func() <-chan struct{} { return nil }
	}
	config, client, err := cfg.connect()
	if err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, log: cfg.Log, rest: config, client: client, seen: newSeen(), minted: make(chan struct{}, 1), logs: followers{by: map[followed]*follower{}}}
	d.alive, d.end = context.WithCancel(context.Background())
	if err := d.watch(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// watch begins to follow what the cluster has.
func (d *Driver) watch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncPatience)
	defer cancel()
	if _, err := serverVersion(ctx, d.client); err != nil {
		return ErrCluster.WithMessage("the cluster %s does not answer: %v", d.rest.Host, err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(d.client, 0, informers.WithTweakListOptions(d.ours))
	d.pods, d.boxes = factory.Core().V1().Pods().Informer(), factory.Core().V1().Services().Informer()
	for _, i := range []cache.SharedIndexInformer{d.pods, d.boxes} {
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: d.changed, UpdateFunc: func(_, now any) { d.changed(now, false) }, DeleteFunc: func(any) { d.seen.tell() },
		}); err != nil {
			return err
		}
		if err := i.SetWatchErrorHandlerWithContext(d.watchFailed); err != nil {
			return err
		}
	}
	factory.StartWithContext(d.alive)
	d.all.Go(func() {
		<-d.alive.Done()
		factory.Shutdown()
	})
	if !cache.WaitForCacheSync(ctx.Done(), d.pods.HasSynced, d.boxes.HasSynced) {
		return ErrCluster.WithMessage("the cluster %s does not let its pods and services be watched: 'fairlead doctor' says which rights are missing", d.rest.Host)
	}
	return nil
}

func (d *Driver) watchFailed(_ context.Context, _ *cache.Reflector, err error) {
	d.log.Warn("the cluster cannot be watched for now", "error", err)
}

// Close lets go of the cluster, where everything goes on. Run must have returned.
func (d *Driver) Close() {
	d.end()
	d.all.Wait()
}

// failed gives an error of the cluster its public face.
func failed(doing string, err error) error {
	if err == nil || fault.KindOf(err) != fault.Internal {
		return err
	}
	return ErrCluster.WithMessage("%s: %v", doing, err).WithCause(fmt.Errorf("%s: %w", doing, err))
}
