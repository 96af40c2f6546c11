package aks_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api/aks"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

const (
	rbacReader       = "7f6c6a51-bcf8-42ba-9220-52d62157d7db"
	rbacWriter       = "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb"
	rbacAdmin        = "3498e952-d568-435e-9b2c-8d77e338d7f7"
	rbacClusterAdmin = "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b"
	clusterToken     = "the-cluster's-token"
)

var managedCluster = resource.MustParseID("/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/dev")

// authz is the webhook of one cluster over a real directory and real roles.
type authz struct {
	*apitest.World
	handler http.Handler
}

func newAuthz(t testing.TB) *authz {
	t.Helper()
	w := &authz{World: apitest.New(t)}
	w.handler = w.over(w.Access)
	return w
}

func (w *authz) over(a aks.Access) http.Handler {
	return apitest.Wrap(aks.NewAuthorizer(aks.AuthorizerDeps{
		Caller: func(r *http.Request) (resource.ID, bool) {
			return managedCluster, r.Header.Get("Authorization") == "Bearer "+clusterToken
		},
		Access: a, Directory: w.Directory, Log: apitest.Log(),
	}))
}

func (w *authz) post(body string) *httptest.ResponseRecorder {
	return w.do(http.MethodPost, body, nil)
}

func (w *authz) do(method, body string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://management.fairlead.internal/authorize", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+clusterToken)
	if edit != nil {
		edit(r)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// ask is "VERB [GROUP/]RESOURCE[.SUBRESOURCE] [NAMESPACE]", or "VERB /path".
func ask(user, question string) string {
	words := strings.Fields(question)
	spec := map[string]any{"user": user, "groups": []string{"system:authenticated"}, "uid": user, "extra": map[string]any{"fairlead.dev/tenant": []string{apitest.Tenant}}}
	if strings.HasPrefix(words[1], "/") {
		spec["nonResourceAttributes"] = map[string]any{"verb": words[0], "path": words[1]}
	} else {
		a := map[string]any{"verb": words[0], "version": "v1", "name": "x"}
		thing := words[1]
		if group, rest, ok := strings.Cut(thing, "/"); ok {
			a["group"], thing = group, rest
		}
		if name, sub, ok := strings.Cut(thing, "."); ok {
			a["subresource"], thing = sub, name
		}
		a["resource"] = thing
		if len(words) > 2 {
			a["namespace"] = words[2]
		}
		spec["resourceAttributes"] = a
	}
	text, _ := json.Marshal(map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": map[string]any{"creationTimestamp": nil}, "spec": spec})
	return string(text)
}

type verdict struct {
	Status struct {
		Allowed, Denied bool
		Reason          string
	}
}

func (w *authz) verdict(user, question string) verdict {
	w.T.Helper()
	rec := w.post(ask(user, question))
	var v verdict
	apitest.Must(w.T, json.Unmarshal(rec.Body.Bytes(), &v))
	if rec.Code != http.StatusOK || v.Status.Denied || v.Status.Reason == "" {
		w.T.Fatalf("%s: %d %s", question, rec.Code, rec.Body)
	}
	return v
}

// TestWhatRolesAllow goes through Azure's four roles, given at the cluster: the letters tell who may, in this order.
func TestWhatRolesAllow(t *testing.T) {
	w := newAuthz(t)
	who := map[byte]identity.Principal{}
	for letter, role := range map[byte]string{'r': rbacReader, 'w': rbacWriter, 'a': rbacAdmin, 'c': rbacClusterAdmin} {
		who[letter] = w.Program("somebody").Principal
		w.Assign(who[letter], role, managedCluster)
	}
	who['o'] = w.Program("owner").Principal
	w.Assign(who['o'], apitest.Owner, managedCluster.Group())
	for question, may := range map[string]string{
		"get pods team-a":                                                   "rwac",
		"list pods":                                                         "rwac", // in all namespaces
		"watch apps/deployments team-a":                                     "rwac",
		"get pods.log team-a":                                               "rwac",
		"get namespaces team-a":                                             "rwac",
		"get metrics.k8s.io/pods team-a":                                    "rwac",
		"create pods team-a":                                                "wac",
		"patch apps/deployments team-a":                                     "wac",
		"update apps/deployments.scale team-a":                              "wac",
		"deletecollection pods team-a":                                      "wac",
		"create pods.eviction team-a":                                       "wac",
		"create pods.exec team-a":                                           "wac",
		"get pods.exec team-a":                                              "wac", // as a websocket is opened
		"get pods.attach team-a":                                            "wac",
		"get pods.proxy team-a":                                             "wac", // Azure lets readers of pods in here
		"get services.proxy team-a":                                         "wac",
		"create pods.portforward team-a":                                    "wac",
		"get secrets team-a":                                                "wac",
		"list secrets":                                                      "wac",
		"create serviceaccounts.token team-a":                               "wac",
		"impersonate serviceaccounts team-a":                                "wac",
		"update coordination.k8s.io/leases team-a":                          "wac",
		"get rbac.authorization.k8s.io/roles team-a":                        "ac",
		"create rbac.authorization.k8s.io/roles team-a":                     "ac",
		"delete rbac.authorization.k8s.io/rolebindings team-a":              "ac",
		"bind rbac.authorization.k8s.io/clusterroles":                       "ac",
		"escalate rbac.authorization.k8s.io/clusterroles":                   "ac",
		"impersonate users":                                                 "ac",
		"impersonate authentication.k8s.io/userextras.scopes.example.com/a": "ac",
		"get nodes":                            "ac",
		"get nodes.proxy":                      "ac",
		"get example.com/widgets team-a":       "ac",
		"approve certificates.k8s.io/signers":  "ac",
		"get /metrics":                         "ac",
		"head /healthz":                        "ac",
		"post /debug/flags/v":                  "ac",
		"get /logs/*":                          "ac",
		"create namespaces":                    "c",
		"delete namespaces team-a":             "c",
		"update resourcequotas team-a":         "c",
		"get resourcequotas team-a":            "rwac",
		"* *":                                  "c", // kubectl auth can-i '*' '*'
		"* */*":                                "c",
		"get */*":                              "ac",
		"* pods team-a":                        "wac",
		"* pods.* team-a":                      "wac",
		"get pods.* team-a":                    "wac", // exec is among them
		"* */deployments team-a":               "ac",
		"* apps/* team-a":                      "ac",
		"* namespaces":                         "c",
		"* /metrics":                           "ac",
		"delete * team-a":                      "c",
		"* apps/deployments.scale team-a":      "wac",
		"frobnicate pods team-a":               "wac",
		"list events.k8s.io/events team-a":     "rwac",
		"create events.k8s.io/events team-a":   "ac",
		"create networking.k8s.io/ingresses a": "wac",
	} {
		for letter, p := range who {
			if got, want := w.verdict(p.ID(), question).Status.Allowed, strings.IndexByte(may, letter) >= 0; got != want {
				t.Errorf("%c: %q is %v, want %v", letter, question, got, want)
			}
		}
	}
}

// TestRevocationAtOnce: the next question after a role is taken away, or its holder disabled, is answered anew.
func TestRevocationAtOnce(t *testing.T) {
	w := newAuthz(t)
	p := w.Program("somebody").Principal
	may := func() bool { return w.may(p.ID(), thing{"get", "", "pods", "", "team-a"}) }
	if may() {
		t.Error("allowed before there was a role")
	}
	given := w.Assign(p, rbacReader, managedCluster)
	if !may() {
		t.Error("refused with the role")
	}
	apitest.Must(t, w.Directory.SetEnabled(t.Context(), p.ID(), false))
	if may() {
		t.Error("allowed while disabled")
	}
	apitest.Must(t, w.Directory.SetEnabled(t.Context(), p.ID(), true))
	apitest.Must(t, w.Access.Unassign(t.Context(), given.ID))
	if may() {
		t.Error("allowed after the role was taken away")
	}
}

// TestATokenOutlivesNoPrincipal: a token lives for up to a day. What it asks once its principal is disabled or deleted is
// denied, so that no RoleBinding of the cluster's own allows it; what is merely not allowed is left open to RoleBindings.
func TestATokenOutlivesNoPrincipal(t *testing.T) {
	w := newAuthz(t)
	p := w.Program("somebody").Principal
	w.Assign(p, rbacReader, managedCluster)
	denied := func() bool {
		w.T.Helper()
		var v verdict
		apitest.Must(t, json.Unmarshal(w.post(ask(p.ID(), "get secrets team-a")).Body.Bytes(), &v))
		if v.Status.Allowed {
			t.Error("allowed")
		}
		return v.Status.Denied
	}
	if denied() {
		t.Error("denied while it is there")
	}
	apitest.Must(t, w.Directory.SetEnabled(t.Context(), p.ID(), false))
	if !denied() {
		t.Error("not denied while it is disabled")
	}
	apitest.Must(t, w.Directory.SetEnabled(t.Context(), p.ID(), true))
	if denied() {
		t.Error("denied after it was enabled")
	}
	apitest.Must(t, w.Directory.DeleteServicePrincipal(t.Context(), p.ID()))
	if !denied() {
		t.Error("not denied after it was deleted")
	}
}

// TestNamespaceScope: a role at a namespace reaches what is in it and nothing else, in this cluster and in another one.
func TestNamespaceScope(t *testing.T) {
	w := newAuthz(t)
	p, stranger := w.Program("somebody").Principal, w.Program("stranger").Principal
	w.Assign(p, rbacClusterAdmin, managedCluster.Child("namespaces", "team-a"))
	other := resource.MustParseID(strings.TrimSuffix(managedCluster.String(), "dev") + "de")
	w.Assign(stranger, rbacClusterAdmin, other)
	w.Assign(stranger, rbacClusterAdmin, other.Child("namespaces", "team-a"))
	for question, want := range map[string]bool{
		"get pods team-a": true, "get secrets team-a": true, "get namespaces team-a": true, "* */* team-a": true,
		"get pods team-b": false, "get pods team": false, "get pods team-a-b": false, "list pods": false, "get nodes": false, "list namespaces": false,
		"get pods team-a/namespaces/x": false, "get pods TEAM-A": false, "get /metrics": false,
	} {
		if got := w.verdict(p.ID(), question).Status.Allowed; got != want {
			t.Errorf("%q is %v, want %v", question, got, want)
		}
		if w.verdict(stranger.ID(), question).Status.Allowed {
			t.Errorf("%q is allowed by a role at another cluster", question)
		}
	}
}

// TestRolesGrow: whatever is asked, what a lesser role may a greater one may as well; a reader only reads and sees no secret;
// and a role at one namespace gives nothing in another.
func TestRolesGrow(t *testing.T) {
	w := newAuthz(t)
	roles := []string{rbacReader, rbacWriter, rbacClusterAdmin}
	var whole, part []string
	for _, role := range roles {
		everywhere, here := w.Program("everywhere").Principal, w.Program("here").Principal
		w.Assign(everywhere, role, managedCluster)
		w.Assign(here, role, managedCluster.Child("namespaces", "here"))
		whole, part = append(whole, everywhere.ID()), append(part, here.ID())
	}
	verbs := rapid.SampledFrom(strings.Fields("get list watch create update patch delete deletecollection bind escalate impersonate use approve *"))
	things := rapid.SampledFrom(strings.Fields("pods pods.exec pods.log services services.proxy secrets configmaps namespaces nodes events apps/deployments apps/deployments.scale rbac.authorization.k8s.io/roles example.com/secrets example.com/pods batch/* */* *"))
	namespaces := rapid.SampledFrom([]string{"", "here", "there"})
	rapid.Check(t, func(rt *rapid.T) {
		verb, thing, namespace := verbs.Draw(rt, "verb"), things.Draw(rt, "thing"), namespaces.Draw(rt, "namespace")
		question := strings.TrimSpace(verb + " " + thing + " " + namespace)
		before := false
		for i := range roles {
			all, some := w.verdict(whole[i], question).Status.Allowed, w.verdict(part[i], question).Status.Allowed
			switch {
			case before && !all:
				rt.Fatalf("%q: role %d may less than the one before", question, i)
			case i == 0 && all && (thing == "secrets" || !strings.Contains("get list watch", verb)):
				rt.Fatalf("%q: a reader may", question)
			case i == 1 && all && strings.Contains(thing, "rbac"):
				rt.Fatalf("%q: a writer may", question)
			case i == 2 && !all:
				rt.Fatalf("%q: a cluster admin may not", question)
			case some != (all && namespace == "here"):
				rt.Fatalf("%q: at the namespace %v, at the cluster %v", question, some, all)
			}
			before = all
		}
	})
}

type broken struct{ aks.Access }

func (broken) Check(context.Context, identity.Principal, access.Action, resource.ID) (access.Decision, error) {
	return access.Decision{}, errors.New("the disk with the secret plans is full")
}

func TestReviewReplies(t *testing.T) {
	w := newAuthz(t)
	p, bare, off := w.Program("somebody").Principal, w.Program("bare").Principal, w.Program("off").Principal
	w.Assign(p, rbacReader, managedCluster.Child("namespaces", "team-a"))
	w.Assign(p, rbacReader, resource.MustParseID(managedCluster.String()+"-2"))
	w.Assign(p, apitest.AcrPull, managedCluster.Group())
	w.Assign(bare, apitest.Owner, resource.Root)
	w.Assign(w.Program("another").Principal, rbacClusterAdmin, managedCluster)
	apitest.Must(t, w.Directory.SetEnabled(t.Context(), off.ID(), false))
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	good := ask(p.ID(), "get pods team-a")
	for name, rec := range map[string]*httptest.ResponseRecorder{
		"allowed":            w.post(good),
		"lacks-star":         w.post(ask(p.ID(), "get */pods team-a")),
		"lacks-action":       w.post(ask(p.ID(), "create pods team-a")),
		"lacks-scope":        w.post(ask(p.ID(), "get pods team-b")),
		"lacks-all":          w.post(ask(bare.ID(), "list secrets")),
		"lacks-path":         w.post(ask(p.ID(), "get /metrics")),
		"principal-none":     w.post(ask("99999999-2222-3333-4444-555555555555", "get pods team-a")),
		"principal-disabled": w.post(ask(off.ID(), "get pods team-a")),
		"named-like-none":    w.post(strings.Replace(ask("99999999-2222-3333-4444-555555555555", "get pods team-a"), "fairlead.dev/tenant", "example.com/x", 1)),
		"named-like-off":     w.post(strings.Replace(ask(off.ID(), "get pods team-a"), "fairlead.dev/tenant", "example.com/x", 1)),
		"user-other":         w.post(ask("system:serviceaccount:team-a:default", "get pods team-a")),
		"user-upper-case":    w.post(ask("AAAAAAAA-2222-3333-4444-555555555555", "get pods team-a")),
		"namespace-odd":      w.post(ask(p.ID(), "get pods team-a/../b")),
		"resource-odd":       w.post(strings.Replace(good, `"resource":"pods"`, `"resource":"pods/exec"`, 1)),
		"resource-none":      w.post(strings.Replace(good, `"resource":"pods"`, `"resource":""`, 1)),
		"group-odd":          w.post(strings.Replace(good, `"resource":"pods"`, `"group":"a/b","resource":"pods"`, 1)),
		"verb-none":          w.post(strings.Replace(good, `"verb":"get"`, `"verb":""`, 1)),
		"path-odd":           w.post(ask(p.ID(), "get /a/../metrics")),
		"path-verb-odd":      w.post(ask(p.ID(), "list /metrics")),
		"error-method":       w.do(http.MethodGet, good, nil),
		"error-caller":       w.do(http.MethodPost, good, header("Authorization", "Bearer other")),
		"error-media-type":   w.do(http.MethodPost, good, header("Content-Type", "application/yaml")),
		"error-empty":        w.post(""),
		"error-json":         w.post("{"),
		"error-type":         w.post(strings.Replace(good, `"verb":"get"`, `"verb":7`, 1)),
		"error-version":      w.post(strings.Replace(good, "/v1", "/v1beta1", 1)),
		"error-kind":         w.post(strings.Replace(good, "SubjectAccessReview", "Pod", 1)),
		"error-spec":         w.post(`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"x"}}`),
		"error-both":         w.post(strings.Replace(good, `"spec":{`, `"spec":{"nonResourceAttributes":{"path":"/","verb":"get"},`, 1)),
		"error-too-large":    w.post(`{"kind":"` + strings.Repeat("a", 300<<10) + `"}`),
		"error-internal":     (&authz{World: w.World, handler: w.over(broken{w.Access})}).post(good),
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(rec.Body.String(), "secret plans") || strings.Contains(rec.Body.String(), clusterToken) {
				t.Error("the answer tells what it must not")
			}
			rec.Body = blankRequestID(rec)
			apitest.Golden(t, "review-"+name, rec)
		})
	}
}
