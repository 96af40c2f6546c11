//go:build linux

package containerd

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/driver/containerd/cgroup"
	"fairlead.dev/internal/run"
)

// taken is what a node has of the machine.
type taken struct {
	Mounts, Links, Cgroups, Rules, Shims, Processes int
	DaemonFiles, OurFiles                           int
	Files                                           []string // in the run directory, but for those of one name
}

func takenBy(t *testing.T, d *Driver) taken {
	t.Helper()
	var n taken
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, d.names.run) && !strings.HasPrefix(m.Mountpoint, d.names.root), false
	})
	must(t, err)
	n.Mounts = len(mounts)
	links, err := netlink.LinkList()
	must(t, err)
	bridge, _ := netlink.LinkByName(d.names.bridge)
	for _, l := range links {
		if bridge != nil && (l.Attrs().MasterIndex == bridge.Attrs().Index || l.Attrs().Index == bridge.Attrs().Index) {
			n.Links++
		}
	}
	for _, root := range []string{"/sys/fs/cgroup"} {
		must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() && strings.Contains(path, d.names.cgroup) {
				n.Cgroups++
			}
			return nil
		}))
	}
	rules, err := exec.CommandContext(t.Context(), "iptables-save").Output()
	must(t, err)
	for line := range strings.Lines(string(rules)) {
		if strings.Contains(line, d.names.bridge) {
			n.Rules++
		}
	}
	shims, err := d.names.daemon().Shims("")
	must(t, err)
	shims.Close()
	tree, err := cgroup.Open()
	must(t, err)
	pids, err := tree.Processes(d.names.cgroup)
	must(t, err)
	n.Shims, n.Processes = len(shims), len(pids)
	n.OurFiles = files("self")
	if d.supervisor != nil {
		n.DaemonFiles = files(fmt.Sprint(d.supervisor.PID()))
	}
	_ = filepath.WalkDir(d.names.run, func(path string, _ fs.DirEntry, _ error) error {
		n.Files = append(n.Files, strings.TrimPrefix(path, d.names.run))
		return nil
	})
	return n
}

// settled is takenBy when two looks give the same: containerd collects garbage in the background, and has more files open
// while it does.
func settled(t *testing.T, d *Driver) taken {
	t.Helper()
	n := takenBy(t, d)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		<-time.After(100 * time.Millisecond)
		before := n
		if n = takenBy(t, d); cmp.Equal(before, n) {
			break
		}
	}
	return n
}

func files(process string) int {
	entries, _ := os.ReadDir("/proc/" + process + "/fd")
	return len(entries)
}

// TestNothingIsLeft is the promise that workloads can come and go for ever.
func TestNothingIsLeft(t *testing.T) {
	b := newBox(t, Config{})
	must(t, b.d.RemoveSandbox(t.Context(), b.sb.ID))
	cycle := func(i int) {
		b.sb = b.sandbox(fmt.Sprintf("sb%d", i), run.SandboxSpec{CPU: 1, MemoryBytes: 64 << 20, Ports: []run.PortMapping{{HostPort: hostPort(), Port: 80}}})
		for _, id := range []string{"one", "two"} {
			b.start(id, idle, nil)
		}
		if _, err := b.exec("one", run.ExecSpec{Command: []string{"id"}}); err != nil {
			t.Error(err)
		}
		must(t, b.d.Stop(t.Context(), "one", 10*time.Second))
		for b.exit().ID != "one" { // that of a container which Remove killed is told or not
		}
		must(t, b.d.Remove(t.Context(), "one"))
		must(t, b.d.Remove(t.Context(), "two"))
		must(t, b.d.RemoveSandbox(t.Context(), b.sb.ID))
	}
	cycle(0) // makes what is made once: directories, portmap's shared chains
	before := settled(t, b.d.Driver)
	begin := time.Now()
	for i := range 20 {
		cycle(i + 1)
	}
	log, err := os.ReadFile(b.d.names.daemon().Log)
	must(t, err)
	t.Logf("a cycle took %v and %d lines of containerd's log", time.Since(begin)/20, strings.Count(string(log), "\n")/20)
	if diff := cmp.Diff(before, settled(t, b.d.Driver)); diff != "" {
		t.Error(diff)
	}
}

// TestPurge takes a node away at work, and one of which only pieces are left.
func TestPurge(t *testing.T) {
	for name, wreck := range map[string]func(t *testing.T, b *box){
		"at work":            func(*testing.T, *box) {},
		"daemon killed":      func(t *testing.T, b *box) { must(t, unix.Kill(b.d.supervisor.PID(), unix.SIGKILL)) },
		"run directory gone": func(t *testing.T, b *box) { must(t, os.RemoveAll(filepath.Join(b.d.names.run, "sandboxes"))) },
		"shims killed": func(t *testing.T, b *box) {
			shims, err := b.d.names.daemon().Shims("")
			must(t, err)
			defer shims.Close()
			must(t, shims.Signal(unix.SIGKILL))
		},
		"data gone": func(t *testing.T, b *box) {
			must(t, os.RemoveAll(filepath.Join(b.d.names.root, "root/io.containerd.metadata.v1.bolt")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, Config{})
			b.sandbox("published", run.SandboxSpec{Ports: []run.PortMapping{{HostPort: hostPort(), Port: 80}}})
			for _, id := range []string{"one", "two"} {
				b.start(id, idle, nil)
			}
			n := takenBy(t, b.d.Driver)
			n.Files = nil
			if n.Shims != 2 || n.Processes < 2 || n.Mounts < 3 || n.Links != 3 || n.Rules < 14 || n.Cgroups < 4 {
				t.Errorf("at work it has %+v", n)
			}
			b.d.stop()
			wreck(t, b)
			must(t, Purge(context.Background(), b.d.cfg))
			after := takenBy(t, b.d.Driver)
			after.OurFiles, after.DaemonFiles = 0, 0
			if diff := cmp.Diff(taken{Files: []string{""}}, after); diff != "" {
				t.Error(diff)
			}
			must(t, Purge(context.Background(), b.d.cfg))
		})
	}
}

// TestSideBySide runs two nodes at once, with the same ids.
func TestSideBySide(t *testing.T) {
	one, two := newBox(t, Config{}), newBox(t, Config{})
	if one.d.Subnet().Overlaps(two.d.Subnet()) {
		t.Errorf("both have %s", one.d.Subnet())
	}
	for _, b := range []*box{one, two} {
		b.start("c", "echo "+b.sb.IP+"; trap exit TERM; while :; do sleep 0.01; done", nil)
	}
	must(t, one.d.Remove(t.Context(), "c"))
	must(t, one.d.RemoveSandbox(t.Context(), "sb"))
	one.d.stop()
	must(t, Purge(t.Context(), one.d.cfg))
	observed, _, err := two.d.List(t.Context())
	must(t, err)
	if len(observed) != 1 || !observed[0].Running {
		t.Errorf("the other has %+v", observed)
	}
	two.await("its log has its address", func() bool { return two.read("c") == two.sb.IP+"\n" })
}

// TestContainerdOfOthers runs on a containerd that is not ours, here the one of another node, and leaves nothing in it.
func TestContainerdOfOthers(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	bin := t.TempDir() // a shim by the name that others' are installed under
	must(t, os.Symlink(self, filepath.Join(bin, "containerd-shim-runc-v2")))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	host := open(t, Config{})
	b := newBox(t, Config{Socket: host.names.socket})
	if got := b.output("c", "echo $FROM", nil); got != "image\n" {
		t.Errorf("wrote %q", got)
	}
	b.start("left", idle, nil)
	b.d.stop()
	must(t, Purge(t.Context(), b.d.cfg))
	ctx := b.d.in(t.Context())
	containers, err := host.client.ContainerService().List(ctx)
	must(t, err)
	images, err := host.client.ImageService().List(ctx)
	must(t, err)
	if len(containers)+len(images) > 0 {
		t.Errorf("left behind: %d containers, %d images", len(containers), len(images))
	}
}
