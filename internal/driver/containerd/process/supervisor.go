//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstDelay = 100 * time.Millisecond // before a dead process is started again; doubles up to lastDelay
	lastDelay  = 10 * time.Second
	steady     = time.Minute // a process that lived this long is not in a loop of crashes
)

// Supervisor keeps one process running. It has its own session and outlives us.
type Supervisor struct {
	program Program
	log     *slog.Logger

	mu      sync.Mutex
	current *process
}

// Supervise gives a supervisor whose process is ready: the one that runs already, when it is of this same program and
// configuration, else a new one in its place.
func Supervise(ctx context.Context, p Program, log *slog.Logger) (*Supervisor, error) {
	s := &Supervisor{program: p, log: log}
	unchanged, err := p.prepare()
	if err != nil {
		return nil, err
	}
	if unchanged {
		if s.current = s.adopt(ctx); s.current != nil {
			return s, nil
		}
	}
	for try, delay := 1, firstDelay; ; try, delay = try+1, min(2*delay, lastDelay) {
		err := s.replace(ctx)
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, errEnded) || try >= p.StartTries {
			return nil, err
		}
		log.WarnContext(ctx, "process_start", "program", p.Name, "try", try, "of", p.StartTries, "error", err)
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(delay):
		}
	}
}

// errEnded is what becomes of a start when the process ends of itself.
var errEnded = errors.New("it ended before it was ready")

// Run starts the process again whenever it dies, until ctx ends; the process then stays. started is called after each new
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
		s.log.ErrorContext(ctx, "process_died", "program", s.program.Name, "pid", s.PID(), "log", s.program.Log)
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
				s.log.ErrorContext(ctx, "process_start", "program", s.program.Name, "error", err)
			}
		}
		started()
	}
}

// Stop ends the process. Run must have returned.
func (s *Supervisor) Stop(ctx context.Context) error { return s.program.Stop(ctx) }

// Close lets go of the process, which runs on. Run must have returned.
func (s *Supervisor) Close() error { return s.process().fd.Close() }

// PID gives the number of the process.
func (s *Supervisor) PID() int { return s.process().pid }

func (s *Supervisor) process() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// adopt gives the process that runs already when it is of use; nil otherwise.
func (s *Supervisor) adopt(ctx context.Context) *process {
	running, err := s.program.Running()
	if err != nil {
		return nil
	}
	if len(running) != 1 || !s.program.usable(ctx, running[0]) {
		running.Close()
		return nil
	}
	s.log.InfoContext(ctx, "process_adopted", "program", s.program.Name, "pid", running[0].pid)
	return running[0]
}

// replace stops whatever process there is and starts a new one; it returns when that is ready.
func (s *Supervisor) replace(ctx context.Context) error {
	if err := s.program.Stop(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.program.StartLimit)
	defer cancel()
	begin := time.Now()
	p, err := s.start(ctx)
	if err != nil {
		return fmt.Errorf("start %s (its log is %s): %w", s.program.Name, s.program.Log, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current.close()
	}
	s.current = p
	s.log.InfoContext(ctx, "process_started", "program", s.program.Name, "pid", p.pid, "took", time.Since(begin))
	return nil
}

// start runs the process and waits until it says that it is ready.
func (s *Supervisor) start(ctx context.Context) (*process, error) {
	_ = os.Remove(s.program.Notify)
	said, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.program.Notify, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = said.Close() }()
	cmd, err := s.program.command()
	if err != nil {
		return nil, err
	}
	defer cmd.Stdout.(*os.File).Close()
	// The process outlives us: it must hold nothing open of what we ourselves were started with, such as the pipe of
	// somebody who waits for our end. Kernels before 5.11 cannot do this.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err := Within(s.program.Namespaces, cmd.Start); err != nil {
		return nil, err
	}
	p, err := openProcess(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	died := make(chan error, 1)
	go func() { // reaps our child whenever it ends
		died <- cmd.Wait()
		_ = said.SetReadDeadline(time.Unix(1, 0))
	}()
	stop := context.AfterFunc(ctx, func() { _ = said.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := s.awaitReady(said); err == nil {
		return p, nil
	}
	defer p.close()
	select {
	case err := <-died:
		return nil, fmt.Errorf("%w: %w", errEnded, endOf(err))
	default:
		return nil, errors.Join(context.Cause(ctx), Group{p}.End(context.WithoutCancel(ctx), 0))
	}
}

// endOf makes an error of an end without one.
func endOf(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return errors.New(exit.String())
	}
	return err
}

// awaitReady listens to what the process says of itself (sd_notify(3)): lines of NAME=value.
func (s *Supervisor) awaitReady(said *net.UnixConn) error {
	buf := make([]byte, 4096)
	for {
		n, err := said.Read(buf)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(buf[:n])) {
			line = strings.TrimSpace(line)
			if status, ok := strings.CutPrefix(line, "STATUS="); ok && s.program.Status != nil {
				s.program.Status(status)
			}
			if line == "READY=1" {
				return nil
			}
		}
	}
}
