package sql

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

// insertReferrer notes what a manifest refers to.
func insertReferrer(ctx context.Context, tx *sql.Tx, number int64, m registry.NewManifest) error {
	if m.Subject == "" {
		return nil
	}
	var annotations bytes.Buffer
	enc := json.NewEncoder(&annotations)
	enc.SetEscapeHTML(false) // which would make them six times as long
	if err := enc.Encode(m.Annotations); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `insert into referrers (repository, subject, manifest, artifact_type, media_type, size, annotations)
		values ($1, $2, $3, $4, $5, $6, $7) on conflict (repository, subject, artifact_type, manifest) do update set media_type = excluded.media_type`,
		number, string(m.Subject), string(m.Digest), m.ArtifactType, m.MediaType, len(m.Body), annotations.String())
	return err
}

// The two lists of referrers, each in the order of an index that has its first conditions.
const (
	referrersOfSubject = `select manifest, artifact_type, media_type, size, annotations from referrers
		where repository = $1 and subject = $2 and manifest > $3 order by manifest limit $4`
	referrersOfType = `select manifest, artifact_type, media_type, size, annotations from referrers
		where repository = $1 and subject = $2 and artifact_type = $5 and manifest > $3 order by manifest limit $4`
)

// ListReferrers pages through the manifests that have a subject; see registry.ReferrerStore.
func (s *Registry) ListReferrers(ctx context.Context, repo registry.Repository, q registry.ReferrerQuery) ([]content.Descriptor, bool, error) {
	number, err := s.find(ctx, s.db.read, repo)
	if errors.Is(err, registry.ErrRepositoryUnknown) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, wrap(err, "listing referrers")
	}
	query, args := referrersOfSubject, []any{number, string(q.Subject), q.After, q.Limit + 1}
	if q.ArtifactType != "" {
		query, args = referrersOfType, append(args, q.ArtifactType)
	}
	rows, err := s.db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, false, wrap(err, "listing referrers")
	}
	defer rows.Close() //nolint:errcheck // Err below reports what matters
	var page []content.Descriptor
	for left := registry.MaxReferrers; rows.Next(); {
		d, size, err := scanReferrer(rows)
		if err != nil {
			return nil, false, wrap(err, "listing referrers")
		}
		if left -= size; len(page) == q.Limit || len(page) > 0 && left < 0 {
			return page, true, nil
		}
		page = append(page, d)
	}
	return page, false, wrap(rows.Err(), "listing referrers")
}

// scanReferrer gives a referrer's descriptor and about how many bytes it takes as JSON.
func scanReferrer(row scanner) (d content.Descriptor, size int, err error) {
	var annotations string
	if err := row.Scan(&d.Digest, &d.ArtifactType, &d.MediaType, &d.Size, &annotations); err != nil {
		return content.Descriptor{}, 0, err
	}
	const names = 128
	return d, names + len(d.Digest) + len(d.ArtifactType) + len(d.MediaType) + len(annotations), json.Unmarshal([]byte(annotations), &d.Annotations)
}
