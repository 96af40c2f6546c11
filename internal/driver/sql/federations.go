package sql

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"fairlead.dev/internal/identity"
)

const federationColumns = `name, issuer, subject, audiences, created`

// PutFederation stores or changes a federation of a principal; see identity.FederationStore.
func (s *Directory) PutFederation(ctx context.Context, principal string, f identity.Federation, limit int) (identity.Federation, bool, error) {
	audiences, err := json.Marshal(f.Audiences)
	if err != nil {
		return f, false, fmt.Errorf("encoding audiences: %w", err)
	}
	created, key := false, strings.ToLower(f.Name)
	err = s.tx(ctx, s.db, func(tx *sql.Tx) error {
		if created, err = s.roomForFederation(ctx, tx, principal, key, f, limit); err != nil {
			return err
		}
		f, err = scanFederation(tx.QueryRowContext(ctx, `insert into federations (tenant, principal, key, `+federationColumns+`)
			values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant, principal, key) do update set
			issuer = excluded.issuer, subject = excluded.subject, audiences = excluded.audiences returning `+federationColumns,
			s.tenant, principal, key, f.Name, f.Issuer, f.Subject, string(audiences), micros(f.Created)))
		return err
	})
	return f, created, err
}

// roomForFederation reports whether a federation would be new, and refuses what may not be stored.
func (s *Directory) roomForFederation(ctx context.Context, tx *sql.Tx, principal, key string, f identity.Federation, limit int) (isNew bool, err error) {
	var owner, same, others, twins int
	err = tx.QueryRowContext(ctx, `select
		(select count(*) from principals where tenant = $1 and id = $2),
		(select count(*) from federations where tenant = $1 and principal = $2 and key = $3),
		(select count(*) from federations where tenant = $1 and principal = $2 and key <> $3),
		(select count(*) from federations where tenant = $1 and principal = $2 and key <> $3 and issuer = $4 and subject = $5)`,
		s.tenant, principal, key, f.Issuer, f.Subject).Scan(&owner, &same, &others, &twins)
	switch {
	case err != nil:
		return false, fmt.Errorf("counting federations: %w", err)
	case owner == 0:
		return false, identity.ErrNotFound
	case twins > 0:
		return false, identity.ErrDuplicate
	case same == 0 && others >= limit:
		return false, identity.ErrFederationsFull
	}
	return same == 0, nil
}

// Federations gives the federations of a principal in order of their case-folded names.
func (s *Directory) Federations(ctx context.Context, principal string) ([]identity.Federation, error) {
	rows, err := s.db.read.QueryContext(ctx,
		`select `+federationColumns+` from federations where tenant = $1 and principal = $2 order by key`, s.tenant, principal)
	list, err := collect(rows, err, scanFederation)
	if err != nil {
		return nil, fmt.Errorf("reading federations: %w", err)
	}
	return list, nil
}

func scanFederation(row scanner) (identity.Federation, error) {
	var f identity.Federation
	var audiences string
	var created int64
	err := row.Scan(&f.Name, &f.Issuer, &f.Subject, &audiences, &created)
	f.Created = fromMicros(created)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal([]byte(audiences), &f.Audiences)
}

// DeleteFederation removes a federation of a principal; identity.ErrNotFound.
func (s *Directory) DeleteFederation(ctx context.Context, principal, name string) error {
	return s.exec(ctx, s.db, identity.ErrNotFound, `delete from federations where tenant = $1 and principal = $2 and key = $3`,
		s.tenant, principal, strings.ToLower(name))
}
