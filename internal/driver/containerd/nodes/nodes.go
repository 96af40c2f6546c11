//go:build linux

// Package nodes owns the nodes of managed clusters on this machine (cluster.Machine). A node is a network namespace on the
// container network, a mount namespace in which a kubelet finds its usual places, a containerd that serves this kubelet
// alone, and a process of fairlead-kube. Firewall rules, links and mounts of a node are all in its namespaces and vanish
// with them; what else it takes is named after the data directory. What a cluster is to be, package cluster decides; what
// goes on within one is upstream Kubernetes' business.
package nodes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/driver/containerd/cgroup"
	"fairlead.dev/internal/driver/containerd/network"
)

// Program is the name of the program that is Kubernetes.
const Program = "fairlead-kube"

// Config says where nodes keep their things and what of the machine they share.
type Config struct {
	Dir         string // what has to be kept: certificates, datastores, images, volumes
	Run         string // short directory of what need not be kept
	Kept        string // the data directory, which nodes see as it is
	Program     string // path of fairlead-kube; "" looks beside our own program and on PATH
	Network     *network.Network
	Cgroups     *cgroup.Tree
	Cgroup      string                        // the control group that nodes' groups are under
	OCIRuntime  string                        // path
	CNIPrograms []string                      // directories
	Authority   string                        // file of the certificate authority that nodes trust besides the system's
	Registries  string                        // directory of hosts.toml files by registry, for containerd (package hosts)
	Metadata    func(key string) http.Handler // answers for instance metadata on the nodes of the cluster with this key
	Log         *slog.Logger
}

// Nodes is the machine of managed clusters.
type Nodes struct{ cfg Config }

// New makes the machine.
func New(cfg Config) *Nodes { return &Nodes{cfg} }

// FindProgram gives the path of fairlead-kube: the one named, else beside this program, else on PATH.
// cluster.ErrProgramMissing.
func FindProgram(named string) (string, error) {
	if named != "" {
		if _, err := exec.LookPath(named); err != nil {
			return "", cluster.ErrProgramMissing.WithMessage("%s cannot be run", named).WithCause(err)
		}
		return named, nil
	}
	if own, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(own), Program)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(Program)
	if err != nil {
		return "", cluster.ErrProgramMissing.WithHint("build it with 'make kube', or put it beside fairlead")
	}
	return filepath.Abs(path)
}

// node is one node of a cluster, and the names of its things.
type node struct {
	cfg   Config
	plan  cluster.Plan
	index int
	state state
}

// state is what is kept of a node while the machine runs, for the cluster to be found again.
type state struct {
	Address string `json:"address"`
	// LoadBalancers are further addresses on the container network, which the cluster gives to its load balancers. The first
	// node keeps them for all.
	LoadBalancers []netip.Addr `json:"loadBalancers,omitempty"`
}

// loadBalancers is how many addresses a cluster has for load balancers, as long as the network has so many.
const loadBalancers = 8

func (n *Nodes) node(plan cluster.Plan, index int) *node {
	return &node{cfg: n.cfg, plan: plan, index: index}
}

func (n *node) name() string { return n.plan.Nodes[n.index].Name }

// id names the node among the sandboxes of the container network.
func (n *node) id() string { return "k" + n.plan.Key[:12] + "-" + strconv.Itoa(n.index) }

// dir is where the node keeps what has to be kept.
func (n *node) dir(more ...string) string {
	return filepath.Join(append([]string{n.cfg.Dir, n.plan.Key, "node" + strconv.Itoa(n.index)}, more...)...)
}

// run is the node's short directory. Sockets are in it, whose paths end at 108 bytes.
func (n *node) run(more ...string) string {
	return filepath.Join(append([]string{n.cfg.Run, n.plan.Key[:8] + strconv.Itoa(n.index)}, more...)...)
}

func (n *node) cgroup() string { return n.cfg.Cgroup + "/" + n.id() }

// namespaces gives the paths of the namespaces that the node's processes are in.
func (n *node) namespaces() []string {
	return append([]string{n.cfg.Network.Namespace(n.id())}, n.world().namespaces()...)
}

func (n *node) world() world {
	return world{
		hostname: n.name(), dir: n.run("ns"),
		keep: []string{filepath.Dir(n.cfg.Run), n.cfg.Kept},
		binds: map[string]string{
			"/var/lib/kubelet": n.dir("kubelet"), "/var/log/pods": n.dir("logs", "pods"), "/var/log/containers": n.dir("logs", "containers"),
			"/etc/kubernetes": n.dir("etc"),
		},
		files: n.cfg.Network.Files(n.name(), n.state.Address),
	}
}

// Stop implements cluster.Machine.
func (n *Nodes) Stop(ctx context.Context, key string) error {
	found, err := n.found(key)
	if err != nil {
		return err
	}
	var errs []error
	for _, each := range found {
		errs = append(errs, each.end(ctx))
	}
	return errors.Join(errs...)
}

// Remove implements cluster.Machine.
func (n *Nodes) Remove(ctx context.Context, key string) error {
	if err := n.Stop(ctx, key); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(n.cfg.Dir, key)); err != nil {
		return fmt.Errorf("remove the cluster's data: %w", err)
	}
	return nil
}

// found gives the nodes that a cluster has or had on this machine.
func (n *Nodes) found(key string) ([]*node, error) {
	dirs, err := filepath.Glob(filepath.Join(n.cfg.Dir, key, "node*"))
	if err != nil {
		return nil, err
	}
	plan := cluster.Plan{Key: key}
	for range dirs {
		plan.Nodes = append(plan.Nodes, cluster.NodePlan{})
	}
	out := make([]*node, len(dirs))
	for i := range dirs {
		out[i] = n.node(plan, i)
	}
	return out, nil
}

// Check implements cluster.Machine.
func (n *Nodes) Check(ctx context.Context, nodes, others int) (string, error) {
	program, err := FindProgram(n.cfg.Program)
	if err != nil {
		return "", err
	}
	if err := checkRoom(nodes, others); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, program, "version").Output()
	if err != nil {
		return "", cluster.ErrProgramMissing.WithMessage("%s does not tell its version", program).WithCause(err)
	}
	_, release, _ := strings.Cut(string(out), " v") // "Kubernetes v1.37.2"
	return strings.TrimSpace(release), nil
}

// Rotate implements cluster.Machine. The key that service accounts' tokens are signed with stays: it proves nothing to
// who asks for a certificate, and pods would have to be started anew without it.
func (n *Nodes) Rotate(_ context.Context, key string) error {
	kept := map[string]bool{"service-accounts.key": true, "service-accounts.pub": true}
	dir := filepath.Join(n.cfg.Dir, key, "pki")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !kept[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
