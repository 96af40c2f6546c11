package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/memo"
	"fairlead.dev/internal/resource"
)

// Errors of the engine.
var (
	// ErrAssignmentExists: the principal has the role at the scope already, under another assignment.
	ErrAssignmentExists = fault.New(fault.Conflict, "RoleAssignmentExists", "The role assignment already exists.")
	// ErrAssignmentChanged: an assignment's principal, role and scope cannot be changed.
	ErrAssignmentChanged = fault.New(fault.Conflict, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
	// ErrAssignmentUnknown: there is no such assignment.
	ErrAssignmentUnknown = fault.New(fault.NotFound, "RoleAssignmentNotFound", "There is no such role assignment.")
	// ErrRoleUnknown: there is no such role definition.
	ErrRoleUnknown = fault.New(fault.NotFound, "RoleDefinitionDoesNotExist", "There is no such role definition.")
	// ErrRoleTaken: another role has the name, or the role is built in.
	ErrRoleTaken = fault.New(fault.Conflict, "RoleDefinitionWithSameNameExists", "A role definition with this name exists already.")
	// ErrRoleInUse: the role is assigned.
	ErrRoleInUse = fault.New(fault.Conflict, "RoleDefinitionHasAssignments", "There are existing role assignments referencing role.")
	// ErrTooManyRoles: there are as many custom roles as there may be.
	ErrTooManyRoles = fault.Newf(fault.Invalid, "RoleDefinitionLimitExceeded", "No more custom roles can be made: the limit is %d.", maxRoles)
	// ErrNotAssignable: none of the role's assignable scopes covers the scope of the assignment.
	ErrNotAssignable = fault.New(fault.Invalid, "RoleDefinitionNotAssignableAtScope", "The role cannot be assigned at this scope.").WithTarget("properties.roleDefinitionId")
	// ErrInvalid: a value is not valid; Target names it.
	ErrInvalid = fault.New(fault.Invalid, "InvalidRoleValue", "The value is not valid.")
)

// Store keeps assignments and custom roles.
type Store interface {
	AssignmentStore
	RoleStore
	// Version gives a number that moves on with every change that any method of the store makes, before that method
	// returns. It is asked at every request and must cost next to nothing.
	Version(ctx context.Context) (int64, error)
	// Changed gives a channel that is closed at the next change.
	Changed() <-chan struct{}
}

// AssignmentStore keeps assignments.
type AssignmentStore interface {
	// CreateAssignment stores a new one; ErrAssignmentExists when its id, or its triple of scope, principal and role, is
	// taken.
	CreateAssignment(ctx context.Context, a Assignment) error
	// Assignment finds one; ErrAssignmentUnknown.
	Assignment(ctx context.Context, id resource.ID) (Assignment, error)
	// DeleteAssignment removes one; ErrAssignmentUnknown.
	DeleteAssignment(ctx context.Context, id resource.ID) error
	// DeleteAssignmentsUnder removes those whose scope is scope or lies beneath it.
	DeleteAssignmentsUnder(ctx context.Context, scope resource.ID) error
	// Assignments lists those that the filter lets through, in order of ID's key.
	Assignments(ctx context.Context, f AssignmentFilter) ([]Assignment, error)
}

// RoleStore keeps custom roles.
type RoleStore interface {
	// CustomRoles lists them in order of GUID.
	CustomRoles(ctx context.Context) ([]RoleDefinition, error)
	// PutRole creates or replaces one; ErrRoleTaken when another has the name.
	PutRole(ctx context.Context, r RoleDefinition) error
	// DeleteRole removes one; ErrRoleUnknown, ErrRoleInUse.
	DeleteRole(ctx context.Context, guid string) error
}

// AssignmentFilter says which assignments to list. The zero filter lets all through.
type AssignmentFilter struct {
	Scope       resource.ID // those at, above and beneath it
	AtScope     bool        // with Scope: those at and above it only
	PrincipalID string
	RoleGUID    string
	After       string // begin behind this key of an ID
	Limit       int    // 0: all
}

// Bounds of the memory, in entries.
const (
	rememberedDecisions  = 1 << 17
	rememberedPrincipals = 1 << 14
)

// Engine decides for one tenant from what the store holds. All methods are safe for concurrent use.
type Engine struct {
	store  Store
	tenant string
	// changing keeps a role from being narrowed or removed between the look at it and the assignment of it.
	changing sync.Mutex

	decisions   *memo.Memo[question, bool]
	assignments *memo.Memo[string, []Assignment] // by principal id
	roles       *memo.Memo[struct{}, map[string]RoleDefinition]
}

type question struct {
	principal string
	action    Action
	scope     resource.ID
}

// NewEngine makes the engine of a tenant.
func NewEngine(store Store, tenant string) *Engine {
	return &Engine{
		store: store, tenant: tenant,
		decisions:   memo.New[question, bool](rememberedDecisions),
		assignments: memo.New[string, []Assignment](rememberedPrincipals),
		roles:       memo.New[struct{}, map[string]RoleDefinition](1),
	}
}

// Version gives a number that moves on with every change of assignments and roles.
func (e *Engine) Version(ctx context.Context) (int64, error) { return e.store.Version(ctx) }

// Changed gives a channel that is closed at the next change of assignments or roles.
func (e *Engine) Changed() <-chan struct{} { return e.store.Changed() }

// Check answers whether p may do a at scope now. A question that was asked since the last change is answered from
// memory. What the answer rests on is for Explain to say.
func (e *Engine) Check(ctx context.Context, p identity.Principal, a Action, scope resource.ID) (Decision, error) {
	d := Decision{Principal: p, Action: a, Scope: scope}
	switch {
	case p.Tenant() != e.tenant: // nobody, or a stranger
		return d, nil
	case p.Kind() == identity.KindRegistryAdmin:
		d.Allowed = considerAdmin(p, a, scope).Accepted
		return d, nil
	}
	version, err := e.store.Version(ctx)
	if err != nil {
		return d, err
	}
	d.Allowed, err = e.decisions.Get(version, question{p.ID(), a, scope}, func() (bool, error) {
		assignments, err := e.assignments.Get(version, p.ID(), func() ([]Assignment, error) {
			return e.store.Assignments(ctx, AssignmentFilter{PrincipalID: p.ID()})
		})
		if err != nil {
			return false, err
		}
		roles, err := e.rolesAt(ctx, version)
		if err != nil {
			return false, err
		}
		return Decide(p, a, scope, assignments, roles).Allowed, nil
	})
	if err != nil {
		return d, fmt.Errorf("deciding on %s at %s: %w", a.Name, scope, err)
	}
	return d, nil
}

// Explain answers like Check and says why. Besides the principal's own assignments, wherever they are, it considers
// those of others at or above scope and those that name the principal's client id, so that near misses show. It reads
// everything anew.
func (e *Engine) Explain(ctx context.Context, p identity.Principal, a Action, scope resource.ID) (Decision, error) {
	filters := []AssignmentFilter{{PrincipalID: p.ID()}, {Scope: scope, AtScope: true}}
	if p.ClientID() != "" {
		filters = append(filters, AssignmentFilter{PrincipalID: p.ClientID()})
	}
	seen := map[string]Assignment{}
	for _, f := range filters {
		list, err := e.store.Assignments(ctx, f)
		if err != nil {
			return Decision{}, fmt.Errorf("explaining %s at %s: %w", a.Name, scope, err)
		}
		for _, s := range list {
			seen[s.ID.Key()] = s
		}
	}
	roles, err := e.readRoles(ctx)
	if err != nil {
		return Decision{}, err
	}
	assignments := make([]Assignment, 0, len(seen))
	for _, s := range seen {
		assignments = append(assignments, s)
	}
	return Decide(p, a, scope, assignments, roles), nil
}

// Grant gives the right to those of the actions that p may do at scope; the zero Grant when it is none of them.
func (e *Engine) Grant(ctx context.Context, p identity.Principal, scope resource.ID, actions ...Action) (Grant, error) {
	var allowed []Action
	for _, a := range actions {
		d, err := e.Check(ctx, p, a, scope)
		if err != nil {
			return Grant{}, err
		}
		if d.Allowed {
			allowed = append(allowed, a)
		}
	}
	if allowed == nil {
		return Grant{}, nil
	}
	return Grant{principal: p, scope: scope, actions: allowed}, nil
}

// Assign stores a new assignment and gives it as stored. One without GUID gets one; its ID follows from scope and GUID.
// Assigning the same again under the same GUID changes nothing. ErrRoleUnknown, ErrNotAssignable, ErrAssignmentExists,
// ErrAssignmentChanged, ErrInvalid.
func (e *Engine) Assign(ctx context.Context, a Assignment) (Assignment, error) {
	if err := complete(&a); err != nil {
		return Assignment{}, err
	}
	e.changing.Lock()
	defer e.changing.Unlock()
	role, err := e.Role(ctx, a.RoleGUID)
	if err != nil {
		return Assignment{}, err
	}
	if !role.AssignableAt(a.Scope) {
		return Assignment{}, ErrNotAssignable.WithMessage("The role '%s' cannot be assigned at the scope '%s'.", role.Name, a.Scope)
	}
	have, err := e.store.Assignment(ctx, a.ID)
	switch {
	case errors.Is(err, ErrAssignmentUnknown):
		if err := e.store.CreateAssignment(ctx, a); err != nil {
			return Assignment{}, fmt.Errorf("assigning role %s to %s at %s: %w", a.RoleGUID, a.PrincipalID, a.Scope, err)
		}
		return a, nil
	case err != nil:
		return Assignment{}, err
	case have.PrincipalID != a.PrincipalID || have.RoleGUID != a.RoleGUID:
		return Assignment{}, ErrAssignmentChanged
	}
	return have, nil
}

// complete fills in and checks what Assign is given.
func complete(a *Assignment) error {
	if a.GUID == "" {
		a.GUID = uuid.NewString()
	}
	for target, id := range map[string]*string{"name": &a.GUID, "properties.principalId": &a.PrincipalID, "properties.roleDefinitionId": &a.RoleGUID} {
		parsed, err := uuid.Parse(*id)
		if err != nil || len(*id) != 36 {
			return ErrInvalid.WithTarget(target).WithMessage("'%.80s' is not a GUID", *id)
		}
		*id = parsed.String()
	}
	if a.Scope.IsZero() {
		return ErrInvalid.WithTarget("properties.scope").WithMessage("an assignment needs a scope")
	}
	if len(a.Description) > 1024 {
		return ErrInvalid.WithTarget("properties.description").WithMessage("the description is over 1024 bytes")
	}
	if a.PrincipalType == "" {
		a.PrincipalType = "ServicePrincipal"
	}
	a.ID = a.Scope.Provider("Microsoft.Authorization/roleAssignments", a.GUID)
	if a.Created.IsZero() {
		a.Created = time.Now()
	}
	a.Created = a.Created.UTC().Truncate(time.Microsecond)
	return nil
}

// Unassign removes an assignment; ErrAssignmentUnknown.
func (e *Engine) Unassign(ctx context.Context, id resource.ID) error {
	return e.store.DeleteAssignment(ctx, id)
}

// Assignment finds an assignment; ErrAssignmentUnknown.
func (e *Engine) Assignment(ctx context.Context, id resource.ID) (Assignment, error) {
	return e.store.Assignment(ctx, id)
}

// Assignments lists assignments in order of the key of their IDs.
func (e *Engine) Assignments(ctx context.Context, f AssignmentFilter) ([]Assignment, error) {
	f.PrincipalID, f.RoleGUID = strings.ToLower(f.PrincipalID), strings.ToLower(f.RoleGUID)
	return e.store.Assignments(ctx, f)
}

// DeleteUnder removes the assignments at a scope that goes away and beneath it.
func (e *Engine) DeleteUnder(ctx context.Context, scope resource.ID) error {
	return e.store.DeleteAssignmentsUnder(ctx, scope)
}

// Roles lists all role definitions in order of name.
func (e *Engine) Roles(ctx context.Context) ([]RoleDefinition, error) {
	roles, err := e.readRoles(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]RoleDefinition, 0, len(roles))
	for _, r := range roles {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b RoleDefinition) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	return list, nil
}

// Role finds a role by its GUID or its name, without regard to case; ErrRoleUnknown.
func (e *Engine) Role(ctx context.Context, guidOrName string) (RoleDefinition, error) {
	version, err := e.store.Version(ctx)
	if err != nil {
		return RoleDefinition{}, err
	}
	roles, err := e.rolesAt(ctx, version)
	if err != nil {
		return RoleDefinition{}, err
	}
	if r, ok := roles[strings.ToLower(guidOrName)]; ok {
		return r, nil
	}
	for _, r := range roles {
		if strings.EqualFold(r.Name, guidOrName) {
			return r, nil
		}
	}
	return RoleDefinition{}, ErrRoleUnknown.WithMessage("There is no role '%.80s'.", guidOrName)
}

func (e *Engine) rolesAt(ctx context.Context, version int64) (map[string]RoleDefinition, error) {
	return e.roles.Get(version, struct{}{}, func() (map[string]RoleDefinition, error) { return e.readRoles(ctx) })
}

func (e *Engine) readRoles(ctx context.Context) (map[string]RoleDefinition, error) {
	custom, err := e.store.CustomRoles(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading custom roles: %w", err)
	}
	roles := map[string]RoleDefinition{}
	for _, r := range append(custom, BuiltIn()...) {
		roles[r.GUID] = r
	}
	return roles, nil
}
