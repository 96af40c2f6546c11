package ingress

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
)

// objects is what a table is made of.
type objects struct {
	ingresses []*networking.Ingress // those that are ours
	services  []*core.Service
	slices    []*discovery.EndpointSlice
}

// backend is where requests of a route go.
type backend struct {
	service   string   // "namespace/name", for people
	endpoints []string // "10.244.0.7:8080"
	problem   string   // why there are none, besides that none is ready
}

type route struct {
	path  string
	exact bool
	to    backend
}

// table knows where a request goes. The hosts are as Ingresses write them, in lower case: a name, "*." and a name, or ""
// for any.
type table struct {
	routes   map[string][]route
	fallback *backend
}

// tableOf makes the table. Where several Ingresses claim one path, the oldest has it.
func tableOf(o objects) table {
	t := table{routes: map[string][]route{}}
	oldest := slices.SortedFunc(slices.Values(o.ingresses), func(a, b *networking.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	for _, i := range oldest {
		if d := i.Spec.DefaultBackend; d != nil {
			to := o.backend(i.Namespace, *d)
			if len(i.Spec.Rules) == 0 {
				t.add("", route{path: "/", to: to})
			} else if t.fallback == nil {
				t.fallback = &to
			}
		}
		for _, rule := range i.Spec.Rules {
			if rule.HTTP == nil {
				continue
			}
			for _, p := range rule.HTTP.Paths {
				exact := p.PathType != nil && *p.PathType == networking.PathTypeExact
				t.add(strings.ToLower(rule.Host), route{cmp.Or(p.Path, "/"), exact, o.backend(i.Namespace, p.Backend)})
			}
		}
	}
	for _, routes := range t.routes {
		slices.SortStableFunc(routes, func(a, b route) int { // the longest path first, and the exact one before its like
			return cmp.Or(cmp.Compare(len(b.path), len(a.path)), strings.Compare(a.path, b.path), boolCompare(b.exact, a.exact))
		})
	}
	return t
}

func (t table) add(host string, r route) { t.routes[host] = append(t.routes[host], r) }

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// hosts gives the names that the table serves, sorted.
func (t table) hosts() []string {
	out := []string{}
	for host := range t.routes {
		if host != "" {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

// find gives the backend of a request, nil for none. A name goes before a name with a star, and that before any host.
func (t table) find(host, path string) *backend {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	star := ""
	if _, parent, ok := strings.Cut(host, "."); ok {
		star = "*." + parent
	}
	for _, h := range []string{host, star, ""} {
		i := slices.IndexFunc(t.routes[h], func(r route) bool { return r.matches(path) })
		if i >= 0 {
			return &t.routes[h][i].to
		}
	}
	return t.fallback
}

// matches follows networking.k8s.io/v1's PathType: a prefix ends where an element of the path ends. What is specific to
// the implementation is a prefix here.
func (r route) matches(path string) bool {
	if r.exact {
		return path == r.path
	}
	prefix := strings.TrimSuffix(r.path, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

func (o objects) backend(namespace string, b networking.IngressBackend) backend {
	if b.Service == nil {
		return backend{service: namespace, problem: "its backend is no Service"}
	}
	out := backend{service: namespace + "/" + b.Service.Name}
	i := slices.IndexFunc(o.services, func(s *core.Service) bool { return s.Namespace == namespace && s.Name == b.Service.Name })
	if i < 0 {
		out.problem = "there is no such Service"
		return out
	}
	service := o.services[i]
	if service.Spec.Type == core.ServiceTypeExternalName {
		// It would lead wherever its author likes from the node's own network, to the node's identity for one.
		out.problem = "it is of type ExternalName, which an Ingress does not lead to here"
		return out
	}
	p := slices.IndexFunc(service.Spec.Ports, func(p core.ServicePort) bool {
		return cmp.Or(p.Name, "-") == b.Service.Port.Name || p.Port == b.Service.Port.Number
	})
	if p < 0 {
		out.problem = fmt.Sprintf("it has no port %s", cmp.Or(b.Service.Port.Name, strconv.Itoa(int(b.Service.Port.Number))))
		return out
	}
	out.endpoints = o.endpoints(service, service.Spec.Ports[p].Name)
	return out
}

// endpoints gives the ready ones of a service's port, which slices know by its name.
func (o objects) endpoints(service *core.Service, port string) []string {
	var out []string
	for _, s := range o.slices {
		if s.Namespace != service.Namespace || s.Labels[discovery.LabelServiceName] != service.Name {
			continue
		}
		for _, p := range s.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != port {
				continue
			}
			for _, e := range s.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				for _, a := range e.Addresses {
					if ip, err := netip.ParseAddr(a); err == nil {
						out = append(out, netip.AddrPortFrom(ip, uint16(*p.Port)).String())
					}
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
