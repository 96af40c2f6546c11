//go:build linux

package process

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// IsNamespace reports whether a namespace is kept at path, by a mount.
func IsNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Release unmounts what is mounted at path, such as a namespace, which ends with the last process in it. It is no error
// when there is nothing.
func Release(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return os.NewSyscallError("umount", err)
	}
	return nil
}

// Within calls f on a thread that has joined the namespaces at these paths, in their order; a process that f starts is in
// them too. The thread ends with f: it is of no use to others any more.
func Within(paths []string, f func() error) error {
	if len(paths) == 0 {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if err := join(paths); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func join(paths []string) error {
	open := make([]*os.File, 0, len(paths))
	defer func() {
		for _, f := range open {
			_ = f.Close()
		}
	}()
	for _, path := range paths { // all before any: in another mount namespace the others' paths may lead elsewhere
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		open = append(open, f)
	}
	// A thread that shares its root and working directory with others may not change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	for _, f := range open {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("join the namespace %s: %w", f.Name(), os.NewSyscallError("setns", err))
		}
	}
	return nil
}

// kindOf gives the name under /proc/PID/ns of the kind of namespace that is mounted at path.
func kindOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil {
		return "", os.NewSyscallError("ioctl", err)
	}
	switch kind {
	case unix.CLONE_NEWNET:
		return "net", nil
	case unix.CLONE_NEWNS:
		return "mnt", nil
	case unix.CLONE_NEWUTS:
		return "uts", nil
	}
	return "", errors.New("a namespace of a kind that no process is started in")
}
