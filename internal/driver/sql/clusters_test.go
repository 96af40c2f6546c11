package sql_test

import (
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
		return open(openDB(t), "tenant")
	})
}
