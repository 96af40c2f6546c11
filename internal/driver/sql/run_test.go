package sql_test

import (
	"path/filepath"
	"testing"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/run/runtest"
)

func TestRun(t *testing.T) {
	runtest.Store(t, func(t *testing.T) run.Store {
		db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return sql.NewRun(db, "tenant")
	})
}
