// Package dns owns the cluster's DNS: CoreDNS in this process, on the node's address, with the names of services and pods;
// other names are asked for where the node itself asks. Which address pods ask at is in the kubelets' configuration.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/bind" // a directive of the configuration, as are the next
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	coredns "github.com/coredns/coredns/plugin/kubernetes"
	core "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/kube/internal/addons/hosted"
)

// Config says what the server knows.
type Config struct {
	Client     kubernetes.Interface
	Kubeconfig string     // file, of who may read services and endpoints
	Domain     string     // "cluster.local"
	Service    netip.Addr // where pods ask
	Listen     netip.Addr // the node's address
}

const port = 53

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	service := hosted.Service{
		// Labels by which people and other programs look for it.
		Name: "kube-dns", Address: cfg.Service, Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
		Ports: []hosted.Port{{Name: "dns", Protocol: core.ProtocolUDP, Port: port, Target: port}, {Name: "dns-tcp", Protocol: core.ProtocolTCP, Port: port, Target: port}},
	}
	if err := service.Publish(ctx, cfg.Client, cfg.Listen); err != nil {
		return fmt.Errorf("publish the service %s: %w", service.Name, err)
	}
	prepare()
	server, err := caddy.Start(caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(cfg.corefile()), ServerTypeName: "dns"})
	if err != nil {
		return err
	}
	<-ctx.Done()
	errs := append(server.ShutdownCallbacks(), server.Stop())
	server.Wait()
	return errors.Join(errs...)
}

// corefile is CoreDNS' configuration. Answers live for five seconds as upstream has it for services, whose addresses move.
func (c Config) corefile() string {
	return strings.NewReplacer("LISTEN", c.Listen.String(), "DOMAIN", c.Domain, "KUBECONFIG", c.Kubeconfig).Replace(`.:53 {
	bind LISTEN
	errors
	cache 5
	services DOMAIN in-addr.arpa ip6.arpa {
		kubeconfig "KUBECONFIG"
		pods insecure
		ttl 5
		fallthrough in-addr.arpa ip6.arpa
	}
	forward . /etc/resolv.conf
}
`)
}

// directive is CoreDNS' plugin kubernetes under another name.
const directive = "services"

// prepare sets CoreDNS up; it does so once for the process. The directive services is upstream's plugin kubernetes but for
// one thing: that one takes the log of all clients of Kubernetes in the process for its own.
var prepare = sync.OnceFunc(func() { //nolint:gochecknoglobals // what it sets up are globals of CoreDNS
	plugin.Register(directive, func(c *caddy.Controller) error {
		c.Next()
		zones, err := coredns.ParseStanza(c)
		if err != nil {
			return plugin.Error(directive, err)
		}
		start, stop, err := zones.InitKubeCache(context.Background()) // stop ends it
		if err != nil {
			return plugin.Error(directive, err)
		}
		c.OnStartup(start)
		c.OnShutdown(stop)
		dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
			zones.Next = next
			return zones
		})
		return nil
	})
	dnsserver.Directives = []string{"bind", "errors", "cache", directive, "forward"}
	caddy.Quiet, dnsserver.Quiet = true, true
})
