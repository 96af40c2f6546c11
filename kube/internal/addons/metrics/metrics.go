// Package metrics owns the metrics API of a cluster, which 'kubectl top' and autoscalers ask: upstream's metrics-server in
// this process, which collects from the kubelets.
package metrics

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apply "k8s.io/kube-aggregator/pkg/client/applyconfiguration/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"sigs.k8s.io/metrics-server/cmd/metrics-server/app/options"

	"fairlead.dev/kube/internal/addons/hosted"
)

// Config says what the server needs to know.
type Config struct {
	Client     kubernetes.Interface
	Rest       *rest.Config
	Kubeconfig string // file, of who may read the kubelets' metrics and ask the API server who somebody is
	Listen     netip.Addr
	Serving    [2]string // certificate and key file for Host
	Authority  []byte    // PEM, of the authority that issued it
}

const (
	// Name is the name of the service and of the server's certificate.
	Name = "metrics-server"
	// Host is the name by which the API server knows the server.
	Host = Name + "." + hosted.Namespace + ".svc"
	port = 10251
	// resolution is upstream's for its own deployment: the shortest that is worth its cost.
	resolution = 15 * time.Second
)

// Run collects and serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	o := options.NewOptions()
	o.MetricResolution, o.Kubeconfig = resolution, cfg.Kubeconfig
	o.KubeletClient.KubeletPreferredAddressTypes = []string{string(core.NodeInternalIP)}
	o.SecureServing.BindAddress, o.SecureServing.BindPort = cfg.Listen.AsSlice(), port
	o.SecureServing.ServerCert.CertKey.CertFile, o.SecureServing.ServerCert.CertKey.KeyFile = cfg.Serving[0], cfg.Serving[1]
	o.Authentication.RemoteKubeConfigFile, o.Authorization.RemoteKubeConfigFile = cfg.Kubeconfig, cfg.Kubeconfig
	settings, err := o.ServerConfig()
	if err != nil {
		return err
	}
	server, err := settings.Complete()
	if err != nil {
		return err
	}
	if err := publish(ctx, cfg); err != nil {
		return fmt.Errorf("register the metrics API: %w", err)
	}
	return server.RunUntil(ctx.Done())
}

// publish has the API server hand on requests for the metrics API.
func publish(ctx context.Context, cfg Config) error {
	service := hosted.Service{
		Name: Name, Labels: map[string]string{"k8s-app": Name},
		Ports: []hosted.Port{{Name: "https", Protocol: core.ProtocolTCP, Port: 443, Target: port}},
	}
	if err := service.Publish(ctx, cfg.Client, cfg.Listen); err != nil {
		return err
	}
	registry, err := aggregator.NewForConfig(cfg.Rest)
	if err != nil {
		return err
	}
	group, version := v1beta1.SchemeGroupVersion.Group, v1beta1.SchemeGroupVersion.Version
	api := apply.APIService(version + "." + group).WithSpec(apply.APIServiceSpec().
		WithGroup(group).WithVersion(version).WithGroupPriorityMinimum(100).WithVersionPriority(100).WithCABundle(cfg.Authority...).
		WithService(apply.ServiceReference().WithNamespace(hosted.Namespace).WithName(Name).WithPort(443)))
	_, err = registry.ApiregistrationV1().APIServices().Apply(ctx, api, hosted.Apply())
	return err
}
