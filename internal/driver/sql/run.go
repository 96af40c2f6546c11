package sql

import (
	"context"
	"fmt"

	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// Run keeps the workloads of one tenant; it is a run.Store.
type Run struct {
	db     *DB
	tenant string
}

// NewRun gives the store of a tenant.
func NewRun(db *DB, tenant string) *Run { return &Run{db: db, tenant: tenant} }

// Workloads gives all workloads in order of key. There is no paging: they are read once, at the start.
func (s *Run) Workloads(ctx context.Context) ([]run.Stored, error) {
	rows, err := s.db.read.QueryContext(ctx, `select id, spec, state from workloads where tenant = $1 order by key`, s.tenant)
	list, err := collect(rows, err, scanWorkload)
	if err != nil {
		return nil, fmt.Errorf("listing workloads: %w", err)
	}
	return list, nil
}

func scanWorkload(row scanner) (run.Stored, error) {
	var w run.Stored
	var id string
	if err := row.Scan(&id, &w.Spec, &w.State); err != nil {
		return run.Stored{}, err
	}
	var err error
	w.ID, err = resource.ParseID(id)
	return w, err
}

// PutWorkload creates or replaces one.
func (s *Run) PutWorkload(ctx context.Context, w run.Stored) error {
	_, err := s.db.write.ExecContext(ctx, `insert into workloads (tenant, key, id, spec, state) values ($1, $2, $3, $4, $5)
		on conflict (tenant, key) do update set id = excluded.id, spec = excluded.spec, state = excluded.state`,
		s.tenant, w.ID.Key(), w.ID.String(), w.Spec, string(w.State))
	if err != nil {
		return fmt.Errorf("storing workload %s: %w", w.ID, err)
	}
	return nil
}

// SaveState replaces the observed part of one; run.ErrNotFound.
func (s *Run) SaveState(ctx context.Context, id resource.ID, state []byte) error {
	result, err := s.db.write.ExecContext(ctx, `update workloads set state = $3 where tenant = $1 and key = $2`,
		s.tenant, id.Key(), string(state))
	if err != nil {
		return fmt.Errorf("storing the state of workload %s: %w", id, err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return run.ErrNotFound
	}
	return nil
}

// DeleteWorkload removes one; nil also when there is none.
func (s *Run) DeleteWorkload(ctx context.Context, id resource.ID) error {
	_, err := s.db.write.ExecContext(ctx, `delete from workloads where tenant = $1 and key = $2`, s.tenant, id.Key())
	if err != nil {
		return fmt.Errorf("deleting workload %s: %w", id, err)
	}
	return nil
}
