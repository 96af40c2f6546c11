package token

import (
	"strings"

	"fairlead.dev/internal/fault"
)

// ScopedAccess is what a registry token opens, or is asked to open: actions on one thing by type and name. The names of
// types and actions are package registry's.
type ScopedAccess struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// ErrScope is returned by ParseScopes.
var ErrScope = fault.New(fault.Invalid, "SCOPE_INVALID", "the scope is invalid").WithTarget("scope")

// Bounds of what one request may ask for.
const (
	maxScopes    = 200
	maxScopeText = 64 << 10 // bytes
)

// ParseScopes reads scopes of a registry token, "<type>:<name>:<action>[,<action>…]", one behind the other with spaces
// between. Those for the same thing become one; each action stands once. ErrScope.
//
// Source: https://distribution.github.io/distribution/spec/auth/scope/
func ParseScopes(s string) ([]ScopedAccess, error) {
	if len(s) > maxScopeText {
		return nil, ErrScope.WithMessage("the scope is over %d bytes long", maxScopeText)
	}
	type thing struct{ kind, name string }
	type asked struct {
		scope  int
		action string
	}
	var all []ScopedAccess
	at, seen := map[thing]int{}, map[asked]bool{} // looking through all for each would take seconds for a hostile text
	for one := range strings.FieldsSeq(s) {
		a, err := parseScope(one)
		if err != nil {
			return nil, err
		}
		i, known := at[thing{a.Type, a.Name}]
		if !known {
			i, all = len(all), append(all, ScopedAccess{Type: a.Type, Name: a.Name})
			at[thing{a.Type, a.Name}] = i
		}
		for _, action := range a.Actions {
			if !seen[asked{i, action}] {
				seen[asked{i, action}] = true
				all[i].Actions = append(all[i].Actions, action)
			}
		}
	}
	if len(all) > maxScopes {
		return nil, ErrScope.WithMessage("%d scopes are asked for; the limit is %d", len(all), maxScopes)
	}
	return all, nil
}

// parseScope reads one scope. The name may itself hold colons, as a host with a port does.
func parseScope(s string) (ScopedAccess, error) {
	first, last := strings.IndexByte(s, ':'), strings.LastIndexByte(s, ':')
	if first <= 0 || last <= first+1 {
		return ScopedAccess{}, ErrScope.WithMessage("the scope '%.200s' is not of the form type:name:actions", s)
	}
	a := ScopedAccess{Type: s[:first], Name: s[first+1 : last]}
	if i := strings.IndexByte(a.Type, '('); i > 0 && strings.HasSuffix(a.Type, ")") {
		a.Type = a.Type[:i] // a class, "repository(plugin)", changes nothing
	}
	for action := range strings.SplitSeq(s[last+1:], ",") {
		if action != "" {
			a.Actions = append(a.Actions, action)
		}
	}
	return a, nil
}

// String writes the scope as ParseScopes reads it.
func (a ScopedAccess) String() string {
	return a.Type + ":" + a.Name + ":" + strings.Join(a.Actions, ",")
}
