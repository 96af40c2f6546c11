package aks_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// decider decides by one assignment of one role.
type decider struct {
	role       access.RoleDefinition
	assignment access.Assignment
}

func (d decider) Check(_ context.Context, p identity.Principal, a access.Action, scope resource.ID) (access.Decision, error) {
	return access.Decide(p, a, scope, []access.Assignment{d.assignment}, map[string]access.RoleDefinition{d.role.GUID: d.role}), nil
}

func (d decider) Explain(ctx context.Context, p identity.Principal, a access.Action, scope resource.ID) (access.Decision, error) {
	return d.Check(ctx, p, a, scope)
}

func (d decider) Role(context.Context, string) (access.RoleDefinition, error) { return d.role, nil }

// thing is what a request is about.
type thing struct{ verb, group, resource, subresource, namespace string }

// may asks about a thing.
func (w *authz) may(user string, about thing) bool {
	w.T.Helper()
	text, _ := json.Marshal(map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": map[string]any{
		"user": user, "resourceAttributes": map[string]string{
			"verb": about.verb, "group": about.group, "resource": about.resource, "subresource": about.subresource, "namespace": about.namespace,
		},
	}})
	var v verdict
	if err := json.Unmarshal(w.post(string(text)).Body.Bytes(), &v); err != nil {
		w.T.Fatal(err)
	}
	return v.Status.Allowed
}

// holding makes a principal of which the webhook knows one role, at one scope.
func (w *authz) holding(p identity.Principal, scope resource.ID, permission access.Permission) {
	role := access.RoleDefinition{GUID: "r", Permissions: []access.Permission{permission}}
	w.handler = w.over(decider{role, access.Assignment{ID: scope.Provider("N/a", "a"), Scope: scope, PrincipalID: p.ID(), RoleGUID: "r"}})
}

// TestAllSubresources: who may read pods and run programs in them may not, by that, attach to them.
func TestAllSubresources(t *testing.T) {
	w := newAuthz(t)
	p := w.Program("somebody").Principal
	const pods = "Microsoft.ContainerService/managedClusters/pods/"
	actions := []string{pods + "read"}
	for _, subresource := range []string{"exec", "attach", "portforward", "proxy"} {
		w.holding(p, managedCluster, access.Permission{DataActions: actions})
		if w.may(p.ID(), thing{"get", "", "pods", "*", ""}) || w.may(p.ID(), thing{"get", "", "pods", subresource, ""}) {
			t.Errorf("with %v all subresources may be had", actions)
		}
		actions = append(actions, pods+subresource+"/action")
	}
	w.holding(p, managedCluster, access.Permission{DataActions: actions})
	if !w.may(p.ID(), thing{"get", "", "pods", "*", ""}) {
		t.Errorf("with %v not all subresources may be had", actions)
	}
}

// TestWildcardsPromiseNothingThatIsRefused: "may I do everything?" is answered with yes only if each single thing that it
// takes in is allowed, whatever the role.
func TestWildcardsPromiseNothingThatIsRefused(t *testing.T) {
	w := newAuthz(t)
	p := w.Program("somebody").Principal
	kinds := rapid.SampledFrom(strings.Fields("pods secrets nodes namespaces resourcequotas services apps/deployments batch/jobs events.k8s.io/events rbac.authorization.k8s.io/clusterroles"))
	pattern := rapid.Custom(func(t *rapid.T) string {
		kind := kinds.Draw(t, "kind")
		return "Microsoft.ContainerService/managedClusters/" + rapid.SampledFrom([]string{
			"*", "*/read", "apps/*", "*/pods/*", kind + "/*", kind + "/read", kind + "/write", kind + "/exec/action", kind + "/proxy/action",
		}).Draw(t, "pattern")
	})
	rapid.Check(t, func(t *rapid.T) {
		permission := access.Permission{
			DataActions: rapid.SliceOfN(pattern, 1, 4).Draw(t, "yes"), NotDataActions: rapid.SliceOfN(pattern, 0, 2).Draw(t, "no"),
		}
		w.holding(p, rapid.SampledFrom([]resource.ID{managedCluster, managedCluster.Child("namespaces", "here")}).Draw(t, "scope"), permission)
		group, name, grouped := strings.Cut(kinds.Draw(t, "kind"), "/")
		if !grouped {
			group, name = "", group
		}
		one := thing{
			rapid.SampledFrom([]string{"get", "create", "delete", "bind"}).Draw(t, "verb"), group, name,
			rapid.SampledFrom([]string{"", "log", "exec", "attach", "proxy", "portforward"}).Draw(t, "subresource"), rapid.SampledFrom([]string{"", "here"}).Draw(t, "namespace"),
		}
		if w.may(p.ID(), one) {
			return
		}
		for bits := 1; bits < 16; bits++ { // a wildcard in place of any of the four
			wider := one
			for i, field := range []*string{&wider.verb, &wider.group, &wider.resource, &wider.subresource} {
				if bits&(1<<i) != 0 {
					*field = "*"
				}
			}
			if one.verb == "bind" && wider.verb == "*" {
				continue // no resource but roles is bound
			}
			if w.may(p.ID(), wider) {
				t.Fatalf("%+v gives %+v, and not %+v", permission, wider, one)
			}
		}
	})
}
