//go:build linux

package containerd

import (
	"net/http"
	"path/filepath"

	"fairlead.dev/internal/driver/containerd/nodes"
)

// ClusterConfig is what the nodes of managed clusters need to know of Fairlead.
type ClusterConfig struct {
	Program    string // path of fairlead-kube; "" looks beside our own program and on PATH
	Authority  string // file of the certificate authority that nodes trust besides the system's
	Registries string // directory of hosts.toml files by registry (package hosts)
	Metadata   func(key string) http.Handler
}

// Clusters gives the machine of managed clusters, whose nodes are on this node's network.
func (d *Driver) Clusters(cfg ClusterConfig) *nodes.Nodes {
	return nodes.New(nodes.Config{
		Dir: d.names.clusters, Run: d.names.nodes, Kept: filepath.Dir(d.names.root),
		Program: cfg.Program, Authority: cfg.Authority, Registries: cfg.Registries, Metadata: cfg.Metadata,
		Network: d.network, Cgroups: d.cgroups, Cgroup: d.names.cgroup + "/nodes", OCIRuntime: string(d.runtime),
		CNIPrograms: d.cfg.CNIPrograms, Log: d.log,
	})
}
