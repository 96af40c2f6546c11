package aks_test

import (
	"bytes"
	"flag"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/api/aks"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/resource"
)

// blankRequestID takes out what differs from run to run and is not a GUID of the world.
func blankRequestID(rec *httptest.ResponseRecorder) *bytes.Buffer {
	return bytes.NewBuffer(regexp.MustCompile(`request id [0-9a-f-]{36}`).ReplaceAll(rec.Body.Bytes(), []byte("request id <id>")))
}

// TestFiles compares the API server's files with testdata, letter for letter.
func TestFiles(t *testing.T) {
	origin := resource.Origin{Domains: []string{"fairlead.localhost", "fairlead.internal"}, Port: 8443}
	nodes := resource.Origin{Domains: []string{"fairlead.internal"}, Port: 8443}
	ca := []byte("-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n")
	objects := aks.Objects("https://clusters.fairlead.internal:8443/admit", ca)
	if objects[0].Path != "/apis/certificates.k8s.io/v1/clustertrustbundles/fairlead" ||
		objects[1].Path != "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/fairlead-workload-identity" {
		t.Errorf("the objects' paths: %s, %s", objects[0].Path, objects[1].Path)
	}
	tokens := aks.CredentialObjects()
	if tokens[0].Path != "/apis/rbac.authorization.k8s.io/v1/clusterroles/fairlead-registry-tokens" ||
		tokens[1].Path != "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/fairlead-registry-tokens" {
		t.Errorf("the objects' paths: %s, %s", tokens[0].Path, tokens[1].Path)
	}
	for name, got := range map[string][]byte{
		"credential-providers.json": aks.CredentialProviders("fairlead", []string{"credential-provider", "--config", "/etc/fairlead/credentials.json"},
			[]string{"*.azurecr.io", "*.azurecr.fairlead.internal:8443"}, []string{"kubernetes.azure.com/acr-client-id"}),
		"token-role.json":           tokens[0].Body,
		"token-role-binding.json":   tokens[1].Body,
		"admission.json":            aks.AdmissionConfiguration("/etc/kubernetes/fairlead-admission.kubeconfig"),
		"admission-kubeconfig.json": aks.AdmissionKubeconfig("https://clusters.fairlead.internal:8443", "to<ken>"),
		"trust-bundle.json":         objects[0].Body,
		"webhook.json":              objects[1].Body,
		"authentication.json":       aks.AuthenticationConfiguration(origin, nodes, apitest.Tenant, ca),
		"authorization.json":        aks.AuthorizationConfiguration("/etc/kubernetes/fairlead-authorizer.kubeconfig"),
		"webhook-kubeconfig.json":   aks.WebhookKubeconfig("https://clusters.fairlead.internal:8443/authorize", ca, "to<ken>"),
	} {
		path := filepath.Join("testdata", name)
		if flag.Lookup("update").Value.String() == "true" {
			apitest.Must(t, os.WriteFile(path, got, 0o644))
		}
		want, err := os.ReadFile(path)
		apitest.Must(t, err)
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}
