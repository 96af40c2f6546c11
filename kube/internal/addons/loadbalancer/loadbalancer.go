// Package loadbalancer owns the addresses that Services of type LoadBalancer get, out of those that the cluster was given on
// its nodes' network: which service has which, and which node answers for it. What arrives there the services' proxy leads
// on.
package loadbalancer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"fairlead.dev/kube/internal/addons/changes"
	"fairlead.dev/kube/internal/addons/hosted"
)

// Run gives services their addresses, of the pool, until ctx ends.
func Run(ctx context.Context, client kubernetes.Interface, pool []netip.Addr) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services()
	events := record.NewBroadcaster(record.WithContext(ctx))
	defer events.Shutdown()
	events.StartRecordingToSink(&typed.EventSinkImpl{Interface: client.CoreV1().Events("")})
	b := balancer{
		client: client, pool: pool, services: services.Lister(), told: map[string]string{},
		events: events.NewRecorder(scheme.Scheme, core.EventSource{Component: "load-balancer"}),
	}
	return changes.Follow(ctx, "load balancers", factory, b.sync, services.Informer())
}

type balancer struct {
	client   kubernetes.Interface
	pool     []netip.Addr
	services listers.ServiceLister
	events   record.EventRecorder
	told     map[string]string // problems by service of which an event tells
}

func (b balancer) sync(ctx context.Context) error {
	all, err := b.services.List(labels.Everything())
	if err != nil {
		return err
	}
	byKey := assign(b.pool, slices.DeleteFunc(slices.Clone(all), func(s *core.Service) bool { return !isOurs(s) }))
	for _, s := range all {
		if err := b.write(ctx, s, byKey[key(s)]); err != nil {
			return fmt.Errorf("service %s: %w", key(s), err)
		}
	}
	return nil
}

// isOurs tells whether a service is to have an address of the cluster's.
func isOurs(s *core.Service) bool {
	return s.Spec.Type == core.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil && s.DeletionTimestamp == nil
}

// write makes the service's status say what it was given. A status that names no address of ours is left alone when there
// is nothing to say: somebody else's controller may have written it.
func (b balancer) write(ctx context.Context, s *core.Service, g given) error {
	if g.problem != b.told[key(s)] {
		if b.told[key(s)] = g.problem; g.problem != "" {
			b.events.Event(s, core.EventTypeWarning, "SyncLoadBalancerFailed", g.problem)
		}
	}
	has := current(s)
	if has == g.address || !g.address.IsValid() && !slices.Contains(b.pool, has) && !isOurs(s) {
		return nil
	}
	status := applycore.LoadBalancerStatus()
	if g.address.IsValid() {
		status.WithIngress(applycore.LoadBalancerIngress().WithIP(g.address.String()).WithIPMode(core.LoadBalancerIPModeVIP))
	}
	object := applycore.Service(s.Name, s.Namespace).WithStatus(applycore.ServiceStatus().WithLoadBalancer(status))
	if _, err := b.client.CoreV1().Services(s.Namespace).ApplyStatus(ctx, object, hosted.Apply()); err != nil {
		if apierrors.IsNotFound(err) {
			return nil // it is gone
		}
		return err
	}
	if g.address.IsValid() {
		b.events.Event(s, core.EventTypeNormal, "EnsuredLoadBalancer", "The address is "+g.address.String())
	}
	return nil
}
