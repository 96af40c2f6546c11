//go:build linux

package server

import (
	"path/filepath"
	"testing"
	"time"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// TestTheAdministratorComesBack starts again after an Owner, tidying up, has deleted the administrator.
func TestTheAdministratorComesBack(t *testing.T) {
	const tenant = "11111111-2222-3333-4444-555555555555"
	ctx := t.Context()
	db, err := sql.Open(ctx, filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	directory := identity.NewDirectory(sql.NewDirectory(db, tenant), sealer, tenant, time.Now)
	engine := access.NewEngine(sql.NewAccess(db, tenant), tenant)
	known := ""
	start := func() {
		t.Helper()
		a, err := openAdministrator(ctx, directory, engine, known)
		if err != nil {
			t.Fatal(err)
		}
		known = a.app.ObjectID
		value, revoke, err := a.mint(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p, err := directory.Authenticate(ctx, identity.ClientSecret{ClientID: a.app.ClientID, Secret: value})
		if err != nil {
			t.Fatal(err)
		}
		d, err := engine.Check(ctx, p, access.Action{Name: "Microsoft.Authorization/roleAssignments/write"}, resource.Root)
		if err != nil || !d.Allowed {
			t.Errorf("the administrator is not Owner: %+v, %v", d, err)
		}
		if err := revoke(ctx); err != nil {
			t.Error(err)
		}
	}
	start()
	first := known
	start()
	if known != first {
		t.Error("a second start made a second administrator")
	}
	sp, err := directory.ServicePrincipals(ctx, "", 10)
	if err != nil || len(sp) != 1 {
		t.Fatalf("%+v, %v", sp, err)
	}
	if err := directory.DeleteServicePrincipal(ctx, sp[0].ID); err != nil {
		t.Fatal(err)
	}
	start()
	if err := directory.DeleteApplication(ctx, known); err != nil {
		t.Fatal(err)
	}
	start()
}
