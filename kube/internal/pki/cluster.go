package pki

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Cluster is every authority and key of a cluster, in one directory that belongs to its control plane.
type Cluster struct {
	Dir    string
	CA     *Authority // the API server, the kubelets, and every client of either
	Front  *Authority // requests that the API server hands on to extension servers
	Store  *Authority // the datastore and its one client
	Tokens string     // key file that service accounts' tokens are signed with
}

// OpenCluster reads what is there and makes what is not.
func OpenCluster(dir string, now func() time.Time) (*Cluster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, Tokens: filepath.Join(dir, "service-accounts.key")}
	var err error
	if c.CA, err = OpenAuthority(dir, "ca", now); err != nil {
		return nil, err
	}
	if c.Front, err = OpenAuthority(dir, "front-proxy-ca", now); err != nil {
		return nil, err
	}
	if c.Store, err = OpenAuthority(dir, "store-ca", now); err != nil {
		return nil, err
	}
	return c, ensureKey(c.Tokens, filepath.Join(dir, "service-accounts.pub"))
}

// Kubeconfig makes a client certificate and writes the kubeconfig file that uses it to reach server, next to it.
// A kubeconfig that people take away carries the certificate inside it instead of naming its file.
func (c *Cluster) Kubeconfig(l Leaf, server string, inline bool) (file string, err error) {
	cert, key, _, err := c.CA.Ensure(l)
	if err != nil {
		return "", err
	}
	cluster := map[string]any{"server": server}
	user := map[string]any{}
	for _, f := range []struct {
		in         map[string]any
		name, path string
	}{{cluster, "certificate-authority", c.CA.File()}, {user, "client-certificate", cert}, {user, "client-key", key}} {
		if !inline {
			f.in[f.name] = f.path
			continue
		}
		if f.in[f.name+"-data"], err = os.ReadFile(f.path); err != nil { // encoding/json writes it as base64
			return "", err
		}
	}
	text, err := json.MarshalIndent(map[string]any{ // JSON is YAML
		"apiVersion": "v1", "kind": "Config", "current-context": l.Name,
		"clusters": []any{map[string]any{"name": l.Name, "cluster": cluster}},
		"users":    []any{map[string]any{"name": l.Name, "user": user}},
		"contexts": []any{map[string]any{"name": l.Name, "context": map[string]any{"cluster": l.Name, "user": l.Name}}},
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("kubeconfig %s: %w", l.Name, err)
	}
	file = filepath.Join(c.Dir, l.Name+".kubeconfig")
	return file, WriteFile(file, text, 0o600)
}
