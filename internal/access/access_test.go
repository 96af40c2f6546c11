package access_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

const (
	acrPull     = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
	acrPush     = "8311e382-0749-4cb8-b61a-304f252e45ec"
	acrDelete   = "c2f4ef07-c644-48eb-af81-4b1b4947fb11"
	owner       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	reader      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	uaa         = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
	operator    = "f1a07417-d97a-45cb-824c-7a7467783830"
	repoReader  = "b93aa761-3e63-49ed-ac28-beffa264f7ac"
	lister      = "bfdb9389-c9a5-478a-bb2f-ba9ca092c3c7"
)

func control(name string) access.Action { return access.Action{Name: name} }
func data(name string) access.Action    { return access.Action{Name: name, Data: true} }

var (
	pull   = control("Microsoft.ContainerRegistry/registries/pull/read")
	push   = control("Microsoft.ContainerRegistry/registries/push/write")
	remove = control("Microsoft.ContainerRegistry/registries/artifacts/delete")
)

func builtIn() map[string]access.RoleDefinition {
	roles := map[string]access.RoleDefinition{}
	for _, r := range access.BuiltIn() {
		roles[r.GUID] = r
	}
	return roles
}

func TestBuiltInRoles(t *testing.T) {
	assign := control("Microsoft.Authorization/roleAssignments/write")
	for _, c := range []struct {
		role   string
		action access.Action
		want   bool
	}{
		{acrPull, pull, true},
		{acrPull, control("microsoft.containerregistry/REGISTRIES/pull/read"), true},
		{acrPull, push, false},
		{acrPull, data(pull.Name), false},
		{acrPull, control("Microsoft.ContainerRegistry/registries/read"), false},
		{acrPush, pull, true},
		{acrPush, push, true},
		{acrPush, remove, false},
		{acrDelete, remove, true},
		{acrDelete, pull, false},
		{owner, assign, true},
		{owner, push, true},
		{owner, data("Microsoft.ContainerRegistry/registries/catalog/read"), false},
		{contributor, push, true},
		{contributor, control("Microsoft.Web/sites/write"), true},
		{contributor, assign, false},
		{contributor, control("microsoft.authorization/roleassignments/delete"), false},
		{contributor, control("Microsoft.Authorization/roleAssignments/read"), true},
		{contributor, control("Microsoft.Authorization/elevateAccess/action"), false},
		{contributor, control("Microsoft.Authorization/directory/applications/write"), false},
		{reader, pull, true},
		{reader, push, false},
		{reader, control("Microsoft.ContainerRegistry/registries/listCredentials/action"), false},
		{uaa, assign, true},
		{uaa, pull, true},
		{uaa, push, false},
		{operator, control("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"), true},
		{operator, control("Microsoft.ManagedIdentity/userAssignedIdentities/x/assign/action"), true},
		{operator, control("Microsoft.ManagedIdentity/userAssignedIdentities/read"), true},
		{operator, control("Microsoft.ManagedIdentity/userAssignedIdentities/write"), false},
		{repoReader, data("Microsoft.ContainerRegistry/registries/repositories/content/read"), true},
		{repoReader, data("Microsoft.ContainerRegistry/registries/repositories/content/write"), false},
		{repoReader, pull, false},
		{lister, data("Microsoft.ContainerRegistry/registries/catalog/read"), true},
	} {
		role := builtIn()[c.role]
		if role.Name == "" {
			t.Fatalf("there is no role %s", c.role)
		}
		if got := role.Allows(c.action); got != c.want {
			t.Errorf("%s allows %v: %v, want %v", role.Name, c.action, got, c.want)
		}
	}
}

func TestBuiltInRolesHaveTheirOwnIDs(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range access.BuiltIn() {
		if seen[r.GUID] || seen[r.Name] || len(r.GUID) != 36 || r.ID.Name() != r.GUID || !r.BuiltIn || r.Description == "" {
			t.Errorf("role %+v", r)
		}
		seen[r.GUID], seen[r.Name] = true, true
	}
	if len(access.BuiltIn()) != 21 {
		t.Errorf("%d built-in roles, want 21", len(access.BuiltIn()))
	}
}

func TestWildcards(t *testing.T) {
	for _, c := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "Anything/at/all", true},
		{"*", "", true},
		{"", "x", false},
		{"a/b", "A/B", true},
		{"a/b", "a/b/c", false},
		{"*/read", "a/b/read", true},
		{"*/read", "read", false},
		{"*/read", "a/read/b", false},
		{"a/*", "a/", true},
		{"a/*", "a", false},
		{"a/*/c", "a/b/c", true},
		{"a/*/c", "a/b/b/c", true},
		{"a/*/c", "a/c", true},
		{"a/*/c", "a/bc", false},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"a*b*c", "axxbyyc", true},
		{"a*b*c", "axxcyyb", false},
		{"**", "x", true},
		{"/*/", "/", true},
		{"a.b/c", "axb/c", false},
		{strings.Repeat("*a", 200) + "b", strings.Repeat("a", 400), false}, // no pattern is expensive
	} {
		role := access.RoleDefinition{Permissions: []access.Permission{{Actions: []string{c.pattern}}}}
		if got := role.Allows(control(c.action)); got != c.want {
			t.Errorf("%.40q matches %.40q: %v, want %v", c.pattern, c.action, got, c.want)
		}
		but := access.RoleDefinition{Permissions: []access.Permission{{Actions: []string{"*"}, NotActions: []string{c.pattern}, DataActions: []string{c.pattern}}}}
		if got := but.Allows(control(c.action)); got == c.want {
			t.Errorf("as a notAction %.40q takes %.40q away: %v, want %v", c.pattern, c.action, !got, c.want)
		}
		if got := but.Allows(data(c.action)); got != c.want {
			t.Errorf("as a dataAction %.40q matches %.40q: %v, want %v", c.pattern, c.action, got, c.want)
		}
	}
}

func TestNotActionsHoldWithinTheirPermissionOnly(t *testing.T) {
	role := access.RoleDefinition{Permissions: []access.Permission{
		{Actions: []string{"a/*"}, NotActions: []string{"a/write"}, DataActions: []string{"d/*"}, NotDataActions: []string{"d/write"}},
		{Actions: []string{"a/write/special"}},
	}}
	for action, want := range map[access.Action]bool{
		control("a/read"): true, control("a/write"): false, control("a/write/special"): true, control("d/read"): false,
		data("d/read"): true, data("d/write"): false, data("a/read"): false,
	} {
		if got := role.Allows(action); got != want {
			t.Errorf("%v: %v, want %v", action, got, want)
		}
	}
}

// world is drawn by the property tests: few of everything, so that things meet.
type world struct {
	principals  []identity.Principal
	scopes      []resource.ID
	actions     []access.Action
	roles       map[string]access.RoleDefinition
	assignments []access.Assignment
}

func drawWorld(t *rapid.T, principals []identity.Principal) world {
	w := world{principals: principals, roles: map[string]access.RoleDefinition{}}
	for _, s := range []string{
		"/", "/subscriptions/s", "/subscriptions/s/resourceGroups/g", "/subscriptions/s/resourceGroups/g2",
		"/subscriptions/s/resourceGroups/g/providers/N/t/r", "/subscriptions/S/resourcegroups/G/providers/n/T/R2",
	} {
		w.scopes = append(w.scopes, resource.MustParseID(s))
	}
	for _, name := range []string{"a/read", "a/write", "a/b/read", "c"} {
		w.actions = append(w.actions, control(name), data(name))
	}
	patterns := rapid.SliceOfN(rapid.SampledFrom([]string{"*", "a/*", "*/read", "a/write", "C", "a/*/read"}), 0, 2)
	for _, guid := range []string{"r1", "r2", "r3"} {
		w.roles[guid] = access.RoleDefinition{GUID: guid, Name: guid, Permissions: []access.Permission{{
			Actions: patterns.Draw(t, "actions"), NotActions: patterns.Draw(t, "notActions"),
			DataActions: patterns.Draw(t, "dataActions"), NotDataActions: patterns.Draw(t, "notDataActions"),
		}}}
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "assignments") {
		w.assignments = append(w.assignments, w.drawAssignment(t, i))
	}
	return w
}

func (w world) drawAssignment(t *rapid.T, i int) access.Assignment {
	scope := rapid.SampledFrom(w.scopes).Draw(t, "scope")
	guid := "00000000-0000-0000-0000-00000000000" + string(rune('0'+i))
	return access.Assignment{
		ID: scope.Provider("Microsoft.Authorization/roleAssignments", guid), GUID: guid, Scope: scope,
		PrincipalID: rapid.SampledFrom(w.principals).Draw(t, "principal").ID(),
		RoleGUID:    rapid.SampledFrom([]string{"r1", "r2", "r3", "gone"}).Draw(t, "role"),
	}
}

// each calls f with every question that can be asked in the world.
func (w world) each(f func(identity.Principal, access.Action, resource.ID)) {
	for _, p := range w.principals {
		for _, a := range w.actions {
			for _, s := range w.scopes {
				f(p, a, s)
			}
		}
	}
}

func TestAddingAnAssignmentNeverRemovesAPermission(t *testing.T) {
	principals := open(t).principals(2)
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, principals)
		more := append(slices.Clone(w.assignments), w.drawAssignment(t, 9))
		w.each(func(p identity.Principal, a access.Action, s resource.ID) {
			before, after := access.Decide(p, a, s, w.assignments, w.roles), access.Decide(p, a, s, more, w.roles)
			if before.Allowed && !after.Allowed {
				t.Fatalf("%s may do %v at %s until it is given more: %+v", p.ID(), a, s, after)
			}
		})
	})
}

func TestADecisionDependsOnItsInputsOnly(t *testing.T) {
	principals := open(t).principals(2)
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, principals)
		seed := rapid.Uint64().Draw(t, "seed")
		w.each(func(p identity.Principal, a access.Action, s resource.ID) {
			first := access.Decide(p, a, s, w.assignments, w.roles)
			shuffled := slices.Clone(w.assignments)
			rand.New(rand.NewPCG(seed, 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			again := access.Decide(p, a, s, shuffled, w.roles)
			same := cmp.Comparer(func(a, b resource.ID) bool { return a == b })
			if diff := cmp.Diff(first.Considered, again.Considered, same); diff != "" || first.Allowed != again.Allowed {
				t.Fatalf("the order of assignments matters: %s", diff)
			}
		})
	})
}

// TestADecisionIsWhatItsExplanationSays ties the answer to what it claims to rest on.
func TestADecisionIsWhatItsExplanationSays(t *testing.T) {
	principals := open(t).principals(2)
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, principals)
		w.each(func(p identity.Principal, a access.Action, s resource.ID) {
			d := access.Decide(p, a, s, w.assignments, w.roles)
			accepted := 0
			for i, c := range d.Considered {
				if (c.Reason == "") != c.Accepted || (c.Why == "") != c.Accepted {
					t.Fatalf("considered %+v", c)
				}
				if c.Accepted {
					accepted++
					if !c.Scope.Covers(s) || c.PrincipalID != p.ID() || !w.roles[c.RoleGUID].Allows(a) {
						t.Fatalf("accepted %+v for %v at %s", c, a, s)
					}
				}
				if i > 0 && d.Considered[i-1].Assignment.Key() > c.Assignment.Key() {
					t.Fatal("considered assignments are out of order")
				}
			}
			if d.Allowed != (accepted > 0) || len(d.Considered) != len(w.assignments) {
				t.Fatalf("allowed %v with %d accepted of %d", d.Allowed, accepted, len(d.Considered))
			}
		})
	})
}

func FuzzRolePattern(f *testing.F) {
	f.Add("a/*/c", "a/c")
	f.Add("*a*b*", "xaxbx")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 1000 || len(name) > 1000 {
			t.Skip()
		}
		role := access.RoleDefinition{Permissions: []access.Permission{{Actions: []string{pattern}}}}
		got, wanted, asked := role.Allows(control(name)), strings.ToLower(pattern), strings.ToLower(name)
		if role.Allows(control(asked)) != got {
			t.Errorf("%q: letter case matters in %q", pattern, name)
		}
		if !strings.Contains(pattern, "*") && got != (wanted == asked) {
			t.Errorf("%q, %q: a pattern without wildcards is not plain equality", pattern, name)
		}
	})
}

// TestClusterRoles holds Azure's roles for clusters to what their descriptions promise.
func TestClusterRoles(t *testing.T) {
	const clusters = "Microsoft.ContainerService/managedClusters/"
	roles := map[string]access.RoleDefinition{}
	for _, r := range access.BuiltIn() {
		roles[strings.TrimPrefix(r.Name, "Azure Kubernetes Service ")] = r
	}
	for action, may := range map[string][]string{
		"pods/read":                                     {"RBAC Reader", "RBAC Writer", "RBAC Admin", "RBAC Cluster Admin"},
		"apps/deployments/write":                        {"RBAC Writer", "RBAC Admin", "RBAC Cluster Admin"},
		"pods/exec/action":                              {"RBAC Writer", "RBAC Admin", "RBAC Cluster Admin"},
		"secrets/read":                                  {"RBAC Writer", "RBAC Admin", "RBAC Cluster Admin"},
		"namespaces/read":                               {"RBAC Reader", "RBAC Writer", "RBAC Admin", "RBAC Cluster Admin"},
		"resourcequotas/write":                          {"RBAC Cluster Admin"},
		"namespaces/delete":                             {"RBAC Cluster Admin"},
		"nodes/read":                                    {"RBAC Admin", "RBAC Cluster Admin"},
		"example.com/widgets/read":                      {"RBAC Admin", "RBAC Cluster Admin"},
		"serviceaccounts/write":                         {"RBAC Writer", "RBAC Admin", "RBAC Cluster Admin"},
		"coordination.k8s.io/x/write":                   {"RBAC Admin", "RBAC Cluster Admin"},
		"rbac.authorization.k8s.io/roles/write":         {"RBAC Admin", "RBAC Cluster Admin"},
		"rbac.authorization.k8s.io/roles/bind/action":   {"RBAC Admin", "RBAC Cluster Admin"},
		"rbac.authorization.k8s.io/rolebindings/delete": {"RBAC Admin", "RBAC Cluster Admin"},
	} {
		for _, name := range []string{"RBAC Reader", "RBAC Writer", "RBAC Admin", "RBAC Cluster Admin", "Cluster User Role", "Cluster Admin Role", "Contributor Role"} {
			if got, want := roles[name].Allows(data(clusters+action)), slices.Contains(may, name); got != want {
				t.Errorf("%s: %s is %v, want %v", name, action, got, want)
			}
		}
	}
	for action, may := range map[string][]string{
		"listClusterUserCredential/action":  {"RBAC Admin", "RBAC Cluster Admin", "Cluster User Role", "Contributor Role"},
		"listClusterAdminCredential/action": {"Cluster Admin Role", "Contributor Role"},
		"read":                              {"Cluster User Role", "Cluster Admin Role", "Contributor Role"},
		"write":                             {"Contributor Role"},
	} {
		for _, name := range []string{"RBAC Reader", "RBAC Writer", "RBAC Admin", "RBAC Cluster Admin", "Cluster User Role", "Cluster Admin Role", "Contributor Role"} {
			if got, want := roles[name].Allows(control(clusters+action)), slices.Contains(may, name); got != want {
				t.Errorf("%s: %s is %v, want %v", name, action, got, want)
			}
		}
	}
	// Owner and Contributor manage clusters; as in Azure that opens none of what is in them.
	for _, name := range []string{"Owner", "Contributor", "Reader"} {
		if roles[name].Allows(data(clusters + "pods/read")) {
			t.Errorf("%s reads pods", name)
		}
	}
}
