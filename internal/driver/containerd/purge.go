//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/driver/containerd/cgroup"
	"fairlead.dev/internal/driver/containerd/daemon"
	"fairlead.dev/internal/driver/containerd/network"
	"fairlead.dev/internal/driver/containerd/process"
)

// purgeGrace is how long processes may take to end by themselves.
const purgeGrace = 3 * time.Second

// Purge ends everything on this machine that belongs to the data directory, however little of it still works: it asks
// neither daemon nor shims but goes by the names that follow from the directory. The directory itself it leaves.
func Purge(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	n, err := namesOf(cfg)
	if err != nil {
		return err
	}
	cgroups, err := cgroup.Open()
	if err != nil {
		return err
	}
	steps := []struct {
		doing string
		do    func() error
	}{
		{"empty the namespace of containerd", func() error { return emptyNamespace(ctx, cfg, n) }},
		{"stop containerd", func() error { return n.daemon().Stop(ctx) }},
		{"end the clusters' programs", func() error { return endClusters(ctx, n) }},
		{"end the containers' processes", func() error {
			return process.EndAll(ctx, purgeGrace, func() ([]int, error) { return cgroups.Processes(n.cgroup) })
		}},
		{"end the shims", func() error { return endShims(ctx, n.daemon()) }},
		{"unmount", func() error {
			return unmountUnder(n.run+"/", n.root+"/", filepath.Join(filepath.Dir(n.root), overlayCheck))
		}},
		{"remove the network", func() error { return network.Remove(ctx, n.network(cfg)) }},
		{"remove the control groups", func() error { return cgroups.RemovePatiently(ctx, n.cgroup) }},
		{"remove " + n.run, func() error { return os.RemoveAll(n.run) }},
	}
	var errs []error
	for _, s := range steps {
		if err := s.do(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.doing, err))
		}
	}
	return errors.Join(errs...)
}

// emptyNamespace removes what is ours from a containerd that is not. It has no names but those that it tells itself, so it
// is asked first, while all is there.
func emptyNamespace(ctx context.Context, cfg Config, n names) (err error) {
	if _, err := os.Stat(n.socket); cfg.Socket == "" || errors.Is(err, fs.ErrNotExist) {
		return nil // it was never another's, or that one is gone
	}
	c, err := client.New(n.socket, client.WithDefaultNamespace(n.namespace))
	if err != nil {
		return err
	}
	d := &Driver{cfg: cfg, names: n, log: cfg.Log, client: c}
	defer func() { err = errors.Join(err, d.Close()) }()
	if d.cgroups, err = cgroup.Open(); err != nil {
		return err
	}
	ctx = d.in(ctx)
	containers, err := c.ContainerService().List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, each := range containers {
		errs = append(errs, d.Stop(ctx, each.ID, purgeGrace), d.Remove(ctx, each.ID))
	}
	images, err := c.ImageService().List(ctx)
	errs = append(errs, err)
	for _, each := range images {
		errs = append(errs, d.RemoveImage(ctx, each.Name))
	}
	return errors.Join(append(errs, d.dropStaleLeases(ctx))...)
}

// endClusters ends what keeps the nodes of managed clusters running, and the shims of their pods, before the pods: else
// they would be started again. All of them have a path of ours among their arguments.
func endClusters(ctx context.Context, n names) error {
	programs, err := process.Find(func(argv []string) bool {
		return slices.ContainsFunc(argv[1:], func(arg string) bool {
			return strings.HasPrefix(arg, n.clusters+"/") || strings.HasPrefix(arg, n.nodes+"/")
		})
	})
	if err != nil {
		return err
	}
	defer programs.Close()
	return errors.Join(programs.Signal(unix.SIGKILL), programs.End(ctx, purgeGrace))
}

func endShims(ctx context.Context, c daemon.Config) error {
	shims, err := c.Shims("")
	if err != nil {
		return err
	}
	defer shims.Close()
	return errors.Join(shims.Signal(unix.SIGKILL), shims.End(ctx, purgeGrace))
}

// unmountUnder unmounts all whose path begins with one of dirs, the last first.
func unmountUnder(dirs ...string) error {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !slices.ContainsFunc(dirs, func(d string) bool { return strings.HasPrefix(m.Mountpoint, d) }), false
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("%s: %w", m.Mountpoint, err))
		}
	}
	return errors.Join(errs...)
}
