package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"fairlead.dev/internal/resource"
)

// Bounds of custom roles: who may write one on a single group must not be able to fill the memory of all.
const (
	maxRoles           = 5000 // of a tenant, as in Azure
	maxRoleName        = 128  // characters, as in Azure
	maxRoleDescription = 1024 // bytes, as in Azure
	maxRoleScopes      = 200
	maxRolePatterns    = 2048     // in all lists together
	maxRoleText        = 64 << 10 // bytes of all patterns together
	maxPattern         = 512      // bytes
)

// RoleID gives the id of the role with a GUID, as built-in roles have it.
func RoleID(guid string) resource.ID {
	return resource.Root.Provider("Microsoft.Authorization/roleDefinitions", guid)
}

// PutRole creates or replaces a custom role and gives it as stored; one without GUID gets one. ErrRoleTaken, ErrInvalid,
// ErrTooManyRoles, ErrRoleInUse when it is assigned where it could no longer be: whoever may change it from then on has no
// say there.
func (e *Engine) PutRole(ctx context.Context, r RoleDefinition) (RoleDefinition, error) {
	if r.GUID == "" {
		r.GUID = uuid.NewString()
	}
	parsed, err := uuid.Parse(r.GUID)
	if err != nil || len(r.GUID) != 36 {
		return RoleDefinition{}, ErrInvalid.WithTarget("name").WithMessage("'%.80s' is not a GUID", r.GUID)
	}
	r.GUID, r.BuiltIn = parsed.String(), false
	r.ID = RoleID(r.GUID)
	if err := checkRole(r); err != nil {
		return RoleDefinition{}, err
	}
	for _, b := range BuiltIn() {
		if b.GUID == r.GUID || strings.EqualFold(b.Name, r.Name) {
			return RoleDefinition{}, ErrRoleTaken.WithMessage("'%s' is a built-in role.", b.Name)
		}
	}
	e.changing.Lock()
	defer e.changing.Unlock()
	if err := e.roomFor(ctx, r.GUID); err != nil {
		return RoleDefinition{}, err
	}
	assigned, err := e.store.Assignments(ctx, AssignmentFilter{RoleGUID: r.GUID})
	if err != nil {
		return RoleDefinition{}, err
	}
	for _, a := range assigned {
		if !r.AssignableAt(a.Scope) {
			return RoleDefinition{}, ErrRoleInUse.WithTarget("properties.assignableScopes").
				WithMessage("The role is assigned at '%s', which its assignable scopes would no longer cover: remove that assignment first.", a.Scope)
		}
	}
	if err := e.store.PutRole(ctx, r); err != nil {
		return RoleDefinition{}, fmt.Errorf("storing role %q: %w", r.Name, err)
	}
	return r, nil
}

// roomFor refuses one more custom role than there may be.
func (e *Engine) roomFor(ctx context.Context, guid string) error {
	have, err := e.store.CustomRoles(ctx)
	if err != nil {
		return err
	}
	if len(have) >= maxRoles && !slices.ContainsFunc(have, func(r RoleDefinition) bool { return r.GUID == guid }) {
		return ErrTooManyRoles
	}
	return nil
}

// DeleteRole removes a custom role; ErrRoleUnknown, ErrRoleInUse, ErrRoleTaken for a built-in one.
func (e *Engine) DeleteRole(ctx context.Context, guid string) error {
	r, err := e.Role(ctx, guid)
	if err != nil {
		return err
	}
	if r.BuiltIn {
		return ErrRoleTaken.WithMessage("'%s' is a built-in role.", r.Name)
	}
	e.changing.Lock()
	defer e.changing.Unlock()
	return e.store.DeleteRole(ctx, r.GUID)
}

func checkRole(r RoleDefinition) error {
	switch {
	case r.Name == "" || utf8.RuneCountInString(r.Name) > maxRoleName:
		return ErrInvalid.WithTarget("properties.roleName").WithMessage("a role's name has 1 to %d characters", maxRoleName)
	case len(r.Description) > maxRoleDescription:
		return ErrInvalid.WithTarget("properties.description").WithMessage("the description is over %d bytes", maxRoleDescription)
	case len(r.AssignableScopes) == 0 || slices.ContainsFunc(r.AssignableScopes, resource.ID.IsZero):
		return ErrInvalid.WithTarget("properties.assignableScopes").WithMessage("a role needs at least one assignable scope")
	}
	if n := len(r.AssignableScopes); n > maxRoleScopes {
		return ErrInvalid.WithTarget("properties.assignableScopes").WithMessage("the role has %d assignable scopes; the limit is %d", n, maxRoleScopes)
	}
	patterns, text := 0, 0
	for _, p := range r.Permissions {
		for _, list := range [][]string{p.Actions, p.NotActions, p.DataActions, p.NotDataActions} {
			patterns, text = patterns+len(list), text+len(strings.Join(list, ""))
			if i := slices.IndexFunc(list, badPattern); i >= 0 {
				return ErrInvalid.WithTarget("properties.permissions").WithMessage("'%.80s' is not an action", list[i])
			}
		}
	}
	if patterns > maxRolePatterns {
		return ErrInvalid.WithTarget("properties.permissions").WithMessage("the role has %d actions; the limit is %d", patterns, maxRolePatterns)
	}
	if text > maxRoleText {
		return ErrInvalid.WithTarget("properties.permissions").WithMessage("the role's actions are %d bytes long; the limit is %d", text, maxRoleText)
	}
	return nil
}

// badPattern reports whether a pattern cannot stand for any action.
func badPattern(p string) bool {
	return p == "" || len(p) > maxPattern || strings.ContainsFunc(p, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("*/._-", c)
	})
}
