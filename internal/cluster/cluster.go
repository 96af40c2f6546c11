// Package cluster owns managed clusters: what is wanted of each (Cluster), how far it is (Status), and the owner that
// brings it about and keeps it so on a Machine. What goes on within a cluster is upstream Kubernetes' business; how a
// cluster is written on the wire is that of the surfaces.
package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// Cluster is a managed cluster as it is wanted.
type Cluster struct {
	ID resource.ID
	// UID is a GUID that no later cluster of the same name has. Put gives it to a new cluster and keeps it.
	UID   string
	Hosts []string // names of the API server; the first is the one that people are shown
	// Pools are groups of like nodes. The first node of the first one is the control plane too.
	Pools       []Pool
	PodCIDR     netip.Prefix
	ServiceCIDR netip.Prefix
	DNSDomain   string // "cluster.local"
	// Kubelet is the user-assigned identity that nodes pull with; zero for none.
	Kubelet resource.ID
	// Entra lets principals of the directory in, as Azure's roles say.
	Entra bool
	// WorkloadIdentity gives pods that ask for it a token for their service account's federated identity.
	WorkloadIdentity bool
	// VerifyPull is the kubelet's imagePullCredentialsVerificationPolicy (KEP-2535).
	VerifyPull string
	// PodsReachMetadata lets pods use the nodes' own identity.
	PodsReachMetadata bool
}

// Pool is a group of like nodes.
type Pool struct {
	Name   string            `json:"name"`
	Count  int               `json:"count"`
	Mode   string            `json:"mode"` // System, User
	Labels map[string]string `json:"labels,omitempty"`
}

// Nodes gives how many nodes a cluster has.
func (c Cluster) Nodes() int {
	n := 0
	for _, p := range c.Pools {
		n += p.Count
	}
	return n
}

// NodeNames gives the names of a cluster's nodes.
func (c Cluster) NodeNames() []string {
	var names []string
	for _, n := range c.plan().Nodes {
		names = append(names, n.Name)
	}
	return names
}

// Key names a cluster on its machine: 16 hexadecimal digits.
func Key(id resource.ID) string {
	sum := sha256.Sum256([]byte(id.Key()))
	return hex.EncodeToString(sum[:8])
}

// defaultVerifyPull checks the right to an image that is on the node already, whatever put it there but the node itself.
const defaultVerifyPull = "AlwaysVerify"

var (
	verifyPolicies = []string{"NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", defaultVerifyPull} //nolint:gochecknoglobals // a constant list
	poolName       = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)
)

// withDefaults completes what was left open.
func (c Cluster) withDefaults() Cluster {
	if c.DNSDomain == "" {
		c.DNSDomain = "cluster.local"
	}
	if c.VerifyPull == "" {
		c.VerifyPull = defaultVerifyPull
	}
	return c
}

// validate finds the first fault.
func (c Cluster) validate() error {
	invalid := func(target, format string, args ...any) error {
		return ErrInvalid.WithMessage(format, args...).WithTarget(target)
	}
	if len(c.Pools) == 0 {
		return invalid("pools", "a cluster has at least one pool of nodes")
	}
	names := map[string]bool{}
	for i, p := range c.Pools {
		at := fmt.Sprintf("pools[%d]", i)
		switch {
		case !poolName.MatchString(p.Name):
			return invalid(at+".name", "the pool name %.20q is invalid: it is 1 to 12 lower-case letters and digits and begins with a letter", p.Name)
		case names[p.Name]:
			return invalid(at+".name", "two pools have the name %s", p.Name)
		case p.Count < 1:
			return invalid(at+".count", "the pool %s has %d nodes: it is 1 or more", p.Name, p.Count)
		}
		names[p.Name] = true
	}
	for _, r := range []struct {
		name  string
		value netip.Prefix
		least int
	}{{"podCIDR", c.PodCIDR, 22}, {"serviceCIDR", c.ServiceCIDR, 24}} {
		if !r.value.IsValid() || !r.value.Addr().Is4() || r.value != r.value.Masked() || r.value.Bits() > r.least || r.value.Bits() < 12 {
			return invalid(r.name, "%s is no range of addresses between /12 and /%d, such as 10.244.0.0/16", r.value, r.least)
		}
	}
	switch {
	case c.PodCIDR.Overlaps(c.ServiceCIDR):
		return invalid("serviceCIDR", "the ranges of pods, %s, and of services, %s, overlap", c.PodCIDR, c.ServiceCIDR)
	case !slices.Contains(verifyPolicies, c.VerifyPull):
		return invalid("verifyPull", "%q is no imagePullCredentialsVerificationPolicy: it is one of %q", c.VerifyPull, verifyPolicies)
	}
	return nil
}

// dnsLabel makes a name that Azure allows one that Kubernetes does too.
func dnsLabel(name string) string {
	return strings.Trim(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "-")
}

// plan gives what the machine has to know. Nodes are named as Azure names them.
func (c Cluster) plan() Plan {
	p := Plan{
		Key: Key(c.ID), Name: dnsLabel(c.ID.Name()), PodCIDR: c.PodCIDR, ServiceCIDR: c.ServiceCIDR, DNSDomain: c.DNSDomain, Hosts: c.Hosts,
		VerifyPull: c.VerifyPull, PodsReachMetadata: c.PodsReachMetadata,
	}
	sum := sha256.Sum256([]byte(c.UID))
	digits := binary.BigEndian.Uint32(sum[:]) % 100_000_000
	for _, pool := range c.Pools {
		for i := range pool.Count {
			set := fmt.Sprintf("aks-%s-%08d-vmss", pool.Name, digits)
			labels := map[string]string{
				"agentpool": pool.Name, "kubernetes.azure.com/agentpool": pool.Name, "kubernetes.azure.com/mode": strings.ToLower(pool.Mode),
				"kubernetes.azure.com/cluster": "MC_" + c.ID.ResourceGroup() + "_" + c.ID.Name(),
			}
			maps.Copy(labels, pool.Labels)
			p.Nodes = append(p.Nodes, NodePlan{
				Name: fmt.Sprintf("%s%06d", set, i), Labels: labels,
				ProviderID: fmt.Sprintf("azure://%s/virtualMachineScaleSets/%s/virtualMachines/%d", c.ID, set, i),
			})
		}
	}
	return p
}

// Named errors of this package.
var (
	// ErrNotFound: there is no such cluster.
	ErrNotFound = fault.New(fault.NotFound, "ResourceNotFound", "there is no such cluster")
	// ErrInvalid: the cluster cannot be; the target names the field.
	ErrInvalid = fault.New(fault.Invalid, "InvalidParameter", "the cluster cannot be")
	// ErrFixed: what is asked for can be chosen at the creation only.
	ErrFixed = fault.New(fault.Invalid, "PropertyChangeNotAllowed", "this cannot be changed on a cluster that exists")
	// ErrNotRunning: the cluster does not run (yet).
	ErrNotRunning = fault.New(fault.Conflict, "ManagedClusterNotRunning", "the cluster does not run")
	// ErrDeleting: the cluster is being deleted.
	ErrDeleting = fault.New(fault.Conflict, "OperationNotAllowed", "the cluster is being deleted")
	// ErrClosed: Fairlead is going down.
	ErrClosed = fault.New(fault.Unavailable, "ServiceUnavailable", "the server is stopping, please retry later")
)
