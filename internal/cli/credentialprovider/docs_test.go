package credentialprovider_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"fairlead.dev/client"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/cli/credentialprovider"
)

const page = "../../../docs/kubernetes/credential-provider.md"

// kubeletConfig is kubelet.config.k8s.io/v1 CredentialProviderConfig.
//
// Source: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1/
type kubeletConfig struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Providers  []struct {
		Name                 string   `json:"name"`
		APIVersion           string   `json:"apiVersion"`
		MatchImages          []string `json:"matchImages"`
		DefaultCacheDuration string   `json:"defaultCacheDuration"`
		Args                 []string `json:"args"`
		TokenAttributes      struct {
			Audience  string   `json:"serviceAccountTokenAudience"`
			CacheType string   `json:"cacheType"`
			Require   *bool    `json:"requireServiceAccount"`
			Optional  []string `json:"optionalServiceAccountAnnotationKeys"`
		} `json:"tokenAttributes"`
	} `json:"providers"`
}

// TestPage: the files on the page are read as what they are, and agree with each other.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	apitest.Must(t, err)
	var files []string
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		files = append(files, strings.Split(block[1], "---\n")...)
	}
	if len(files) != 5 {
		t.Fatalf("%d files on the page", len(files))
	}
	config, err := credentialprovider.ParseConfig([]byte(files[0]))
	apitest.Must(t, err)
	var hosts []string
	for _, r := range config.Registries {
		hosts = append(hosts, r.Host)
	}
	var kubelet kubeletConfig
	apitest.Must(t, yaml.UnmarshalStrict([]byte(files[1]), &kubelet))
	p := kubelet.Providers[0]
	if kubelet.Kind != "CredentialProviderConfig" || p.APIVersion != "credentialprovider.kubelet.k8s.io/v1" || !slices.Equal(p.MatchImages, hosts) {
		t.Errorf("the kubelet's file is %+v", kubelet)
	}
	if p.TokenAttributes.CacheType != "ServiceAccount" || p.TokenAttributes.Require == nil || !slices.Equal(p.TokenAttributes.Optional, client.ProviderAnnotations()) {
		t.Errorf("tokenAttributes are %+v", p.TokenAttributes)
	}
	var role struct {
		Rules []struct{ Resources, Verbs []string }
	}
	apitest.Must(t, yaml.Unmarshal([]byte(files[2]), &role))
	if len(role.Rules) != 1 || !slices.Equal(role.Rules[0].Resources, []string{p.TokenAttributes.Audience}) || !slices.Equal(role.Rules[0].Verbs, []string{"request-serviceaccounts-token-audience"}) {
		t.Errorf("the role is %+v", role)
	}
	var account struct {
		Metadata struct{ Annotations map[string]string }
	}
	apitest.Must(t, yaml.Unmarshal([]byte(files[4]), &account))
	for name := range account.Metadata.Annotations {
		if !slices.Contains(p.TokenAttributes.Optional, name) {
			t.Errorf("the kubelet is not told of the annotation %s", name)
		}
	}
	if len(account.Metadata.Annotations) == 0 {
		t.Error("the service account names no identity")
	}
}

// TestPageKnowsEveryField: a field of the configuration that the page leaves out is unknown to people.
func TestPageKnowsEveryField(t *testing.T) {
	text, err := os.ReadFile(page)
	apitest.Must(t, err)
	fields := append(reflect.VisibleFields(reflect.TypeFor[client.ProviderConfig]()), reflect.VisibleFields(reflect.TypeFor[client.ProviderRegistry]())...)
	for _, f := range fields {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name != "registries" && !regexp.MustCompile(`(?m)^\|.*`+name+"`").Match(text) {
			t.Errorf("the page says nothing of %s, in JSON %q", f.Name, name)
		}
	}
}
