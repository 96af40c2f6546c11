package hosts_test

import (
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/driver/containerd/hosts"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// asked gives where containerd itself looks for the images of a host.
func asked(t *testing.T, dir, host string) []string {
	t.Helper()
	at, err := config.ConfigureHosts(t.Context(), config.HostOptions{HostDir: config.HostDirFromRoot(dir)})(host)
	must(t, err)
	var out []string
	for _, h := range at {
		if !h.Capabilities.Has(docker.HostCapabilityPull) || !h.Capabilities.Has(docker.HostCapabilityResolve) {
			t.Errorf("%s is not asked for everything", h.Host)
		}
		out = append(out, h.Scheme+"://"+h.Host+h.Path)
	}
	return out
}

func TestContainerdAsksTheServerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "registries")
	authority := filepath.Join(t.TempDir(), "an \"odd\" ca.pem")
	https := httptest.NewTLSServer(nil)
	defer https.Close()
	must(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw}), 0o600))
	server := "https://one.azurecr.fairlead.internal:8443"
	all := []hosts.Host{
		{Name: "one.azurecr.io", Server: server, Authority: authority},
		{Name: "one.azurecr.fairlead.localhost:8443", Server: server, Authority: authority},
	}
	must(t, hosts.Write(dir, all))
	for _, h := range all {
		if diff := cmp.Diff([]string{server + "/v2"}, asked(t, dir, h.Name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", h.Name, diff)
		}
	}
	if diff := cmp.Diff([]string{"https://two.azurecr.io/v2"}, asked(t, dir, "two.azurecr.io")); diff != "" {
		t.Errorf("a host of none of ours (-want +got):\n%s", diff)
	}
}

func TestHostsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	one, two := hosts.Host{Name: "one.azurecr.io", Server: "https://one.example"}, hosts.Host{Name: "two.azurecr.io", Server: "https://two.example"}
	must(t, hosts.Write(dir, []hosts.Host{one, two}))
	must(t, os.WriteFile(filepath.Join(dir, "stray"), nil, 0o600))
	before, err := os.Stat(filepath.Join(dir, two.Name, "hosts.toml"))
	must(t, err)
	must(t, hosts.Write(dir, []hosts.Host{two}))
	for _, name := range []string{one.Name, "stray"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", name)
		}
	}
	after, err := os.Stat(filepath.Join(dir, two.Name, "hosts.toml"))
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("a file that says the same was written again")
	}
	two.Server = "https://elsewhere.example"
	must(t, hosts.Write(dir, []hosts.Host{two}))
	text, err := os.ReadFile(filepath.Join(dir, two.Name, "hosts.toml"))
	must(t, err)
	if want := "server = \"https://elsewhere.example\"\ncapabilities = [\"pull\", \"resolve\"]\nca = \"\"\n"; string(text) != want {
		t.Errorf("got %q, want %q", text, want)
	}
}
