//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/internal/driver/containerd/cgroup"
)

// Problem is something that this machine lacks and containers need.
type Problem struct {
	Name   string // of what is looked at: "root", "cgroups", "overlayfs", "cni", "iptables", "runtime"
	What   string // is wrong
	Remedy string // the command or privilege that mends it
}

func (p Problem) Error() string { return p.What + ": " + p.Remedy }

// Check looks at everything that a node needs of the machine and gives what is missing; nil is a machine that can run
// containers. It leaves the machine as it was.
func Check(ctx context.Context, cfg Config) []Problem {
	cfg = cfg.withDefaults()
	checks := []func(context.Context, Config) []Problem{checkPrivileges, checkCgroups, checkOverlay, checkPrograms, checkRuntime}
	var problems []Problem
	for _, check := range checks {
		problems = append(problems, check(ctx, cfg)...)
		if len(problems) > 0 && problems[0].Name == "root" {
			return problems // without it the others tell nothing
		}
	}
	return problems
}

// privileges are the capabilities without which nothing works; others are only lacked by the containers that use them.
var privileges = []struct { //nolint:gochecknoglobals // a constant table
	name string
	bit  uint
}{{"CAP_CHOWN", unix.CAP_CHOWN}, {"CAP_DAC_OVERRIDE", unix.CAP_DAC_OVERRIDE}, {"CAP_KILL", unix.CAP_KILL}, {"CAP_MKNOD", unix.CAP_MKNOD}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN}, {"CAP_SYS_CHROOT", unix.CAP_SYS_CHROOT}}

func checkPrivileges(context.Context, Config) []Problem {
	if os.Geteuid() != 0 {
		return []Problem{{"root", "containers need root", "run fairlead as root, for example with sudo"}}
	}
	var missing []string
	have := effectiveCapabilities()
	for _, p := range privileges {
		if have&(1<<p.bit) == 0 {
			missing = append(missing, p.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []Problem{{"root", "root lacks " + strings.Join(missing, ", ") + " here", "run fairlead with these capabilities: in Docker with --privileged, under systemd without CapabilityBoundingSet"}}
}

func effectiveCapabilities() uint64 {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, _ := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return set
		}
	}
	return 0
}

func checkCgroups(context.Context, Config) []Problem {
	tree, err := cgroup.Open()
	if err != nil {
		return []Problem{{"cgroups", "control groups cannot be read: " + err.Error(), "mount /proc"}}
	}
	if tree.Version() == 0 {
		return []Problem{{"cgroups", "no control groups are mounted", "mount -t cgroup2 none /sys/fs/cgroup"}}
	}
	if missing := tree.Missing(); len(missing) > 0 {
		return []Problem{{
			"cgroups", "the control group controllers " + strings.Join(missing, ", ") + " are missing",
			"add 'cgroup_enable=memory' and the like to the kernel's command line, or mount them",
		}}
	}
	if dir := tree.ReadOnly(); dir != "" {
		return []Problem{{"cgroups", "control groups cannot be made in " + dir, "mount it writable: in Docker with --privileged"}}
	}
	return nil
}

// overlayCheck begins the name of the directory in which checkOverlay mounts: when it is killed, Purge finds it by that.
const overlayCheck = "overlay-check-"

// checkOverlay mounts an overlay for a moment: only that tells whether the kernel, the privileges and the data
// directory's own file system go together.
func checkOverlay(_ context.Context, cfg Config) (problems []Problem) {
	failed := func(err error) []Problem {
		return []Problem{{
			"overlayfs", fmt.Sprintf("overlayfs cannot be mounted on %s: %v", cfg.DataDir, err),
			"use a kernel with overlayfs (modprobe overlay) and a data directory on ext4, xfs or btrfs",
		}}
	}
	parent := cfg.DataDir
	if _, err := os.Stat(parent); err != nil {
		parent = "" // it will be made where there is a place; any directory tells about kernel and privileges
	}
	dir, err := os.MkdirTemp(parent, overlayCheck)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(at(name), 0o700); err != nil {
			return failed(err)
		}
	}
	options := "lowerdir=" + at("lower") + ",upperdir=" + at("upper") + ",workdir=" + at("work")
	if err := unix.Mount("overlay", at("merged"), "overlay", 0, options); err != nil {
		return failed(err)
	}
	if err := errors.Join(os.WriteFile(at("merged/file"), nil, 0o600), unix.Unmount(at("merged"), unix.MNT_DETACH)); err != nil {
		return failed(err)
	}
	return nil
}

func checkPrograms(_ context.Context, cfg Config) []Problem {
	var problems []Problem
	var missing []string
	for _, name := range []string{"bridge", "host-local", "portmap"} {
		if !inOneOf(cfg.CNIPrograms, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		problems = append(problems, Problem{
			"cni", "the CNI programs " + strings.Join(missing, ", ") + " are in none of " + strings.Join(cfg.CNIPrograms, ", "),
			"apt-get install containernetworking-plugins",
		})
	}
	for _, name := range []string{"iptables", "iptables-restore"} {
		if _, err := exec.LookPath(name); err != nil {
			return append(problems, Problem{"iptables", "the program " + name + " is not in PATH", "apt-get install iptables"})
		}
	}
	return problems
}

func inOneOf(dirs []string, name string) bool {
	for _, dir := range dirs {
		if unix.Access(filepath.Join(dir, name), unix.X_OK) == nil {
			return true
		}
	}
	return false
}

func checkRuntime(_ context.Context, cfg Config) []Problem {
	runtime, err := findRuntime(cfg.OCIRuntime)
	if err != nil {
		return []Problem{{"runtime", err.Error(), "apt-get install runc"}}
	}
	tree, err := cgroup.Open()
	if err == nil && tree.Mixed() && filepath.Base(string(runtime)) == "crun" {
		return []Problem{{"runtime", "crun refuses this machine, where version 2 of control groups has controllers beside version 1", "apt-get install runc, and choose it"}}
	}
	return nil
}
