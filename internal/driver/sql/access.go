package sql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/resource"
)

// Access keeps role assignments and custom roles of one tenant; it is an access.Store. There is one per tenant and
// process: each counts its own changes only.
type Access struct {
	*changes
	db     *DB
	tenant string
}

// NewAccess gives the store of a tenant.
func NewAccess(db *DB, tenant string) *Access {
	return &Access{changes: newChanges(), db: db, tenant: tenant}
}

const assignmentColumns = `id, guid, scope, principal_id, principal_type, role_guid, description, created`

// CreateAssignment stores a new assignment; access.ErrAssignmentExists.
func (s *Access) CreateAssignment(ctx context.Context, a access.Assignment) error {
	return s.exec(ctx, s.db, access.ErrAssignmentExists, `insert into role_assignments (tenant, key, scope_key, `+assignmentColumns+`)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing`,
		s.tenant, a.ID.Key(), a.Scope.Key(), a.ID.String(), a.GUID, a.Scope.String(), a.PrincipalID, a.PrincipalType, a.RoleGUID,
		a.Description, micros(a.Created))
}

// Assignment finds an assignment; access.ErrAssignmentUnknown.
func (s *Access) Assignment(ctx context.Context, id resource.ID) (access.Assignment, error) {
	a, err := scanAssignment(s.db.read.QueryRowContext(ctx,
		`select `+assignmentColumns+` from role_assignments where tenant = $1 and key = $2`, s.tenant, id.Key()))
	if errors.Is(err, sql.ErrNoRows) {
		return a, access.ErrAssignmentUnknown
	}
	if err != nil {
		return a, fmt.Errorf("reading a role assignment: %w", err)
	}
	return a, nil
}

// DeleteAssignment removes an assignment; access.ErrAssignmentUnknown.
func (s *Access) DeleteAssignment(ctx context.Context, id resource.ID) error {
	return s.exec(ctx, s.db, access.ErrAssignmentUnknown, `delete from role_assignments where tenant = $1 and key = $2`, s.tenant, id.Key())
}

// DeleteAssignmentsUnder removes the assignments at scope and beneath it.
func (s *Access) DeleteAssignmentsUnder(ctx context.Context, scope resource.ID) error {
	from, to := beneath(scope)
	return s.exec(ctx, s.db, nil, `delete from role_assignments where tenant = $1 and (scope_key = $2 or scope_key > $3 and scope_key < $4)`,
		s.tenant, scope.Key(), from, to)
}

// beneath gives the keys between which everything beneath a scope sorts: '0' is the byte behind '/'.
func beneath(scope resource.ID) (from, to string) {
	prefix := strings.TrimSuffix(scope.Key(), "/")
	return prefix + "/", prefix + "0"
}

// Assignments lists assignments in order of the key of their ids.
func (s *Access) Assignments(ctx context.Context, f access.AssignmentFilter) ([]access.Assignment, error) {
	query, args := s.selectAssignments(f)
	rows, err := s.db.read.QueryContext(ctx, query, args...)
	list, err := collect(rows, err, scanAssignment)
	if err != nil {
		return nil, fmt.Errorf("listing role assignments: %w", err)
	}
	return list, nil
}

func (s *Access) selectAssignments(f access.AssignmentFilter) (string, []any) {
	args := []any{s.tenant, f.After}
	bind := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	query := `select ` + assignmentColumns + ` from role_assignments where tenant = $1 and key > $2`
	if f.PrincipalID != "" {
		query += ` and principal_id = ` + bind(f.PrincipalID)
	}
	if f.RoleGUID != "" {
		query += ` and role_guid = ` + bind(f.RoleGUID)
	}
	if !f.Scope.IsZero() {
		var at []string
		for scope := f.Scope; !scope.IsZero(); scope = scope.Parent() {
			at = append(at, bind(scope.Key()))
		}
		within := `scope_key in (` + strings.Join(at, ", ") + `)`
		if !f.AtScope {
			from, to := beneath(f.Scope)
			within += ` or scope_key > ` + bind(from) + ` and scope_key < ` + bind(to)
		}
		query += ` and (` + within + `)`
	}
	query += ` order by key`
	if f.Limit > 0 {
		query += ` limit ` + bind(f.Limit)
	}
	return query, args
}

func scanAssignment(row scanner) (access.Assignment, error) {
	var a access.Assignment
	var id, scope string
	var created int64
	if err := row.Scan(&id, &a.GUID, &scope, &a.PrincipalID, &a.PrincipalType, &a.RoleGUID, &a.Description, &created); err != nil {
		return access.Assignment{}, err
	}
	a.Created = fromMicros(created)
	return a, errors.Join(a.ID.UnmarshalText([]byte(id)), a.Scope.UnmarshalText([]byte(scope)))
}

// CustomRoles lists the custom roles in order of GUID.
func (s *Access) CustomRoles(ctx context.Context) ([]access.RoleDefinition, error) {
	rows, err := s.db.read.QueryContext(ctx,
		`select guid, name, description, permissions, scopes from custom_roles where tenant = $1 order by guid`, s.tenant)
	list, err := collect(rows, err, func(row scanner) (r access.RoleDefinition, err error) {
		var permissions, scopes string
		if err := row.Scan(&r.GUID, &r.Name, &r.Description, &permissions, &scopes); err != nil {
			return r, err
		}
		r.ID = access.RoleID(r.GUID)
		return r, errors.Join(json.Unmarshal([]byte(permissions), &r.Permissions), json.Unmarshal([]byte(scopes), &r.AssignableScopes))
	})
	if err != nil {
		return nil, fmt.Errorf("reading custom roles: %w", err)
	}
	return list, nil
}

// PutRole creates or replaces a custom role; access.ErrRoleTaken.
func (s *Access) PutRole(ctx context.Context, r access.RoleDefinition) error {
	permissions, errPermissions := json.Marshal(r.Permissions)
	scopes, errScopes := json.Marshal(r.AssignableScopes)
	if err := errors.Join(errPermissions, errScopes); err != nil {
		return err
	}
	return s.tx(ctx, s.db, func(tx *sql.Tx) error {
		var n int
		err := tx.QueryRowContext(ctx, `select count(*) from custom_roles where tenant = $1 and name_key = $2 and guid <> $3`,
			s.tenant, strings.ToLower(r.Name), r.GUID).Scan(&n)
		if err != nil || n > 0 {
			return errors.Join(err, ifTrue(n > 0, access.ErrRoleTaken))
		}
		_, err = tx.ExecContext(ctx, `insert into custom_roles (tenant, guid, name, name_key, description, permissions, scopes)
			values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant, guid) do update set name = excluded.name, name_key = excluded.name_key,
			description = excluded.description, permissions = excluded.permissions, scopes = excluded.scopes`,
			s.tenant, r.GUID, r.Name, strings.ToLower(r.Name), r.Description, string(permissions), string(scopes))
		return err
	})
}

// DeleteRole removes a custom role; access.ErrRoleUnknown, access.ErrRoleInUse.
func (s *Access) DeleteRole(ctx context.Context, guid string) error {
	return s.tx(ctx, s.db, func(tx *sql.Tx) error {
		var n int
		err := tx.QueryRowContext(ctx, `select count(*) from role_assignments where tenant = $1 and role_guid = $2`, s.tenant, guid).Scan(&n)
		if err != nil || n > 0 {
			return errors.Join(err, ifTrue(n > 0, access.ErrRoleInUse))
		}
		return touch(ctx, tx, access.ErrRoleUnknown, `delete from custom_roles where tenant = $1 and guid = $2`, s.tenant, guid)
	})
}

func ifTrue(cond bool, err error) error {
	if cond {
		return err
	}
	return nil
}
