package registry

import "fairlead.dev/internal/access"

// The actions that open content, as a registry in LegacyRegistryPermissions mode (Azure's default) knows them: reading
// tags and the catalog needs what pulling needs.
//
// Source: https://learn.microsoft.com/azure/role-based-access-control/permissions/containers
var (
	ActionPull         = access.Action{Name: "Microsoft.ContainerRegistry/registries/pull/read"}        //nolint:gochecknoglobals // a constant in all but the language
	ActionPush         = access.Action{Name: "Microsoft.ContainerRegistry/registries/push/write"}       //nolint:gochecknoglobals // a constant in all but the language
	ActionDelete       = access.Action{Name: "Microsoft.ContainerRegistry/registries/artifacts/delete"} //nolint:gochecknoglobals // a constant in all but the language
	ActionMetadataRead = ActionPull                                                                     //nolint:gochecknoglobals // a constant in all but the language
	ActionCatalog      = ActionPull                                                                     //nolint:gochecknoglobals // a constant in all but the language
)

// AllActions gives every action that opens content, each once.
func AllActions() []access.Action { return []access.Action{ActionPull, ActionPush, ActionDelete} }

// The types and names of what a registry token's scope may name, "<type>:<name>:<actions>".
const (
	ScopeRepository = "repository" // name is the repository's
	ScopeRegistry   = "registry"   // name is ScopeCatalog
	ScopeCatalog    = "catalog"
)

// The actions of a registry token's scope.
const (
	ScopePull         = "pull"
	ScopePush         = "push"
	ScopeDelete       = "delete"
	ScopeMetadataRead = "metadata_read"
	ScopeAll          = "*" // with "registry:catalog" the listing of repositories
)

// ActionOf gives the action that a scope's type, name and action need; ok is false for one that nobody can hold.
func ActionOf(scopeType, name, action string) (a access.Action, ok bool) {
	if scopeType == ScopeRegistry {
		return ActionCatalog, name == ScopeCatalog && action == ScopeAll
	}
	a, ok = map[string]access.Action{
		ScopePull: ActionPull, ScopePush: ActionPush, ScopeDelete: ActionDelete, ScopeMetadataRead: ActionMetadataRead,
	}[action]
	return a, ok && scopeType == ScopeRepository
}
