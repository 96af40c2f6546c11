package sql

import (
	"context"
	"database/sql"
	"fmt"

	"fairlead.dev/internal/secret"
)

// Keys keeps the signing keys of one tenant; it is a token.KeyStore.
type Keys struct {
	db     *DB
	tenant string
}

// NewKeys gives the store of a tenant.
func NewKeys(db *DB, tenant string) *Keys { return &Keys{db: db, tenant: tenant} }

// Keys gives all keys, oldest first.
func (s *Keys) Keys(ctx context.Context) ([]secret.Box, error) {
	rows, err := s.db.read.QueryContext(ctx, `select id, created, sealed from signing_keys where tenant = $1 order by created, id`, s.tenant)
	return collect(rows, err, func(row scanner) (k secret.Box, err error) {
		var created int64
		err = row.Scan(&k.ID, &created, &k.Sealed)
		k.Created = fromMicros(created)
		return k, err
	})
}

// AddKey stores a key unless another than newest is the newest at present.
func (s *Keys) AddKey(ctx context.Context, k secret.Box, newest string) error {
	return s.db.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `insert into signing_keys (tenant, id, created, sealed) select $1, $2, $3, $4
			where coalesce((select id from signing_keys where tenant = $1 order by created desc, id desc limit 1), '') = $5`,
			s.tenant, k.ID, micros(k.Created), k.Sealed, newest)
		if err != nil {
			return fmt.Errorf("storing signing key %s: %w", k.ID, err)
		}
		return nil
	})
}

// DeleteKey removes a key, if it is there.
func (s *Keys) DeleteKey(ctx context.Context, id string) error {
	return s.db.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `delete from signing_keys where tenant = $1 and id = $2`, s.tenant, id)
		return err
	})
}
