package sql_test

import (
	"path/filepath"
	"testing"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/registry/registrytest"
)

func TestRegistry(t *testing.T) {
	registrytest.Metadata(t, func(t *testing.T) registry.Metadata {
		db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return sql.NewRegistry(db, "tenant")
	})
}
