package managedcluster

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// The defaults are Azure's own.
const (
	defaultPodCIDR     = "10.244.0.0/16"
	defaultServiceCIDR = "10.0.0.0/16"
	dnsAddress         = 10 // cluster DNS has the tenth address of the services' range
	noMetadata         = "None"
	podsMayAsk         = "IMDS"
)

// properties are what is kept and shown of a managed cluster.
type properties struct {
	KubernetesVersion    string              `json:"kubernetesVersion,omitempty"`
	DNSPrefix            string              `json:"dnsPrefix"`
	NodeResourceGroup    string              `json:"nodeResourceGroup"`
	Pools                []Pool              `json:"agentPoolProfiles"`
	Network              networkProfile      `json:"networkProfile"`
	Identities           map[string]identity `json:"identityProfile,omitempty"`
	AAD                  *aadProfile         `json:"aadProfile,omitempty"`
	EnableRBAC           *bool               `json:"enableRBAC"`
	DisableLocalAccounts bool                `json:"disableLocalAccounts"`
	OIDC                 oidcProfile         `json:"oidcIssuerProfile"`
	Security             securityProfile     `json:"securityProfile"`
	Fairlead             fairleadProfile     `json:"fairleadProfile"`
}

type networkProfile struct {
	Plugin       string   `json:"networkPlugin"`
	PluginMode   string   `json:"networkPluginMode,omitempty"`
	PodCIDR      string   `json:"podCidr"`
	PodCIDRs     []string `json:"podCidrs"`
	ServiceCIDR  string   `json:"serviceCidr"`
	ServiceCIDRs []string `json:"serviceCidrs"`
	DNSServiceIP string   `json:"dnsServiceIP"`
	LinkLocal    string   `json:"podLinkLocalAccess"` // whether pods reach the nodes' own identity
	Families     []string `json:"ipFamilies"`
	LoadBalancer string   `json:"loadBalancerSku"`
	Outbound     string   `json:"outboundType"`
}

type identity struct {
	ResourceID string `json:"resourceId"`
	ClientID   string `json:"clientId,omitempty"`
	ObjectID   string `json:"objectId,omitempty"`
}

type aadProfile struct {
	Managed         *bool  `json:"managed"`
	EnableAzureRBAC *bool  `json:"enableAzureRBAC"`
	TenantID        string `json:"tenantID"`
}

type oidcProfile struct {
	Enabled   *bool  `json:"enabled"`
	IssuerURL string `json:"issuerURL,omitempty"`
}

type securityProfile struct {
	WorkloadIdentity struct {
		Enabled *bool `json:"enabled"`
	} `json:"workloadIdentity"`
}

// fairleadProfile is what Azure has no words for.
type fairleadProfile struct {
	VerifyPull string `json:"imagePullCredentialsVerificationPolicy,omitempty"`
	Progress   string `json:"progress,omitempty"` // what is waited for, for people; never kept
}

// kubeletIdentity is the one identity that a profile may name.
const kubeletIdentity = "kubeletidentity"

// Place is where a cluster is, and what there is there.
type Place struct {
	ID       resource.ID
	Location string
	Tenant   string
	// Version gives the release of Kubernetes that there is; it is asked only when a body names one.
	Version func() (string, error)
}

// State is what is kept of a managed cluster.
type State struct {
	given properties
	other map[string]json.RawMessage // what has no effect, as it was given
}

// Read gives the state from its stored form.
func Read(stored json.RawMessage) (State, error) {
	var s State
	if err := json.Unmarshal(stored, &s.given); err != nil {
		return s, fmt.Errorf("reading a stored cluster: %w", err)
	}
	var err error
	s.other, err = echoes(stored, echoed())
	return s, err
}

// Write gives the form to be stored; it holds no secret.
func (s State) Write() (json.RawMessage, error) {
	return overlay(s.other, s.given)
}

// Update applies the properties of a PUT, which have the shape of Properties, to a cluster that there is, or to an empty
// state. What they do not name stays as it is.
func (s *State) Update(body json.RawMessage, at Place) error {
	old := s.given
	body, err := withoutNulls(body)
	if err != nil {
		return err
	}
	next, err := old.clone()
	if err != nil {
		return err
	}
	if err := api.DecodeJSON(body, &next); err != nil {
		return err
	}
	if next.Pools == nil {
		next.Pools = old.Pools
	}
	if len(next.Identities) == 0 {
		next.Identities = old.Identities
	}
	if err := next.Network.settle(); err != nil {
		return err
	}
	other, err := echoes(body, echoed())
	if err != nil {
		return err
	}
	for name, v := range s.other {
		if _, given := other[name]; !given {
			other[name] = v
		}
	}
	next.complete(at)
	if err := next.check(old, at); err != nil {
		return err
	}
	s.given, s.other = next, other
	return nil
}

// clone gives a copy to decode a body into; its lists are empty, for a body replaces them as a whole.
func (p properties) clone() (properties, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return p, fmt.Errorf("encoding a cluster: %w", err)
	}
	var out properties
	err = json.Unmarshal(text, &out)
	out.Pools, out.Identities, out.Network.PodCIDRs, out.Network.ServiceCIDRs = nil, nil, nil, nil
	return out, err
}

// settle makes one of each pair of properties that say the same.
func (n *networkProfile) settle() error {
	for _, r := range []struct {
		path string
		one  *string
		list []string
	}{{"podCidr", &n.PodCIDR, n.PodCIDRs}, {"serviceCidr", &n.ServiceCIDR, n.ServiceCIDRs}} {
		switch {
		case len(r.list) == 0:
		case len(r.list) == 1 && (*r.one == "" || *r.one == r.list[0]):
			*r.one = r.list[0]
		default:
			return invalid("properties.networkProfile."+r.path+"s", "it says something else than %s: leave it out.", r.path)
		}
	}
	return nil
}

// complete fills in what was left open.
func (p *properties) complete(at Place) {
	yes := true
	orText := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	orTrue := func(b **bool) {
		if *b == nil {
			*b = &yes
		}
	}
	orText(&p.NodeResourceGroup, nodeGroup(at))
	n := &p.Network
	orText(&n.PodCIDR, defaultPodCIDR)
	orText(&n.ServiceCIDR, defaultServiceCIDR)
	orText(&n.DNSServiceIP, dnsServiceIP(n.ServiceCIDR))
	if n.Plugin == "" {
		n.Plugin, n.PluginMode = "azure", "overlay"
	}
	orText(&n.LinkLocal, noMetadata)
	orText(&n.LoadBalancer, "standard")
	n.PodCIDRs, n.ServiceCIDRs = []string{n.PodCIDR}, []string{n.ServiceCIDR}
	n.Families, n.Outbound = []string{"IPv4"}, "loadBalancer"
	orTrue(&p.EnableRBAC)
	orTrue(&p.OIDC.Enabled)
	orTrue(&p.Security.WorkloadIdentity.Enabled)
	if p.AAD != nil {
		orTrue(&p.AAD.EnableAzureRBAC)
		orText(&p.AAD.TenantID, at.Tenant)
	}
	p.Fairlead.Progress, p.OIDC.IssuerURL = "", ""
	for i := range p.Pools {
		p.Pools[i].complete()
	}
	for name, one := range p.Identities {
		delete(p.Identities, name)
		if one.ResourceID != "" {
			p.Identities[strings.ToLower(name)] = identity{ResourceID: one.ResourceID}
		}
	}
}

// nodeGroup gives the name that Azure gives to the group of a cluster's own resources: at most 80 characters.
func nodeGroup(at Place) string {
	name := "MC_" + at.ID.ResourceGroup() + "_" + at.ID.Name() + "_" + at.Location
	return strings.TrimRight(name[:min(len(name), 80)], ".")
}

// dnsServiceIP gives the address that cluster DNS has in a range of services, "" if it is none.
func dnsServiceIP(cidr string) string {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return ""
	}
	at := prefix.Masked().Addr()
	for range dnsAddress {
		at = at.Next()
	}
	return at.String()
}

var (
	dnsPrefix = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]{0,52}[a-zA-Z0-9])?$`)
	region    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	errValue  = fault.New(fault.Invalid, "InvalidParameter", "a value is invalid")
	errFixed  = fault.New(fault.Invalid, "PropertyChangeNotAllowed", "this cannot be changed on a cluster that exists")
)

func invalid(path, format string, args ...any) error {
	return errValue.WithMessage("The value of '%s' is invalid: %s", path, fmt.Sprintf(format, args...)).WithTarget(path)
}

// check finds the first fault. What ranges, names of pools and counts may be is for the core to say.
func (p *properties) check(old properties, at Place) error {
	switch {
	case p.DNSPrefix == "":
		return errValue.WithMessage("Required parameter dnsPrefix is missing (null).").WithTarget("properties.dnsPrefix")
	case !dnsPrefix.MatchString(p.DNSPrefix):
		return invalid("properties.dnsPrefix", "'%.60s' is none: it has 1 to 54 letters, digits and '-', with a letter or digit at both ends.", p.DNSPrefix)
	case !region.MatchString(at.Location):
		return invalid("location", "'%.70s' can be no part of a host name: it has letters, digits and '-', such as westus2.", at.Location)
	case !*p.EnableRBAC:
		return invalid("properties.enableRBAC", "a cluster without role-based access control is not supported here: leave it out, or say true.")
	case !slices.Contains([]string{noMetadata, podsMayAsk}, p.Network.LinkLocal):
		return invalid("properties.networkProfile.podLinkLocalAccess", "'%.20s' is neither %s nor %s.", p.Network.LinkLocal, podsMayAsk, noMetadata)
	case p.Network.DNSServiceIP != dnsServiceIP(p.Network.ServiceCIDR) && dnsServiceIP(p.Network.ServiceCIDR) != "":
		return invalid("properties.networkProfile.dnsServiceIP", "cluster DNS has the address %s in %s here: leave it out.", dnsServiceIP(p.Network.ServiceCIDR), p.Network.ServiceCIDR)
	case *p.Security.WorkloadIdentity.Enabled && !*p.OIDC.Enabled:
		return invalid("properties.securityProfile.workloadIdentity.enabled", "it needs 'properties.oidcIssuerProfile.enabled': true.")
	}
	for _, part := range []func() error{func() error { return p.checkFixed(old) }, func() error { return p.checkAAD(at) }, p.checkIdentities} {
		if err := part(); err != nil {
			return err
		}
	}
	if err := checkVersion("properties.kubernetesVersion", p.KubernetesVersion, old.KubernetesVersion, at); err != nil {
		return err
	}
	return p.checkPools(old, at)
}

// checkFixed refuses changes of what can be chosen at the creation only, in Azure's words.
func (p *properties) checkFixed(old properties) error {
	if old.DNSPrefix == "" {
		return nil
	}
	for _, f := range []struct{ path, old, now string }{
		{"dnsPrefix", old.DNSPrefix, p.DNSPrefix},
		{"nodeResourceGroup", old.NodeResourceGroup, p.NodeResourceGroup},
		{"networkProfile.podCidr", old.Network.PodCIDR, p.Network.PodCIDR},
		{"networkProfile.serviceCidr", old.Network.ServiceCIDR, p.Network.ServiceCIDR},
	} {
		if !strings.EqualFold(f.old, f.now) {
			return errFixed.WithMessage("Changing property '%s' is not allowed: it is '%s'.", f.path, f.old).WithTarget("properties." + f.path)
		}
	}
	p.DNSPrefix, p.NodeResourceGroup = old.DNSPrefix, old.NodeResourceGroup // as first spelled
	return nil
}

func (p *properties) checkAAD(at Place) error {
	switch a := p.AAD; {
	case a == nil:
		return nil
	case a.Managed == nil || !*a.Managed:
		return invalid("properties.aadProfile.managed", "only managed Entra integration is supported: say true, or leave aadProfile out.")
	case !*a.EnableAzureRBAC:
		return invalid("properties.aadProfile.enableAzureRBAC", "principals of the directory have what Azure's roles give them here: say true (az: --enable-azure-rbac), or leave aadProfile out.")
	case !strings.EqualFold(a.TenantID, at.Tenant):
		return invalid("properties.aadProfile.tenantID", "'%.40s' is not the tenant of this server, %s.", a.TenantID, at.Tenant)
	}
	return nil
}

func (p *properties) checkIdentities() error {
	for name, one := range p.Identities {
		if name != kubeletIdentity {
			return invalid("properties.identityProfile", "'%.40s' is no identity of a cluster: it is %s.", name, kubeletIdentity)
		}
		id, err := resource.ParseID(one.ResourceID)
		if err != nil || !id.Is("Microsoft.ManagedIdentity/userAssignedIdentities") {
			return invalid("properties.identityProfile."+kubeletIdentity+".resourceId", "'%.200s' is no resource id of a user-assigned identity.", one.ResourceID)
		}
	}
	return nil
}

// checkVersion refuses a release of Kubernetes that is not the one there is; the one that a cluster has been given is no
// change.
func checkVersion(path, asked, given string, at Place) error {
	if asked == "" || asked == given {
		return nil
	}
	have, err := at.Version()
	if err != nil {
		return err
	}
	if asked == have || strings.HasPrefix(have, asked+".") && strings.Contains(asked, ".") {
		return nil
	}
	return fault.Newf(fault.Invalid, "K8sVersionNotSupported", "Managed cluster %s asks for version %.20s of Kubernetes, which is not supported in this region. "+
		"The version here is %s: name it, or leave '%s' out.", at.ID.Name(), asked, have, path).WithTarget(path)
}

// NodeGroup gives the name of the group that the cluster's own resources are in.
func (s State) NodeGroup() string { return s.given.NodeResourceGroup }

// LocalAccounts tells whether the administrator's certificate is handed out.
func (s State) LocalAccounts() bool { return !s.given.DisableLocalAccounts }

// Kubelet gives the identity that nodes pull with; zero when the state does not name one.
func (s State) Kubelet() resource.ID {
	id, err := resource.ParseID(s.given.Identities[kubeletIdentity].ResourceID)
	if err != nil {
		return resource.ID{}
	}
	return id
}

// SetKubelet names the identity that nodes pull with.
func (s *State) SetKubelet(id resource.ID) {
	s.given.Identities = map[string]identity{kubeletIdentity: {ResourceID: id.String()}}
}

// Hosts gives the names of the API server under each domain.
func (s State) Hosts(id resource.ID, location string, o resource.Origin) []string {
	return o.ClusterHosts(s.given.DNSPrefix, cluster.Key(id)[:8], location)
}

// Cluster gives the cluster that the state asks for; hosts are the names of its API server.
func (s State) Cluster(id resource.ID, hosts []string) (cluster.Cluster, error) {
	c := cluster.Cluster{
		ID: id, Hosts: hosts, Kubelet: s.Kubelet(), Entra: true, WorkloadIdentity: *s.given.Security.WorkloadIdentity.Enabled,
		VerifyPull: s.given.Fairlead.VerifyPull, PodsReachMetadata: s.given.Network.LinkLocal == podsMayAsk,
	}
	for _, r := range []struct {
		path, text string
		into       *netip.Prefix
	}{{"podCidr", s.given.Network.PodCIDR, &c.PodCIDR}, {"serviceCidr", s.given.Network.ServiceCIDR, &c.ServiceCIDR}} {
		prefix, err := netip.ParsePrefix(r.text)
		if err != nil {
			return c, invalid("properties.networkProfile."+r.path, "'%.40s' is no range of addresses, such as 10.244.0.0/16.", r.text)
		}
		*r.into = prefix
	}
	for _, p := range s.given.Pools {
		c.Pools = append(c.Pools, cluster.Pool{Name: p.Name, Count: *p.Count, Mode: p.Mode, Labels: p.Labels})
	}
	return c, nil
}

// Refusal puts what the core says against a cluster into the words of the wire.
func Refusal(err error) error {
	if fault.KindOf(err) != fault.Invalid || fault.From(err).Target == "" {
		return err
	}
	f := fault.From(err)
	target := f.Target
	for _, r := range [][2]string{
		{"pools", "agentPoolProfiles"},
		{"podCIDR", "networkProfile.podCidr"},
		{"serviceCIDR", "networkProfile.serviceCidr"},
		{"verifyPull", "fairleadProfile.imagePullCredentialsVerificationPolicy"},
	} {
		if rest, ok := strings.CutPrefix(target, r[0]); ok {
			target = "properties." + r[1] + rest
			break
		}
	}
	return f.WithMessage("The value of '%s' is invalid: %s.", target, f.Message).WithTarget(target)
}
