package arm

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/internal/resource"
)

const (
	other  = sub + "/resourceGroups/other"
	custom = "/providers/Microsoft.Authorization/roleDefinitions/88888888-8888-8888-8888-888888888888"
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
