package loadbalancer

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	one  = netip.MustParseAddr("10.64.0.20")
	two  = netip.MustParseAddr("10.64.0.21")
	pool = []netip.Addr{one, two}
)

// service gives one of type LoadBalancer; the age orders them.
func service(name string, age int, port int32, change func(*core.Service)) *core.Service {
	s := &core.Service{
		ObjectMeta: meta.ObjectMeta{Namespace: "a", Name: name, CreationTimestamp: meta.NewTime(time.Unix(1000-int64(age), 0)), Annotations: map[string]string{}},
		Spec:       core.ServiceSpec{Type: core.ServiceTypeLoadBalancer, Ports: []core.ServicePort{{Port: port, Protocol: core.ProtocolTCP}}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func has(a netip.Addr) func(*core.Service) {
	return func(s *core.Service) { s.Status.LoadBalancer.Ingress = []core.LoadBalancerIngress{{IP: a.String()}} }
}

func asks(text string) func(*core.Service) {
	return func(s *core.Service) { s.Annotations[annotationAddress] = text }
}

func TestAssign(t *testing.T) {
	for _, c := range []struct {
		name     string
		services []*core.Service
		want     map[string]string // an address, or a part of the problem
	}{
		{"the oldest first", []*core.Service{service("new", 1, 80, nil), service("old", 2, 80, nil)}, map[string]string{"a/old": one.String(), "a/new": two.String()}},
		{"what one has it keeps", []*core.Service{service("new", 1, 80, has(one)), service("old", 2, 80, nil)}, map[string]string{"a/old": two.String(), "a/new": one.String()}},
		{"who asks goes before who does not", []*core.Service{service("new", 1, 80, asks(one.String())), service("old", 2, 80, nil)}, map[string]string{"a/old": two.String(), "a/new": one.String()}},
		{"the field asks as well", []*core.Service{service("s", 1, 80, func(s *core.Service) { s.Spec.LoadBalancerIP = two.String() })}, map[string]string{"a/s": two.String()}},
		{"another is asked for than it has", []*core.Service{service("s", 1, 80, func(s *core.Service) { has(one)(s); asks(two.String())(s) })}, map[string]string{"a/s": two.String()}},
		{"one address, two ports", []*core.Service{service("web", 2, 80, has(one)), service("tls", 1, 443, asks(one.String()))}, map[string]string{"a/web": one.String(), "a/tls": one.String()}},
		{"one address, one port", []*core.Service{service("web", 2, 80, has(one)), service("other", 1, 80, asks(one.String()))}, map[string]string{"a/web": one.String(), "a/other": "port 80/TCP of 10.64.0.20 is that of the service a/web"}},
		{"none left", []*core.Service{service("x", 3, 80, nil), service("y", 2, 80, nil), service("z", 1, 80, nil)}, map[string]string{"a/x": one.String(), "a/y": two.String(), "a/z": "the 2 addresses that this cluster has"}},
		{"somebody else's address", []*core.Service{service("s", 1, 80, asks("20.1.2.3"))}, map[string]string{"a/s": "none of this cluster's for load balancers, which are: 10.64.0.20, 10.64.0.21"}},
		{"an address of another start", []*core.Service{service("s", 1, 80, has(netip.MustParseAddr("10.64.9.9")))}, map[string]string{"a/s": one.String()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := assign(pool, c.services)
			for key, want := range c.want {
				if g := got[key]; g.address.IsValid() && g.address.String() != want || !g.address.IsValid() && !strings.Contains(g.problem, want) {
					t.Errorf("%s: got %v, want %s", key, got[key], want)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestHolders(t *testing.T) {
	node := func(name string, ready core.ConditionStatus) *core.Node {
		return &core.Node{
			ObjectMeta: meta.ObjectMeta{Name: name},
			Status:     core.NodeStatus{Conditions: []core.NodeCondition{{Type: core.NodeReady, Status: ready}}},
		}
	}
	local := service("local", 1, 80, func(s *core.Service) {
		has(one)(s)
		s.Spec.ExternalTrafficPolicy = core.ServiceExternalTrafficPolicyLocal
	})
	wide := service("wide", 1, 80, has(two))
	name := "node1"
	ends := []*discovery.EndpointSlice{{
		ObjectMeta: meta.ObjectMeta{Namespace: "a", Name: "local-x", Labels: map[string]string{discovery.LabelServiceName: "local"}},
		Endpoints:  []discovery.Endpoint{{NodeName: &name}},
	}}
	nodes := []*core.Node{node("node1", core.ConditionTrue), node("node0", core.ConditionTrue)}
	got := holders(pool, []*core.Service{local, wide}, nodes, ends)
	if got[one] != "node1" || got[two] != "node0" {
		t.Errorf("got %v, want the node with the pod and the first", got)
	}
	if got := holders(pool, []*core.Service{local}, nodes, nil); got[one] != "node0" {
		t.Errorf("without any pod: %v", got)
	}
	nodes[1] = node("node0", core.ConditionUnknown)
	if got := holders(pool, []*core.Service{wide}, nodes, ends); got[two] != "node1" {
		t.Errorf("with the first node gone: %v", got)
	}
	gone := service("gone", 1, 80, func(s *core.Service) { has(one)(s); s.Spec.Type = core.ServiceTypeClusterIP })
	if got := holders(pool, []*core.Service{gone}, nodes, ends); len(got) != 0 {
		t.Errorf("a service that is none any more: %v", got)
	}
}

// TestAnnouncement compares with the packet as RFC 826 lays it out.
func TestAnnouncement(t *testing.T) {
	want := []byte{
		0, 1, 8, 0, 6, 4, 0, 1,
		2, 0, 0, 0, 0, 7, 10, 64, 0, 20,
		0, 0, 0, 0, 0, 0, 10, 64, 0, 20,
	}
	if got := announcement([]byte{2, 0, 0, 0, 0, 7}, one); !bytes.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
