//go:build linux

package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/run"
)

// idle is a script that does nothing until it is asked to end.
const idle = "trap exit TERM; while :; do sleep 0.01; done"

// box is a node with one sandbox and an image to run in it.
type box struct {
	t     *testing.T
	d     node
	image pull.Image
	sb    run.Sandbox
	exits <-chan run.Exit
	logs  string
}

func newBox(t *testing.T, cfg Config) *box {
	t.Helper()
	d := open(t, cfg)
	b := &box{t: t, d: d, logs: t.TempDir()}
	b.image = load(t, d.Driver, imageOf(t, v1.Config{Env: []string{"FROM=image", "BOTH=image"}, WorkingDir: "/tmp"}, layerOf(t, busybox(t))))
	b.sb = b.sandbox("sb", run.SandboxSpec{})
	var err error
	b.exits, err = d.Exits(t.Context())
	must(t, err)
	return b
}

func (b *box) sandbox(id string, spec run.SandboxSpec) run.Sandbox {
	b.t.Helper()
	spec.ID, spec.Hostname = id, id+"-host"
	sb, err := b.d.CreateSandbox(b.t.Context(), spec)
	must(b.t, err)
	return sb
}

// start runs a shell script in a container.
func (b *box) start(id, script string, change func(*run.ContainerSpec)) run.Started {
	b.t.Helper()
	spec := run.ContainerSpec{ID: id, Sandbox: b.sb.ID, Name: id, Hostname: b.sb.ID + "-host", Image: b.image, LogPath: b.log(id), Command: []string{"sh", "-c", script}}
	if change != nil {
		change(&spec)
	}
	started := b.d.Start(b.t.Context(), spec)[0]
	must(b.t, started.Err)
	if started.PID == 0 {
		b.t.Errorf("%s has no process", id)
	}
	return started
}

func (b *box) log(id string) string { return filepath.Join(b.logs, id+".log") }

// exit gives the next container's end.
func (b *box) exit() run.Exit {
	b.t.Helper()
	select {
	case e, ok := <-b.exits:
		if !ok {
			b.t.Fatal("the channel of exits was closed")
		}
		return e
	case <-time.After(30 * time.Second):
		b.t.Fatal("no exit was told")
	}
	panic("unreachable")
}

// output runs a script to its end and gives what it wrote.
func (b *box) output(id, script string, change func(*run.ContainerSpec)) string {
	b.t.Helper()
	b.start(id, script, change)
	if e := b.exit(); e.ID != id || e.Code != 0 {
		b.t.Errorf("%s: exit %+v", id, e)
	}
	must(b.t, b.d.Remove(b.t.Context(), id))
	return b.read(id)
}

func (b *box) read(id string) string {
	b.t.Helper()
	raw, err := os.ReadFile(b.log(id))
	must(b.t, err)
	return string(raw)
}

// hostPort gives a port of the host to publish: one below those that the kernel deals out, or any connection of the
// tests that run meanwhile could have it.
func hostPort() int { return 20000 + os.Getpid()%10000 }

// await polls until the condition holds: for what happens inside containers there is no event.
func (b *box) await(what string, holds func() bool) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestContainerSeesItsWorld(t *testing.T) {
	b := newBox(t, Config{})
	got := b.output("c", "echo $FROM $BOTH $OWN; pwd; hostname; cat /etc/hostname; id; cat /etc/resolv.conf; cat /etc/hosts | tail -1; cat /proc/self/limits | grep 'open files' | tr -s ' '; cat /proc/self/oom_score_adj >&2",
		func(s *run.ContainerSpec) { s.Env = []string{"BOTH=container", "OWN=container"} })
	files, oom := limitsOfOurs()
	want := fmt.Sprintf("image container container\n/tmp\nsb-host\nsb-host\nuid=0(root) gid=0(root) groups=0(root)\nnameserver %s\n%s\tsb-host\nMax open files %d %d files \n",
		b.d.Gateway(), b.sb.IP, min(1024, files), files)
	score := fmt.Sprintf("%d\n", oom) // of the two streams only each by itself has an order
	if !strings.Contains(got, score) {
		t.Errorf("no score %d in %q", oom, got)
	}
	got = strings.Replace(got, score, "", 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestBothStreamsAreLogged ends one stream before the other, and names the log as no URL could be.
func TestBothStreamsAreLogged(t *testing.T) {
	b := newBox(t, Config{})
	b.logs = filepath.Join(b.logs, "100% sure?#")
	must(t, os.Mkdir(b.logs, 0o700))
	for script, want := range map[string]string{
		"echo one; exec 1>&-; sleep 0.1; echo two >&2": "one\ntwo\n",
		"echo one >&2; exec 2>&-; sleep 0.1; echo two": "one\ntwo\n",
	} {
		if diff := cmp.Diff(want, b.output("c", script, nil)); diff != "" {
			t.Errorf("%s: %s", script, diff)
		}
		must(t, os.Remove(b.log("c")))
	}
}

func TestUsers(t *testing.T) {
	b := newBox(t, Config{})
	for _, c := range []struct{ user, want string }{
		{"", "uid=0(root) gid=0(root) groups=0(root)"},
		{"web", "uid=1234(web) gid=4321(web) groups=77(extra),4321(web)"},
		{"1234", "uid=1234(web) gid=4321(web) groups=77(extra),4321(web)"},
		{"web:extra", "uid=1234(web) gid=77(extra) groups=77(extra)"},
		{"99:98", "uid=99 gid=98 groups=98"},
	} {
		b.image = load(t, b.d.Driver, imageOf(t, v1.Config{User: c.user}, layerOf(t, busybox(t))))
		got := b.output("c", "id; touch /tmp/mine", nil)
		os.Remove(b.log("c"))
		if diff := cmp.Diff(c.want+"\n", got); diff != "" {
			t.Errorf("user %q: %s", c.user, diff)
		}
	}
	b.image = load(t, b.d.Driver, imageOf(t, v1.Config{User: "nobody-knows"}, layerOf(t, busybox(t))))
	err := b.d.Start(t.Context(), run.ContainerSpec{ID: "c", Sandbox: "sb", Image: b.image, LogPath: b.log("c"), Command: []string{"id"}})[0].Err
	if !errors.Is(err, ErrUserUnknown) {
		t.Errorf("an unknown user: %v", err)
	}
}

func TestLimits(t *testing.T) {
	b := newBox(t, Config{})
	b.sb = b.sandbox("limited", run.SandboxSpec{CPU: 0.75, MemoryBytes: 96 << 20})
	b.start("c", idle, func(s *run.ContainerSpec) { s.CPU, s.MemoryBytes = 0.5, 64<<20 })
	d := b.d
	read := func(controller, group, file string) string {
		root := d.cgroups.Mount(controller)
		raw, err := os.ReadFile(filepath.Join(root, group, file))
		must(t, err)
		return strings.TrimSpace(string(raw))
	}
	type limits struct{ SandboxCPU, CPU, SandboxMemory, Memory, PIDs string }
	sandbox, container := d.names.sandboxGroup("limited"), d.names.containerGroup("limited", "c")
	want := limits{"75000", "50000", fmt.Sprint(96 << 20), fmt.Sprint(64 << 20), fmt.Sprint(maxPIDs)}
	got := limits{PIDs: read("pids", container, "pids.max")}
	if d.cgroups.Version() == 2 {
		got.SandboxCPU, got.CPU = strings.Fields(read("cpu", sandbox, "cpu.max"))[0], strings.Fields(read("cpu", container, "cpu.max"))[0]
		got.SandboxMemory, got.Memory = read("memory", sandbox, "memory.max"), read("memory", container, "memory.max")
	} else {
		got.SandboxCPU, got.CPU = read("cpu", sandbox, "cpu.cfs_quota_us"), read("cpu", container, "cpu.cfs_quota_us")
		got.SandboxMemory, got.Memory = read("memory", sandbox, "memory.limit_in_bytes"), read("memory", container, "memory.limit_in_bytes")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOutOfMemory(t *testing.T) {
	b := newBox(t, Config{})
	hungry := func(s *run.ContainerSpec) {
		s.MemoryBytes, s.Command = 16<<20, []string{"tail", "-c", "64m", "/dev/zero"}
	}
	b.start("c", "", hungry)
	if e := b.exit(); e.ID != "c" || e.Code != 137 || !e.OOM {
		t.Errorf("exit %+v, want 137 for want of memory", e)
	}
	observed, _, err := b.d.List(t.Context())
	must(t, err)
	if len(observed) != 1 || observed[0].Running || !observed[0].OOM || observed[0].ExitCode != 137 || observed[0].ExitedAt.IsZero() {
		t.Errorf("observed %+v", observed)
	}
	b.start("killed", "kill -9 $$; sleep 1000", nil)
	must(t, b.d.Stop(t.Context(), "killed", 0))
	if e := b.exit(); e.Code != 137 || e.OOM {
		t.Errorf("exit %+v, want 137 and memory enough", e)
	}
}

func TestStartRefusals(t *testing.T) {
	b := newBox(t, Config{})
	for name, c := range map[string]struct {
		change func(*run.ContainerSpec)
		want   error
	}{
		"no such program":  {func(s *run.ContainerSpec) { s.Command = []string{"nothing-like-this"} }, ErrCommandInvalid},
		"not executable":   {func(s *run.ContainerSpec) { s.Command = []string{"/etc/passwd"} }, ErrCommandInvalid},
		"a directory":      {func(s *run.ContainerSpec) { s.Command = []string{"/etc"} }, ErrCommandInvalid},
		"nothing to run":   {func(s *run.ContainerSpec) { s.Command = nil }, ErrCommandMissing},
		"no such sandbox":  {func(s *run.ContainerSpec) { s.Sandbox = "other" }, ErrSandboxMissing},
		"path in the name": {func(s *run.ContainerSpec) { s.ID = "../x" }, fault.New(fault.Invalid, "INVALID_ID", "")},
	} {
		t.Run(name, func(t *testing.T) {
			spec := run.ContainerSpec{ID: "c", Sandbox: "sb", Image: b.image, LogPath: b.log("c"), Command: []string{"id"}}
			c.change(&spec)
			if err := b.d.Start(t.Context(), spec)[0].Err; !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if observed, _, err := b.d.List(t.Context()); err != nil || len(observed) > 0 {
				t.Errorf("left behind: %+v, %v", observed, err)
			}
		})
	}
	must(t, b.d.RemoveImage(t.Context(), "registry.example/app@"+string(b.image.Digest())))
}
