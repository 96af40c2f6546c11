package loadbalancer

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	slicelisters "k8s.io/client-go/listers/discovery/v1"

	"fairlead.dev/kube/internal/addons/changes"
)

// Node is a node's part: it takes the addresses that it answers for on its interface, of those that services have, and lets
// go of the others. They stay when the process ends, as do the proxy's rules.
type Node struct {
	Name    string
	Address netip.Addr // its own, on the interface in question
	Pool    []netip.Addr
}

// Run does so until ctx ends.
func (n Node) Run(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	services, nodes, ends := factory.Core().V1().Services(), factory.Core().V1().Nodes(), factory.Discovery().V1().EndpointSlices()
	t := taker{n, services.Lister(), nodes.Lister(), ends.Lister()}
	return changes.Follow(ctx, "addresses of load balancers", factory, t.sync, services.Informer(), nodes.Informer(), ends.Informer())
}

type taker struct {
	Node
	services listers.ServiceLister
	nodes    listers.NodeLister
	ends     slicelisters.EndpointSliceLister
}

func (t taker) sync(context.Context) error {
	services, err := t.services.List(labels.Everything())
	if err != nil {
		return err
	}
	nodes, err := t.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	ends, err := t.ends.List(labels.Everything())
	if err != nil {
		return err
	}
	var own []netip.Addr
	for address, node := range holders(t.Pool, services, nodes, ends) {
		if node == t.Name {
			own = append(own, address)
		}
	}
	return t.have(own)
}

// holders names for each address that services have the node that answers for it: the first that can, and where a service
// wants its clients' addresses seen (traffic policy Local), one that has pods of it, for only there they are served.
func holders(pool []netip.Addr, services []*core.Service, nodes []*core.Node, ends []*discovery.EndpointSlice) map[netip.Addr]string {
	var able []string
	for _, n := range nodes {
		if _, excluded := n.Labels[core.LabelNodeExcludeBalancers]; !excluded && isReady(n) {
			able = append(able, n.Name)
		}
	}
	slices.Sort(able)
	candidates := map[netip.Addr][]string{}
	byName := slices.SortedFunc(slices.Values(services), func(a, b *core.Service) int { return strings.Compare(key(a), key(b)) })
	for _, s := range byName {
		a := current(s)
		if !isOurs(s) || !slices.Contains(pool, a) {
			continue
		}
		if candidates[a] == nil {
			candidates[a] = able
		}
		if s.Spec.ExternalTrafficPolicy != core.ServiceExternalTrafficPolicyLocal {
			continue
		}
		served := slices.DeleteFunc(slices.Clone(candidates[a]), func(node string) bool { return !serves(node, s, ends) })
		if len(served) > 0 {
			candidates[a] = served
		}
	}
	out := map[netip.Addr]string{}
	for a, nodes := range candidates {
		if len(nodes) > 0 {
			out[a] = nodes[0]
		}
	}
	return out
}

func isReady(n *core.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c core.NodeCondition) bool {
		return c.Type == core.NodeReady && c.Status == core.ConditionTrue
	})
}

// serves tells whether a node has a ready endpoint of the service.
func serves(node string, s *core.Service, ends []*discovery.EndpointSlice) bool {
	for _, e := range ends {
		if e.Namespace != s.Namespace || e.Labels[discovery.LabelServiceName] != s.Name {
			continue
		}
		for _, end := range e.Endpoints {
			if end.NodeName != nil && *end.NodeName == node && (end.Conditions.Ready == nil || *end.Conditions.Ready) {
				return true
			}
		}
	}
	return false
}

// have makes own those addresses of the pool that the node has.
func (t taker) have(own []netip.Addr) error {
	all, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(a netlink.Addr) bool { return a.IP.Equal(t.Address.AsSlice()) })
	if i < 0 {
		return fmt.Errorf("no interface has the node's address %s", t.Address)
	}
	link, err := netlink.LinkByIndex(all[i].LinkIndex)
	if err != nil {
		return err
	}
	var has []netip.Addr
	for _, a := range all {
		ip, _ := netip.AddrFromSlice(a.IP.To4())
		if !slices.Contains(t.Pool, ip) {
			continue
		}
		if has = append(has, ip); slices.Contains(own, ip) {
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("let go of %s: %w", ip, err)
		}
	}
	for _, ip := range own {
		if slices.Contains(has, ip) {
			continue
		}
		whole := &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}
		err := netlink.AddrReplace(link, &netlink.Addr{IPNet: whole})
		if err := cmp.Or(err, announce(link, ip)); err != nil {
			return fmt.Errorf("take %s: %w", ip, err)
		}
	}
	return nil
}
