package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
)

// Registry keeps what the registries of one tenant hold, but for the bytes of blobs; it is a registry.Metadata.
type Registry struct {
	db     *DB
	tenant string
}

// NewRegistry gives the store of a tenant.
func NewRegistry(db *DB, tenant string) *Registry { return &Registry{db: db, tenant: tenant} }

const registryColumns = `id, created`

func scanRegistry(row scanner) (registry.Registry, error) {
	var id string
	var created int64
	if err := row.Scan(&id, &created); err != nil {
		return registry.Registry{}, err
	}
	parsed, err := resource.ParseID(id)
	return registry.Registry{ID: parsed, Name: parsed.Name(), Created: fromMicros(created)}, err
}

// PutRegistry adds a registry; see registry.RegistryStore.
func (s *Registry) PutRegistry(ctx context.Context, r registry.Registry) error {
	name := strings.ToLower(r.Name)
	err := s.db.tx(ctx, func(tx *sql.Tx) error {
		var key string
		err := tx.QueryRowContext(ctx, `select key from registries where tenant = $1 and name_key = $2`, s.tenant, name).Scan(&key)
		switch {
		case err == nil && key != r.ID.Key():
			return registry.ErrNameTaken
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		_, err = tx.ExecContext(ctx, `insert into registries (tenant, key, id, name_key, created) values ($1, $2, $3, $4, $5)`,
			s.tenant, r.ID.Key(), r.ID.String(), name, micros(r.Created))
		return err
	})
	return wrap(err, "adding registry %s", r.ID)
}

// wrap says what was being done, gives a full disk the name that registry has for it, and keeps nil nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrFull) {
		err = registry.ErrFull.WithCause(err)
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// DeleteRegistry removes a registry with all beneath it; see registry.RegistryStore.
func (s *Registry) DeleteRegistry(ctx context.Context, id resource.ID) (uploads []string, err error) {
	err = s.db.tx(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `select u.id from uploads u join repositories r on r.number = u.repository
			where r.tenant = $1 and r.registry = $2`, s.tenant, id.Key())
		if uploads, err = collect(rows, err, scanText); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `delete from registries where tenant = $1 and key = $2`, s.tenant, id.Key())
		return err
	})
	return uploads, wrap(err, "removing registry %s", id)
}

func scanText(row scanner) (s string, err error) { return s, row.Scan(&s) }

// RegistryByName finds a registry; registry.ErrRegistryUnknown.
func (s *Registry) RegistryByName(ctx context.Context, name string) (registry.Registry, error) {
	r, err := scanRegistry(s.db.read.QueryRowContext(ctx,
		`select `+registryColumns+` from registries where tenant = $1 and name_key = $2`, s.tenant, strings.ToLower(name)))
	if errors.Is(err, sql.ErrNoRows) {
		return r, registry.ErrRegistryUnknown
	}
	return r, wrap(err, "finding a registry")
}

// ListRegistries gives all in order of name.
func (s *Registry) ListRegistries(ctx context.Context) ([]registry.Registry, error) {
	rows, err := s.db.read.QueryContext(ctx, `select `+registryColumns+` from registries where tenant = $1 order by name_key`, s.tenant)
	list, err := collect(rows, err, scanRegistry)
	return list, wrap(err, "listing registries")
}

// ListRepositories pages through repositories; see registry.RegistryStore.
func (s *Registry) ListRepositories(ctx context.Context, id resource.ID, after string, limit int) ([]string, error) {
	rows, err := s.db.read.QueryContext(ctx, `select r.name from repositories r
		where r.tenant = $1 and r.registry = $2 and r.name > $3 and exists (select 1 from manifests m where m.repository = r.number)
		order by r.name limit $4`, s.tenant, id.Key(), after, limit)
	list, err := collect(rows, err, scanText)
	return list, wrap(err, "listing repositories")
}

// querier is what a database and a transaction share.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// find gives the number of a repository; registry.ErrRepositoryUnknown.
func (s *Registry) find(ctx context.Context, q querier, repo registry.Repository) (number int64, err error) {
	err = q.QueryRowContext(ctx, `select number from repositories where tenant = $1 and registry = $2 and name = $3`,
		s.tenant, repo.Registry.Key(), repo.Name).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, registry.ErrRepositoryUnknown
	}
	return number, err
}

// ensure gives the number of a repository, making the repository if need be; registry.ErrRegistryUnknown.
func (s *Registry) ensure(ctx context.Context, tx *sql.Tx, repo registry.Repository) (number int64, err error) {
	if number, err = s.find(ctx, tx, repo); !errors.Is(err, registry.ErrRepositoryUnknown) {
		return number, err
	}
	err = tx.QueryRowContext(ctx, `insert into repositories (tenant, registry, name)
		select tenant, key, $3 from registries where tenant = $1 and key = $2
		on conflict (tenant, registry, name) do update set name = excluded.name returning number`,
		s.tenant, repo.Registry.Key(), repo.Name).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, registry.ErrRegistryUnknown
	}
	return number, err
}

// change runs f on a repository that exists; registry.ErrRepositoryUnknown.
func (s *Registry) change(ctx context.Context, repo registry.Repository, f func(tx *sql.Tx, number int64) error) error {
	return s.db.tx(ctx, func(tx *sql.Tx) error {
		number, err := s.find(ctx, tx, repo)
		if err != nil {
			return err
		}
		return f(tx, number)
	})
}

// must turns a statement that touched no row into unknown.
func must(result sql.Result, err, unknown error) error {
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return unknown
}

// LinkBlob notes that a repository holds a blob; see registry.BlobStore.
func (s *Registry) LinkBlob(ctx context.Context, repo registry.Repository, d content.Digest, size int64, upload string) error {
	err := s.db.tx(ctx, func(tx *sql.Tx) error {
		number, err := s.ensure(ctx, tx, repo)
		if err != nil {
			return err
		}
		if upload != "" {
			if _, err := tx.ExecContext(ctx, `delete from uploads where id = $1`, upload); err != nil {
				return err
			}
		}
		return link(ctx, tx, number, d, size)
	})
	return wrap(err, "linking blob %s", d)
}

func link(ctx context.Context, tx *sql.Tx, number int64, d content.Digest, size int64) error {
	_, err := tx.ExecContext(ctx, `insert into repository_blobs (repository, digest, size) values ($1, $2, $3)
		on conflict (repository, digest) do update set size = excluded.size`, number, string(d), size)
	return err
}

// MountBlob lets to hold what from holds; registry.ErrBlobUnknown.
func (s *Registry) MountBlob(ctx context.Context, from, to registry.Repository, d content.Digest) error {
	err := s.db.tx(ctx, func(tx *sql.Tx) error {
		size, err := s.held(ctx, tx, from, d)
		if err != nil {
			return err
		}
		number, err := s.ensure(ctx, tx, to)
		if err != nil {
			return err
		}
		return link(ctx, tx, number, d, size)
	})
	return wrap(err, "mounting blob %s", d)
}

// FindBlob finds one of a registry's repositories that hold a blob; see registry.BlobStore.
func (s *Registry) FindBlob(ctx context.Context, id resource.ID, d content.Digest) (name string, err error) {
	err = s.db.read.QueryRowContext(ctx, `select r.name from repository_blobs b join repositories r on r.number = b.repository
		where b.digest = $3 and r.tenant = $1 and r.registry = $2 limit 1`, s.tenant, id.Key(), string(d)).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		err = registry.ErrBlobUnknown
	}
	return name, wrap(err, "finding blob %s", d)
}

// HoldsBlob gives a blob's size; registry.ErrBlobUnknown.
func (s *Registry) HoldsBlob(ctx context.Context, repo registry.Repository, d content.Digest) (int64, error) {
	size, err := s.held(ctx, s.db.read, repo, d)
	return size, wrap(err, "finding blob %s", d)
}

func (s *Registry) held(ctx context.Context, q querier, repo registry.Repository, d content.Digest) (size int64, err error) {
	err = q.QueryRowContext(ctx, `select b.size from repositories r join repository_blobs b on b.repository = r.number and b.digest = $4
		where r.tenant = $1 and r.registry = $2 and r.name = $3`, s.tenant, repo.Registry.Key(), repo.Name, string(d)).Scan(&size)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, registry.ErrBlobUnknown
	}
	return size, err
}

// UnlinkBlob takes a blob out of a repository; registry.ErrBlobUnknown.
func (s *Registry) UnlinkBlob(ctx context.Context, repo registry.Repository, d content.Digest) error {
	err := s.change(ctx, repo, func(tx *sql.Tx, number int64) error {
		result, err := tx.ExecContext(ctx, `delete from repository_blobs where repository = $1 and digest = $2`, number, string(d))
		return must(result, err, registry.ErrBlobUnknown)
	})
	if errors.Is(err, registry.ErrRepositoryUnknown) {
		err = registry.ErrBlobUnknown
	}
	return wrap(err, "removing blob %s", d)
}

// StartUpload adds an upload; registry.ErrRegistryUnknown.
func (s *Registry) StartUpload(ctx context.Context, u registry.Upload) error {
	err := s.db.tx(ctx, func(tx *sql.Tx) error {
		number, err := s.ensure(ctx, tx, u.Repository)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `insert into uploads (id, repository, started) values ($1, $2, $3)`, u.ID, number, micros(u.Started))
		return err
	})
	return wrap(err, "starting an upload")
}

// Upload finds an upload; registry.ErrUploadUnknown.
func (s *Registry) Upload(ctx context.Context, repo registry.Repository, id string) (registry.Upload, error) {
	u := registry.Upload{ID: id, Repository: repo}
	var started int64
	err := s.db.read.QueryRowContext(ctx, `select u.started from uploads u join repositories r on r.number = u.repository
		where u.id = $4 and r.tenant = $1 and r.registry = $2 and r.name = $3`, s.tenant, repo.Registry.Key(), repo.Name, id).Scan(&started)
	if errors.Is(err, sql.ErrNoRows) {
		return registry.Upload{}, registry.ErrUploadUnknown
	}
	u.Started = fromMicros(started)
	return u, wrap(err, "finding an upload")
}

// EndUpload removes an upload; registry.ErrUploadUnknown.
func (s *Registry) EndUpload(ctx context.Context, repo registry.Repository, id string) error {
	err := s.change(ctx, repo, func(tx *sql.Tx, number int64) error {
		result, err := tx.ExecContext(ctx, `delete from uploads where repository = $1 and id = $2`, number, id)
		return must(result, err, registry.ErrUploadUnknown)
	})
	if errors.Is(err, registry.ErrRepositoryUnknown) {
		err = registry.ErrUploadUnknown
	}
	return wrap(err, "ending an upload")
}

// ExpireUploads removes the uploads that began before a time.
func (s *Registry) ExpireUploads(ctx context.Context, before time.Time) (ids []string, err error) {
	err = s.db.tx(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `delete from uploads where started < $2
			and repository in (select number from repositories where tenant = $1) returning id`, s.tenant, micros(before))
		ids, err = collect(rows, err, scanText)
		return err
	})
	return ids, wrap(err, "expiring uploads")
}
