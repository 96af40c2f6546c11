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
	"sync/atomic"
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

// A child that a process leaves behind may hold its output open forever. So after the end of the process no more is read
// when the output has come to its end, when it was waited for so long (the time that its reader takes does not count: a
// slow one loses nothing), or when more has come than can have been under way.
const (
	drain    = time.Second
	underWay = 512 << 10 // two pipes of 64 KiB and two buffers of 32 KiB for each stream
)

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
	stdin, output := &closingReader{r: spec.Stdin, eof: make(chan struct{})}, &flow{}
	p, err := task.Exec(inner, "exec-"+uuid.NewString(), process, d.streams(spec, stdin, output))
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
	drained = awaitOutput(p.IO(), output)
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
func (d *Driver) streams(spec run.ExecSpec, stdin io.Reader, output *flow) cio.Creator {
	var in io.Reader
	if spec.Stdin != nil {
		in = stdin
	}
	out, errOut := orDiscard(spec.Stdout), orDiscard(spec.Stderr)
	if sameWriter(out, errOut) {
		out = &lockedWriter{w: out}
		errOut = out
	}
	opts := []cio.Opt{cio.WithStreams(in, meter{out, output}, meter{errOut, output}), cio.WithFIFODir(filepath.Join(d.names.run, "fifo"))}
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

// awaitOutput waits until all output is written, or gives up and returns false. Nothing is written after it.
func awaitOutput(streams cio.IO, output *flow) bool {
	done := make(chan struct{})
	go func() {
		streams.Wait()
		close(done)
	}()
	const step = drain / 20
	most := output.bytes.Load() + underWay
	for waited := time.Duration(0); waited < drain && output.bytes.Load() <= most; {
		select {
		case <-done:
			return true
		case <-time.After(step):
		}
		if output.writing.Load() == 0 {
			waited += step
		}
	}
	streams.Cancel()
	_ = streams.Close()
	<-done
	return false
}

// flow is what is known of a process's output while it goes on.
type flow struct {
	bytes   atomic.Int64 // that were written to the caller
	writing atomic.Int32 // writes under way
}

// meter notes what is written.
type meter struct {
	io.Writer
	flow *flow
}

func (m meter) Write(p []byte) (int, error) {
	m.flow.writing.Add(1)
	defer m.flow.writing.Add(-1)
	n, err := m.Writer.Write(p)
	m.flow.bytes.Add(int64(n))
	return n, err
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
