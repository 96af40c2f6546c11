// Package hosted owns services of the cluster that a process on a node answers instead of pods: a Service without a
// selector, and the EndpointSlice that leads to the process. What the process does there is its own business.
package hosted

import (
	"context"
	"net/netip"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applydiscovery "k8s.io/client-go/applyconfigurations/discovery/v1"
	"k8s.io/client-go/kubernetes"
)

// Namespace is where they are.
const Namespace = "kube-system"

// Manager is who the objects' fields belong to, as the API server keeps record of it.
const Manager = "fairlead-kube"

// Apply is how objects of the cluster itself are written: what somebody else has set in them is set back.
func Apply() meta.ApplyOptions { return meta.ApplyOptions{FieldManager: Manager, Force: true} }

// Service is one of them.
type Service struct {
	Name    string
	Type    core.ServiceType // "" is ClusterIP
	Address netip.Addr       // in the range of services; the zero value takes any
	Labels  map[string]string
	Ports   []Port
}

// Port is a port of a service.
type Port struct {
	Name     string
	Protocol core.Protocol
	Port     int32 // of the service
	Target   int32 // on the node
}

// Publish brings the service about: whoever asks it is led to the node's address at.
func (s Service) Publish(ctx context.Context, client kubernetes.Interface, at netip.Addr) error {
	spec := applycore.ServiceSpec()
	slice := applydiscovery.EndpointSlice(s.Name, Namespace).
		WithLabels(map[string]string{discovery.LabelServiceName: s.Name, discovery.LabelManagedBy: Manager}).
		WithAddressType(discovery.AddressTypeIPv4).
		WithEndpoints(applydiscovery.Endpoint().WithAddresses(at.String()).WithConditions(applydiscovery.EndpointConditions().WithReady(true)))
	if s.Type != "" {
		spec.WithType(s.Type)
	}
	if s.Address.IsValid() {
		spec.WithClusterIP(s.Address.String())
	}
	for _, p := range s.Ports {
		spec.WithPorts(applycore.ServicePort().WithName(p.Name).WithProtocol(p.Protocol).WithPort(p.Port))
		slice.WithPorts(applydiscovery.EndpointPort().WithName(p.Name).WithProtocol(p.Protocol).WithPort(p.Target))
	}
	service := applycore.Service(s.Name, Namespace).WithLabels(s.Labels).WithSpec(spec)
	if _, err := client.CoreV1().Services(Namespace).Apply(ctx, service, Apply()); err != nil {
		return err
	}
	_, err := client.DiscoveryV1().EndpointSlices(Namespace).Apply(ctx, slice, Apply())
	return err
}
