//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/internal/driver/containerd"
	"fairlead.dev/internal/driver/dns"
	"fairlead.dev/internal/driver/kubernetes/compute"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// errNoCompute is what every start meets on a server that was started with --compute none.
var errNoCompute = fault.New(fault.Unsupported, "ComputeDisabled", "this Fairlead runs no containers: it was started with --compute none")

// node is this machine's compute, or the lack of it.
type node struct {
	runtime run.Runtime
	execer  run.Execer
	images  pull.Node
	driver  *containerd.Driver // nil without compute on this machine
	cluster *compute.Driver    // nil without compute on a cluster
}

// openNode starts containerd and the container network, or finds the cluster that has their place. Where the machine lacks something it says what, and that
// --compute none does without: nothing degrades by itself.
func (s *Server) openNode(ctx context.Context) (*node, error) {
	switch s.cfg.Compute {
	case computeOff:
		return &node{runtime: noRuntime{}, execer: noRuntime{}, images: noRuntime{}}, nil
	case computeRemote:
		return s.openRemote(ctx)
	}
	driver, err := containerd.Open(ctx, nodeConfig(s.cfg, s.origin.Port, s.log))
	if err != nil {
		return nil, fmt.Errorf("%w\n'fairlead doctor' lists what is missing; 'fairlead up --compute none' serves registry and identities without running containers", err)
	}
	return &node{runtime: driver, execer: driver, images: driver, driver: driver}, nil
}

// nodeConfig gives the node's configuration for a data directory.
func nodeConfig(cfg Config, port int, log *slog.Logger) containerd.Config {
	return containerd.Config{DataDir: cfg.Data, Socket: cfg.Containerd, OCIRuntime: cfg.OCIRuntime, Services: []int{port}, Log: log}
}

// Gateway gives the host's address on the container network, or "".
func (n *node) Gateway() string {
	if n.driver == nil {
		return ""
	}
	return n.driver.Gateway().String()
}

// Run keeps the node at work until ctx ends.
func (n *node) Run(ctx context.Context) error {
	if n.cluster != nil {
		return n.cluster.Run(ctx)
	}
	if n.driver == nil {
		return nil
	}
	return n.driver.Run(ctx)
}

// resolver gives the name server of the container network, or nil without compute. On it Azure's registries have no
// address, so that nobody comes to a cloud who has missed ours.
func (n *node) resolver(origin resource.Origin, lookup dns.Lookup, log *slog.Logger) (*dns.Server, error) {
	if n.driver == nil {
		return nil, nil //nolint:nilnil // without compute there is none, and that is no error
	}
	gateway := n.driver.Gateway()
	return dns.Listen(dns.Config{
		Address: netip.AddrPortFrom(gateway, 53), Domains: append(slices.Clone(origin.Domains), strings.TrimPrefix(resource.AzureRegistries, ".")),
		Gateway: gateway, Lookup: withoutAzure(lookup), Log: log,
	})
}

// withoutAzure is lookup, to which there is no name of a registry in Azure.
func withoutAzure(lookup dns.Lookup) dns.Lookup {
	return func(name string) (netip.Addr, bool) {
		if strings.HasSuffix("."+name, resource.AzureRegistries) {
			return netip.Addr{}, true
		}
		return lookup(name)
	}
}

// Close ends the daemon, whose containers go on without it.
func (n *node) Close() error {
	if n.cluster != nil {
		n.cluster.Close()
	}
	if n.driver == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	return errors.Join(n.driver.StopDaemon(ctx), n.driver.Close())
}

// noRuntime is the compute of a server that was started without.
type noRuntime struct{}

func (noRuntime) CreateSandbox(context.Context, run.SandboxSpec) (run.Sandbox, error) {
	return run.Sandbox{}, errNoCompute
}
func (noRuntime) RemoveSandbox(context.Context, string) error { return nil }
func (noRuntime) Start(_ context.Context, specs ...run.ContainerSpec) []run.Started {
	return slices.Repeat([]run.Started{{Err: errNoCompute}}, len(specs))
}
func (noRuntime) Stop(context.Context, string, time.Duration) error { return nil }

func (noRuntime) Remove(context.Context, string) error { return nil }

func (noRuntime) List(context.Context) ([]run.Observed, []run.Sandbox, error) { return nil, nil, nil }

func (noRuntime) Exits(ctx context.Context) (<-chan run.Exit, error) {
	exits := make(chan run.Exit)
	context.AfterFunc(ctx, func() { close(exits) })
	return exits, nil
}

func (noRuntime) Exec(context.Context, string, run.ExecSpec) (int, error) { return 0, errNoCompute }

func (noRuntime) Begin(context.Context, string) (pull.Session, error) { return nil, errNoCompute }

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
