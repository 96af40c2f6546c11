//go:build linux

package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/driver/containerd/daemon"
	"fairlead.dev/internal/driver/containerd/process"
)

// Start implements cluster.Machine.
func (n *Nodes) Start(ctx context.Context, plan cluster.Plan, progress func(string)) (cluster.Running, error) {
	program, err := FindProgram(n.cfg.Program)
	if err != nil {
		return nil, err
	}
	if err := checkRoom(len(plan.Nodes), 0); err != nil {
		return nil, err
	}
	if err := n.endSurplus(ctx, plan); err != nil {
		return nil, err
	}
	r := &running{cfg: n.cfg, dir: filepath.Join(n.cfg.Dir, plan.Key)}
	for i := range plan.Nodes {
		r.nodes = append(r.nodes, n.node(plan, i))
	}
	if err := r.start(ctx, program, progress); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// What a node takes of the machine's memory at rest, and how many are of use on one machine.
const (
	nodeMemory = 400 << 20 // bytes
	maxNodes   = 5
)

// checkRoom refuses nodes for which there is no room beside those of other clusters.
func checkRoom(nodes, others int) error {
	if nodes > maxNodes {
		return cluster.ErrTooManyNodes.WithMessage("%d nodes are more than the %d that share one machine here", nodes, maxNodes)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return os.NewSyscallError("sysinfo", err)
	}
	if all, have := nodes+others, info.Totalram*uint64(info.Unit); uint64(all)*nodeMemory > have {
		return cluster.ErrTooManyNodes.WithMessage("%d nodes, of all clusters together, need %d MiB of memory, and this machine has %d", all, all*nodeMemory>>20, have>>20)
	}
	return nil
}

// endSurplus ends nodes that the cluster no longer has.
func (n *Nodes) endSurplus(ctx context.Context, plan cluster.Plan) error {
	found, err := n.found(plan.Key)
	if err != nil || len(found) <= len(plan.Nodes) {
		return err
	}
	for _, each := range found[len(plan.Nodes):] {
		if err := errors.Join(each.end(ctx), os.RemoveAll(each.dir())); err != nil {
			return err
		}
	}
	return nil
}

// start brings about the places of all nodes, because each has to know the others', and then what runs on them: first the
// node that is the control plane too.
func (r *running) start(ctx context.Context, program string, progress func(string)) error {
	progress("making the nodes' networks")
	for _, n := range r.nodes {
		if err := n.settle(ctx); err != nil {
			return err
		}
	}
	for _, n := range r.nodes {
		if err := n.plumb(ctx, r.nodes); err != nil {
			return fmt.Errorf("plumb the network of node %s: %w", n.name(), err)
		}
		if err := r.listen(n); err != nil {
			return err
		}
	}
	if err := r.startNode(ctx, r.nodes[0], program, progress); err != nil {
		return err
	}
	further, ctx := errgroup.WithContext(ctx)
	for _, n := range r.nodes[1:] {
		further.Go(func() error { return r.startNode(ctx, n, program, progress) })
	}
	return further.Wait()
}

// settle makes the node's place on the machine, or finds it: directories, control group, namespaces, address.
func (n *node) settle(ctx context.Context) error {
	for _, dir := range []string{n.dir(), n.run()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if raw, err := os.ReadFile(n.run("state.json")); err == nil && json.Unmarshal(raw, &n.state) == nil &&
		n.cfg.Network.Alive(n.id()) && n.world().alive() {
		return errors.Join(n.cfg.Cgroups.CreateEverywhere(n.cgroup()), n.keepState(ctx))
	}
	// What is left of it is of no use without the rest.
	n.state = state{}
	if err := n.end(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(n.run(), 0o700); err != nil {
		return err
	}
	if err := n.cfg.Cgroups.CreateEverywhere(n.cgroup()); err != nil {
		return err
	}
	addr, err := n.cfg.Network.Attach(ctx, n.id(), nil)
	if err != nil {
		return fmt.Errorf("put node %s on the container network: %w", n.name(), err)
	}
	n.state.Address = addr.String()
	if err := n.world().create(); err != nil {
		return err
	}
	return n.keepState(ctx)
}

// keepState writes down what the node has on this machine, after reserving what it does not have yet.
func (n *node) keepState(ctx context.Context) error {
	if n.index == 0 && len(n.state.LoadBalancers) == 0 {
		if err := n.cfg.Network.Release(ctx, n.id(), loadBalancers); err != nil {
			return err
		}
		var err error
		if n.state.LoadBalancers, err = n.cfg.Network.Reserve(ctx, n.id(), loadBalancers); err != nil {
			n.cfg.Log.Warn("a cluster has fewer addresses for load balancers", "cluster", n.plan.Name, "addresses", len(n.state.LoadBalancers), "error", err)
		}
	}
	raw, err := json.Marshal(n.state)
	if err != nil {
		return err
	}
	return os.WriteFile(n.run("state.json"), raw, 0o600)
}

func (r *running) startNode(ctx context.Context, n *node, program string, progress func(string)) error {
	progress("starting containerd of node " + n.name())
	if err := n.writeFiles(); err != nil {
		return err
	}
	containerd, err := daemon.Open(ctx, n.daemon(), n.cfg.Log)
	if err != nil {
		return err
	}
	r.add(containerd)
	if err := n.loadImages(ctx, program); err != nil {
		return fmt.Errorf("load the cluster's own images on node %s: %w", n.name(), err)
	}
	kube := n.kube(program, r.server(), r.nodes[0].state.LoadBalancers)
	kube.Status = progress
	kubernetes, err := process.Supervise(ctx, kube, n.cfg.Log)
	if err != nil {
		return err
	}
	r.add(kubernetes)
	return nil
}

func (n *node) daemon() daemon.Config {
	return daemon.Config{
		Root: n.dir("containerd"), Run: n.run("c"), Log: n.dir("containerd.log"), Namespace: daemon.CRINamespace,
		Namespaces: n.namespaces(),
		// The authority is trusted besides the system's: for names of Fairlead, which is all that it may vouch for.
		Env: []string{"SSL_CERT_DIR=/etc/ssl/certs:" + n.dir("trust"), "PATH=" + n.dir("bin") + ":" + process.SearchPath()},
		CRI: &daemon.CRI{
			Network: n.dir("cni"), Programs: n.cfg.CNIPrograms, Registries: n.cfg.Registries, SandboxImage: pauseImage, OCIRuntime: n.cfg.OCIRuntime,
		},
	}
}

// podCIDR is the node's part of the cluster's range: a /24 each.
func (n *node) podCIDR() netip.Prefix {
	base := n.plan.PodCIDR.Addr().As4()
	base[2] += byte(n.index)
	return netip.PrefixFrom(netip.AddrFrom4(base), 24)
}

// end ends everything of a node but what has to be kept, in whatever state it is.
func (n *node) end(ctx context.Context) error {
	kube := process.Program{Name: Program, ConfigFile: n.kubeFile(), StopGrace: kubeGrace}
	if err := errors.Join(kube.Stop(ctx), n.daemon().Stop(ctx)); err != nil {
		return err
	}
	if err := n.endPods(ctx); err != nil {
		return err
	}
	if err := errors.Join(n.world().remove(), n.cfg.Network.Release(ctx, n.id(), loadBalancers), n.cfg.Network.Detach(ctx, n.id(), nil), n.cfg.Cgroups.RemovePatiently(ctx, n.cgroup())); err != nil {
		return err
	}
	return os.RemoveAll(n.run())
}

// endPods ends the pods' processes and then their shims, which would else report and clean up for nobody.
func (n *node) endPods(ctx context.Context) error {
	shims, err := n.daemon().Shims("")
	if err != nil {
		return err
	}
	defer shims.Close()
	if err := process.EndAll(ctx, podGrace, func() ([]int, error) { return n.cfg.Cgroups.Processes(n.cgroup()) }); err != nil {
		return err
	}
	return errors.Join(shims.Signal(unix.SIGKILL), shims.End(ctx, podGrace))
}
