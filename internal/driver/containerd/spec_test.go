//go:build linux

package containerd

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/run"
)

func TestBuildSpec(t *testing.T) {
	image := content.ImageConfig{
		Env: []string{"PATH=/app", "A=image", "no-value"}, Entrypoint: []string{"/entry"}, Cmd: []string{"arg"}, WorkingDir: "work/dir",
	}
	at := place{
		netns: "/run/x/netns/sb", files: "/run/x/sandboxes/sb", cgroup: "/fl/sb/c", swap: true,
		user: specs.User{UID: 5, GID: 6}, openFiles: 4096, oomScore: 500,
	}
	s, err := buildSpec(image, run.ContainerSpec{ID: "c", Hostname: "h", Env: []string{"A=own", "B=own"}, CPU: 0.5, MemoryBytes: 1000}, at)
	must(t, err)
	type facts struct {
		Version, Hostname, Cwd, Cgroup, NetNS string
		Args, Env                             []string
		User                                  specs.User
		Memory, Swap, Quota, PIDs             int64
		Files, OOM                            int
		Privileges, Seccomp                   bool
		Mounts                                map[string]string
	}
	got := facts{
		Version: s.Version, Hostname: s.Hostname, Cwd: s.Process.Cwd, Cgroup: s.Linux.CgroupsPath, Args: s.Process.Args, Env: s.Process.Env, User: s.Process.User,
		Memory: *s.Linux.Resources.Memory.Limit, Swap: *s.Linux.Resources.Memory.Swap, Quota: *s.Linux.Resources.CPU.Quota, PIDs: *s.Linux.Resources.Pids.Limit,
		Files: int(s.Process.Rlimits[0].Hard), OOM: *s.Process.OOMScoreAdj,
		Privileges: !s.Process.NoNewPrivileges, Seccomp: s.Linux.Seccomp != nil && len(s.Linux.Seccomp.Syscalls) > 0, Mounts: map[string]string{},
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == specs.NetworkNamespace {
			got.NetNS = n.Path
		}
	}
	for _, m := range s.Mounts {
		got.Mounts[m.Destination] = m.Type
	}
	want := facts{
		Version: "1.0.2", Hostname: "h", Cwd: "/work/dir", Cgroup: "/fl/sb/c", NetNS: "/run/x/netns/sb",
		Args: []string{"/entry", "arg"}, Env: []string{"PATH=/app", "HOSTNAME=h", "A=own", "B=own"}, User: at.user,
		Memory: 1000, Swap: 1000, Quota: 50000, PIDs: 4096, Files: 4096, OOM: 500, Privileges: true, Seccomp: true,
		Mounts: map[string]string{
			"/proc": "proc", "/dev": "tmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs", "/dev/mqueue": "mqueue", "/sys": "sysfs", "/sys/fs/cgroup": "cgroup",
			"/etc/hosts": "bind", "/etc/hostname": "bind", "/etc/resolv.conf": "bind",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBuildSpecWithout(t *testing.T) {
	s, err := buildSpec(content.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"arg"}}, run.ContainerSpec{Command: []string{"own"}, MemoryBytes: 5}, place{})
	must(t, err)
	if diff := cmp.Diff([]string{"own"}, s.Process.Args); diff != "" {
		t.Errorf("a command replaces entrypoint and arguments: %s", diff)
	}
	if s.Linux.Resources.CPU != nil || s.Linux.Resources.Memory.Swap != nil || s.Process.Cwd != "/" {
		t.Errorf("limits that were not asked for: %+v, %+v, in %s", s.Linux.Resources.CPU, s.Linux.Resources.Memory, s.Process.Cwd)
	}
	if _, err := buildSpec(content.ImageConfig{}, run.ContainerSpec{}, place{}); !errors.Is(err, ErrCommandMissing) {
		t.Errorf("nothing to run: %v", err)
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	cfg := Config{DataDir: t.TempDir(), OCIRuntime: "no-such-runtime", CNIPrograms: []string{t.TempDir()}}
	var names []string
	for _, p := range Check(t.Context(), cfg) {
		names = append(names, p.Name)
		if p.What == "" || p.Remedy == "" {
			t.Errorf("%+v says too little", p)
		}
	}
	if len(names) > 0 && names[0] == "root" {
		t.Skip("needs root to get further")
	}
	if diff := cmp.Diff([]string{"cni", "runtime"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := Open(t.Context(), cfg); !errors.As(err, &Problem{}) {
		t.Errorf("opening all the same: %v", err)
	}
}

func TestNamesFollowTheDirectory(t *testing.T) {
	dir := t.TempDir()
	a, err := namesOf(Config{DataDir: dir})
	must(t, err)
	b, err := namesOf(Config{DataDir: dir + "/../" + dir[len(dir)-3:] + "/."})
	must(t, err)
	c, err := namesOf(Config{DataDir: dir + "x"})
	must(t, err)
	if a != b || a == c || len(a.bridge) > 15 || len(a.run) > 30 {
		t.Errorf("%+v, %+v and %+v", a, b, c)
	}
}
