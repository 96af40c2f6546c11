package sql_test

import (
	"testing"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/run/runtest"
)

func TestRun(t *testing.T) {
	runtest.Store(t, func(t *testing.T) run.Store {
		return sql.NewRun(openDB(t), "tenant")
	})
}
