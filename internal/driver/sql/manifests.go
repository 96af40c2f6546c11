package sql

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

// PutManifest adds a manifest, its tags and what it refers to; see registry.ManifestStore. What the manifest names is looked
// up in the same transaction, so that nothing can be removed between the check and the write.
func (s *Registry) PutManifest(ctx context.Context, repo registry.Repository, m registry.NewManifest) error {
	err := s.db.tx(ctx, func(tx *sql.Tx) error {
		number, err := s.ensure(ctx, tx, repo)
		if err != nil {
			return err
		}
		if err := holdsAll(ctx, tx, `select size from repository_blobs where repository = $1 and digest = $2`, number, m.Blobs); err != nil {
			return err
		}
		if err := holdsAll(ctx, tx, `select size from manifests where repository = $1 and digest = $2`, number, m.Children); err != nil {
			return err
		}
		return insertManifest(ctx, tx, number, m)
	})
	return wrap(err, "storing manifest %s", m.Digest)
}

func holdsAll(ctx context.Context, tx *sql.Tx, query string, number int64, wanted []content.Descriptor) error {
	for _, d := range wanted {
		var size int64
		err := tx.QueryRowContext(ctx, query, number, string(d.Digest)).Scan(&size)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return registry.ErrManifestBlobUnknown.WithMessage("manifest references %s, which is unknown to this repository", d.Digest).WithTarget(string(d.Digest))
		case err != nil:
			return err
		case size != d.Size:
			return content.ErrManifestInvalid.WithMessage("manifest invalid: it gives %s the size %d, but it has %d bytes", d.Digest, d.Size, size)
		}
	}
	return nil
}

func insertManifest(ctx context.Context, tx *sql.Tx, number int64, m registry.NewManifest) error {
	_, err := tx.ExecContext(ctx, `insert into manifests (repository, digest, media_type, size, subject, artifact_type, pushed, body)
		values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (repository, digest) do update set media_type = excluded.media_type`,
		number, string(m.Digest), m.MediaType, len(m.Body), sql.NullString{String: string(m.Subject), Valid: m.Subject != ""},
		m.ArtifactType, micros(m.Time), m.Body)
	if err != nil {
		return err
	}
	for _, d := range slices.Concat(m.Blobs, m.Children, m.Optional) {
		if _, err := tx.ExecContext(ctx, `insert into manifest_references (repository, manifest, digest) values ($1, $2, $3)
			on conflict (repository, manifest, digest) do nothing`, number, string(m.Digest), string(d.Digest)); err != nil {
			return err
		}
	}
	for _, tag := range m.Tags {
		if _, err := tx.ExecContext(ctx, `insert into tags (repository, name_key, name, digest, updated) values ($1, $2, $3, $4, $5)
			on conflict (repository, name_key, name) do update set digest = excluded.digest, updated = excluded.updated`,
			number, strings.ToLower(tag), tag, string(m.Digest), micros(m.Time)); err != nil {
			return err
		}
	}
	return insertReferrer(ctx, tx, number, m)
}

// ManifestByDigest gives a manifest; see registry.ManifestStore.
func (s *Registry) ManifestByDigest(ctx context.Context, repo registry.Repository, d content.Digest) (registry.Manifest, error) {
	return s.manifest(ctx, repo, registry.ErrManifestUnknown, s.db.read.QueryRowContext(ctx, `select m.digest, m.media_type, m.body
		from repositories r join manifests m on m.repository = r.number and m.digest = $4
		where r.tenant = $1 and r.registry = $2 and r.name = $3`, s.tenant, repo.Registry.Key(), repo.Name, string(d)))
}

// ManifestByTag gives the manifest that a tag points to; see registry.ManifestStore.
func (s *Registry) ManifestByTag(ctx context.Context, repo registry.Repository, tag string) (registry.Manifest, error) {
	unknown := registry.ErrManifestUnknown.WithMessage("manifest tagged by %q is not found", tag)
	return s.manifest(ctx, repo, unknown, s.db.read.QueryRowContext(ctx, `select m.digest, m.media_type, m.body
		from repositories r join tags t on t.repository = r.number and t.name_key = $4 and t.name = $5
		join manifests m on m.repository = t.repository and m.digest = t.digest
		where r.tenant = $1 and r.registry = $2 and r.name = $3`, s.tenant, repo.Registry.Key(), repo.Name, strings.ToLower(tag), tag))
}

func (s *Registry) manifest(ctx context.Context, repo registry.Repository, unknown error, row *sql.Row) (registry.Manifest, error) {
	var m registry.Manifest
	err := row.Scan(&m.Digest, &m.MediaType, &m.Body)
	if errors.Is(err, sql.ErrNoRows) {
		if _, err = s.find(ctx, s.db.read, repo); err == nil {
			err = unknown
		}
	}
	return m, wrap(err, "reading a manifest")
}

// DeleteManifest removes a manifest and, by the schema, the tags that point to it and what it refers to; see
// registry.ManifestStore.
func (s *Registry) DeleteManifest(ctx context.Context, repo registry.Repository, d content.Digest) error {
	err := s.change(ctx, repo, func(tx *sql.Tx, number int64) error {
		result, err := tx.ExecContext(ctx, `delete from manifests where repository = $1 and digest = $2`, number, string(d))
		return must(result, err, registry.ErrManifestUnknown)
	})
	return wrap(err, "deleting manifest %s", d)
}

// ListTags pages through tags; see registry.TagStore.
func (s *Registry) ListTags(ctx context.Context, repo registry.Repository, after string, limit int) ([]string, error) {
	number, err := s.find(ctx, s.db.read, repo)
	if err != nil {
		return nil, wrap(err, "listing tags")
	}
	rows, err := s.db.read.QueryContext(ctx, `select name from tags where repository = $1 and (name_key, name) > ($2, $3)
		order by name_key, name limit $4`, number, strings.ToLower(after), after, limit)
	list, err := collect(rows, err, scanText)
	return list, wrap(err, "listing tags")
}

// NewestTags gives the tags last written; see registry.TagStore.
func (s *Registry) NewestTags(ctx context.Context, repo registry.Repository, limit int) ([]registry.Tag, error) {
	number, err := s.find(ctx, s.db.read, repo)
	if err != nil {
		return nil, wrap(err, "listing tags")
	}
	rows, err := s.db.read.QueryContext(ctx, `select name, digest, updated from tags where repository = $1
		order by updated desc, name_key, name limit $2`, number, limit)
	list, err := collect(rows, err, scanTag)
	return list, wrap(err, "listing tags")
}

func scanTag(row scanner) (t registry.Tag, err error) {
	var updated int64
	err = row.Scan(&t.Name, &t.Digest, &updated)
	t.Updated = fromMicros(updated)
	return t, err
}

// DeleteTag removes a tag; see registry.TagStore.
func (s *Registry) DeleteTag(ctx context.Context, repo registry.Repository, tag string) error {
	err := s.change(ctx, repo, func(tx *sql.Tx, number int64) error {
		result, err := tx.ExecContext(ctx, `delete from tags where repository = $1 and name_key = $2 and name = $3`, number, strings.ToLower(tag), tag)
		return must(result, err, registry.ErrTagUnknown)
	})
	return wrap(err, "deleting tag %s", tag)
}
