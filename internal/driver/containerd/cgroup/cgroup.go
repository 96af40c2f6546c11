//go:build linux

// Package cgroup owns the control groups that hold several containers together: a sandbox's, with the sum of its
// containers' limits, under one of the data directory. It works with the separate hierarchies of version 1 and with
// version 2. The groups of single containers, beneath these, are made and removed by the OCI runtime.
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is how this machine mounts its control groups.
type Tree struct {
	unified     string            // mount of version 2 when it has the controllers, else ""
	controllers map[string]string // mounts of version 1 by controller
	all         []string          // every mount of either version, for removal
	mixed       bool              // version 2 has controllers that version 1 left
}

// Open reads the mounts of this process.
func Open() (*Tree, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := &Tree{controllers: map[string]string{}}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		t.add(lines.Text())
	}
	return t, nil
}

// add takes one line of mountinfo (proc_pid_mountinfo(5)): the mount point is its fifth field; after " - " come the
// type, the source and the options of the file system.
func (t *Tree) add(line string) {
	mount, super, ok := strings.Cut(line, " - ")
	fields, rest := strings.Fields(mount), strings.Fields(super)
	if !ok || len(fields) < 5 || len(rest) < 3 {
		return
	}
	point := fields[4]
	switch rest[0] {
	case "cgroup":
		for c := range strings.SplitSeq(rest[2], ",") {
			t.controllers[c] = point
		}
	case "cgroup2":
		// Version 2 is often mounted beside version 1, with what controllers the latter left.
		controllers := controllersOf(point)
		if slices.Contains(controllers, "memory") {
			t.unified = point
		}
		t.mixed = t.unified == "" && len(controllers) > 0
	default:
		return
	}
	t.all = append(t.all, point)
}

// Version is 1 or 2; 0 when no controllers are mounted.
func (t *Tree) Version() int {
	switch {
	case t.unified != "":
		return 2
	case len(t.controllers) > 0:
		return 1
	}
	return 0
}

// Missing gives the controllers, of those that limits need, that this machine does not offer.
func (t *Tree) Missing() []string {
	have := func(c string) bool { return t.controllers[c] != "" }
	if t.unified != "" {
		have = func(c string) bool { return slices.Contains(controllersOf(t.unified), c) }
	}
	var missing []string
	for _, c := range needed {
		if !have(c) {
			missing = append(missing, c)
		}
	}
	return missing
}

func controllersOf(unified string) []string {
	raw, _ := os.ReadFile(filepath.Join(unified, "cgroup.controllers"))
	return strings.Fields(string(raw))
}

// ReadOnly gives a mount of the needed controllers that cannot be written to; "" when there is none.
func (t *Tree) ReadOnly() string {
	for _, c := range needed {
		if dir := t.Mount(c); unix.Access(dir, unix.W_OK) != nil {
			return dir
		}
	}
	return ""
}

// Mixed reports whether version 1 is in use and version 2 has further controllers beside it.
func (t *Tree) Mixed() bool { return t.mixed && len(t.controllers) > 0 }

var needed = []string{"cpu", "memory", "pids"} //nolint:gochecknoglobals // a constant list

// Limits of a group; zero is none.
type Limits struct {
	CPU    float64 // cores
	Memory int64   // bytes, swap included
}

// Period is the length of the CPU scheduler's accounting, in microseconds.
const Period = 100_000

// Quota gives the CPU time in a period, in microseconds, for a number of cores. The kernel refuses less than 1000.
func Quota(cores float64) int64 { return max(int64(cores*Period+0.5), 1000) }

// write is one value for one file.
type write struct {
	file, value string
	optional    bool // a kernel without swap accounting has no such file
}

// Create makes the group at path ("/a/b") with limits. It is no error that it is there already.
func (t *Tree) Create(path string, l Limits) error {
	if t.unified != "" {
		return t.createUnified(path, l)
	}
	for _, controller := range needed {
		dir := filepath.Join(t.controllers[controller], path)
		if t.controllers[controller] == "" {
			return fmt.Errorf("the cgroup controller %q is not mounted", controller)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := apply(dir, versionOne(controller, l)); err != nil {
			return err
		}
	}
	return nil
}

// CreateEverywhere makes the group at path without limits, in every hierarchy: a kubelet wants to find it in all of them.
func (t *Tree) CreateEverywhere(path string) error {
	if err := t.Create(path, Limits{}); err != nil {
		return err
	}
	for controller, mount := range t.controllers {
		if strings.HasPrefix(controller, "name=") {
			continue
		}
		if err := os.MkdirAll(filepath.Join(mount, path), 0o755); err != nil {
			return err
		}
		if controller == "cpuset" {
			if err := inheritCPUs(mount, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// inheritCPUs gives the group at path and those above it the processors and memory of the root: in version 1 a new group
// has none, and no process can be put into it (cpusets(7)).
func inheritCPUs(mount, path string) error {
	dir := mount
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, part, file), value, 0); err != nil {
				return err
			}
		}
		dir = filepath.Join(dir, part)
	}
	return nil
}

func versionOne(controller string, l Limits) []write {
	switch {
	case controller == "cpu" && l.CPU > 0:
		return []write{{file: "cpu.cfs_period_us", value: strconv.Itoa(Period)}, {file: "cpu.cfs_quota_us", value: strconv.FormatInt(Quota(l.CPU), 10)}}
	case controller == "memory" && l.Memory > 0:
		m := strconv.FormatInt(l.Memory, 10)
		return []write{{file: "memory.limit_in_bytes", value: m}, {file: "memory.memsw.limit_in_bytes", value: m, optional: true}}
	}
	return nil
}

// createUnified hands the controllers down level by level: a group has those that its parent gives to its children.
func (t *Tree) createUnified(path string, l Limits) error {
	dir := t.unified
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if err := apply(dir, []write{{file: "cgroup.subtree_control", value: "+" + strings.Join(needed, " +")}}); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return apply(dir, versionTwo(l))
}

func versionTwo(l Limits) []write {
	var w []write
	if l.CPU > 0 {
		w = append(w, write{file: "cpu.max", value: fmt.Sprintf("%d %d", Quota(l.CPU), Period)})
	}
	if l.Memory > 0 {
		w = append(w, write{file: "memory.max", value: strconv.FormatInt(l.Memory, 10)}, write{file: "memory.swap.max", value: "0", optional: true})
	}
	return w
}

func apply(dir string, writes []write) error {
	for _, w := range writes {
		f, err := os.OpenFile(filepath.Join(dir, w.file), os.O_WRONLY, 0)
		if err != nil {
			if w.optional && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return err
		}
		_, err = f.WriteString(w.value)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write %s to %s: %w", w.value, filepath.Join(dir, w.file), err)
		}
	}
	return nil
}

// Remove removes the group at path and all beneath it from every hierarchy; it is no error when there is none. The
// processes have ended before, but the kernel may still be letting go of the last of them: then the error is EBUSY.
func (t *Tree) Remove(path string) error {
	var errs []error
	for _, mount := range t.all {
		errs = append(errs, removeTree(filepath.Join(mount, path)))
	}
	return errors.Join(errs...)
}

// RemovePatiently is Remove that waits for the kernel where it still lets go of the last process.
func (t *Tree) RemovePatiently(ctx context.Context, path string) error {
	const patience, pause = 2 * time.Second, 5 * time.Millisecond
	for until := time.Now().Add(patience); ; {
		err := t.Remove(path)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// Processes gives the processes in the group at path and beneath it.
func (t *Tree) Processes(path string) ([]int, error) {
	seen := map[int]bool{}
	for _, mount := range t.all {
		err := filepath.WalkDir(filepath.Join(mount, path), func(dir string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				return ignoreGone(err)
			}
			for field := range strings.FieldsSeq(string(raw)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	pids := make([]int, 0, len(seen))
	for pid := range seen {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// OOMKills counts the processes that the kernel killed in the group at path because its memory ran out.
func (t *Tree) OOMKills(path string) (int, error) {
	file := filepath.Join(t.controllers["memory"], path, "memory.oom_control")
	if t.unified != "" {
		file = filepath.Join(t.unified, path, "memory.events")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return 0, nil
}

// LimitsSwap reports whether the kernel can limit the swap of the group at path.
func (t *Tree) LimitsSwap(path string) bool {
	name := "memory.memsw.limit_in_bytes"
	if t.unified != "" {
		name = "memory.swap.max"
	}
	_, err := os.Stat(filepath.Join(t.Mount("memory"), path, name))
	return err == nil
}

// Mount gives where a controller's groups are.
func (t *Tree) Mount(controller string) string {
	if t.unified != "" {
		return t.unified
	}
	return t.controllers[controller]
}
