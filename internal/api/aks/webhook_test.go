package aks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/internal/api/aks"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

var clusterID = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/demo")

// accounts are the service accounts of the cluster, by namespace and name.
type accounts map[string]map[string]string

func (a accounts) Annotations(_ context.Context, cluster resource.ID, namespace, name string) (map[string]string, error) {
	switch found, ok := a[namespace+"/"+name]; {
	case cluster != clusterID:
		return nil, errors.New("another cluster")
	case name == "broken":
		return nil, errors.New("no answer from https://10.1.2.3:6443")
	case !ok:
		return nil, fault.New(fault.NotFound, "NotFound", "no such service account")
	default:
		return found, nil
	}
}

func webhook(log *slog.Logger) http.Handler {
	return apitest.Wrap(aks.NewWebhook(aks.WebhookDeps{
		Caller:   func(r *http.Request) (resource.ID, bool) { return clusterID, r.Header.Get("X-Stranger") == "" },
		TenantID: "adfs", AuthorityHost: "https://login.fairlead.internal:8443/", Log: log,
		ServiceAccounts: accounts{
			"shop/web":     {"azure.workload.identity/client-id": "client-of-web"},
			"shop/default": nil,
			"shop/long": {
				"azure.workload.identity/client-id": "client-of-long", "azure.workload.identity/tenant-id": apitest.Tenant,
				"azure.workload.identity/service-account-token-expiration": "7200",
			},
		},
	}))
}

// review gives an AdmissionReview that creates a pod in the namespace shop.
func review(pod string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1","kind":{"group":"","version":"v1","kind":"Pod"},` +
		`"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"shop","operation":"CREATE","object":` + pod + `,"oldObject":null}}`
}

// pod gives a pod with a label; metadata and spec are further fields, each with a comma behind it.
func pod(metadata, spec, containers string) string {
	return `{"apiVersion":"v1","kind":"Pod","metadata":{` + metadata + `"name":"p","labels":{"azure.workload.identity/use":"true"}},"spec":{` + spec + `"containers":` + containers + `}}`
}

const plain = `[{"name":"app","image":"i"}]`

func post(t testing.TB, h http.Handler, body string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/mutate", strings.NewReader(body)))
	return rec
}

type answer struct {
	APIVersion, Kind string
	Response         struct {
		UID       string
		Allowed   bool
		Status    *struct{ Message string }
		PatchType string
		Patch     []byte
	}
}

// ask sends a pod and gives the answer.
func admit(t testing.TB, pod string) answer {
	t.Helper()
	rec := post(t, webhook(apitest.Log()), review(pod))
	var a answer
	apitest.Must(t, json.Unmarshal(rec.Body.Bytes(), &a))
	if rec.Code != http.StatusOK || a.APIVersion != "admission.k8s.io/v1" || a.Kind != "AdmissionReview" || a.Response.UID != "u-1" {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return a
}

// apply applies a JSON patch of "add" operations (RFC 6902), strictly.
func apply(doc, patch string) (string, error) {
	var root any
	if err := json.Unmarshal([]byte(doc), &root); err != nil {
		return "", err
	}
	var operations []struct {
		Op, Path string
		Value    any
	}
	if err := json.Unmarshal([]byte(patch), &operations); err != nil {
		return "", err
	}
	for _, o := range operations {
		if o.Op != "add" || !strings.HasPrefix(o.Path, "/") {
			return "", fmt.Errorf("operation %+v", o)
		}
		var err error
		if root, err = put(root, strings.Split(o.Path[1:], "/"), o.Value); err != nil {
			return "", fmt.Errorf("%s: %w", o.Path, err)
		}
	}
	out, err := json.Marshal(root)
	return string(out), err
}

func put(at any, path []string, v any) (any, error) {
	if len(path) == 0 {
		return v, nil
	}
	switch in := at.(type) {
	case map[string]any:
		if _, there := in[path[0]]; !there && len(path) > 1 {
			return nil, errors.New("no such field")
		}
		sub, err := put(in[path[0]], path[1:], v)
		in[path[0]] = sub
		return in, err
	case []any:
		if path[0] == "-" && len(path) == 1 {
			return append(in, v), nil
		}
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(in) {
			return nil, errors.New("no such item")
		}
		in[i], err = put(in[i], path[1:], v)
		return in, err
	}
	return nil, fmt.Errorf("a %T has no parts", at)
}

// pods are pods that use workload identity, each with what is special about it.
func pods() map[string]string {
	return map[string]string{
		"plain":      pod("", `"serviceAccountName":"web",`, plain),
		"no-account": pod("", "", plain),
		"annotated-pod": pod(`"annotations":{"azure.workload.identity/client-id":"client-of-pod","azure.workload.identity/tenant-id":"t-of-pod",`+
			`"azure.workload.identity/service-account-token-expiration":"86400"},`, `"serviceAccountName":"default",`, plain),
		"annotated-both": pod(`"annotations":{"azure.workload.identity/client-id":"client-of-pod"},`, `"serviceAccountName":"long",`, plain),
		"init-and-skip": pod(`"annotations":{"azure.workload.identity/skip-containers":"proxy; agent"},`,
			`"serviceAccountName":"web","initContainers":[{"name":"init"},{"name":"proxy"}],`, `[{"name":"app"},{"name":"agent"},{"name":"second"}]`),
		"own-values": pod("", `"serviceAccountName":"web","volumes":[{"name":"data","emptyDir":{}},{"name":"azure-identity-token","emptyDir":{}}],`,
			`[{"name":"app","env":[{"name":"AZURE_CLIENT_ID","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}},{"name":"SSL_CERT_FILE","value":"/own.pem"},`+
				`{"name":"AZURE_AUTHORITY_HOST","value":""}],"volumeMounts":[{"name":"mine","mountPath":"/var/run/secrets/azure/tokens/"}]}]`),
		"own-trust-in-one": pod("", `"serviceAccountName":"web",`, `[{"name":"app","env":[{"name":"SSL_CERT_DIR","value":"/own"}]},{"name":"other","env":null,"volumeMounts":[]}]`),
	}
}

func TestPatches(t *testing.T) {
	for name, p := range pods() {
		t.Run(name, func(t *testing.T) {
			a := admit(t, p)
			if !a.Response.Allowed || a.Response.PatchType != "JSONPatch" {
				t.Fatalf("%+v", a)
			}
			rec := httptest.NewRecorder()
			rec.Body = bytes.NewBuffer(a.Response.Patch)
			apitest.Golden(t, "patch-"+name, rec)
			changed, err := apply(p, string(a.Response.Patch))
			apitest.Must(t, err)
			if again := admit(t, changed); !again.Response.Allowed || len(again.Response.Patch) > 0 {
				t.Errorf("what is changed is changed again: %s", again.Response.Patch)
			}
		})
	}
}

func TestPodsThatAreLeftAlone(t *testing.T) {
	good := review(pod("", `"serviceAccountName":"web",`, plain))
	for name, body := range map[string]string{
		"no label":           strings.Replace(good, "azure.workload.identity/use", "other", 1),
		"label false":        strings.Replace(good, `use":"true"`, `use":"false"`, 1),
		"label in uppercase": strings.Replace(good, `use":"true"`, `use":"True"`, 1),
		"update":             strings.Replace(good, "CREATE", "UPDATE", 1),
		"another resource":   strings.Replace(good, `"resource":"pods"`, `"resource":"deployments"`, 1),
		"another group":      strings.Replace(good, `"resource":{"group":""`, `"resource":{"group":"apps"`, 1),
		"subresource":        strings.Replace(good, `"operation"`, `"subResource":"status","operation"`, 1),
		"without a spec":     review(`{"metadata":{"labels":{"azure.workload.identity/use":"true"}}}`),
	} {
		rec := post(t, webhook(apitest.Log()), body)
		var a answer
		apitest.Must(t, json.Unmarshal(rec.Body.Bytes(), &a))
		if rec.Code != http.StatusOK || !a.Response.Allowed || a.Response.Patch != nil || a.Response.PatchType != "" {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
}

func TestReviewBodies(t *testing.T) {
	expiring := func(text string) string {
		return review(pod(`"annotations":{"azure.workload.identity/service-account-token-expiration":"`+text+`"},`, `"serviceAccountName":"web",`, plain))
	}
	h := webhook(apitest.Log())
	apitest.Golden(t, "allowed", post(t, h, review(pod("", `"serviceAccountName":"web",`, plain))))
	apitest.Golden(t, "expiration-short", post(t, h, expiring("3599")))
	apitest.Golden(t, "expiration-long", post(t, h, expiring("86401")))
	apitest.Golden(t, "expiration-text", post(t, h, expiring("1h")))
	apitest.Golden(t, "account-unknown", post(t, h, review(pod("", `"serviceAccountName":"nobody",`, plain))))
	apitest.Golden(t, "pod-malformed", post(t, h, review(`{"metadata":{"labels":7}}`)))
	apitest.Golden(t, "review-malformed", post(t, h, "{"))
	apitest.Golden(t, "review-version", post(t, h, strings.Replace(review(`{}`), "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1)))
	apitest.Golden(t, "review-large", post(t, h, `{"x":"`+strings.Repeat("x", 5<<20)+`"}`))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/mutate", nil))
	apitest.Golden(t, "method", rec)
	rec = httptest.NewRecorder()
	stranger := httptest.NewRequest(http.MethodPost, "/mutate", strings.NewReader(review(pod("", "", plain))))
	stranger.Header.Set("X-Stranger", "yes")
	h.ServeHTTP(rec, stranger)
	apitest.Golden(t, "stranger", rec)
}

// TestOurFailureShowsNothing: the reason is for our log, not for whoever may create pods.
func TestOurFailureShowsNothing(t *testing.T) {
	var log bytes.Buffer
	rec := post(t, webhook(slog.New(slog.NewTextHandler(&log, nil))), review(pod("", `"serviceAccountName":"broken",`, plain)))
	apitest.Golden(t, "failure", rec)
	if strings.Contains(rec.Body.String(), "10.1.2.3") || !strings.Contains(log.String(), "10.1.2.3") {
		t.Errorf("answer %s, log %s", rec.Body, &log)
	}
}

func FuzzWebhook(f *testing.F) {
	for _, p := range pods() {
		f.Add(p)
	}
	f.Add(`{"metadata":{"labels":{"azure.workload.identity/use":"true"}},"spec":{"containers":[null,{"name":"a","env":[null],"volumeMounts":null}],"volumes":[null]}}`)
	h := webhook(apitest.Log())
	f.Fuzz(func(t *testing.T, p string) {
		if !json.Valid([]byte(p)) || strings.Contains(strings.ToLower(p), "broken") {
			return
		}
		rec := post(t, h, review(p))
		var a answer
		if rec.Code != http.StatusOK || json.Unmarshal(rec.Body.Bytes(), &a) != nil {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		if len(a.Response.Patch) == 0 || oddNames(p) {
			return
		}
		if _, err := apply(p, string(a.Response.Patch)); err != nil {
			t.Errorf("the patch does not apply: %v: %s", err, a.Response.Patch)
		}
	})
}

// oddNames reports whether a document has names that the API server never writes: it writes each field once, in its one
// spelling, which a JSON decoder that takes other spellings too may read in another way.
func oddNames(p string) bool {
	for _, name := range []string{"metadata", "labels", "annotations", "spec", "containers", "initContainers", "volumes", "name", "env", "volumeMounts"} {
		folded, exact := strings.Count(strings.ToLower(p), strings.ToLower(`"`+name+`"`)), strings.Count(p, `"`+name+`"`)
		if folded != exact || strings.Contains(p, `\u`) || exact > 1 && (name == "spec" || name == "containers" || name == "metadata") {
			return true
		}
	}
	return false
}
