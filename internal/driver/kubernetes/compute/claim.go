package compute

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"fairlead.dev/internal/fault"
)

// ErrClaimLost: this Fairlead could not renew its claim, so that another may act in its place.
var ErrClaimLost = fault.New(fault.Unavailable, "ClaimLost", "the claim to the cluster could not be renewed: another Fairlead may act now, and this one must not")

// Times of a claim. Who is cut off from the cluster ends before another may begin.
const (
	claimLasts = 30 * time.Second
	claimRenew = 20 * time.Second // without success until the holder gives up
	claimTry   = 2 * time.Second
)

// Claim is the right to act for an installation on its cluster, which one Fairlead has at a time: a Lease of
// coordination.k8s.io. Where all replicas keep one data directory, it is what keeps the second from starting a workload
// that the first has started.
type Claim struct {
	end  context.CancelFunc
	done chan struct{}
}

// Hold waits until the claim to an installation is this Fairlead's.
func Hold(ctx context.Context, cluster Cluster, installation string, log *slog.Logger) (*Claim, error) {
	_, client, err := cluster.connect()
	if err != nil {
		return nil, err
	}
	lock, err := claimLock(ctx, client, installation)
	if err != nil {
		return nil, err
	}
	held := make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: claimLasts, RenewDeadline: claimRenew, RetryPeriod: claimTry, ReleaseOnCancel: true, Name: lock.LeaseMeta.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(held) },
			OnStoppedLeading: func() {},
			OnNewLeader: func(holder string) {
				if holder != lock.Identity() {
					log.Info("another Fairlead acts on this cluster; this one stands by", "holder", holder, "installation", installation)
				}
			},
		},
	})
	if err != nil {
		return nil, err
	}
	inner, end := context.WithCancel(context.WithoutCancel(ctx))
	c := &Claim{end: end, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		elector.Run(inner)
	}()
	select {
	case <-held:
		return c, nil
	case <-c.done:
		return nil, ErrClaimLost
	case <-ctx.Done():
		c.Release()
		return nil, ctx.Err()
	}
}

// claimLock makes where the claim is kept.
func claimLock(ctx context.Context, client kubernetes.Interface, installation string) (*resourcelock.LeaseLock, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	name := "fairlead-" + installation
	_, err = client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{labelInstallation: installation},
	}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, failed("making Fairlead's own namespace", err)
	}
	return &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Name: name, Namespace: name}, Client: client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "-" + uuid.NewString()[:8]},
	}, nil
}

// Run waits until ctx ends, or until the claim is lost: ErrClaimLost.
func (c *Claim) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.done:
		return ErrClaimLost
	}
}

// Release gives the claim back, for another to take at once.
func (c *Claim) Release() {
	c.end()
	<-c.done
}
