package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/internal/resource"
)

// Limits on a container's log.
const (
	logMost  = 64 << 20               // bytes; checked at each start, what was before is kept once as ".1"
	logEvery = 200 * time.Millisecond // between looks at a log that is followed
)

// LogOptions says which part of a log is wanted.
type LogOptions struct {
	Tail   int   // that many last lines; 0 is all
	Most   int64 // that many last bytes, as it stands now; 0 is all
	Follow bool  // go on with what is written until the container has ended for good
}

// logDir gives the folder of the workload's logs.
func (o *owner) logDir() string { return filepath.Join(o.cfg.LogDir, groupHash(o.key)) }

func (o *owner) logPath(container string) string {
	return filepath.Join(o.logDir(), container+".log")
}

// prepareLog gives the file that a container's next incarnation appends to.
func (o *owner) prepareLog(container string) (string, error) {
	path := o.logPath(container)
	if err := os.MkdirAll(o.logDir(), 0o700); err != nil {
		return "", fmt.Errorf("making the folder of logs: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Size() > logMost {
		if err := os.Rename(path, path+".1"); err != nil {
			return "", fmt.Errorf("setting a full log aside: %w", err)
		}
	}
	return path, nil
}

// Logs gives what a container has written, over its restarts; nothing before it has. The reader ends with ctx.
// ErrNotFound, ErrContainerUnknown.
func (s *Service) Logs(ctx context.Context, id resource.ID, container string, opts LogOptions) (io.ReadCloser, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := o.shownContainer(container); err != nil {
		return nil, err
	}
	file, err := openTail(o.logPath(container), opts)
	if err != nil {
		return nil, err
	}
	if !opts.Follow {
		if file == nil {
			return io.NopCloser(bytes.NewReader(nil)), nil
		}
		return file, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	return &follower{ctx: ctx, cancel: cancel, owner: o, container: container, file: file}, nil
}

// openTail opens a log at the beginning of its last lines or bytes; nil when there is none yet.
func openTail(path string, opts LogOptions) (*os.File, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := seekTail(file, opts); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// seekTail puts f behind the line break before its last lines, or where its last bytes begin if that is nearer; a line
// without a break at the end counts as one.
func seekTail(f *os.File, opts LogOptions) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	first, lines := int64(0), opts.Tail
	if opts.Most > 0 {
		first = max(0, end-opts.Most)
	}
	block := make([]byte, 32<<10)
	for at := end; lines > 0 && at > first; {
		n := min(int64(len(block)), at-first)
		at -= n
		if _, err := f.ReadAt(block[:n], at); err != nil {
			return err
		}
		for i := n - 1; i >= 0 && lines > 0; i-- {
			if block[i] != '\n' || at+i == end-1 {
				continue
			}
			if lines--; lines == 0 {
				first = at + i + 1
			}
		}
	}
	_, err = f.Seek(first, io.SeekStart)
	return err
}

// follower reads a log that grows.
type follower struct {
	ctx       context.Context //nolint:containedctx // io.Reader has no place for one
	cancel    context.CancelFunc
	owner     *owner
	container string
	file      *os.File // nil until there is one
}

func (f *follower) Read(p []byte) (int, error) {
	for {
		ended := f.ended() // asked before reading: what was written before the end is read
		n, err := f.read(p)
		switch {
		case n > 0 || err != nil:
			return n, err
		case ended:
			return 0, io.EOF
		}
		select {
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-f.owner.ended:
		case <-time.After(logEvery):
		}
	}
}

// read reads what there is, from a new file when the old one was set aside; 0 for nothing.
func (f *follower) read(p []byte) (int, error) {
	if f.file != nil {
		if n, err := f.file.Read(p); n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
	}
	next, err := os.Open(f.owner.logPath(f.container))
	if err != nil {
		return 0, nil //nolint:nilerr // not there yet, or not any more
	}
	if f.file != nil {
		if sameFile(f.file, next) {
			return 0, next.Close()
		}
		_ = f.file.Close()
	}
	f.file = next
	n, err := next.Read(p)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func sameFile(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// ended reports whether nothing more will be written.
func (f *follower) ended() bool {
	select {
	case <-f.owner.ended:
		return true
	default:
	}
	c, err := f.owner.shownContainer(f.container)
	return err != nil || c.Current.State == Terminated
}

func (f *follower) Close() error {
	f.cancel()
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}
