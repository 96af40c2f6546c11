package pki

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// Cluster is every authority and key of a cluster, in one directory that belongs to its control plane.
type Cluster struct {
	Dir    string
	CA     *Authority // the API server, the kubelets, and every client of either
	Front  *Authority // requests that the API server hands on to extension servers
	Store  *Authority // the datastore and its one client
	Tokens string     // key file that service accounts' tokens are signed with

	mu     sync.Mutex
	inline map[string]func() error // writes a kubeconfig again that carries its certificate, by name
}

// OpenCluster reads what is there and makes what is not.
func OpenCluster(dir string, now func() time.Time) (*Cluster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, Tokens: filepath.Join(dir, "service-accounts.key"), inline: map[string]func() error{}}
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

// KeepFresh renews, until ctx ends, what grows old while the cluster runs. The parts read the files again by themselves.
func (c *Cluster) KeepFresh(ctx context.Context) {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if err := c.Renew(); err != nil {
			klog.ErrorS(err, "Certificates were not renewed; the next try is later", "in", lookEvery)
		}
	}
}

// lookEvery is how often certificates are looked at. A laptop that sleeps does not count its sleep, but has four months.
const lookEvery = 12 * time.Hour

// Renew renews the old ones among the certificates that were asked for, and the kubeconfig files that carry one.
func (c *Cluster) Renew() error {
	err := errors.Join(c.CA.renew(), c.Front.renew(), c.Store.renew())
	c.mu.Lock()
	files := slices.Collect(maps.Values(c.inline))
	c.mu.Unlock()
	for _, write := range files {
		err = errors.Join(err, write())
	}
	return err
}

// Kubeconfig makes a client certificate and writes the kubeconfig file that uses it to reach server, next to it.
// A kubeconfig that people take away carries the certificate inside it instead of naming its file.
func (c *Cluster) Kubeconfig(l Leaf, server string, inline bool) (file string, err error) {
	cert, key, _, err := c.CA.Ensure(l)
	if err != nil {
		return "", err
	}
	if inline {
		c.mu.Lock()
		c.inline[l.Name] = func() error { _, err := c.Kubeconfig(l, server, true); return err }
		c.mu.Unlock()
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
