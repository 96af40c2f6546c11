package config_test

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/load"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/client-go/tools/clientcmd"
)

// written is where the other module's tests keep what fairlead writes for API servers and for kubectl, letter for letter.
const written = "../../../internal/api/"

func text(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(written + path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// authority gives some certificate: that in the files is none.
func authority(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// TestTheAPIServerTakesWhatFairleadWrites has the API server's own code read and check its two files, unknown fields and
// expressions included.
func TestTheAPIServerTakesWhatFairleadWrites(t *testing.T) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	authentication := &apiserver.AuthenticationConfiguration{}
	if err := runtime.DecodeInto(codecs.UniversalDecoder(), []byte(text(t, "aks/testdata/authentication.json")), authentication); err != nil {
		t.Fatal(err)
	}
	for i := range authentication.JWT {
		authentication.JWT[i].Issuer.CertificateAuthority = authority(t)
	}
	if errs := validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), authentication, nil); len(errs) > 0 || len(authentication.JWT) == 0 {
		t.Errorf("authentication: %d issuers, %v", len(authentication.JWT), errs)
	}

	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(text(t, "aks/testdata/webhook-kubeconfig.json")), 0o600); err != nil {
		t.Fatal(err)
	}
	given := strings.Replace(text(t, "aks/testdata/authorization.json"), "/etc/kubernetes/fairlead-authorizer.kubeconfig", kubeconfig, 1)
	authorization, err := load.LoadFromData([]byte(given))
	if err != nil {
		t.Fatal(err)
	}
	types := sets.New("Node", "RBAC", "Webhook")
	if errs := validation.ValidateAuthorizationConfiguration(authorizationcel.NewDefaultCompiler(), nil, authorization, types, sets.New("Webhook")); len(errs) > 0 {
		t.Errorf("authorization: %v", errs)
	}
	var order []string
	for _, a := range authorization.Authorizers {
		order = append(order, string(a.Type))
		if w := a.Webhook; w != nil && (w.CacheAuthorizedRequests || w.CacheUnauthorizedRequests) {
			t.Error("what the webhook says would be remembered")
		}
	}
	if got := strings.Join(order, " "); got != "Node Webhook RBAC" {
		t.Errorf("the order is %s", got)
	}
}

// TestKubectlTakesWhatFairleadWrites has kubectl's own code read the kubeconfigs.
func TestKubectlTakesWhatFairleadWrites(t *testing.T) {
	for _, path := range []string{
		"aks/testdata/webhook-kubeconfig.json", "arm/kubeconfig/testdata/admin.yaml", "arm/kubeconfig/testdata/user.yaml", "arm/kubeconfig/testdata/user-login.yaml",
	} {
		config, err := clientcmd.Load([]byte(text(t, path)))
		if err == nil {
			err = clientcmd.ConfirmUsable(*config, config.CurrentContext)
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
