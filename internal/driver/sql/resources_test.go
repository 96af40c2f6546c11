package sql_test

import (
	"path/filepath"
	"testing"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/resource/resourcetest"
)

func openResources(t *testing.T) *sql.Resources {
	t.Helper()
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return sql.NewResources(db, "tenant")
}

func TestResources(t *testing.T) {
	resourcetest.Store(t, func(t *testing.T) resource.Store { return openResources(t) })
}

func TestOperations(t *testing.T) {
	resourcetest.Operations(t, func(t *testing.T) resource.Operations { return openResources(t) })
}
