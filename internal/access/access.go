// Package access owns what a principal may do: actions, role definitions with wildcards, role assignments at scopes, the
// one function that decides (Decide), and the Grant that a positive decision leads to. Decisions explain themselves.
// Who asks is package identity's business; what an action opens is that of the surface or core package which asks.
package access

import (
	"slices"
	"strings"
	"time"

	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// Action is one thing that can be done, in Azure's words: "Microsoft.ContainerRegistry/registries/pull/read". Data tells
// an action on what a resource holds from one on the resource itself: roles list them apart.
type Action struct {
	Name string
	Data bool
}

// RoleDefinition is a named set of permissions.
type RoleDefinition struct {
	ID               resource.ID // …/providers/Microsoft.Authorization/roleDefinitions/<GUID>
	GUID             string
	Name             string // "AcrPull"
	Description      string
	BuiltIn          bool
	Permissions      []Permission
	AssignableScopes []resource.ID
}

// Permission allows what matches its Actions and none of its NotActions; DataActions and NotDataActions do the same for
// data actions. In all four lists '*' stands for any text, and letter case does not count.
type Permission struct {
	Actions, NotActions, DataActions, NotDataActions []string
}

// Allows reports whether any permission of the role allows the action.
func (r RoleDefinition) Allows(a Action) bool {
	return slices.ContainsFunc(r.Permissions, func(p Permission) bool { return p.allows(a) })
}

// AssignableAt reports whether the role can be assigned at a scope.
func (r RoleDefinition) AssignableAt(scope resource.ID) bool {
	return slices.ContainsFunc(r.AssignableScopes, func(s resource.ID) bool { return s.Covers(scope) })
}

func (p Permission) allows(a Action) bool {
	yes, no := p.Actions, p.NotActions
	if a.Data {
		yes, no = p.DataActions, p.NotDataActions
	}
	matches := func(pattern string) bool { return match(pattern, a.Name) }
	return slices.ContainsFunc(yes, matches) && !slices.ContainsFunc(no, matches)
}

// match reports whether pattern describes name. '*' stands for any text, also across slashes; "/*/" also for a single
// slash, as Managed Identity Operator's "userAssignedIdentities/*/assign/action" covers "userAssignedIdentities/assign/
// action". It works through name once per character of pattern, so that no pattern is expensive.
func match(pattern, name string) bool {
	pattern, name = strings.ToLower(pattern), strings.ToLower(name)
	reach := make([]bool, len(name)+1) // reach[i]: the pattern so far describes name[:i]
	reach[0] = true
	var slash []bool // what was reached by the slash of "/*", until the next character
	for i := range len(pattern) {
		if pattern[i] != '*' {
			reach = step(reach, name, pattern[i])
			if pattern[i] == '/' && slash != nil {
				for j, ok := range slash {
					reach[j] = reach[j] || ok
				}
			}
			slash = nil
			continue
		}
		if i > 0 && pattern[i-1] == '/' {
			slash = slices.Clone(reach)
		}
		for j := 1; j < len(reach); j++ {
			reach[j] = reach[j] || reach[j-1]
		}
	}
	return reach[len(name)]
}

// step follows one literal character.
func step(reach []bool, name string, c byte) []bool {
	next := make([]bool, len(reach))
	for i := range len(name) {
		next[i+1] = reach[i] && name[i] == c
	}
	return next
}

// Assignment gives a role to a principal at a scope and everything beneath it.
type Assignment struct {
	ID            resource.ID // <Scope>/providers/Microsoft.Authorization/roleAssignments/<GUID>
	GUID          string
	Scope         resource.ID
	PrincipalID   string
	PrincipalType string // "ServicePrincipal"
	RoleGUID      string
	Description   string
	Created       time.Time
}

// Reason says why an assignment was not accepted.
type Reason string

// The reasons, in the order in which they are looked at.
const (
	ReasonPrincipal Reason = "principal" // it is for somebody else
	ReasonScope     Reason = "scope"     // its scope does not cover the one asked about
	ReasonAction    Reason = "action"    // its role lacks the action, or no longer exists
)

// Considered is one assignment that a decision looked at.
type Considered struct {
	Assignment  resource.ID
	Role        string // name; "" when the role no longer exists
	RoleGUID    string
	Scope       resource.ID
	PrincipalID string
	Accepted    bool
	Reason      Reason // "" when accepted
	Why         string // the reason in words; "" when accepted
}

// Decision is the answer to one question, with what it rests on.
type Decision struct {
	Allowed    bool
	Principal  identity.Principal
	Action     Action
	Scope      resource.ID
	Considered []Considered // in order of Assignment; nil in answers of Engine.Check
}

// Decide answers whether p may do a at scope. It depends on nothing but its arguments, and not on the order of
// assignments. roles holds the role definitions by GUID.
func Decide(p identity.Principal, a Action, scope resource.ID, assignments []Assignment, roles map[string]RoleDefinition) Decision {
	d := Decision{Principal: p, Action: a, Scope: scope}
	if p.IsZero() {
		return d
	}
	if p.Kind() == identity.KindRegistryAdmin {
		c := considerAdmin(p, a, scope)
		d.Allowed, d.Considered = c.Accepted, []Considered{c}
		return d
	}
	for _, assignment := range assignments {
		c := consider(p, a, scope, assignment, roles)
		d.Allowed = d.Allowed || c.Accepted
		d.Considered = append(d.Considered, c)
	}
	slices.SortFunc(d.Considered, func(x, y Considered) int { return strings.Compare(x.Assignment.Key(), y.Assignment.Key()) })
	return d
}

func consider(p identity.Principal, a Action, scope resource.ID, s Assignment, roles map[string]RoleDefinition) Considered {
	role, exists := roles[s.RoleGUID]
	c := Considered{Assignment: s.ID, Role: role.Name, RoleGUID: s.RoleGUID, Scope: s.Scope, PrincipalID: s.PrincipalID}
	switch {
	case s.PrincipalID == p.ClientID():
		c.Reason, c.Why = ReasonPrincipal, "it names the client id; roles are assigned to the principal id"
	case s.PrincipalID != p.ID():
		c.Reason, c.Why = ReasonPrincipal, "it is for another principal"
	case !s.Scope.Covers(scope):
		c.Reason, c.Why = ReasonScope, "its scope does not cover this "+noun(scope)
	case !exists:
		c.Reason, c.Why = ReasonAction, "its role no longer exists"
	case !role.Allows(a):
		c.Reason, c.Why = ReasonAction, "the role lacks the action"
	default:
		c.Accepted = true
	}
	return c
}

// considerAdmin decides for the admin user of a registry, who needs no assignment for its content and has no other right.
func considerAdmin(p identity.Principal, a Action, scope resource.ID) Considered {
	c := Considered{Role: "admin user", Scope: p.Resource(), PrincipalID: p.ID()}
	switch {
	case !p.Resource().Equal(scope):
		c.Reason, c.Why = ReasonScope, "an admin user has rights on its own registry only"
	case !registryContent().allows(a):
		c.Reason, c.Why = ReasonAction, "an admin user has rights on content only"
	default:
		c.Accepted = true
	}
	return c
}

// noun gives the last word of a scope's type in the singular: "registry" reads better than "scope".
func noun(scope resource.ID) string {
	t := scope.Type()
	word := t[strings.LastIndexByte(t, '/')+1:]
	switch word {
	case "registries":
		return "registry"
	case "resourceGroups":
		return "resource group"
	case "subscriptions":
		return "subscription"
	case "managedClusters":
		return "cluster"
	case "namespaces":
		return "namespace"
	}
	return "scope"
}

// Grant is the right to do some actions at one scope. Only an Engine makes one, from decisions that allowed them; the
// zero Grant allows nothing. It holds for the request that it was made for.
type Grant struct {
	principal identity.Principal
	scope     resource.ID
	actions   []Action
}

// Principal gives who was granted the right.
func (g Grant) Principal() identity.Principal { return g.principal }

// Scope gives the scope.
func (g Grant) Scope() resource.ID { return g.scope }

// Allows reports whether the grant holds the action.
func (g Grant) Allows(a Action) bool { return slices.Contains(g.actions, a) }

// IsZero reports whether nothing was granted.
func (g Grant) IsZero() bool { return len(g.actions) == 0 }
