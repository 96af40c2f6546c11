//go:build linux

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree gives a Tree over directories that look like control groups, with the lines of mountinfo that lead to it.
func tree(t *testing.T, lines string, files map[string]string) (*Tree, string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	tr := &Tree{controllers: map[string]string{}}
	for line := range strings.SplitSeq(lines, "\n") {
		tr.add(strings.ReplaceAll(line, "ROOT", root))
	}
	return tr, root
}

func TestMounts(t *testing.T) {
	for _, c := range []struct {
		name, lines string
		controllers string
		version     int
		mixed       bool
		missing     []string
	}{
		{"version 2", "30 20 0:26 / ROOT rw shared:4 - cgroup2 cgroup2 rw,nsdelegate", "cpuset cpu io memory pids", 2, false, nil},
		{"version 2 without memory", "30 20 0:26 / ROOT rw - cgroup2 cgroup2 rw", "cpu pids", 0, false, []string{"cpu", "memory", "pids"}},
		{"version 1", "1 2 0:1 / ROOT/c rw - cgroup cgroup rw,cpu,cpuacct\n1 2 0:1 / ROOT/m rw - cgroup cgroup rw,memory\n1 2 0:1 / ROOT/p rw - cgroup cgroup rw,pids", "", 1, false, nil},
		{"version 1 without limits of processes", "1 2 0:1 / ROOT/c rw - cgroup cgroup rw,cpu\n1 2 0:1 / ROOT/m rw - cgroup cgroup rw,memory", "", 1, false, []string{"pids"}},
		{"both", "1 2 0:1 / ROOT/m rw - cgroup cgroup rw,memory,cpu,pids\n30 20 0:26 / ROOT rw - cgroup2 cgroup2 rw", "hugetlb", 1, true, nil},
		{"nothing", "1 2 0:1 / /proc rw - proc proc rw\nmalformed", "", 0, false, []string{"cpu", "memory", "pids"}},
	} {
		tr, _ := tree(t, c.lines, map[string]string{"cgroup.controllers": c.controllers})
		if tr.Version() != c.version || tr.Mixed() != c.mixed {
			t.Errorf("%s: version %d, mixed %v", c.name, tr.Version(), tr.Mixed())
		}
		if diff := cmp.Diff(c.missing, tr.Missing()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// TestCreateUnified writes to files that stand for the kernel's.
func TestCreateUnified(t *testing.T) {
	tr, root := tree(t, "30 20 0:26 / ROOT rw - cgroup2 cgroup2 rw", map[string]string{
		"cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": "", "fl/cgroup.subtree_control": "",
		"fl/sb/cpu.max": "", "fl/sb/memory.max": "",
	})
	for range 2 { // a crash may have left the group
		if err := tr.Create("/fl/sb", Limits{CPU: 0.25, Memory: 1 << 20}); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	for _, name := range []string{"cgroup.subtree_control", "fl/cgroup.subtree_control", "fl/sb/cpu.max", "fl/sb/memory.max"} {
		raw, _ := os.ReadFile(filepath.Join(root, name))
		got[name] = string(raw)
	}
	want := map[string]string{
		"cgroup.subtree_control": "+cpu +memory +pids", "fl/cgroup.subtree_control": "+cpu +memory +pids",
		"fl/sb/cpu.max": "25000 100000", "fl/sb/memory.max": "1048576",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOOMKillsUnified(t *testing.T) {
	tr, _ := tree(t, "30 20 0:26 / ROOT rw - cgroup2 cgroup2 rw", map[string]string{
		"cgroup.controllers": "memory", "fl/sb/c/memory.events": "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n",
	})
	if n, err := tr.OOMKills("/fl/sb/c"); err != nil || n != 2 {
		t.Errorf("%d kills, %v", n, err)
	}
	if _, err := tr.OOMKills("/fl/sb/other"); err == nil {
		t.Error("a group that does not exist has kills")
	}
}

func TestQuota(t *testing.T) {
	for cores, want := range map[float64]int64{0.5: 50000, 1: 100000, 0.333: 33300, 0.001: 1000, 4: 400000} {
		if got := Quota(cores); got != want {
			t.Errorf("%v cores are %d, want %d", cores, got, want)
		}
	}
}

// TestRealGroups makes and removes groups on this machine.
func TestRealGroups(t *testing.T) {
	tr, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 || tr.Version() == 0 || tr.ReadOnly() != "" || len(tr.Missing()) > 0 {
		t.Skip("needs root and control groups that can be written to")
	}
	path := fmt.Sprintf("/fairlead-test-%d/sb", os.Getpid())
	t.Cleanup(func() {
		if err := tr.Remove(filepath.Dir(path)); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if err := tr.Create(path, Limits{CPU: 1.5, Memory: 64 << 20}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := tr.OOMKills(path); err != nil || n != 0 {
		t.Errorf("%d kills, %v", n, err)
	}
	if pids, err := tr.Processes(path); err != nil || len(pids) != 0 {
		t.Errorf("processes %v, %v", pids, err)
	}
	for range 2 {
		if err := tr.Remove(path); err != nil {
			t.Error(err)
		}
	}
	for _, m := range tr.all {
		if _, err := os.Stat(filepath.Join(m, path)); err == nil {
			t.Errorf("%s is left in %s", path, m)
		}
	}
}
