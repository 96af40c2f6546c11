// Package accesstest owns the suite that every implementation of access.Store must pass.
package accesstest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/resource"
)

// Store checks an access.Store; open gives an empty one for each test.
func Store(t *testing.T, open func(t *testing.T) access.Store) {
	t.Run("assignments", func(t *testing.T) { assignments(t, open(t)) })
	t.Run("assignments are listed by scope", func(t *testing.T) { byScope(t, open(t)) })
	t.Run("assignments beneath a scope are deleted", func(t *testing.T) { deleteUnder(t, open(t)) })
	t.Run("custom roles", func(t *testing.T) { roles(t, open(t)) })
	t.Run("every change moves the version", func(t *testing.T) { versions(t, open(t)) })
	t.Run("one of many writers wins", func(t *testing.T) { writers(t, open(t)) })
}

const (
	subscription = "/subscriptions/S"
	group        = subscription + "/resourceGroups/G"
	registry     = group + "/providers/Microsoft.ContainerRegistry/registries/Reg"
)

// assignment makes one whose GUID ends in n, so that tests know the order.
func assignment(scope string, n string, principal string) access.Assignment {
	a := access.Assignment{
		GUID: "00000000-0000-0000-0000-00000000000" + n, Scope: resource.MustParseID(scope), PrincipalID: principal, PrincipalType: "ServicePrincipal",
		RoleGUID: "7f951dda-4ed3-4680-a7ca-43fe172d538d", Description: "d" + n, Created: time.Date(2031, 2, 3, 4, 5, 6, 789000, time.UTC),
	}
	a.ID = a.Scope.Provider("Microsoft.Authorization/roleAssignments", a.GUID)
	return a
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error is %v, want %v", got, want)
	}
}

func wantSame[T any](t *testing.T, got T, err error, want T) {
	t.Helper()
	must(t, err)
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b resource.ID) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func assignments(t *testing.T, s access.Store) {
	ctx := t.Context()
	p := uuid.NewString()
	a := assignment(registry, "1", p)
	must(t, s.CreateAssignment(ctx, a))
	got, err := s.Assignment(ctx, resource.MustParseID("/SUBSCRIPTIONS/s/resourceGroups/g/providers/microsoft.containerregistry/registries/reg/providers/Microsoft.Authorization/roleAssignments/"+a.GUID))
	wantSame(t, got, err, a)

	wantErr(t, s.CreateAssignment(ctx, a), access.ErrAssignmentExists)
	wantErr(t, s.CreateAssignment(ctx, assignment(registry, "2", p)), access.ErrAssignmentExists)
	must(t, s.CreateAssignment(ctx, assignment(registry, "2", uuid.NewString())))

	mine, err := s.Assignments(ctx, access.AssignmentFilter{PrincipalID: p})
	wantSame(t, mine, err, []access.Assignment{a})
	must(t, s.DeleteAssignment(ctx, a.ID))
	wantErr(t, s.DeleteAssignment(ctx, a.ID), access.ErrAssignmentUnknown)
	_, err = s.Assignment(ctx, a.ID)
	wantErr(t, err, access.ErrAssignmentUnknown)
}

func byScope(t *testing.T, s access.Store) {
	p := uuid.NewString()
	for n, scope := range map[string]string{
		"1": "/", "2": subscription, "3": group, "4": registry, "5": subscription + "/resourceGroups/G2", "6": registry + "/repositories/r",
	} {
		must(t, s.CreateAssignment(t.Context(), assignment(scope, n, p)))
	}
	for _, c := range []struct {
		name   string
		filter access.AssignmentFilter
		want   string // in order of the ids' keys
	}{
		{"all", access.AssignmentFilter{}, "123465"},
		{"pages", access.AssignmentFilter{Limit: 2}, "12"},
		{"next page", access.AssignmentFilter{Limit: 2, After: assignment(subscription, "2", p).ID.Key()}, "34"},
		{"at a group and around it", access.AssignmentFilter{Scope: resource.MustParseID(group)}, "12346"},
		{"at a group and above", access.AssignmentFilter{Scope: resource.MustParseID("/subscriptions/s/resourcegroups/g"), AtScope: true}, "123"},
		{"at a repository and above", access.AssignmentFilter{Scope: resource.MustParseID(registry + "/repositories/r"), AtScope: true}, "12346"},
		{"at the root", access.AssignmentFilter{Scope: resource.Root, AtScope: true}, "1"},
		{"beneath the root", access.AssignmentFilter{Scope: resource.Root}, "123465"},
		{"of a stranger", access.AssignmentFilter{PrincipalID: uuid.NewString()}, ""},
		{"of a role", access.AssignmentFilter{RoleGUID: uuid.NewString()}, ""},
	} {
		list, err := s.Assignments(t.Context(), c.filter)
		must(t, err)
		var got strings.Builder
		for _, a := range list {
			got.WriteString(a.GUID[35:])
		}
		if got.String() != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got.String(), c.want)
		}
	}
}

func deleteUnder(t *testing.T, s access.Store) {
	p := uuid.NewString()
	for n, scope := range map[string]string{"1": subscription, "2": group, "3": registry, "4": group + "2"} {
		must(t, s.CreateAssignment(t.Context(), assignment(scope, n, p)))
	}
	must(t, s.DeleteAssignmentsUnder(t.Context(), resource.MustParseID("/subscriptions/s/resourcegroups/g")))
	list, err := s.Assignments(t.Context(), access.AssignmentFilter{})
	must(t, err)
	if len(list) != 2 || list[0].GUID[35:] != "1" || list[1].GUID[35:] != "4" {
		t.Errorf("left are %v, want those at the subscription and at the other group", list)
	}
}

func role(name string) access.RoleDefinition {
	guid := uuid.NewString()
	return access.RoleDefinition{
		ID: access.RoleID(guid), GUID: guid, Name: name, Description: "d",
		Permissions:      []access.Permission{{Actions: []string{"*/read"}, NotDataActions: []string{"x"}}},
		AssignableScopes: []resource.ID{resource.Root, resource.MustParseID(group)},
	}
}

func roles(t *testing.T, s access.Store) {
	ctx := t.Context()
	r := role("Baker")
	must(t, s.PutRole(ctx, r))
	got, err := s.CustomRoles(ctx)
	wantSame(t, got, err, []access.RoleDefinition{r})
	r.Name, r.Permissions = "Cook", nil
	must(t, s.PutRole(ctx, r))
	got, err = s.CustomRoles(ctx)
	wantSame(t, got, err, []access.RoleDefinition{r})
	wantErr(t, s.PutRole(ctx, role("COOK")), access.ErrRoleTaken)

	a := assignment(group, "1", uuid.NewString())
	a.RoleGUID = r.GUID
	must(t, s.CreateAssignment(ctx, a))
	wantErr(t, s.DeleteRole(ctx, r.GUID), access.ErrRoleInUse)
	must(t, errors.Join(s.DeleteAssignment(ctx, a.ID), s.DeleteRole(ctx, r.GUID)))
	wantErr(t, s.DeleteRole(ctx, r.GUID), access.ErrRoleUnknown)
}

func versions(t *testing.T, s access.Store) {
	a, r := assignment(registry, "1", uuid.NewString()), role("r")
	for _, step := range []struct {
		name   string
		change func(context.Context) error
	}{
		{"create assignment", func(ctx context.Context) error { return s.CreateAssignment(ctx, a) }},
		{"delete assignment", func(ctx context.Context) error { return s.DeleteAssignment(ctx, a.ID) }},
		{"delete under", func(ctx context.Context) error { return s.DeleteAssignmentsUnder(ctx, a.Scope) }},
		{"put role", func(ctx context.Context) error { return s.PutRole(ctx, r) }},
		{"delete role", func(ctx context.Context) error { return s.DeleteRole(ctx, r.GUID) }},
	} {
		before, err := s.Version(t.Context())
		must(t, err)
		changed := s.Changed()
		must(t, step.change(t.Context()))
		after, err := s.Version(t.Context())
		must(t, err)
		if after <= before {
			t.Errorf("%s: version stays at %d", step.name, after)
		}
		select {
		case <-changed:
		default:
			t.Errorf("%s: the channel is not closed", step.name)
		}
	}
}

func writers(t *testing.T, s access.Store) {
	p := uuid.NewString()
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() { results[i] = s.CreateAssignment(t.Context(), assignment(registry, string(rune('1'+i)), p)) })
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else {
			wantErr(t, err, access.ErrAssignmentExists)
		}
	}
	if won != 1 {
		t.Errorf("%d writers won, want 1", won)
	}
}
