package aks

import (
	"strings"
	"testing"

	"fairlead.dev/internal/resource"
)

// FuzzReview: whatever a review holds, it is refused, or asks about data actions of clusters at the cluster that was asked
// for or at one namespace of it.
func FuzzReview(f *testing.F) {
	for _, spec := range []string{
		`"resourceAttributes":{"verb":"get","resource":"pods","namespace":"team-a"}`,
		`"resourceAttributes":{"verb":"*","group":"*","resource":"*","subresource":"*"}`,
		`"resourceAttributes":{"verb":"get","group":"apps","resource":"deployments","subresource":"scale"}`,
		`"resourceAttributes":{"verb":"get","resource":"pods","namespace":"../x"}`,
		`"nonResourceAttributes":{"verb":"get","path":"/healthz//x"}`,
		`"nonResourceAttributes":{"verb":"get","path":"/../x"}`,
		`"resourceAttributes":null`,
	} {
		f.Add([]byte(`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"x",` + spec + `}}`))
	}
	cluster := resource.MustParseID("/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/dev")
	f.Fuzz(func(t *testing.T, body []byte) {
		spec, err := parseReview(body)
		if err != nil {
			return
		}
		q, err := spec.question(cluster)
		if err != nil {
			return
		}
		if parsed, err := resource.ParseID(q.scope.String()); err != nil || !parsed.Equal(q.scope) {
			t.Errorf("scope %q: %v", q.scope, err)
		}
		if !q.scope.Equal(cluster) && (!q.scope.Parent().Equal(cluster) || !q.scope.Is("Microsoft.ContainerService/managedClusters/namespaces")) {
			t.Errorf("the scope %q is neither the cluster nor a namespace of it", q.scope)
		}
		if len(q.actions) == 0 {
			t.Error("it asks about nothing, which everybody may")
		}
		for _, a := range q.actions {
			rest, ours := strings.CutPrefix(a.Name, "Microsoft.ContainerService/managedClusters/")
			if !ours || !a.Data || rest == "" || strings.Contains(rest, "//") || strings.Contains(rest, "..") && spec.NonResource == nil && !strings.Contains(spec.Resource.Group+spec.Resource.Resource+spec.Resource.Verb, "..") {
				t.Errorf("action %+v", a)
			}
			if spec.Resource != nil && spec.Resource.Subresource == "" && strings.Count(rest, "/") > 3 {
				t.Errorf("action %q has too many parts", a.Name)
			}
		}
	})
}
