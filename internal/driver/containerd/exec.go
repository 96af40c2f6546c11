//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/run"
)

// ErrNotRunning is returned by Exec for a container that does not run.
var ErrNotRunning = fault.New(fault.NotFound, "CONTAINER_NOT_RUNNING", "the container does not run")

// drain is how long output may go on after the process has ended: a child that it left behind may hold it open forever.
const drain = time.Second

// Exec implements run.Execer. What reads spec.Stdin goes on after the process has ended until Stdin ends, too: the caller
// closes it.
func (d *Driver) Exec(ctx context.Context, id string, spec run.ExecSpec) (int, error) {
	if len(spec.Command) == 0 {
		return 0, ErrCommandMissing.WithMessage("there is no command to run")
	}
	inner := d.in(context.WithoutCancel(ctx)) // what was started is also ended when ctx is
	task, process, err := d.prepareExec(d.in(ctx), id, spec)
	if err != nil {
		return 0, err
	}
	stdin := &closingReader{r: spec.Stdin, eof: make(chan struct{})}
	p, err := task.Exec(inner, "exec-"+uuid.NewString(), process, d.streams(spec, stdin))
	if err != nil {
		return 0, fmt.Errorf("make a process in the container: %w", err)
	}
	drained := true
	defer func() {
		remove := func() { _, _ = p.Delete(inner, client.WithProcessKill) }
		if drained {
			remove()
			return
		}
		d.lingering.Go(remove) // the shim waits for the output, too, and longer
	}()
	ended, err := p.Wait(inner)
	if err != nil {
		return 0, fmt.Errorf("wait for a process in the container: %w", err)
	}
	if err := p.Start(inner); err != nil {
		return 0, commandFault(err)
	}
	code, err := d.attend(ctx, inner, p, ended, stdin.eof, spec)
	drained = awaitOutput(p.IO())
	return code, err
}

// prepareExec gives the running task and the process to add to it: like the container's own but for the command.
func (d *Driver) prepareExec(ctx context.Context, id string, spec run.ExecSpec) (client.Task, *specs.Process, error) {
	c, err := d.client.LoadContainer(ctx, id)
	if err != nil {
		return nil, nil, notRunning(err)
	}
	task, err := c.Task(ctx, nil)
	if err != nil {
		return nil, nil, notRunning(err)
	}
	status, err := task.Status(ctx)
	if err != nil {
		return nil, nil, notRunning(err)
	}
	if status.Status != client.Running {
		return nil, nil, ErrNotRunning
	}
	whole, err := c.Spec(ctx)
	if err != nil {
		return nil, nil, notRunning(err)
	}
	p := whole.Process
	p.Args, p.Terminal = spec.Command, spec.TTY
	if spec.TTY {
		p.ConsoleSize = &specs.Box{Height: uint(spec.Rows), Width: uint(spec.Cols)}
		if !slices.ContainsFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, "TERM=") }) {
			p.Env = append(p.Env, "TERM=xterm")
		}
	}
	return task, p, nil
}

func notRunning(err error) error {
	if errdefs.IsNotFound(err) {
		return ErrNotRunning.WithCause(err)
	}
	return fmt.Errorf("look at the container: %w", err)
}

// streams connects the process to the caller's streams by pipes in our directory.
func (d *Driver) streams(spec run.ExecSpec, stdin io.Reader) cio.Creator {
	var in io.Reader
	if spec.Stdin != nil {
		in = stdin
	}
	out, errOut := orDiscard(spec.Stdout), orDiscard(spec.Stderr)
	if sameWriter(out, errOut) {
		out = &lockedWriter{w: out}
		errOut = out
	}
	opts := []cio.Opt{cio.WithStreams(in, out, errOut), cio.WithFIFODir(filepath.Join(d.names.run, "fifo"))}
	if spec.TTY {
		opts = append(opts, cio.WithTerminal)
	}
	return cio.NewCreator(opts...)
}

// sameWriter reports whether both streams go to one writer, which then must not be called by two at once: os/exec promises
// the same. Writers that cannot be compared are different ones.
func sameWriter(a, b io.Writer) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.TypeOf(a).Comparable() && a == b
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// attend serves a running process until it has ended.
func (d *Driver) attend(ctx, inner context.Context, p client.Process, ended <-chan client.ExitStatus, eof <-chan struct{}, spec run.ExecSpec) (int, error) {
	resize := spec.Resize
	if spec.TTY && spec.Rows > 0 && spec.Cols > 0 {
		_ = p.Resize(inner, uint32(spec.Cols), uint32(spec.Rows)) // the kernel's default size is no failure
	}
	cancelled := ctx.Done()
	for {
		select {
		case size, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			_ = p.Resize(inner, uint32(size[1]), uint32(size[0]))
		case <-eof:
			eof = nil
			if !spec.TTY {
				_ = p.CloseIO(inner, client.WithStdinCloser) // it may have ended meanwhile
			}
		case <-cancelled:
			cancelled = nil
			if err := p.Kill(inner, unix.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
				return 0, errors.Join(ctx.Err(), err)
			}
		case status := <-ended:
			return int(status.ExitCode()), errors.Join(ctx.Err(), status.Error())
		}
	}
}

// awaitOutput waits until all output is written, or for too long, when it gives false. Nothing is written after it.
func awaitOutput(streams cio.IO) bool {
	done := make(chan struct{})
	go func() {
		streams.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(drain):
		streams.Cancel()
		_ = streams.Close()
		<-done
		return false
	}
}

// closingReader tells when its reader has come to the end: containerd holds the other end open until it is told.
type closingReader struct {
	r    io.Reader
	eof  chan struct{}
	done bool
}

func (c *closingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && !c.done {
		c.done = true
		close(c.eof)
	}
	return n, err
}
