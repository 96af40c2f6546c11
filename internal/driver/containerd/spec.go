//go:build linux

package containerd

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/containerd/cgroup"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/run"
)

// maxPIDs is how many processes and threads one container may have: a fork bomb ends there.
const maxPIDs = 4096

// specVersion is the newest version of the specification that Debian 12's crun accepts; no newer field is used.
const specVersion = "1.0.2"

// place is where on the machine a container is put.
type place struct {
	netns     string // path of its sandbox's network namespace
	files     string // directory of the sandbox's hosts, hostname and resolv.conf
	cgroup    string
	swap      bool // can be limited
	user      specs.User
	openFiles uint64 // the most that a process of ours may open: what we may not raise, we may not promise
	oomScore  int
}

// ErrCommandMissing is returned for a container that has nothing to run.
var ErrCommandMissing = fault.New(fault.Invalid, "COMMAND_MISSING", "neither the image nor the container says what to run: give the container a command")

// buildSpec gives what the OCI runtime is told. It does no I/O but ask the kernel whether it has seccomp.
func buildSpec(image content.ImageConfig, c run.ContainerSpec, at place) (*specs.Spec, error) {
	args := c.Command
	if len(args) == 0 {
		args = append(append([]string{}, image.Entrypoint...), image.Cmd...)
	}
	if len(args) == 0 {
		return nil, ErrCommandMissing
	}
	ctx := namespaces.WithNamespace(context.Background(), "default") // only for a default that is overwritten below
	s, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: c.ID}, oci.WithoutRunMount)
	if err != nil {
		return nil, err
	}
	s.Version = specVersion
	s.Hostname = c.Hostname
	s.Mounts = append(s.Mounts, mountsOf(at)...)
	p := s.Process
	p.Args, p.Cwd, p.User = args, path.Join("/", image.WorkingDir), at.user
	p.Env = environment(image.Env, c.Env, c.Hostname)
	p.NoNewPrivileges = false // as in Docker and Azure: sudo and the like work within the container's capabilities
	p.OOMScoreAdj = &at.oomScore
	p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: min(1024, at.openFiles), Hard: at.openFiles}}
	s.Linux.CgroupsPath = at.cgroup
	for i, ns := range s.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = at.netns
		}
	}
	limit(s.Linux.Resources, c, at.swap)
	s.Linux.Seccomp = seccomp.DefaultProfile(s)
	return s, nil
}

// limit sets the container's limits. Swap counts as memory, so that a limit means what it says.
func limit(r *specs.LinuxResources, c run.ContainerSpec, swap bool) {
	pids := int64(maxPIDs)
	r.Pids = &specs.LinuxPids{Limit: &pids}
	if c.MemoryBytes > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &c.MemoryBytes}
		if swap {
			r.Memory.Swap = &c.MemoryBytes
		}
	}
	if c.CPU > 0 {
		quota, period := cgroup.Quota(c.CPU), uint64(cgroup.Period)
		r.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
}

func mountsOf(at place) []specs.Mount {
	mounts := []specs.Mount{{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"ro", "nosuid", "noexec", "nodev", "relatime"}, // runtimes like Java's read their limits there
	}}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		mounts = append(mounts, specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(at.files, name), Options: []string{"rbind", "rprivate", "rw"},
		})
	}
	return mounts
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment merges the container's variables over the image's, and those over what every container has. A name
// stands once, where it stood first.
func environment(image, container []string, hostname string) []string {
	var merged []string
	at := map[string]int{}
	for _, list := range [][]string{{defaultPath, "HOSTNAME=" + hostname}, image, container} {
		for _, v := range list {
			name, _, ok := strings.Cut(v, "=")
			if !ok || name == "" {
				continue
			}
			if i, ok := at[name]; ok {
				merged[i] = v
				continue
			}
			at[name] = len(merged)
			merged = append(merged, v)
		}
	}
	return merged
}

// limitsOfOurs gives what we, who may not raise limits, can hand on: the most open files, and a score that offers the
// containers to the kernel before Fairlead itself when the machine's memory runs out.
func limitsOfOurs() (openFiles uint64, oomScore int) {
	const most, wanted = 524288, 500 // Docker's number of files; the middle of what a process can be set to
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		files.Max = 1024
	}
	raw, _ := os.ReadFile("/proc/self/oom_score_adj")
	own, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
	return min(files.Max, most), max(own+1, wanted)
}
