//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/internal/driver/containerd"
)

// downLimit is how long a server may take to end by itself before it is killed.
const downLimit = 15 * time.Second

// Down ends the server of a data directory and everything that it runs: containers, networks, containerd. With purge it
// removes the directory too. It works as well when the server was killed, and when nothing runs.
func Down(ctx context.Context, data string, purge bool, out, logs io.Writer) error {
	cfg := Config{Data: data}
	if err := cfg.Validate(); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(cfg.Data, "format")); errors.Is(err, os.ErrNotExist) {
		return downNothing(cfg.Data, purge, out)
	}
	lock, err := endServer(ctx, cfg.Data, out)
	if err != nil {
		return err
	}
	defer lock.Close()
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := containerd.Purge(ctx, nodeConfig(lastConfig(cfg.Data), 0, log)); err != nil {
		return fmt.Errorf("ending what runs in %s: %w", cfg.Data, err)
	}
	if err := purgeRemote(ctx, cfg.Data); err != nil {
		return fmt.Errorf("ending what runs on the cluster: %w", err)
	}
	if err := os.Remove(ReadyFile(cfg.Data)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // a killed server's: what it says is no longer true
	}
	fmt.Fprintf(out, "everything of %s has ended\n", cfg.Data)
	if !purge {
		return nil
	}
	real, err := filepath.EvalSymlinks(cfg.Data) // of a link, what it leads to is the data
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(real), os.RemoveAll(cfg.Data)); err != nil {
		return fmt.Errorf("removing the data: %w", err)
	}
	fmt.Fprintf(out, "removed %s\n", cfg.Data)
	return nil
}

// lastConfig gives what the last start with compute took of the machine.
func lastConfig(data string) Config {
	cfg := Config{Data: data}
	if stored, err := (&dataDir{path: data}).readStored(); err == nil { // what cannot be read keeps nothing from ending
		cfg.Containerd = stored.Containerd
	}
	return cfg
}

// downNothing is Down for a directory that no Fairlead has used: one that a server failed to open is left as it is.
func downNothing(data string, purge bool, out io.Writer) error {
	fmt.Fprintf(out, "%s is no data directory of Fairlead: nothing to end\n", data)
	if !purge {
		return nil
	}
	for _, leftover := range []string{filepath.Join(data, "lock"), data} {
		if err := os.Remove(leftover); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// endServer asks the server that holds the directory to end, kills it when it does not, and gives the lock, so that
// none begins meanwhile. No number stays in it: one that outlived its process could come to mean a stranger.
func endServer(ctx context.Context, data string, out io.Writer) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(data, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if tryLock(lock) == nil {
		return lock, lock.Truncate(0)
	}
	pid := holderOf(lock)
	if pid == 0 {
		fmt.Fprintln(out, "waiting for another 'fairlead down'")
		if awaitLock(ctx, lock, downLimit) == nil {
			return lock, lock.Truncate(0)
		}
		return nil, errors.Join(fmt.Errorf("%s is held by a process that left no number in it: end it by hand", lock.Name()), ctx.Err(), lock.Close())
	}
	fmt.Fprintf(out, "ending the server (pid %d)\n", pid)
	for _, step := range []struct {
		signal unix.Signal
		limit  time.Duration
	}{{unix.SIGTERM, downLimit}, {unix.SIGKILL, downLimit}} {
		if err := unix.Kill(pid, step.signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return nil, errors.Join(fmt.Errorf("ending process %d: %w", pid, err), lock.Close())
		}
		if err := awaitLock(ctx, lock, step.limit); err == nil {
			return lock, lock.Truncate(0)
		}
	}
	return nil, errors.Join(fmt.Errorf("process %d does not end", pid), ctx.Err(), lock.Close())
}

func tryLock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// awaitLock waits until whoever holds the lock has ended.
func awaitLock(ctx context.Context, f *os.File, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if tryLock(f) == nil {
			tick.Stop()
			return nil
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return ctx.Err()
		case <-tick.C:
		}
	}
}
