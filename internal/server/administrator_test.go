//go:build linux

package server

import (
	"log/slog"
	"testing"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// serverIn opens a server without compute on a data directory.
func serverIn(t *testing.T, data string, cfg Config) *Server {
	t.Helper()
	cfg.Data, cfg.Listen, cfg.Compute = data, "127.0.0.1:0", computeOff
	s, err := New(t.Context(), cfg, slog.New(slog.DiscardHandler))
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
	ctx, data := t.Context(), t.TempDir()
	start := func() *Server {
		t.Helper()
		s := serverIn(t, data, Config{})
		value, revoke, err := s.admin.mint(ctx)
		must(t, err)
		p, err := s.core.directory.Authenticate(ctx, identity.ClientSecret{ClientID: s.admin.app.ClientID, Secret: value})
		must(t, err)
		d, err := s.core.access.Check(ctx, p, access.Action{Name: "Microsoft.Authorization/roleAssignments/write"}, resource.Root)
		if err != nil || !d.Allowed {
			t.Errorf("the administrator is not Owner: %+v, %v", d, err)
		}
		must(t, revoke(ctx))
		return s
	}
	s := start()
	app := s.admin.app
	must(t, s.Close())
	s = start()
	if s.admin.app.ObjectID != app.ObjectID {
		t.Error("a second start made a second administrator")
	}
	principal, err := s.core.directory.ServicePrincipalByClientID(ctx, app.ClientID)
	must(t, err)
	must(t, s.core.directory.DeleteServicePrincipal(ctx, principal.ID))
	must(t, s.Close())
	s = start()
	must(t, s.core.directory.DeleteApplication(ctx, app.ObjectID))
	must(t, s.Close())
	must(t, start().Close())
}
