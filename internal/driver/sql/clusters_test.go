package sql_test

import (
	"path/filepath"
	"testing"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/cluster/clustertest"
	"fairlead.dev/internal/driver/sql"
)

func TestClusters(t *testing.T) {
	for name, open := range map[string]func(*sql.DB, string) *sql.Clusters{"managed": sql.NewClusters, "connected": sql.NewConnected} {
		t.Run(name, func(t *testing.T) { testClusters(t, open) })
	}
}

func testClusters(t *testing.T, open func(*sql.DB, string) *sql.Clusters) {
	clustertest.Store(t, func(t *testing.T) cluster.Store {
		db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return open(db, "tenant")
	})
}
