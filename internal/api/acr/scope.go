package acr

import (
	"slices"
	"strings"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/token"
)

// parseScopes reads a scope parameter that may be given more than once, each time with several scopes.
func parseScopes(scopes []string) ([]token.ScopedAccess, error) {
	return token.ParseScopes(strings.Join(scopes, " "))
}

// scopeMetadataWrite is the action to change the attributes of a repository, which goes with the right to push.
const scopeMetadataWrite = "metadata_write"

// repositoryActions is what "*" on a repository stands for.
func repositoryActions() []string {
	return []string{registry.ScopePull, registry.ScopePush, registry.ScopeDelete, registry.ScopeMetadataRead, scopeMetadataWrite}
}

// intersect gives the part of asked that grant allows and, unless it is nil, bound holds. What is empty is left out; the
// result is never nil.
func intersect(asked []token.ScopedAccess, grant access.Grant, bound []token.ScopedAccess) []token.ScopedAccess {
	allowed := []token.ScopedAccess{}
	for _, a := range asked {
		actions := a.Actions
		if a.Type == registry.ScopeRepository && slices.Contains(actions, registry.ScopeAll) {
			actions = repositoryActions()
		}
		kept := token.ScopedAccess{Type: a.Type, Name: a.Name}
		for _, action := range actions {
			if allows(grant, a.Type, a.Name, action) && (bound == nil || holds(bound, a.Type, a.Name, action)) {
				kept.Actions = append(kept.Actions, action)
			}
		}
		if kept.Actions != nil {
			allowed = append(allowed, kept)
		}
	}
	return allowed
}

func allows(grant access.Grant, scopeType, name, action string) bool {
	if scopeType == registry.ScopeRepository && action == scopeMetadataWrite {
		action = registry.ScopePush
	}
	needed, ok := registry.ActionOf(scopeType, name, action)
	return ok && grant.Allows(needed)
}

func holds(bound []token.ScopedAccess, scopeType, name, action string) bool {
	return slices.ContainsFunc(bound, func(b token.ScopedAccess) bool {
		return b.Type == scopeType && b.Name == name && slices.Contains(b.Actions, action)
	})
}
