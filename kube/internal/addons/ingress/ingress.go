// Package ingress owns the way to services by host name and path, as Ingresses say: a proxy on the node that speaks HTTP. TLS
// is ended in front of it, by whoever reads the file of host names that is kept here; without TLS it is reached as a Service
// of type LoadBalancer.
package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	applynetworking "k8s.io/client-go/applyconfigurations/networking/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/kube/internal/addons/changes"
	"fairlead.dev/kube/internal/addons/hosted"
	"fairlead.dev/kube/internal/parts"
	"fairlead.dev/kube/internal/pki"
)

// Config says what the proxy needs to know.
type Config struct {
	Client  kubernetes.Interface
	Cluster string
	Listen  netip.Addr
	Front   netip.Addr // whose X-Forwarded headers are believed
	Hosts   string     // file in which the names stand that are served: {"hosts": ["shop.example", "*.shop.example"]}
}

const (
	port    = 10080
	service = "ingress" // its Service
	// controller is what classes of Ingresses call this package.
	controller = "fairlead.dev/ingress"
	// ownClass is that of Ingresses which name none; azureClass is that of AKS' application routing.
	ownClass   = "fairlead"
	azureClass = "webapprouting.kubernetes.azure.com"
	// annotationClass names a class in Ingresses that are older than its field.
	annotationClass = "kubernetes.io/ingress.class"
)

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	if err := publish(ctx, cfg); err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", netip.AddrPortFrom(cfg.Listen, port).String())
	if err != nil {
		return err
	}
	p := newProxy(cfg.Cluster, cfg.Front)
	g := parts.New(ctx)
	defer g.Close(0)
	g.Start("the proxy", func(ctx context.Context) error { return serve(ctx, l, p) })
	g.Start("following the Ingresses", func(ctx context.Context) error { return follow(ctx, cfg, p) })
	return g.Err()
}

// publish makes the classes, and the service by which the proxy is reached without TLS.
func publish(ctx context.Context, cfg Config) error {
	for _, name := range []string{ownClass, azureClass} {
		class := applynetworking.IngressClass(name).WithSpec(applynetworking.IngressClassSpec().WithController(controller))
		if name == ownClass {
			class.WithAnnotations(map[string]string{networking.AnnotationIsDefaultIngressClass: "true"})
		}
		if _, err := cfg.Client.NetworkingV1().IngressClasses().Apply(ctx, class, hosted.Apply()); err != nil {
			return fmt.Errorf("make the ingress class %s: %w", name, err)
		}
	}
	s := hosted.Service{
		Name: service, Type: core.ServiceTypeLoadBalancer, Labels: map[string]string{"k8s-app": service},
		Ports: []hosted.Port{{Name: "http", Protocol: core.ProtocolTCP, Port: 80, Target: port}},
	}
	if err := s.Publish(ctx, cfg.Client, cfg.Listen); err != nil {
		return fmt.Errorf("publish the service %s: %w", service, err)
	}
	return nil
}

func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// follow keeps the proxy's table, the file of hosts and the Ingresses' statuses.
func follow(ctx context.Context, cfg Config, p *proxy) error {
	factory := informers.NewSharedInformerFactory(cfg.Client, 0)
	ingresses, classes := factory.Networking().V1().Ingresses(), factory.Networking().V1().IngressClasses()
	services, ends := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	written := ""
	return changes.Follow(ctx, "ingress", factory, func(ctx context.Context) error {
		all, err := ingresses.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		known, err := classes.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		o := objects{ingresses: slices.DeleteFunc(slices.Clone(all), func(i *networking.Ingress) bool { return !isOurs(i, known) })}
		if o.services, err = services.Lister().List(labels.Everything()); err != nil {
			return err
		}
		if o.slices, err = ends.Lister().List(labels.Everything()); err != nil {
			return err
		}
		t := tableOf(o)
		p.table.Store(&t)
		text, err := json.Marshal(map[string][]string{"hosts": t.hosts()})
		if err != nil {
			return err
		}
		if string(text) != written {
			if err := pki.WriteFile(cfg.Hosts, text, 0o600); err != nil {
				return err
			}
			written = string(text)
		}
		return writeStatuses(ctx, cfg.Client, o)
	}, ingresses.Informer(), classes.Informer(), services.Informer(), ends.Informer())
}

// isOurs tells whether an Ingress is of one of our classes, or of none.
func isOurs(i *networking.Ingress, classes []*networking.IngressClass) bool {
	name := i.Annotations[annotationClass]
	if i.Spec.IngressClassName != nil {
		name = *i.Spec.IngressClassName
	}
	return name == "" || slices.ContainsFunc(classes, func(c *networking.IngressClass) bool {
		return c.Name == name && c.Spec.Controller == controller
	})
}

// writeStatuses says in each Ingress at which address the proxy is.
func writeStatuses(ctx context.Context, client kubernetes.Interface, o objects) error {
	i := slices.IndexFunc(o.services, func(s *core.Service) bool { return s.Namespace == hosted.Namespace && s.Name == service })
	if i < 0 || len(o.services[i].Status.LoadBalancer.Ingress) == 0 {
		return nil
	}
	address := o.services[i].Status.LoadBalancer.Ingress[0].IP
	var errs []error
	for _, i := range o.ingresses {
		if has := i.Status.LoadBalancer.Ingress; len(has) == 1 && has[0].IP == address {
			continue
		}
		status := applynetworking.IngressLoadBalancerStatus().WithIngress(applynetworking.IngressLoadBalancerIngress().WithIP(address))
		object := applynetworking.Ingress(i.Name, i.Namespace).WithStatus(applynetworking.IngressStatus().WithLoadBalancer(status))
		if _, err := client.NetworkingV1().Ingresses(i.Namespace).ApplyStatus(ctx, object, hosted.Apply()); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("ingress %s/%s: %w", i.Namespace, i.Name, err))
		}
	}
	return errors.Join(errs...)
}
