package sql

import (
	"context"
	"fmt"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/resource"
)

// Clusters keeps the clusters of one tenant, of one sort; it is a cluster.Store.
type Clusters struct {
	db     *DB
	table  string
	tenant string
}

// NewClusters gives the store of a tenant's managed clusters.
func NewClusters(db *DB, tenant string) *Clusters { return &Clusters{db, "clusters", tenant} }

// NewConnected gives the store of the clusters of others that a tenant has connected.
func NewConnected(db *DB, tenant string) *Clusters {
	return &Clusters{db, "connected_clusters", tenant}
}

// Clusters gives all clusters in order of key. There is no paging: they are read once, at the start.
func (s *Clusters) Clusters(ctx context.Context) ([]cluster.Stored, error) {
	rows, err := s.db.read.QueryContext(ctx, `select id, record from `+s.table+` where tenant = $1 order by key`, s.tenant)
	list, err := collect(rows, err, scanCluster)
	if err != nil {
		return nil, fmt.Errorf("listing clusters: %w", err)
	}
	return list, nil
}

func scanCluster(row scanner) (cluster.Stored, error) {
	var c cluster.Stored
	var id string
	if err := row.Scan(&id, &c.Record); err != nil {
		return cluster.Stored{}, err
	}
	var err error
	c.ID, err = resource.ParseID(id)
	return c, err
}

// PutCluster creates or replaces one.
func (s *Clusters) PutCluster(ctx context.Context, c cluster.Stored) error {
	_, err := s.db.write.ExecContext(ctx, `insert into `+s.table+` (tenant, key, id, record) values ($1, $2, $3, $4)
		on conflict (tenant, key) do update set id = excluded.id, record = excluded.record`, s.tenant, c.ID.Key(), c.ID.String(), string(c.Record))
	if err != nil {
		return fmt.Errorf("storing cluster %s: %w", c.ID, err)
	}
	return nil
}

// DeleteCluster removes one; nil also when there is none.
func (s *Clusters) DeleteCluster(ctx context.Context, id resource.ID) error {
	if _, err := s.db.write.ExecContext(ctx, `delete from `+s.table+` where tenant = $1 and key = $2`, s.tenant, id.Key()); err != nil {
		return fmt.Errorf("deleting cluster %s: %w", id, err)
	}
	return nil
}
