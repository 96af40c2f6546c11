//go:build linux

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startLimit = 20 * time.Second       // from the start of a daemon until it answers
	stopGrace  = 3 * time.Second        // between SIGTERM and SIGKILL
	firstDelay = 100 * time.Millisecond // before a dead daemon is started again; doubles up to lastDelay
	lastDelay  = 10 * time.Second
	steady     = time.Minute // a daemon that lived this long is not in a loop of crashes
	maxLog     = 10 << 20    // bytes of the log at which a start begins a new file
)

// Supervisor keeps one daemon running. The daemon has its own session and outlives us, and the containers outlive the
// daemon, because each has its shim.
type Supervisor struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex
	current *process
}

// Open gives a supervisor whose daemon answers: the one that runs already, when it is of this same program and
// configuration, else a new one in its place.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Supervisor, error) {
	s := &Supervisor{cfg: cfg, log: log}
	unchanged, err := cfg.prepare()
	if err != nil {
		return nil, err
	}
	if unchanged {
		if s.current = s.adopt(ctx); s.current != nil {
			return s, nil
		}
	}
	if err := s.replace(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Run starts the daemon again whenever it dies, until ctx ends; the daemon then stays. started is called after each new
// start.
func (s *Supervisor) Run(ctx context.Context, started func()) error {
	delay := firstDelay
	for {
		begin := time.Now()
		if err := s.process().wait(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		s.log.ErrorContext(ctx, "containerd_died", "pid", s.PID(), "log", s.cfg.Log)
		if time.Since(begin) > steady {
			delay = firstDelay
		}
		for again := true; again; delay = min(2*delay, lastDelay) {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(delay):
			}
			err := s.replace(ctx)
			if again = err != nil; again && ctx.Err() == nil {
				s.log.ErrorContext(ctx, "containerd_start", "error", err)
			}
		}
		started()
	}
}

// Stop ends the daemon; containers run on. Run must have returned.
func (s *Supervisor) Stop(ctx context.Context) error {
	return s.cfg.Stop(ctx)
}

// Close lets go of the daemon, which runs on. Run must have returned.
func (s *Supervisor) Close() error { return s.process().fd.Close() }

// PID gives the number of the daemon's process.
func (s *Supervisor) PID() int { return s.process().pid }

func (s *Supervisor) process() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Stop ends every daemon that runs over this configuration, whoever started it.
func (c Config) Stop(ctx context.Context) error {
	daemons, err := c.daemons()
	if err != nil {
		return err
	}
	defer daemons.Close()
	return errors.Join(daemons.Signal(unix.SIGTERM), daemons.End(ctx, stopGrace))
}

// adopt gives the daemon that runs already when it is of this same executable and answers; nil otherwise.
func (s *Supervisor) adopt(ctx context.Context) *process {
	daemons, err := s.cfg.daemons()
	if err != nil {
		return nil
	}
	if len(daemons) != 1 || !s.usable(ctx, daemons[0]) {
		daemons.Close()
		return nil
	}
	s.log.InfoContext(ctx, "containerd_adopted", "pid", daemons[0].pid)
	return daemons[0]
}

func (s *Supervisor) usable(ctx context.Context, p *process) bool {
	exe, err := s.cfg.executable()
	if err != nil {
		return false
	}
	ours, err1 := os.Stat(exe)
	theirs, err2 := os.Stat(fmt.Sprintf("/proc/%d/exe", p.pid))
	if err1 != nil || err2 != nil || !os.SameFile(ours, theirs) {
		return false
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", s.cfg.Socket())
	return err == nil && conn.Close() == nil
}

// replace stops whatever daemon there is and starts a new one; it returns when that answers.
func (s *Supervisor) replace(ctx context.Context) error {
	if err := s.cfg.Stop(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	begin := time.Now()
	p, err := s.start(ctx)
	if err != nil {
		return fmt.Errorf("start containerd (its log is %s): %w", s.cfg.Log, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current.close()
	}
	s.current = p
	s.log.InfoContext(ctx, "containerd_started", "pid", p.pid, "took", time.Since(begin))
	return nil
}

// start runs the daemon and waits until it says that it is ready, as it would say to systemd (sd_notify(3)).
func (s *Supervisor) start(ctx context.Context) (*process, error) {
	notify := filepath.Join(s.cfg.Run, "notify.sock")
	_ = os.Remove(notify)
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = ready.Close() }()
	cmd, err := s.command(notify)
	if err != nil {
		return nil, err
	}
	defer cmd.Stdout.(*os.File).Close()
	// The daemon outlives us: it must hold nothing open of what we ourselves were started with, such as the pipe of
	// somebody who waits for our end. Kernels before 5.11 cannot do this.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p, err := openProcess(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	died := make(chan error, 1)
	go func() { // reaps our child whenever it ends
		died <- cmd.Wait()
		_ = ready.SetReadDeadline(time.Unix(1, 0))
	}()
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := awaitReady(ready); err == nil {
		return p, nil
	}
	defer p.close()
	select {
	case err := <-died:
		return nil, fmt.Errorf("it ended before it was ready: %w", err)
	default:
		return nil, errors.Join(context.Cause(ctx), Group{p}.End(context.WithoutCancel(ctx), 0))
	}
}

func awaitReady(conn *net.UnixConn) error {
	buf := make([]byte, 512)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if strings.Contains(string(buf[:n]), "READY=1") {
			return nil
		}
	}
}

// command gives the daemon's command line. Its environment is made anew: what is in ours is not the containers' shims'
// business.
func (s *Supervisor) command(notify string) (*exec.Cmd, error) {
	exe, err := s.cfg.executable()
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(s.cfg.Log); err == nil && info.Size() > maxLog {
		if err := os.Rename(s.cfg.Log, s.cfg.Log+".1"); err != nil {
			return nil, err
		}
	}
	out, err := os.OpenFile(s.cfg.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path:        exe,
		Args:        []string{Name, "--config", s.cfg.file()},
		Env:         []string{"PATH=" + searchPath(), "NOTIFY_SOCKET=" + notify},
		Dir:         "/",
		Stdout:      out,
		Stderr:      out,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}, nil
}

// searchPath is where the OCI runtime and the firewall programs are looked for: our own PATH and, after it, the
// administrator's directories, which a user's shell may not have.
func searchPath() string {
	return strings.Join(append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"), ":")
}
