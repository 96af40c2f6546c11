//go:build linux

package server

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// serverIn opens a server without compute on a data directory.
func serverIn(t *testing.T, data string, cfg Config) *Server {
	t.Helper()
	cfg.Data, cfg.Listen, cfg.Compute = data, "127.0.0.1:0", computeOff
	s, err := New(t.Context(), cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	must(t, err)
	return s
}

// TestAdministratorIsMadeOnce has the first start killed after each of its steps.
func TestAdministratorIsMadeOnce(t *testing.T) {
	data := t.TempDir()
	s := serverIn(t, data, Config{})
	made, stored := s.admin.app, s.stored
	for _, killed := range []string{"before it was noted", "before the assignment", "before the service principal"} {
		principal, err := s.core.directory.ServicePrincipalByClientID(t.Context(), made.ClientID)
		must(t, err)
		if killed != "before it was noted" {
			must(t, s.core.access.Unassign(t.Context(), ownerAssignment(t, s).ID))
		}
		if killed == "before the service principal" {
			must(t, s.core.directory.DeleteServicePrincipal(t.Context(), principal.ID))
		}
		stored.AdminApp = ""
		must(t, s.data.writeStored(stored))
		must(t, s.Close())
		s = serverIn(t, data, Config{})
		apps, err := s.core.directory.Applications(t.Context(), "", 10)
		must(t, err)
		if len(apps) != 1 || apps[0].ObjectID != made.ObjectID || s.stored.AdminApp != made.ObjectID {
			t.Errorf("killed %s: the applications are %+v, want %s alone", killed, apps, made.ObjectID)
		}
		principal, err = s.core.directory.ServicePrincipalByClientID(t.Context(), made.ClientID)
		must(t, err)
		if a := ownerAssignment(t, s); a.PrincipalID != principal.ID {
			t.Errorf("killed %s: the Owner is %s, want %s", killed, a.PrincipalID, principal.ID)
		}
	}
	must(t, s.Close())
}

// ownerAssignment gives the one assignment of Owner at "/".
func ownerAssignment(t *testing.T, s *Server) access.Assignment {
	t.Helper()
	all, err := s.core.access.Assignments(t.Context(), access.AssignmentFilter{Scope: resource.Root, RoleGUID: ownerRole})
	must(t, err)
	if len(all) != 1 {
		t.Fatalf("%d assignments of Owner, want 1", len(all))
	}
	return all[0]
}

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
