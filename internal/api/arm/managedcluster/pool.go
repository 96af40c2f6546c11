package managedcluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
)

// Pool is an agent pool as it is kept and shown.
type Pool struct {
	Name    string            `json:"name,omitempty"`
	Count   *int              `json:"count"`
	VMSize  string            `json:"vmSize"`
	OSType  string            `json:"osType"`
	Type    string            `json:"type"`
	Mode    string            `json:"mode"`
	Labels  map[string]string `json:"nodeLabels,omitempty"`
	Version string            `json:"orchestratorVersion,omitempty"`
	// These are told, never kept.
	Provisioning   string `json:"provisioningState,omitempty"`
	Power          *power `json:"powerState,omitempty"`
	CurrentVersion string `json:"currentOrchestratorVersion,omitempty"`

	other map[string]json.RawMessage // what has no effect, as it was given
}

type power struct {
	Code string `json:"code"`
}

// bare is a Pool without methods of its own.
type bare Pool

// UnmarshalJSON implements json.Unmarshaler.
func (p *Pool) UnmarshalJSON(raw []byte) error {
	var in bare
	err := json.Unmarshal(raw, &in)
	if err == nil {
		in.other, err = echoes(raw, poolEchoed())
	}
	*p = Pool(in)
	return err
}

// MarshalJSON implements json.Marshaler.
func (p Pool) MarshalJSON() ([]byte, error) { return overlay(p.other, bare(p)) }

// complete fills in what was left open.
func (p *Pool) complete() {
	one := 1
	if p.Count == nil {
		p.Count = &one
	}
	p.OSType, p.Type = "Linux", "VirtualMachineScaleSets"
	p.Provisioning, p.Power, p.CurrentVersion = "", nil, ""
	for _, mode := range []string{modeSystem, modeUser} {
		if strings.EqualFold(mode, p.Mode) {
			p.Mode = mode
		}
	}
}

// The modes of pools.
const (
	modeSystem = "System"
	modeUser   = "User"
)

var errPool = fault.New(fault.NotFound, "NotFound", "there is no such agent pool")

// checkPools checks what the core does not look at.
func (p *properties) checkPools(old properties, at Place) error {
	const path = "properties.agentPoolProfiles"
	if len(p.Pools) == 0 {
		return invalid(path, "a cluster has at least one pool of nodes.")
	}
	system := false
	for i := range p.Pools {
		pool := &p.Pools[i]
		if pool.Mode == "" { // Azure's default is User, with which no first pool can be made
			pool.Mode = modeUser
			if i == 0 {
				pool.Mode = modeSystem
			}
		}
		if pool.Mode != modeSystem && pool.Mode != modeUser {
			return invalid(fmt.Sprintf("%s[%d].mode", path, i), "'%.20s' is neither System nor User.", pool.Mode)
		}
		system = system || pool.Mode == modeSystem
		before := ""
		if at := old.pool(pool.Name); at >= 0 {
			before = old.Pools[at].Version
		}
		if err := checkVersion(fmt.Sprintf("%s[%d].orchestratorVersion", path, i), pool.Version, before, at); err != nil {
			return err
		}
	}
	switch {
	case !system:
		return invalid(path, "at least one pool must have the mode System.")
	case len(old.Pools) > 0 && !strings.EqualFold(old.Pools[0].Name, p.Pools[0].Name):
		return invalid(path+"[0].name", "the first pool holds the control plane and stays the first: it is '%s'.", old.Pools[0].Name)
	}
	return nil
}

// pool gives the place of a pool, -1 if there is none of that name.
func (p *properties) pool(name string) int {
	return slices.IndexFunc(p.Pools, func(each Pool) bool { return strings.EqualFold(each.Name, name) })
}

// SetPool makes or changes one pool from the properties of a PUT, which have the shape of PoolProperties; created tells
// which.
func (s *State) SetPool(name string, body json.RawMessage, at Place) (created bool, err error) {
	old := s.given
	s.given.Pools = slices.Clone(old.Pools)
	i := old.pool(name)
	if created = i < 0; created {
		i = len(old.Pools)
		s.given.Pools = append(s.given.Pools, Pool{Name: name, Mode: modeUser})
	}
	pool := &s.given.Pools[i]
	if body, err = withoutNulls(body); err != nil {
		return created, err
	}
	next := bare(*pool)
	next.Labels = nil
	if err := api.DecodeJSON(body, &next); err != nil {
		return created, err
	}
	if next.Labels == nil {
		next.Labels = pool.Labels
	}
	next.Name = pool.Name
	if next.other, err = echoes(body, poolEchoed()); err != nil {
		return created, err
	}
	*pool = Pool(next)
	pool.complete()
	return created, s.given.checkPools(old, at)
}

// RemovePool takes one pool away. The first holds the control plane, and stays.
func (s *State) RemovePool(name string) error {
	i := s.given.pool(name)
	switch {
	case i < 0:
		return errPool.WithMessage("There is no agent pool '%.40s'.", name)
	case i == 0:
		return fault.Newf(fault.Invalid, "OperationNotAllowed", "The agent pool '%s' cannot be deleted: the first pool holds the control plane.", s.given.Pools[0].Name)
	}
	s.given.Pools = slices.Delete(slices.Clone(s.given.Pools), i, i+1)
	return nil
}
