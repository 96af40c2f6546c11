package loadbalancer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
)

// annotationAddress asks for an address, as on AKS.
const annotationAddress = "service.beta.kubernetes.io/azure-load-balancer-ipv4"

// given is what a service gets: an address, or the reason for none.
type given struct {
	address netip.Addr
	problem string
}

// assign gives each service that is to have one an address of the pool; services are named "namespace/name". Whoever has an
// address keeps it, then those get theirs that ask for a certain one, then the others, of each the oldest first. Services
// share an address only when one asks for it and their ports differ.
func assign(pool []netip.Addr, services []*core.Service) map[string]given {
	t := taken{}
	out := map[string]given{}
	var asking, waiting []*core.Service
	services = slices.SortedFunc(slices.Values(services), func(a, b *core.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(key(a), key(b)))
	})
	for _, s := range services {
		has, asked := current(s), asked(s)
		switch {
		case slices.Contains(pool, has) && (asked == "" || asked == has.String()) && t.take(has, s) == "":
			out[key(s)] = given{address: has}
		case asked != "":
			asking = append(asking, s)
		default:
			waiting = append(waiting, s)
		}
	}
	for _, s := range asking {
		out[key(s)] = t.ask(pool, s)
	}
	for _, s := range waiting {
		out[key(s)] = t.any(pool, s)
	}
	return out
}

func key(s *core.Service) string { return s.Namespace + "/" + s.Name }

// current is the address that the service's status names.
func current(s *core.Service) netip.Addr {
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil {
			return a
		}
	}
	return netip.Addr{}
}

func asked(s *core.Service) string {
	return cmp.Or(s.Annotations[annotationAddress], s.Spec.LoadBalancerIP) //nolint:staticcheck // deprecated, and what manifests have
}

// taken is who has a port of an address: "80/TCP" leads to a service's key.
type taken map[netip.Addr]map[string]string

// take gives the service its ports of the address, or says why not.
func (t taken) take(a netip.Addr, s *core.Service) (problem string) {
	for _, p := range s.Spec.Ports {
		if other, ok := t[a][port(p)]; ok {
			return fmt.Sprintf("port %s of %s is that of the service %s", port(p), a, other)
		}
	}
	if t[a] == nil {
		t[a] = map[string]string{}
	}
	for _, p := range s.Spec.Ports {
		t[a][port(p)] = key(s)
	}
	return ""
}

func port(p core.ServicePort) string { return fmt.Sprintf("%d/%s", p.Port, p.Protocol) }

func (t taken) ask(pool []netip.Addr, s *core.Service) given {
	a, err := netip.ParseAddr(asked(s))
	if err != nil || !slices.Contains(pool, a) {
		return given{problem: fmt.Sprintf("the address %s is none of this cluster's for load balancers, which are: %s", asked(s), list(pool))}
	}
	if problem := t.take(a, s); problem != "" {
		return given{problem: problem}
	}
	return given{address: a}
}

func (t taken) any(pool []netip.Addr, s *core.Service) given {
	for _, a := range pool {
		if t[a] == nil && t.take(a, s) == "" {
			return given{address: a}
		}
	}
	return given{problem: fmt.Sprintf("the %d addresses that this cluster has for load balancers are all taken; delete a service of type LoadBalancer, or share the "+
		"address of one that has other ports: annotation %s with one of %s", len(pool), annotationAddress, list(pool))}
}

func list(pool []netip.Addr) string {
	if len(pool) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, a := range pool {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	return b.String()
}
