package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// Directory keeps the directory of one tenant; it is an identity.Store. There is one per tenant and process: each counts
// its own changes only.
type Directory struct {
	*changes
	db     *DB
	tenant string
}

// NewDirectory gives the store of a tenant.
func NewDirectory(db *DB, tenant string) *Directory {
	return &Directory{changes: newChanges(), db: db, tenant: tenant}
}

// CreateApplication stores a new application; identity.ErrDuplicate.
func (s *Directory) CreateApplication(ctx context.Context, a identity.Application) error {
	return s.exec(ctx, s.db, identity.ErrDuplicate, `insert into applications
		(tenant, object_id, client_id, display_name, created) values ($1, $2, $3, $4, $5) on conflict do nothing`,
		s.tenant, a.ObjectID, a.ClientID, a.DisplayName, micros(a.Created))
}

// Application finds an application; identity.ErrNotFound.
func (s *Directory) Application(ctx context.Context, objectID string) (identity.Application, error) {
	return one(s.applications(ctx, `select * from applications where tenant = $1 and object_id = $2`, s.tenant, objectID))
}

// ApplicationByClientID finds an application; identity.ErrNotFound.
func (s *Directory) ApplicationByClientID(ctx context.Context, clientID string) (identity.Application, error) {
	return one(s.applications(ctx, `select * from applications where tenant = $1 and client_id = $2`, s.tenant, clientID))
}

// Applications lists applications in order of object id.
func (s *Directory) Applications(ctx context.Context, after string, limit int) ([]identity.Application, error) {
	return s.applications(ctx, `select * from applications where tenant = $1 and object_id > $2 order by object_id limit $3`,
		s.tenant, after, limit)
}

func one(list []identity.Application, err error) (identity.Application, error) {
	if err == nil && len(list) == 0 {
		err = identity.ErrNotFound
	}
	if err != nil {
		return identity.Application{}, err
	}
	return list[0], nil
}

// applications reads the applications that a query selects, each with its secrets.
func (s *Directory) applications(ctx context.Context, query string, args ...any) ([]identity.Application, error) {
	rows, err := s.db.read.QueryContext(ctx, `select a.object_id, a.client_id, a.display_name, a.created,
		coalesce(c.key_id, ''), coalesce(c.display_name, ''), coalesce(c.hint, ''), coalesce(c.starts, 0), coalesce(c.ends, 0)
		from (`+query+`) a left join client_secrets c on c.tenant = a.tenant and c.object_id = a.object_id
		order by a.object_id, c.key_id`, args...)
	var apps []identity.Application
	_, err = collect(rows, err, func(row scanner) (struct{}, error) {
		var a identity.Application
		var c identity.Secret
		var created, starts, ends int64
		err := row.Scan(&a.ObjectID, &a.ClientID, &a.DisplayName, &created, &c.KeyID, &c.DisplayName, &c.Hint, &starts, &ends)
		if n := len(apps); n == 0 || apps[n-1].ObjectID != a.ObjectID {
			a.Created = fromMicros(created)
			apps = append(apps, a)
		}
		if c.KeyID != "" {
			c.Start, c.End = fromMicros(starts), fromMicros(ends)
			last := &apps[len(apps)-1]
			last.Secrets = append(last.Secrets, c)
		}
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading applications: %w", err)
	}
	return apps, nil
}

// DeleteApplication removes an application, its secrets and its service principal; identity.ErrNotFound.
func (s *Directory) DeleteApplication(ctx context.Context, objectID string) error {
	return s.tx(ctx, s.db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `delete from principals where tenant = $1 and client_id =
			(select client_id from applications where tenant = $1 and object_id = $2)`, s.tenant, objectID)
		if err != nil {
			return fmt.Errorf("deleting the service principal of application %s: %w", objectID, err)
		}
		return touch(ctx, tx, identity.ErrNotFound, `delete from applications where tenant = $1 and object_id = $2`, s.tenant, objectID)
	})
}

// AddSecret stores a client secret; identity.ErrNotFound.
func (s *Directory) AddSecret(ctx context.Context, objectID string, c identity.StoredSecret) error {
	return s.exec(ctx, s.db, identity.ErrNotFound, `insert into client_secrets
		(tenant, object_id, key_id, display_name, hint, hash, starts, ends)
		select tenant, object_id, $3, $4, $5, $6, $7, $8 from applications where tenant = $1 and object_id = $2`,
		s.tenant, objectID, c.KeyID, c.DisplayName, c.Hint, c.Hash, micros(c.Start), micros(c.End))
}

// RemoveSecret removes a client secret; identity.ErrNotFound.
func (s *Directory) RemoveSecret(ctx context.Context, objectID, keyID string) error {
	return s.exec(ctx, s.db, identity.ErrNotFound,
		`delete from client_secrets where tenant = $1 and object_id = $2 and key_id = $3`, s.tenant, objectID, keyID)
}

// Secrets gives the secrets of the application with a client id; identity.ErrNotFound.
func (s *Directory) Secrets(ctx context.Context, clientID string) ([]identity.StoredSecret, error) {
	rows, err := s.db.read.QueryContext(ctx, `select coalesce(c.key_id, ''), coalesce(c.display_name, ''), coalesce(c.hint, ''),
		coalesce(c.starts, 0), coalesce(c.ends, 0), coalesce(c.hash, '')
		from applications a left join client_secrets c on c.tenant = a.tenant and c.object_id = a.object_id
		where a.tenant = $1 and a.client_id = $2 order by c.key_id`, s.tenant, clientID)
	list, err := collect(rows, err, func(row scanner) (c identity.StoredSecret, err error) {
		var starts, ends int64
		err = row.Scan(&c.KeyID, &c.DisplayName, &c.Hint, &starts, &ends, &c.Hash)
		c.Start, c.End = fromMicros(starts), fromMicros(ends)
		return c, err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading client secrets: %w", err)
	case len(list) == 0:
		return nil, identity.ErrNotFound
	case list[0].KeyID == "": // the application has none
		return nil, nil
	}
	return list, nil
}

const principalColumns = `id, client_id, display_name, kind, enabled, owner, system, created`

// CreatePrincipal stores a new service principal; identity.ErrDuplicate.
func (s *Directory) CreatePrincipal(ctx context.Context, p identity.ServicePrincipal) error {
	owner := sql.NullString{String: p.Resource.Key(), Valid: !p.Resource.IsZero()}
	return s.exec(ctx, s.db, identity.ErrDuplicate, `insert into principals (tenant, `+principalColumns+`, owner_key)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing`,
		s.tenant, p.ID, p.ClientID, p.DisplayName, p.Kind, p.Enabled, p.Resource.String(), p.System, micros(p.Created), owner)
}

// ServicePrincipal finds a service principal by its object id; identity.ErrNotFound.
func (s *Directory) ServicePrincipal(ctx context.Context, id string) (identity.ServicePrincipal, error) {
	return s.principal(ctx, "id", id)
}

// ServicePrincipalByClientID finds a service principal by its client id; identity.ErrNotFound.
func (s *Directory) ServicePrincipalByClientID(ctx context.Context, clientID string) (identity.ServicePrincipal, error) {
	return s.principal(ctx, "client_id", clientID)
}

// ServicePrincipalOf finds the managed identity of a resource; identity.ErrNotFound.
func (s *Directory) ServicePrincipalOf(ctx context.Context, owner resource.ID) (identity.ServicePrincipal, error) {
	return s.principal(ctx, "owner_key", owner.Key())
}

func (s *Directory) principal(ctx context.Context, column, value string) (identity.ServicePrincipal, error) {
	p, err := scanPrincipal(s.db.read.QueryRowContext(ctx,
		`select `+principalColumns+` from principals where tenant = $1 and `+column+` = $2`, s.tenant, value))
	if errors.Is(err, sql.ErrNoRows) {
		return p, identity.ErrNotFound
	}
	if err != nil {
		return p, fmt.Errorf("reading a service principal: %w", err)
	}
	return p, nil
}

// ServicePrincipals lists service principals in order of object id.
func (s *Directory) ServicePrincipals(ctx context.Context, after string, limit int) ([]identity.ServicePrincipal, error) {
	rows, err := s.db.read.QueryContext(ctx, `select `+principalColumns+` from principals
		where tenant = $1 and id > $2 order by id limit $3`, s.tenant, after, limit)
	list, err := collect(rows, err, scanPrincipal)
	if err != nil {
		return nil, fmt.Errorf("listing service principals: %w", err)
	}
	return list, nil
}

func scanPrincipal(row scanner) (identity.ServicePrincipal, error) {
	var p identity.ServicePrincipal
	var owner string
	var created int64
	err := row.Scan(&p.ID, &p.ClientID, &p.DisplayName, &p.Kind, &p.Enabled, &owner, &p.System, &created)
	if err == nil {
		err = p.Resource.UnmarshalText([]byte(owner))
	}
	p.Created = fromMicros(created)
	return p, err
}

// SetEnabled enables or disables a service principal; identity.ErrNotFound.
func (s *Directory) SetEnabled(ctx context.Context, id string, enabled bool) error {
	return s.exec(ctx, s.db, identity.ErrNotFound, `update principals set enabled = $1 where tenant = $2 and id = $3`, enabled, s.tenant, id)
}

// DeletePrincipal removes a service principal; identity.ErrNotFound.
func (s *Directory) DeletePrincipal(ctx context.Context, id string) error {
	return s.exec(ctx, s.db, identity.ErrNotFound, `delete from principals where tenant = $1 and id = $2`, s.tenant, id)
}

const selectAdmin = `select registry, enabled, generation, password1, password2 from registry_admins where tenant = $1 and registry_key = $2`

// Admin gives the admin user of a registry; identity.ErrNotFound.
func (s *Directory) Admin(ctx context.Context, registry resource.ID) (identity.Admin, error) {
	return scanAdmin(s.db.read.QueryRowContext(ctx, selectAdmin, s.tenant, registry.Key()))
}

func scanAdmin(row scanner) (identity.Admin, error) {
	var a identity.Admin
	var registry string
	err := row.Scan(&registry, &a.Enabled, &a.Generation, &a.Passwords[0], &a.Passwords[1])
	if errors.Is(err, sql.ErrNoRows) {
		return a, identity.ErrNotFound
	}
	if err == nil {
		a.Registry, err = resource.ParseID(registry)
	}
	if err != nil {
		return a, fmt.Errorf("reading an admin user: %w", err)
	}
	return a, nil
}

// UpdateAdmin changes the admin user of a registry; see identity.AdminStore.
func (s *Directory) UpdateAdmin(ctx context.Context, registry resource.ID, change func(identity.Admin) (identity.Admin, error)) error {
	return s.tx(ctx, s.db, func(tx *sql.Tx) error {
		a, err := scanAdmin(tx.QueryRowContext(ctx, selectAdmin, s.tenant, registry.Key()))
		if err != nil && !errors.Is(err, identity.ErrNotFound) {
			return err
		}
		if a, err = change(a); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `insert into registry_admins (tenant, registry_key, registry, enabled, generation, password1, password2)
			values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant, registry_key) do update set
			enabled = excluded.enabled, generation = excluded.generation, password1 = excluded.password1, password2 = excluded.password2`,
			s.tenant, registry.Key(), registry.String(), a.Enabled, a.Generation, a.Passwords[0], a.Passwords[1])
		return err
	})
}

// DeleteAdmin removes the admin user of a registry, if it is there.
func (s *Directory) DeleteAdmin(ctx context.Context, registry resource.ID) error {
	return s.exec(ctx, s.db, nil, `delete from registry_admins where tenant = $1 and registry_key = $2`, s.tenant, registry.Key())
}
