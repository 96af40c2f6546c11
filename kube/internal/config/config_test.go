package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `{
  "cluster": "demo", "dir": "/data", "podCIDR": "10.244.0.0/16", "serviceCIDR": "10.0.0.0/16", "server": "10.64.0.9:6443",
  "controlPlane": {"issuer": "https://oidc.example/demo/"},
  "node": {"name": "node0", "address": "10.64.0.9", "podCIDR": "10.244.0.0/24", "dir": "/data/node0", "socket": "/run/c.sock", "volumes": "/data/node0/volumes", "cgroupRoot": "/x/node0"}
}`

func read(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Read(path)
}

func TestRead(t *testing.T) {
	c, err := read(t, good)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.DNSAddress().String(); got != "10.0.0.10" {
		t.Errorf("cluster DNS is at %s", got)
	}
	if got := c.ServiceAddress().String(); got != "10.0.0.1" {
		t.Errorf("the API server's service is at %s", got)
	}
	if c.DNSDomain != "cluster.local" {
		t.Errorf("the domain is %q", c.DNSDomain)
	}
}

// TestFaultsAreNamed spoils one field after the other; the error has to name it.
func TestFaultsAreNamed(t *testing.T) {
	for _, c := range []struct{ was, becomes, names string }{
		{`"cluster": "demo"`, `"cluster": "De mo"`, "cluster"},
		{`"dir": "/data"`, `"dir": "data"`, "dir"},
		{`"podCIDR": "10.244.0.0/16"`, `"podCIDR": "10.0.0.0/8"`, "serviceCIDR"},
		{`"server": "10.64.0.9:6443"`, `"server": "10.64.0.9:0"`, "server"},
		{`"issuer": "https://oidc.example/demo/"`, `"issuer": "http://oidc.example/"`, "controlPlane.issuer"},
		{`"podCIDR": "10.244.0.0/24"`, `"podCIDR": "10.245.0.0/24"`, "node.podCIDR"},
		{`"socket": "/run/c.sock"`, `"socket": "c.sock"`, "node.socket"},
		{`"volumes": "/data/node0/volumes"`, `"volumes": ""`, "node.volumes"},
		{`"cluster": "demo"`, `"cluster": "demo", "loadBalancers": ["10.64.0.20", "::1"]`, "loadBalancers"},
		{`"name": "node0"`, `"name": "node0", "colour": "red"`, "colour"},
	} {
		if !strings.Contains(good, c.was) {
			t.Fatalf("%s is not in the file", c.was)
		}
		_, err := read(t, strings.Replace(good, c.was, c.becomes, 1))
		if err == nil || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: got %v, want an error that names %s", c.becomes, err, c.names)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := read(t, `{}`)
	if err == nil || strings.Count(err.Error(), "\n") < 4 {
		t.Errorf("got %v, want every fault", err)
	}
}
