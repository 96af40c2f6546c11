// Package connectedcluster owns how a cluster of others is written on the wire (Microsoft.Kubernetes/connectedClusters): the
// fields that a body may hold, what is kept of one, and how clients read it. It does no I/O.
package connectedcluster

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/cluster/connected"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Properties gives the fields of "properties". In Azure an agent within the cluster calls home; here the cluster is called,
// with the kubeconfig of fairleadProfile, so whatever is about the agent is passed over.
//
// Source: https://learn.microsoft.com/rest/api/hybridkubernetes/connected-cluster/create
func Properties() schema.Field {
	pull := schema.Obj("", schema.Texts("namespace", "secretName", "registry", "identity", "expires", "failure"),
		[]schema.Field{schema.ListOf("serviceAccounts", schema.Field{Kind: schema.String})})
	return schema.Obj("properties",
		schema.Texts("distribution", "infrastructure"),
		schema.Anys("agentPublicKeyCertificate", "provisioningState", "connectivityStatus", "kubernetesVersion", "lastConnectivityTime", "totalNodeCount",
			"totalCoreCount", "agentVersion", "offering", "managedIdentityCertificateExpirationTime", "distributionVersion"),
		schema.Absents("privateLinkScopeResourceId", "privateLinkState", "azureHybridBenefit", "aadProfile", "arcAgentProfile", "oidcIssuerProfile", "securityProfile", "gateway"),
		[]schema.Field{schema.Obj("fairleadProfile", schema.Texts("kubeconfig", "context", "failure"), []schema.Field{schema.ListOf("pullSecrets", pull)})})
}

// State is what is kept of a connected cluster; its kubeconfig is not among it.
type State struct {
	Distribution   string  `json:"distribution,omitempty"`
	Infrastructure string  `json:"infrastructure,omitempty"`
	Profile        profile `json:"fairleadProfile"`
}

type profile struct {
	Kubeconfig string       `json:"kubeconfig,omitempty"` // in requests only
	Context    string       `json:"context,omitempty"`
	Failure    string       `json:"failure,omitempty"` // in answers only
	Pulls      []pullSecret `json:"pullSecrets"`
}

type pullSecret struct {
	Namespace string     `json:"namespace"`
	Secret    string     `json:"secretName"`
	Accounts  []string   `json:"serviceAccounts,omitempty"`
	Registry  string     `json:"registry"`
	Identity  string     `json:"identity"`
	Expires   *time.Time `json:"expires,omitempty"` // in answers only
	Failure   string     `json:"failure,omitempty"` // in answers only
}

// defaultSecret is what a pull secret is called that has no name.
const defaultSecret = "fairlead-pull"

// Read reads properties as they are stored, or sent.
func Read(raw json.RawMessage) (State, error) {
	var s State
	if len(raw) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("reading a connected cluster: %w", err)
	}
	s.Profile.Failure = ""
	for i := range s.Profile.Pulls {
		p := &s.Profile.Pulls[i]
		p.Secret, p.Expires, p.Failure = cmp.Or(p.Secret, defaultSecret), nil, ""
	}
	return s, nil
}

// Cluster gives the cluster that is asked for. Its identities are to be checked by whoever asks.
func (s State) Cluster(id resource.ID) (connected.Cluster, error) {
	c := connected.Cluster{ID: id, Context: s.Profile.Context}
	if s.Profile.Kubeconfig != "" {
		c.Kubeconfig = secret.New(s.Profile.Kubeconfig)
	}
	for i, p := range s.Profile.Pulls {
		identity, err := resource.ParseID(p.Identity)
		if err != nil || !identity.Is("Microsoft.ManagedIdentity/userAssignedIdentities") {
			at := fmt.Sprintf("properties.fairleadProfile.pullSecrets[%d].identity", i)
			return c, fault.Newf(fault.Invalid, "InvalidParameter", "'%s' must be the resource id of a user-assigned managed identity.", at).WithTarget(at)
		}
		c.Pulls = append(c.Pulls, connected.Pull{
			Namespace: p.Namespace, Secret: p.Secret, Accounts: p.Accounts, Registry: strings.ToLower(p.Registry), Identity: identity,
		})
	}
	return c, nil
}

// Write gives the form to be stored; it holds no secret.
func (s State) Write() (json.RawMessage, error) {
	s.Profile.Kubeconfig = ""
	return json.Marshal(s)
}

// Encode gives the public properties.
func (s State) Encode(now connected.Status) any {
	s.Profile.Kubeconfig, s.Profile.Failure = "", now.Failure
	s.Profile.Pulls = []pullSecret{}
	for _, p := range now.Pulls {
		shown := pullSecret{
			Namespace: p.Namespace, Secret: p.Secret, Accounts: p.Accounts, Registry: p.Registry, Identity: p.Identity.String(), Failure: p.Failure,
		}
		if !p.Expires.IsZero() {
			expires := p.Expires.UTC()
			shown.Expires = &expires
		}
		s.Profile.Pulls = append(s.Profile.Pulls, shown)
	}
	out := struct {
		State
		Provisioning string     `json:"provisioningState"`
		Connectivity string     `json:"connectivityStatus"`
		Version      string     `json:"kubernetesVersion,omitempty"`
		Seen         *time.Time `json:"lastConnectivityTime,omitempty"`
	}{State: s, Provisioning: "Succeeded", Connectivity: "Connecting", Version: now.Version}
	switch {
	case now.Failure != "":
		out.Connectivity = "Offline"
	case !now.Seen.IsZero():
		seen := now.Seen.UTC()
		out.Connectivity, out.Seen = "Connected", &seen
	}
	return out
}

// Refusal gives the core's refusals the paths that clients know.
func Refusal(err error) error {
	f := fault.From(err)
	if err == nil || f.Kind != fault.Invalid {
		return err
	}
	target := "properties.fairleadProfile.kubeconfig"
	if f.Target != "" {
		target = "properties.fairleadProfile." + f.Target
	}
	return f.WithTarget(target)
}
