package arm

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/resource"
)

const (
	other       = sub + "/resourceGroups/other"
	contributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	custom      = "/providers/Microsoft.Authorization/roleDefinitions/88888888-8888-8888-8888-888888888888"
)

func customRole(actions string, scopes ...string) string {
	return `{"properties":{"roleName":"Custom","assignableScopes":["` + strings.Join(scopes, `","`) + `"],"permissions":[{"actions":["` + actions + `"]}]}}`
}

// The attack: a role that is assigned in two groups is narrowed to one of them, whose owner then puts every action into
// it. The one who had it in the other group now has every right there, by the word of somebody who has none there.
func TestARoleIsNotNarrowedAwayFromItsAssignments(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", other, `{"location":"westus2"}`)
	w.want(http.StatusCreated, "PUT", sub+custom, customRole("Microsoft.Web/sites/read", group, other))
	sp, token := w.newPrincipal("", resource.Root)
	name := group + assigned + "44444444-4444-4444-4444-444444444444"
	w.want(http.StatusCreated, "PUT", name, assignment("88888888-8888-8888-8888-888888888888", sp.ID, ""))

	if a := w.want(http.StatusConflict, "PUT", sub+custom, customRole("Microsoft.Web/sites/read", other)); a.code() != "RoleDefinitionHasAssignments" || !strings.Contains(a.raw, group) {
		t.Error(a.raw)
	}
	owner := w.principal("Owner", resource.MustParseID(other))
	if a := w.as(owner, "PUT", other+custom+version, customRole("*", other)); a.status != http.StatusForbidden {
		t.Errorf("the owner of one group rewrites the role of both: %d %s", a.status, a.raw)
	}
	if a := w.as(token, "PUT", registries+"stolen"+version, `{"location":"westus2"}`); a.status != http.StatusForbidden {
		t.Errorf("a reader of web apps makes a registry: %d %s", a.status, a.raw)
	}
	w.want(http.StatusOK, "DELETE", name, "")
	w.want(http.StatusCreated, "PUT", sub+custom, customRole("*", other))
	w.want(http.StatusNotFound, "GET", group+custom, "") // it is no business of this group any more
	w.want(http.StatusOK, "GET", sub+custom, "")
}

// lateAssigner calls late when the assignments at a scope have been removed and the scope itself is still there.
type lateAssigner struct {
	*access.Engine
	late func(scope resource.ID)
}

func (a lateAssigner) DeleteUnder(ctx context.Context, scope resource.ID) error {
	err := a.Engine.DeleteUnder(ctx, scope)
	a.late(scope)
	return err
}

// The attack: whoever is about to lose a registry or a group assigns a role there while it is being deleted. An
// assignment that is left behind would open what its next owner makes under the same name.
func TestNoAssignmentIsMadeBehindADeletion(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", registries+"myacr", `{"location":"westus2"}`)
	sp, _ := w.newPrincipal("", resource.Root)
	answers := make(chan answer, 2)
	w.h.Access = lateAssigner{w.engine, func(scope resource.ID) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			answers <- w.do("PUT", scope.String()+assigned+"44444444-4444-4444-4444-444444444444", assignment(acrPull, sp.ID, ""))
		}()
		w.eventually("the assignment is refused or waits", func() bool {
			select {
			case <-done:
				return true
			default:
				return w.h.locks.users(scope) > 1
			}
		})
	}}
	w.want(http.StatusOK, "DELETE", registries+"myacr", "")
	if a := <-answers; a.status != http.StatusNotFound {
		t.Errorf("at a registry that is going: %d %s", a.status, a.raw)
	}
	w.finish(w.want(http.StatusAccepted, "DELETE", group, ""))
	if a := <-answers; a.status != http.StatusConflict || a.code() != "ResourceGroupBeingDeleted" {
		t.Errorf("at a group that is going: %d %s", a.status, a.raw)
	}
	left, err := w.engine.Assignments(t.Context(), access.AssignmentFilter{PrincipalID: sp.ID})
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %+v, %v", left, err)
	}
}

// users tells how many hold or wait for what an id names.
func (l *locks) users(id resource.ID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.held[id.Key()]; k != nil {
		return k.users
	}
	return 0
}

// The attack: a contributor begins something, loses the role, and goes on reading through the operation's URL.
func TestAnOperationIsNoWayRoundARevocation(t *testing.T) {
	w := newWorld(t)
	w.group()
	sp, token := w.newPrincipal("", resource.Root)
	name := group + assigned + "44444444-4444-4444-4444-444444444444"
	w.want(http.StatusCreated, "PUT", name, assignment(contributor, sp.ID, ""))
	made := w.as(token, "PUT", groups+"hello"+version, minimal)
	w.finish(made)
	operation := strings.TrimPrefix(made.header.Get("Azure-AsyncOperation"), "https://"+testHost)
	result := strings.Replace(operation, "/operations/", "/operationresults/", 1)
	if a := w.as(token, "GET", result, ""); a.status != http.StatusOK || a.text("name") != "hello" {
		t.Errorf("before: %d %s", a.status, a.raw)
	}
	w.want(http.StatusOK, "DELETE", name, "")
	if a := w.as(token, "GET", result, ""); a.status != http.StatusForbidden {
		t.Errorf("after: %d %s", a.status, a.raw)
	}
	if a := w.as(token, "GET", operation, ""); a.status != http.StatusOK || a.text("status") != "Succeeded" {
		t.Errorf("the outcome: %d %s", a.status, a.raw)
	}
}
