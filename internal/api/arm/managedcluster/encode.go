package managedcluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/cluster"
)

// View is what became of a cluster.
type View struct {
	Status   cluster.Status
	FQDN     string
	Issuer   string // of service accounts' tokens; "" until there is a cluster
	ClientID string // of the kubelets' identity; "" when that is gone
	ObjectID string // of its principal
}

// shown is what clients read of a cluster beside what they gave.
type shown struct {
	properties
	Provisioning   string  `json:"provisioningState"`
	Power          power   `json:"powerState"`
	FQDN           string  `json:"fqdn"`
	PortalFQDN     string  `json:"azurePortalFQDN"`
	CurrentVersion string  `json:"currentKubernetesVersion,omitempty"`
	MaxPools       int     `json:"maxAgentPools"`
	Failed         *failed `json:"status,omitempty"`
	// Principal is who a cluster is that has a managed identity; the az CLI writes into the object.
	Principal struct {
		ClientID string `json:"clientId"`
	} `json:"servicePrincipalProfile"`
}

// failed is how a cluster tells why it is not as it is wanted.
type failed struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"provisioningError"`
}

// Encode gives the properties of a cluster for a client.
func (s State) Encode(v View) (any, error) {
	out := shown{
		properties: s.given, Provisioning: v.Status.Provisioning, Power: power{v.Status.Power}, FQDN: v.FQDN, PortalFQDN: v.FQDN,
		CurrentVersion: v.Status.Version, MaxPools: 100,
	}
	out.Principal.ClientID = "msi"
	if out.KubernetesVersion == "" {
		out.KubernetesVersion = v.Status.Version
	}
	if *out.OIDC.Enabled {
		out.OIDC.IssuerURL = v.Issuer
	}
	if f := v.Status.Failure; f != nil {
		out.Failed = &failed{}
		out.Failed.Error.Code, out.Failed.Error.Message = f.Code, f.Message
	}
	out.Fairlead.Progress = v.Status.Progress
	if id := s.Kubelet(); !id.IsZero() {
		out.Identities = map[string]identity{kubeletIdentity: {id.String(), v.ClientID, v.ObjectID}}
	}
	out.Pools = nil
	for _, p := range s.given.Pools {
		out.Pools = append(out.Pools, p.with(v.Status))
	}
	return overlay(s.other, out)
}

// with adds what became of the pool.
func (p Pool) with(s cluster.Status) Pool {
	p.Provisioning, p.Power, p.CurrentVersion = s.Provisioning, &power{s.Power}, s.Version
	if p.Version == "" {
		p.Version = s.Version
	}
	return p
}

// PoolView is a pool as clients read it by itself.
type PoolView struct {
	Name       string
	Properties any
}

// EncodePools gives the pools for a client, in order of their names.
func (s State) EncodePools(status cluster.Status) []PoolView {
	var out []PoolView
	for _, p := range s.given.Pools {
		p = p.with(status)
		name := p.Name
		p.Name = ""
		out = append(out, PoolView{name, p})
	}
	slices.SortFunc(out, func(a, b PoolView) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return out
}

// echoes gives the members of an object that are among names, under the spelling there.
func echoes(raw []byte, names []string) (map[string]json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := api.DecodeJSON(raw, &all); err != nil {
		return nil, err
	}
	out := map[string]json.RawMessage{}
	for given, v := range all {
		for _, name := range names {
			if strings.EqualFold(given, name) && string(v) != "null" {
				out[name] = v
			}
		}
	}
	return out, nil
}

// overlay writes v as an object, with other members beneath.
func overlay(other map[string]json.RawMessage, v any) (json.RawMessage, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a cluster: %w", err)
	}
	if len(other) == 0 {
		return text, nil
	}
	all := maps.Clone(other)
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// withoutNulls leaves out what says nothing.
func withoutNulls(body json.RawMessage) (json.RawMessage, error) {
	var all map[string]json.RawMessage
	if len(body) == 0 {
		return json.RawMessage("{}"), nil
	}
	if err := api.DecodeJSON(body, &all); err != nil {
		return nil, err
	}
	maps.DeleteFunc(all, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	return json.Marshal(all)
}
