//go:build linux

// Package process owns the processes that outlive us: handles on them that cannot come to mean a stranger, the
// namespaces that they are started in, and the Supervisor that starts one, finds one that runs already, and brings it
// back when it dies. What the processes are is the business of those who describe them.
package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a handle on a process that need not be our child: it cannot come to mean another one when the number is
// used again.
type process struct {
	pid int
	fd  *os.File
}

// openProcess gives a handle on pid; unix.ESRCH when there is no such process.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return &process{pid: pid, fd: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// wait returns nil when the process has ended, ctx's error when that comes first.
func (p *process) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.fd.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			_ = p.fd.SetReadDeadline(time.Time{})
		}
	}()
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Read(func(fd uintptr) bool { // a pidfd is readable from the end of its process on
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	})
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (p *process) signal(sig unix.Signal) error {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(sent, unix.ESRCH) {
		return nil // it has ended
	}
	return os.NewSyscallError("pidfd_send_signal", sent)
}

func (p *process) close() { _ = p.fd.Close() }

// Group is a number of processes that are to end together.
type Group []*process

// End waits until all have ended; what has not after grace is killed.
func (g Group) End(ctx context.Context, grace time.Duration) error {
	patience, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for _, p := range g {
		if p.wait(patience) == nil {
			continue
		}
		if err := errors.Join(p.signal(unix.SIGKILL), p.wait(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// Signal sends a signal to all.
func (g Group) Signal(sig unix.Signal) error {
	var errs []error
	for _, p := range g {
		errs = append(errs, p.signal(sig))
	}
	return errors.Join(errs...)
}

// Close lets go of the processes.
func (g Group) Close() {
	for _, p := range g {
		p.close()
	}
}

// EndAll ends the processes that list gives: SIGTERM, after grace SIGKILL, again until there are none, for a process may
// fork meanwhile.
func EndAll(ctx context.Context, grace time.Duration, list func() ([]int, error)) error {
	sig := unix.SIGTERM
	for ctx.Err() == nil {
		pids, err := list()
		if err != nil || len(pids) == 0 {
			return err
		}
		g := Processes(pids)
		err = errors.Join(g.Signal(sig), g.End(ctx, grace))
		g.Close()
		if err != nil {
			return err
		}
		sig = unix.SIGKILL
	}
	return ctx.Err()
}

// Processes gives handles on processes by their numbers, leaving out those that have ended.
func Processes(pids []int) Group {
	var g Group
	for _, pid := range pids {
		if p, err := openProcess(pid); err == nil {
			g = append(g, p)
		}
	}
	return g
}

// Find gives the processes whose command line match accepts.
func Find(match func(argv []string) bool) (Group, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, dir := range dirs {
		raw, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(raw) == 0 {
			continue // it has ended, or is a kernel thread
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && match(strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")) {
			pids = append(pids, pid)
		}
	}
	return Processes(pids), nil
}
