package access_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

const tenant = "11111111-2222-3333-4444-555555555555"

var (
	subscription = resource.MustParseID("/subscriptions/s")
	group        = resource.MustParseID("/subscriptions/s/resourceGroups/g")
	acme         = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/acme")
	other        = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/other")
)

// fixture is an engine over real stores.
type fixture struct {
	t         testing.TB
	db        *sql.DB
	engine    *access.Engine
	directory *identity.Directory
}

func open(t testing.TB) *fixture {
	t.Helper()
	db, err := sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	must(t, err)
	return &fixture{
		t: t, db: db, engine: access.NewEngine(sql.NewAccess(db, tenant), tenant),
		directory: identity.NewDirectory(sql.NewDirectory(db, tenant), sealer, tenant, time.Now),
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error is %v, want %v", what, got, want)
	}
}

func (f *fixture) principals(n int) []identity.Principal {
	f.t.Helper()
	var all []identity.Principal
	for i := range n {
		sp, err := f.directory.EnsureManaged(f.t.Context(), group.Provider("Microsoft.ManagedIdentity/userAssignedIdentities", string(rune('a'+i))), false, "p")
		must(f.t, err)
		p, err := f.directory.Principal(f.t.Context(), sp.ID)
		must(f.t, err)
		all = append(all, p)
	}
	return all
}

func (f *fixture) assign(principal, role string, scope resource.ID) access.Assignment {
	f.t.Helper()
	a, err := f.engine.Assign(f.t.Context(), access.Assignment{Scope: scope, PrincipalID: principal, RoleGUID: role})
	must(f.t, err)
	return a
}

func (f *fixture) may(p identity.Principal, a access.Action, scope resource.ID) bool {
	f.t.Helper()
	d, err := f.engine.Check(f.t.Context(), p, a, scope)
	must(f.t, err)
	explained, err := f.engine.Explain(f.t.Context(), p, a, scope)
	must(f.t, err)
	if d.Allowed != explained.Allowed {
		f.t.Errorf("Check says %v, Explain %v", d.Allowed, explained.Allowed)
	}
	return d.Allowed
}

func TestScopesOfAssignments(t *testing.T) {
	for _, scope := range []resource.ID{resource.Root, subscription, group, acme} {
		f := open(t)
		p := f.principals(1)[0]
		if f.may(p, pull, acme) {
			t.Errorf("%s: allowed before it is assigned", scope)
		}
		a := f.assign(p.ID(), acrPull, scope)
		if !f.may(p, pull, acme) || f.may(p, push, acme) {
			t.Errorf("%s: pull must be allowed and push not", scope)
		}
		if f.may(p, pull, other) != (scope != acme) || f.may(p, pull, resource.MustParseID("/subscriptions/s2")) != (scope == resource.Root) {
			t.Errorf("%s: the assignment reaches too far or not far enough", scope)
		}
		must(t, f.engine.Unassign(t.Context(), a.ID))
		if f.may(p, pull, acme) {
			t.Errorf("%s: allowed after it was taken away", scope)
		}
	}
}

func TestStrangersMayNothing(t *testing.T) {
	f := open(t)
	p := f.principals(1)[0]
	f.assign(p.ID(), owner, resource.Root)
	if f.may(identity.Principal{}, pull, acme) {
		t.Error("nobody is allowed")
	}
	foreign := access.NewEngine(sql.NewAccess(f.db, tenant), "another tenant")
	if d, err := foreign.Check(t.Context(), p, pull, acme); err != nil || d.Allowed {
		t.Errorf("a principal of another tenant is allowed: %v", err)
	}
}

func TestExplainShowsNearMisses(t *testing.T) {
	f := open(t)
	ps := f.principals(2)
	p, sibling := ps[0], ps[1]
	want := map[string]struct {
		reason access.Reason
		why    string
	}{}
	note := func(a access.Assignment, reason access.Reason, why string) {
		want[a.GUID] = struct {
			reason access.Reason
			why    string
		}{reason, why}
	}
	note(f.assign(p.ClientID(), acrPull, acme), access.ReasonPrincipal, "client id")
	note(f.assign(sibling.ID(), acrPull, group), access.ReasonPrincipal, "another principal")
	note(f.assign(p.ID(), acrPull, other), access.ReasonScope, "does not cover this registry")
	note(f.assign(p.ID(), acrDelete, group), access.ReasonAction, "lacks the action")
	f.assign(sibling.ID(), acrPull, other) // neither p's nor above the scope: does not matter

	d, err := f.engine.Explain(t.Context(), p, pull, acme)
	must(t, err)
	if d.Allowed || len(d.Considered) != len(want) {
		t.Fatalf("allowed %v, considered %+v", d.Allowed, d.Considered)
	}
	for _, c := range d.Considered {
		w := want[c.Assignment.Name()]
		if c.Accepted || c.Reason != w.reason || !strings.Contains(c.Why, w.why) || c.Role == "" {
			t.Errorf("considered %+v, want reason %q and %q", c, w.reason, w.why)
		}
	}
}

func TestGrant(t *testing.T) {
	f := open(t)
	p := f.principals(1)[0]
	g, err := f.engine.Grant(t.Context(), p, acme, pull, push, remove)
	must(t, err)
	if !g.IsZero() || g.Allows(pull) {
		t.Errorf("without a role: %+v", g)
	}
	f.assign(p.ID(), acrPush, acme)
	g, err = f.engine.Grant(t.Context(), p, acme, pull, push, remove)
	must(t, err)
	if g.IsZero() || !g.Allows(pull) || !g.Allows(push) || g.Allows(remove) || g.Allows(data(pull.Name)) || g.Scope() != acme || g.Principal() != p {
		t.Errorf("with AcrPush: %+v", g)
	}
	g, err = f.engine.Grant(t.Context(), p, acme, pull)
	must(t, err)
	if g.Allows(push) {
		t.Error("a grant holds what was not asked for")
	}
}

func TestAdminUserOfARegistry(t *testing.T) {
	f := open(t)
	must(t, f.directory.SetAdmin(t.Context(), acme, true))
	passwords, err := f.directory.AdminPasswords(t.Context(), acme)
	must(t, err)
	p, err := f.directory.Authenticate(t.Context(), identity.RegistryPassword{Registry: acme, Username: "acme", Password: passwords[0]})
	must(t, err)
	for _, a := range []access.Action{pull, push, remove, data("Microsoft.ContainerRegistry/registries/repositories/content/read")} {
		if !f.may(p, a, acme) || f.may(p, a, other) || f.may(p, a, group) {
			t.Errorf("%v must be allowed on its own registry only", a)
		}
	}
	for _, name := range []string{"listCredentials/action", "write", "read", "delete"} {
		if f.may(p, control("Microsoft.ContainerRegistry/registries/"+name), acme) {
			t.Errorf("the admin user may %s", name)
		}
	}
}

func TestAssign(t *testing.T) {
	f := open(t)
	p := f.principals(1)[0]
	a := f.assign(p.ID(), acrPull, acme)
	ctx := t.Context()
	again, err := f.engine.Assign(ctx, access.Assignment{GUID: strings.ToUpper(a.GUID), Scope: acme, PrincipalID: p.ID(), RoleGUID: acrPull, Description: "x"})
	if err != nil || again.ID != a.ID || !again.Created.Equal(a.Created) {
		t.Errorf("assigning the same again gives %+v, %v, want %+v", again, err, a)
	}
	try := func(change func(*access.Assignment)) error {
		b := access.Assignment{Scope: acme, PrincipalID: p.ID(), RoleGUID: acrPull}
		change(&b)
		_, err := f.engine.Assign(ctx, b)
		return err
	}
	wantErr(t, "another GUID", try(func(*access.Assignment) {}), access.ErrAssignmentExists)
	wantErr(t, "another role under the same GUID", try(func(b *access.Assignment) { b.GUID, b.RoleGUID = a.GUID, acrPush }), access.ErrAssignmentChanged)
	wantErr(t, "unknown role", try(func(b *access.Assignment) { b.RoleGUID = uuid.NewString() }), access.ErrRoleUnknown)
	wantErr(t, "bad GUID", try(func(b *access.Assignment) { b.GUID = "../x" }), access.ErrInvalid)
	wantErr(t, "bad principal", try(func(b *access.Assignment) { b.PrincipalID = "me" }), access.ErrInvalid)
	wantErr(t, "no scope", try(func(b *access.Assignment) { b.Scope = resource.ID{} }), access.ErrInvalid)
	wantErr(t, "long description", try(func(b *access.Assignment) { b.Description = strings.Repeat("x", 2000) }), access.ErrInvalid)
	wantErr(t, "removing what is not there", f.engine.Unassign(ctx, acme.Provider("Microsoft.Authorization/roleAssignments", uuid.NewString())), access.ErrAssignmentUnknown)

	must(t, f.engine.DeleteUnder(ctx, group))
	if f.may(p, pull, acme) {
		t.Error("allowed after its group went away")
	}
}

func TestCustomRoles(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p := f.principals(1)[0]
	role := access.RoleDefinition{
		Name: "Puller", AssignableScopes: []resource.ID{group},
		Permissions: []access.Permission{{Actions: []string{"Microsoft.ContainerRegistry/*/read"}}},
	}
	stored, err := f.engine.PutRole(ctx, role)
	must(t, err)
	f.assign(p.ID(), stored.GUID, acme)
	if !f.may(p, pull, acme) {
		t.Error("the custom role does not count")
	}
	stored.Permissions[0].NotActions = []string{pull.Name}
	stored, err = f.engine.PutRole(ctx, stored)
	must(t, err)
	if f.may(p, pull, acme) {
		t.Error("a change of the role does not count")
	}
	for _, name := range []string{"puller", stored.GUID, strings.ToUpper(stored.GUID)} {
		if got, err := f.engine.Role(ctx, name); err != nil || got.GUID != stored.GUID {
			t.Errorf("role %q: %+v, %v", name, got, err)
		}
	}
	wantErr(t, "in use", f.engine.DeleteRole(ctx, stored.GUID), access.ErrRoleInUse)
	wantErr(t, "built in", f.engine.DeleteRole(ctx, acrPull), access.ErrRoleTaken)
	wantErr(t, "unknown", f.engine.DeleteRole(ctx, uuid.NewString()), access.ErrRoleUnknown)
	for what, change := range map[string]func(*access.RoleDefinition){
		"a built-in name": func(r *access.RoleDefinition) { r.Name = "acrpull" },
		"a built-in GUID": func(r *access.RoleDefinition) { r.GUID = acrPull },
		"a name in use":   func(r *access.RoleDefinition) { r.Name = "PULLER" },
	} {
		r := role
		change(&r)
		_, err := f.engine.PutRole(ctx, r)
		wantErr(t, what, err, access.ErrRoleTaken)
	}
	for what, change := range map[string]func(*access.RoleDefinition){
		"no name":      func(r *access.RoleDefinition) { r.Name = "" },
		"a bad GUID":   func(r *access.RoleDefinition) { r.GUID = "x" },
		"a bad action": func(r *access.RoleDefinition) { r.Permissions = []access.Permission{{NotActions: []string{"a b"}}} },
		"no scope":     func(r *access.RoleDefinition) { r.AssignableScopes = nil },
		"a long action": func(r *access.RoleDefinition) {
			r.Permissions = []access.Permission{{Actions: []string{strings.Repeat("a", 600)}}}
		},
		"many actions": func(r *access.RoleDefinition) {
			r.Permissions = []access.Permission{{Actions: strings.Split(strings.Repeat("a,", 3000)+"a", ",")}}
		},
		"long actions": func(r *access.RoleDefinition) {
			r.Permissions = []access.Permission{{Actions: strings.Split(strings.Repeat(strings.Repeat("a", 200)+",", 400)+"a", ",")}}
		},
		"many scopes":    func(r *access.RoleDefinition) { r.AssignableScopes = slices.Repeat([]resource.ID{acme}, 201) },
		"a long comment": func(r *access.RoleDefinition) { r.Description = strings.Repeat("x", 2000) },
	} {
		r := role
		r.Name = "Other"
		change(&r)
		_, err := f.engine.PutRole(ctx, r)
		wantErr(t, what, err, access.ErrInvalid)
	}
	all, err := f.engine.Roles(ctx)
	if err != nil || len(all) != len(access.BuiltIn())+1 {
		t.Errorf("%d roles, %v", len(all), err)
	}
}

func TestARoleIsAssignedOnlyWhereItsScopesReach(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p := f.principals(1)[0]
	role, err := f.engine.PutRole(ctx, access.RoleDefinition{Name: "Custom", AssignableScopes: []resource.ID{acme, other}})
	must(t, err)
	_, err = f.engine.Assign(ctx, access.Assignment{Scope: group, PrincipalID: p.ID(), RoleGUID: role.GUID})
	wantErr(t, "assigning above the scopes", err, access.ErrNotAssignable)
	a := f.assign(p.ID(), role.GUID, acme)
	role.AssignableScopes = []resource.ID{other}
	_, err = f.engine.PutRole(ctx, role)
	wantErr(t, "leaving an assignment behind", err, access.ErrRoleInUse)
	role.AssignableScopes = []resource.ID{group}
	if _, err = f.engine.PutRole(ctx, role); err != nil {
		t.Errorf("widening: %v", err)
	}
	must(t, f.engine.Unassign(ctx, a.ID))
	role.AssignableScopes = []resource.ID{other}
	if _, err = f.engine.PutRole(ctx, role); err != nil {
		t.Errorf("narrowing a role that nobody has: %v", err)
	}
}

// crowded has as many custom roles as there may be.
type crowded struct{ access.Store }

func (c crowded) CustomRoles(ctx context.Context) ([]access.RoleDefinition, error) {
	roles, err := c.Store.CustomRoles(ctx)
	return append(make([]access.RoleDefinition, 5000-len(roles)), roles...), err
}

func TestCustomRolesAreBounded(t *testing.T) {
	f := open(t)
	role, err := f.engine.PutRole(t.Context(), access.RoleDefinition{Name: "Custom", AssignableScopes: []resource.ID{acme}})
	must(t, err)
	f.engine = access.NewEngine(crowded{sql.NewAccess(f.db, tenant)}, tenant)
	_, err = f.engine.PutRole(t.Context(), access.RoleDefinition{Name: "Another", AssignableScopes: []resource.ID{acme}})
	wantErr(t, "one too many", err, access.ErrTooManyRoles)
	if _, err := f.engine.PutRole(t.Context(), role); err != nil {
		t.Errorf("changing one that is there: %v", err)
	}
}

// counting counts what is read of assignments.
type counting struct {
	access.Store
	reads int
}

func (c *counting) Assignments(ctx context.Context, f access.AssignmentFilter) ([]access.Assignment, error) {
	c.reads++
	return c.Store.Assignments(ctx, f)
}

func TestAQuestionIsAnsweredFromMemoryUntilSomethingChanges(t *testing.T) {
	f := open(t)
	p := f.principals(1)[0]
	store := &counting{Store: sql.NewAccess(f.db, tenant)}
	f.engine = access.NewEngine(store, tenant)
	ask := func(a access.Action) {
		t.Helper()
		if _, err := f.engine.Check(t.Context(), p, a, acme); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		ask(pull)
		ask(push)
	}
	if store.reads != 1 {
		t.Errorf("%d reads for two questions asked 100 times, want 1", store.reads)
	}
	changed := f.engine.Changed()
	before, err := f.engine.Version(t.Context())
	must(t, err)
	f.assign(p.ID(), acrPull, acme)
	select {
	case <-changed:
	default:
		t.Error("nobody is told of the change")
	}
	if after, err := f.engine.Version(t.Context()); err != nil || after <= before {
		t.Errorf("version %d, %v, want over %d", after, err, before)
	}
	ask(pull)
	if store.reads != 2 {
		t.Errorf("%d reads after a change, want 2", store.reads)
	}
}

func BenchmarkCheck(b *testing.B) {
	f := open(b)
	p := f.principals(1)[0]
	f.assign(p.ID(), acrPull, acme)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if d, err := f.engine.Check(context.Background(), p, pull, acme); err != nil || !d.Allowed {
				b.Error(err)
				return
			}
		}
	})
}
