//go:build linux

package nodes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/internal/driver/containerd/process"
)

// world is a mount namespace in which a node finds the places that a kubelet and its containers are used to. What they
// write there does not reach the machine, and all mounts vanish with the namespace.
type world struct {
	hostname string
	dir      string            // where the namespaces are kept, under the names "mnt" and "uts"
	keep     []string          // directories that stay as they are, whatever is laid over their parents
	binds    map[string]string // directories of ours by the places where the node finds them
	files    map[string]string // content of files by their names in /etc
}

// overlaid are the directories that the node may write to as if they were its own: a layer in memory takes it.
var overlaid = []string{"/etc", "/var"} //nolint:gochecknoglobals // a constant list

// tunables are settings of the whole machine that the kubelet makes (setupKernelTunables in its container manager). It
// finds them made, in files of its own, and leaves the machine's alone.
var tunables = map[string]string{ //nolint:gochecknoglobals // a constant table
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// namespaces gives the paths at which the world can be joined.
func (w world) namespaces() []string {
	return []string{filepath.Join(w.dir, "uts"), filepath.Join(w.dir, "mnt")}
}

// create makes the namespaces and keeps them in w.dir.
func (w world) create() error {
	if err := makePrivate(w.dir); err != nil {
		return err
	}
	for _, pin := range w.namespaces() {
		if err := os.WriteFile(pin, nil, 0o600); err != nil {
			return err
		}
	}
	built, pinned := make(chan error), make(chan struct{})
	thread := 0
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		thread = unix.Gettid()
		err := w.build()
		built <- err
		<-pinned
	}()
	err := <-built
	if err == nil {
		err = w.pin(thread)
	}
	close(pinned)
	if err != nil {
		return errors.Join(fmt.Errorf("make the namespaces of node %s: %w", w.hostname, err), w.remove())
	}
	return nil
}

// pin keeps a thread's namespaces. It is done from outside: within, the mounts would be in the namespace themselves.
func (w world) pin(thread int) error {
	for _, pin := range w.namespaces() {
		ns := fmt.Sprintf("/proc/self/task/%d/ns/%s", thread, filepath.Base(pin))
		if err := unix.Mount(ns, pin, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep %s: %w", pin, os.NewSyscallError("mount", err))
		}
	}
	return nil
}

// alive reports whether the namespaces are there.
func (w world) alive() bool {
	return !slices.ContainsFunc(w.namespaces(), func(pin string) bool { return !process.IsNamespace(pin) })
}

// remove lets go of the namespaces; they end with the last process in them. It is no error when there are none.
func (w world) remove() error {
	for _, path := range append(w.namespaces(), w.dir) {
		if err := process.Release(path); err != nil {
			return err
		}
	}
	return os.RemoveAll(w.dir)
}

// makePrivate makes dir a mount whose own mounts reach no other namespace: a namespace cannot be kept where it would
// come to see itself.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	err := unix.Mount("none", dir, "", unix.MS_PRIVATE, "")
	if errors.Is(err, unix.EINVAL) { // it is no mount yet
		err = unix.Mount(dir, dir, "none", unix.MS_BIND, "")
		if err == nil {
			err = unix.Mount("none", dir, "", unix.MS_PRIVATE, "")
		}
	}
	return os.NewSyscallError("mount", err)
}

// build makes this thread's namespaces what w says.
func (w world) build() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Sethostname([]byte(w.hostname)); err != nil {
		return os.NewSyscallError("sethostname", err)
	}
	// What the machine mounts later is seen here, but not the other way round; within, mounts are shared so that pods can
	// see each other's.
	for _, propagation := range []uintptr{unix.MS_SLAVE, unix.MS_SHARED} {
		if err := unix.Mount("none", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return os.NewSyscallError("mount", err)
		}
	}
	kept, err := hold(w.keep)
	defer letGo(kept)
	if err != nil {
		return err
	}
	if err := unix.Mount("fairlead", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, dir := range overlaid {
		if err := overlay(dir); err != nil {
			return err
		}
	}
	for _, k := range kept {
		if err := k.putBack(); err != nil {
			return err
		}
	}
	return errors.Join(w.bindAll(), w.writeFiles(), ownTunables())
}

// held is a directory, with the mounts beneath it, that is put back where it was.
type held struct {
	path string
	tree int
}

func hold(dirs []string) ([]held, error) {
	var out []held
	for _, dir := range dirs {
		tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return out, fmt.Errorf("hold %s: %w", dir, os.NewSyscallError("open_tree", err))
		}
		out = append(out, held{dir, tree})
	}
	return out, nil
}

// letGo closes what was held, put back or not.
func letGo(all []held) {
	for _, h := range all {
		_ = unix.Close(h.tree)
	}
}

func (h held) putBack() error {
	if err := os.MkdirAll(h.path, 0o755); err != nil {
		return err
	}
	if err := unix.MoveMount(h.tree, "", unix.AT_FDCWD, h.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("put %s back: %w", h.path, os.NewSyscallError("move_mount", err))
	}
	return nil
}

// layers is where, on the node's own /run, the layers over the machine's directories are.
const layers = "/run/.fairlead"

func overlay(dir string) error {
	upper, work := filepath.Join(layers, dir, "upper"), filepath.Join(layers, dir, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	options := "lowerdir=" + dir + ",upperdir=" + upper + ",workdir=" + work
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("lay a layer over %s: %w", dir, err)
	}
	return nil
}

func (w world) bindAll() error {
	for place, dir := range w.binds {
		for _, d := range []string{place, dir} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(dir, place, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", place, err)
		}
	}
	return nil
}

func (w world) writeFiles() error {
	for name, text := range w.files {
		path := filepath.Join("/etc", name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // it may be a link that leads elsewhere
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func ownTunables() error {
	for name, value := range tunables {
		own := filepath.Join(layers, "sysctl", strings.ReplaceAll(name, "/", "."))
		if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(own, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		err := unix.Mount(own, filepath.Join("/proc/sys", name), "none", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, unix.ENOENT) { // a kernel without keyrings has no such file
			return fmt.Errorf("keep %s from the node: %w", name, err)
		}
	}
	return nil
}
