//go:build linux

// Package containerd owns the node: it runs containers (run.Runtime, run.Execer) and keeps images (pull.Node) with
// containerd, an embedded one or one that runs already. Everything it takes on the machine, in processes, mounts,
// interfaces, control groups and firewall rules, is named after the data directory, and can be taken away by that name
// alone. What should run is decided in package run, what may be fetched in package pull.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"google.golang.org/grpc"

	"fairlead.dev/internal/driver/containerd/cgroup"
	"fairlead.dev/internal/driver/containerd/daemon"
	"fairlead.dev/internal/driver/containerd/network"
	"fairlead.dev/internal/driver/containerd/process"
)

// Config says where a node keeps its things and what of the machine it uses. The zero values of all but DataDir choose
// for themselves.
type Config struct {
	DataDir     string       // Fairlead's data directory; the node's things are in it, under "containerd"
	Socket      string       // of a containerd that runs already; "" starts the embedded one
	OCIRuntime  string       // "crun", "runc" or a path; "" takes the first that is installed
	CNIPrograms []string     // directories of the CNI programs; nil is the places where systems install them
	Services    []int        // TCP ports that containers may reach on the gateway, besides DNS
	Log         *slog.Logger // nil is slog's default
}

// Driver is a node at work.
type Driver struct {
	cfg        Config
	names      names
	log        *slog.Logger
	client     *client.Client
	supervisor *process.Supervisor // nil with a containerd of others
	network    *network.Network
	cgroups    *cgroup.Tree
	runtime    ociRuntime
	unpacking  keyedMutex     // layers, by their chain's digest
	claiming   sync.Mutex     // of host ports
	lingering  sync.WaitGroup // removals of processes whose output was not at its end
}

// Open starts the node, or finds it running, with whatever containers it has. It fails, with a Problem in the error's
// chain, when the machine lacks something.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	cfg = cfg.withDefaults()
	names, err := namesOf(cfg)
	if err != nil {
		return nil, err
	}
	if problems := Check(ctx, cfg); len(problems) > 0 {
		errs := make([]error, len(problems))
		for i := range problems {
			errs[i] = problems[i]
		}
		return nil, fmt.Errorf("this machine cannot run containers: %w", errors.Join(errs...))
	}
	d := &Driver{cfg: cfg, names: names, log: cfg.Log}
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.StopDaemon(context.WithoutCancel(ctx)), d.Close())
	}
	return d, nil
}

func (d *Driver) open(ctx context.Context) (err error) {
	for _, dir := range []string{d.names.root, d.names.run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if d.runtime, err = findRuntime(d.cfg.OCIRuntime); err != nil {
		return err
	}
	if d.cgroups, err = cgroup.Open(); err != nil {
		return err
	}
	if d.cfg.Socket == "" {
		if d.supervisor, err = daemon.Open(ctx, d.names.daemon(), d.log); err != nil {
			return err
		}
	}
	d.client, err = client.New(d.names.socket, client.WithDefaultNamespace(d.names.namespace))
	if err != nil {
		return fmt.Errorf("connect to containerd: %w", err)
	}
	if d.network, err = network.Open(ctx, d.names.network(d.cfg)); err != nil {
		return fmt.Errorf("open the container network: %w", err)
	}
	return errors.Join(d.dropDeadSandboxes(ctx), d.dropStaleLeases(ctx))
}

// Run keeps the embedded daemon running until ctx ends. The containers do not depend on it.
func (d *Driver) Run(ctx context.Context) error {
	if d.supervisor == nil {
		<-ctx.Done()
		return nil
	}
	return d.supervisor.Run(ctx, func() {
		if conn, ok := d.client.Conn().(*grpc.ClientConn); ok {
			conn.ResetConnectBackoff()
		}
	})
}

// Close lets go of the node and leaves it at work. Run must have returned.
func (d *Driver) Close() error {
	d.lingering.Wait()
	var errs []error
	if d.supervisor != nil {
		errs = append(errs, d.supervisor.Close())
	}
	if d.client != nil {
		errs = append(errs, d.client.Close())
	}
	return errors.Join(errs...)
}

// StopDaemon ends the embedded daemon to save its memory; containers run on, with their logs, and the next Open finds
// them. Run must have returned.
func (d *Driver) StopDaemon(ctx context.Context) error {
	if d.supervisor == nil {
		return nil
	}
	return d.supervisor.Stop(ctx)
}

// Gateway is the host's address on the container network: names of Fairlead lead there, and its DNS server listens
// there.
func (d *Driver) Gateway() netip.Addr { return d.network.Gateway() }

// Subnet is the container network's range.
func (d *Driver) Subnet() netip.Prefix { return d.network.Subnet() }
