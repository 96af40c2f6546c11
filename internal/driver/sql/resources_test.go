package sql_test

import (
	"testing"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/resource/resourcetest"
)

func openResources(t *testing.T) *sql.Resources {
	t.Helper()
	return sql.NewResources(openDB(t), "tenant")
}

func TestResources(t *testing.T) {
	resourcetest.Store(t, func(t *testing.T) resource.Store { return openResources(t) })
}

func TestOperations(t *testing.T) {
	resourcetest.Operations(t, func(t *testing.T) resource.Operations { return openResources(t) })
}
