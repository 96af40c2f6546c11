package arm

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/resource"
)

// TestRolesAtANamespace: a role can be given at a namespace of a managed cluster, found there, and goes with the cluster.
func TestRolesAtANamespace(t *testing.T) {
	w := newWorld(t)
	w.group()
	cluster := resource.MustParseID(group + "/providers/Microsoft.ContainerService/managedClusters/dev")
	if _, _, err := w.h.Store.PutResource(t.Context(), resource.Resource{ID: cluster, Location: "westus2", Properties: []byte("{}")}, ""); err != nil {
		t.Fatal(err)
	}
	sp, token := w.newPrincipal("", resource.Root)
	const reader = "7f6c6a51-bcf8-42ba-9220-52d62157d7db"
	scope := cluster.Child("namespaces", "team-a").String()

	found := w.want(http.StatusOK, "GET", scope+"/providers/Microsoft.Authorization/roleDefinitions"+version+"&$filter=roleName+eq+'azure+kubernetes+service+RBAC+reader'", "")
	if !strings.Contains(found.raw, `"name":"`+reader+`"`) {
		t.Errorf("the role is not found there: %s", found.raw)
	}
	name := scope + assigned + "44444444-4444-4444-4444-444444444444"
	w.golden("assignment-namespace", w.want(http.StatusCreated, "PUT", name, assignment(reader, sp.ID, "ServicePrincipal")))
	w.want(http.StatusOK, "GET", name, "")
	for at, want := range map[string]int{scope: 1, cluster.String(): 0, cluster.Child("namespaces", "team-b").String(): 0} {
		a := w.want(http.StatusOK, "GET", at+"/providers/Microsoft.Authorization/roleAssignments"+version+"&$filter=atScope()+and+assignedTo('"+sp.ID+"')", "")
		if got := strings.Count(a.raw, `"roleDefinitionId"`); got != want {
			t.Errorf("%s lists %d, want %d", at, got, want)
		}
	}
	// Who reads a namespace hands out nothing there.
	if a := w.as(token, "PUT", name, assignment(reader, sp.ID, "")); a.status != http.StatusForbidden {
		t.Errorf("the reader assigns: %d %s", a.status, a.raw)
	}
	// At a namespace of no cluster nobody is given anything: it would count for the next cluster of that name.
	w.want(http.StatusNotFound, "PUT", strings.Replace(name, "/dev/", "/other/", 1), assignment(reader, sp.ID, ""))
	// Of what is beneath a cluster only namespaces are such scopes.
	w.want(http.StatusNotFound, "PUT", cluster.Child("agentPools", "a").String()+assigned+"44444444-4444-4444-4444-444444444444", assignment(reader, sp.ID, ""))

	// What can be no namespace is refused: a role there would never count, and nobody would see why.
	for _, namespace := range []string{"-a", "a.b", "my_team", strings.Repeat("a", 64)} {
		refused := w.want(http.StatusBadRequest, "PUT", cluster.Child("namespaces", namespace).String()+assigned+"55555555-5555-5555-5555-555555555555", assignment(reader, sp.ID, ""))
		if namespace == "my_team" {
			w.golden("error-namespace-name", refused)
		}
	}

	if err := w.engine.DeleteUnder(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	left, err := w.engine.Assignments(t.Context(), access.AssignmentFilter{PrincipalID: sp.ID})
	if err != nil || len(left) != 0 {
		t.Errorf("left behind when the cluster went: %+v, %v", left, err)
	}
}

// The attack: a role is given at a namespace while its cluster is being deleted, and counts in the next cluster of that name.
func TestNoNamespaceIsAssignedBehindADeletion(t *testing.T) {
	w := newWorld(t)
	w.group()
	cluster := resource.MustParseID(group + "/providers/Microsoft.ContainerService/managedClusters/dev")
	if _, _, err := w.h.Store.PutResource(t.Context(), resource.Resource{ID: cluster, Location: "westus2", Properties: []byte("{}")}, ""); err != nil {
		t.Fatal(err)
	}
	sp, _ := w.newPrincipal("", resource.Root)
	deleted := w.h.locks.alone(cluster.Key())
	answers := make(chan answer)
	go func() {
		answers <- w.do("PUT", cluster.Child("namespaces", "team-a").String()+assigned+"44444444-4444-4444-4444-444444444444", assignment(acrPull, sp.ID, ""))
	}()
	w.eventually("the assignment waits for the cluster", func() bool { return w.h.locks.users(cluster) > 1 })
	if err := w.h.Store.DeleteResource(t.Context(), cluster); err != nil {
		t.Error(err)
	}
	deleted()
	if a := <-answers; a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.raw)
	}
}
