package sql_test

import (
	"testing"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/registry/registrytest"
)

func TestRegistry(t *testing.T) {
	registrytest.Metadata(t, func(t *testing.T) registry.Metadata {
		return sql.NewRegistry(openDB(t), "tenant")
	})
}
