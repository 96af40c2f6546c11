package kubeconfig_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/api/arm/kubeconfig"
	"fairlead.dev/internal/resource"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestDocuments(t *testing.T) {
	c := kubeconfig.Cluster{
		ID:     resource.MustParseID("/subscriptions/s/resourceGroups/web/providers/Microsoft.ContainerService/managedClusters/dev"),
		Server: "https://127.0.0.1:6443", TLSServerName: "dev.fairlead.internal", CA: []byte("the authority"),
	}
	plain := c
	plain.TLSServerName = ""
	for name, got := range map[string][]byte{
		"admin.yaml":      c.Admin([]byte("the certificate"), []byte("the key")),
		"user.yaml":       c.User(),
		"user-login.yaml": plain.User("--ready-file", "/var/lib/fairlead/ready.json"),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}
