package server

import (
	"strings"
	"testing"
)

func TestValidateFillsDefaultsAndReportsEveryFault(t *testing.T) {
	good := Config{}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	if good.Listen != defaultListen || good.Compute != computeOn || good.LogFormat != "text" {
		t.Fatalf("defaults are not filled in: %+v", good)
	}
	bad := Config{Listen: "example.com:99999", Domains: []string{"ok.test", "single"}, Tenant: "x", Subscription: "y", Compute: "z", LogFormat: "xml", LogLevel: "loud", OCIRuntime: "docker", AllowIssuers: []string{"https://idp.example/"}}
	err := bad.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, flag := range []string{"--listen", "--domain", "--tenant-id", "--subscription-id", "--compute", "--log-format", "--log-level", "--oci-runtime", "--allow-issuer"} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("%q does not name %s", err, flag)
		}
	}
}
