package sql_test

import (
	"path/filepath"
	"testing"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/access/accesstest"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/identity/identitytest"
	"fairlead.dev/internal/token"
	"fairlead.dev/internal/token/tokentest"
)

func openDB(t *testing.T) *sql.DB {
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
	return db
}

func TestDirectory(t *testing.T) {
	identitytest.Store(t, func(t *testing.T) identity.Store { return sql.NewDirectory(openDB(t), "tenant") })
}

func TestAccess(t *testing.T) {
	accesstest.Store(t, func(t *testing.T) access.Store { return sql.NewAccess(openDB(t), "tenant") })
}

func TestKeys(t *testing.T) {
	tokentest.KeyStore(t, func(t *testing.T) token.KeyStore { return sql.NewKeys(openDB(t), "tenant") })
}

// TestTenantsAreApart writes the same keys for two tenants of one database.
func TestTenantsAreApart(t *testing.T) {
	db := openDB(t)
	for _, tenant := range []string{"one", "two"} {
		directory := sql.NewDirectory(db, tenant)
		app := identity.Application{ObjectID: "o", ClientID: "c", DisplayName: tenant}
		if err := directory.CreateApplication(t.Context(), app); err != nil {
			t.Fatal(err)
		}
		got, err := directory.Applications(t.Context(), "", 10)
		if err != nil || len(got) != 1 || got[0].DisplayName != tenant {
			t.Errorf("tenant %s sees %v, %v", tenant, got, err)
		}
	}
}
