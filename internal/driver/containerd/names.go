//go:build linux

package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"path/filepath"

	"fairlead.dev/internal/driver/containerd/daemon"
	"fairlead.dev/internal/driver/containerd/network"
)

// names are what a data directory's things are called on the machine. They follow from its path, so that two
// directories never meet and what is left of one can be found when all else is lost.
type names struct {
	namespace string // of containerd; also what shims are known by
	run       string // short directory for sockets, namespaces and bundles; empty after a restart of the machine
	root      string // directory, inside the data directory, for content, snapshots and logs
	clusters  string // directory, inside the data directory, for what managed clusters keep
	nodes     string // short directory for the clusters' nodes
	socket    string // of containerd
	bridge    string // network interface
	cgroup    string // parent of all control groups
}

func namesOf(cfg Config) (names, error) {
	path, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return names{}, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	sum := sha256.Sum256([]byte(path))
	hash := hex.EncodeToString(sum[:4])
	n := names{
		namespace: "fairlead-" + hash,
		run:       "/run/fairlead-" + hash,
		root:      filepath.Join(path, "containerd"),
		clusters:  filepath.Join(path, "clusters"),
		bridge:    "fl" + hash,
		cgroup:    "/fairlead-" + hash,
	}
	n.nodes = filepath.Join(n.run, "n")
	n.socket = n.daemon().Socket()
	if cfg.Socket != "" {
		n.socket = cfg.Socket
	}
	return n, nil
}

func (n names) daemon() daemon.Config {
	return daemon.Config{Root: n.root, Run: n.run, Log: filepath.Join(n.root, "containerd.log"), Namespace: n.namespace}
}

func (n names) network(cfg Config) network.Config {
	return network.Config{Bridge: n.bridge, Data: n.root, Run: n.run, Programs: cfg.CNIPrograms, Services: cfg.Services}
}

// sandboxGroup is the control group of a sandbox; its containers' groups are in it.
func (n names) sandboxGroup(sandbox string) string { return n.cgroup + "/" + sandbox }

func (n names) containerGroup(sandbox, id string) string { return n.sandboxGroup(sandbox) + "/" + id }

// sandboxDir holds a sandbox's record and the files that its containers see.
func (n names) sandboxDir(id string) string { return filepath.Join(n.run, "sandboxes", id) }

func (c Config) withDefaults() Config {
	if c.CNIPrograms == nil {
		c.CNIPrograms = []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni", "/usr/local/lib/cni"}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}
