// Package config owns the one file that fairlead writes and fairlead-kube reads: which part of which cluster a process
// is, and where its things are. The two programs share no code, so this is their contract; what is in it is checked
// here, whole, before anything starts.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Config says which part of a cluster one process is.
type Config struct {
	Cluster string `json:"cluster"` // the cluster's name, a DNS label
	// Dir is where the cluster keeps what it has to keep: certificates and, of a control plane, the datastore. The nodes of
	// a cluster share it.
	Dir string `json:"dir"`
	// Networks of the cluster. They may not overlap.
	PodCIDR     netip.Prefix `json:"podCIDR"`
	ServiceCIDR netip.Prefix `json:"serviceCIDR"`
	DNSDomain   string       `json:"dnsDomain"` // "" is cluster.local
	// Server is where the API server is reached by nodes and by clients outside: "10.64.0.9:6443".
	Server netip.AddrPort `json:"server"`
	// LoadBalancers are addresses on the network that the nodes share which are the cluster's to give to Services of type
	// LoadBalancer. A node takes those that it answers for.
	LoadBalancers []netip.Addr `json:"loadBalancers,omitempty"`

	ControlPlane *ControlPlane `json:"controlPlane,omitempty"` // nil: this process is none
	Node         *Node         `json:"node,omitempty"`         // nil: this process is none
}

// ControlPlane is the part of a process that is the cluster's datastore, API server, controllers and scheduler.
type ControlPlane struct {
	// Names are further host names and addresses that clients reach the API server by; its certificate holds them.
	Names []string `json:"names,omitempty"`
	// Issuer is that of service accounts' tokens, an https URL; "" is one that only the cluster itself knows.
	Issuer string `json:"issuer,omitempty"`
	// Authentication and Authorization are files of the API server's kinds AuthenticationConfiguration and
	// AuthorizationConfiguration (apiserver.config.k8s.io/v1); "" authenticates with certificates and service accounts only,
	// and authorises with the modes Node and RBAC.
	Authentication string `json:"authentication,omitempty"`
	Authorization  string `json:"authorization,omitempty"`
	// Admission is a file of the kind AdmissionConfiguration; "" for none.
	Admission string `json:"admission,omitempty"`
	// Front is the address from which requests come whose X-Forwarded headers the ingress proxy believes: that of the proxy
	// in front of it, which ends TLS. None is believed when it is missing.
	Front netip.Addr `json:"front,omitzero"`
}

// Node is the part of a process that is a node: a kubelet and the services' proxy. It runs in a mount namespace of its
// own, for it takes the kubelet's usual places: /var/lib/kubelet, /var/log/pods.
type Node struct {
	Name    string            `json:"name"`    // a DNS name
	Address netip.Addr        `json:"address"` // its own on the network that the nodes share
	PodCIDR netip.Prefix      `json:"podCIDR"` // of the pods on it, a part of the cluster's
	Dir     string            `json:"dir"`     // where its configuration is written
	Socket  string            `json:"socket"`  // of the containerd with CRI that is this node's alone
	Volumes string            `json:"volumes"` // where the directories of persistent volumes are
	Labels  map[string]string `json:"labels,omitempty"`
	// ProviderID names the node as its cloud does; "" for none.
	ProviderID string `json:"providerID,omitempty"`
	// CgroupRoot is the control group that pods are under: "/fairlead-1a2b3c4d/nodes/node0".
	CgroupRoot string `json:"cgroupRoot"`
	// VerifyPull is the kubelet's imagePullCredentialsVerificationPolicy (KEP-2535); "" is NeverVerifyPreloadedImages.
	VerifyPull string `json:"verifyPull,omitempty"`
	// Credentials of registries by plugins; nil when there are none.
	CredentialProviders *CredentialProviders `json:"credentialProviders,omitempty"`
}

// CredentialProviders is the kubelet's configuration for credential plugins (kubelet.config.k8s.io/v1
// CredentialProviderConfig), and the directory of the programs that it names.
type CredentialProviders struct {
	File     string `json:"file"`
	Programs string `json:"programs"`
}

// Read reads and checks a file. Unknown fields are errors: a file of another version would be half understood.
func Read(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	var c Config
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if c.DNSDomain == "" {
		c.DNSDomain = "cluster.local"
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Validate reports every fault at once, each with its path.
func (c Config) Validate() error {
	var errs []error
	must := func(ok bool, field, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %s", field, rule))
		}
	}
	must(label.MatchString(c.Cluster), "cluster", "is a DNS label: lower-case letters, digits and '-'")
	must(filepath.IsAbs(c.Dir), "dir", "is an absolute path")
	must(c.PodCIDR.IsValid() && c.PodCIDR == c.PodCIDR.Masked(), "podCIDR", "is a range such as 10.244.0.0/16")
	must(c.ServiceCIDR.IsValid() && c.ServiceCIDR == c.ServiceCIDR.Masked(), "serviceCIDR", "is a range such as 10.96.0.0/16")
	must(!c.PodCIDR.Overlaps(c.ServiceCIDR), "serviceCIDR", "may not overlap podCIDR")
	must(c.Server.IsValid() && c.Server.Port() != 0, "server", "is an address and a port")
	must(!slices.ContainsFunc(c.LoadBalancers, func(a netip.Addr) bool { return !a.Is4() }), "loadBalancers", "are IPv4 addresses")
	must(c.ControlPlane != nil || c.Node != nil, "controlPlane, node", "one of them has to be there")
	if p := c.ControlPlane; p != nil {
		must(p.Issuer == "" || strings.HasPrefix(p.Issuer, "https://"), "controlPlane.issuer", "is an https URL")
		must(p.Authentication == "" || filepath.IsAbs(p.Authentication), "controlPlane.authentication", "is an absolute path")
		must(p.Authorization == "" || filepath.IsAbs(p.Authorization), "controlPlane.authorization", "is an absolute path")
		must(p.Admission == "" || filepath.IsAbs(p.Admission), "controlPlane.admission", "is an absolute path")
	}
	if n := c.Node; n != nil {
		must(label.MatchString(n.Name), "node.name", "is a DNS label")
		must(n.Address.IsValid(), "node.address", "is an IP address")
		must(filepath.IsAbs(n.Dir), "node.dir", "is an absolute path")
		must(filepath.IsAbs(n.Socket), "node.socket", "is an absolute path")
		must(filepath.IsAbs(n.Volumes), "node.volumes", "is an absolute path")
		must(n.PodCIDR.IsValid() && c.PodCIDR.Contains(n.PodCIDR.Addr()) && n.PodCIDR.Bits() >= c.PodCIDR.Bits(), "node.podCIDR", "is a part of podCIDR")
		must(filepath.IsAbs(n.CgroupRoot), "node.cgroupRoot", "is an absolute path")
		if p := n.CredentialProviders; p != nil {
			must(filepath.IsAbs(p.File), "node.credentialProviders.file", "is an absolute path")
			must(filepath.IsAbs(p.Programs), "node.credentialProviders.programs", "is an absolute path")
		}
	}
	return errors.Join(errs...)
}

// DNSAddress is the service address of the cluster's DNS: by custom the tenth of the range.
func (c Config) DNSAddress() netip.Addr { return nth(c.ServiceCIDR, 10) }

// ServiceAddress is the service address of the API server itself: the first of the range.
func (c Config) ServiceAddress() netip.Addr { return nth(c.ServiceCIDR, 1) }

// IngressHosts is the file in which the names stand that Ingresses of the cluster serve: {"hosts": ["shop.example"]}. Names
// like "*.example" stand for one label in place of the star.
func (c Config) IngressHosts() string { return filepath.Join(c.Dir, "ingress-hosts.json") }

func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	for range n {
		a = a.Next()
	}
	return a
}
