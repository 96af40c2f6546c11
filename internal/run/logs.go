package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fairlead.dev/internal/resource"
)

const (
	logMost  = 64 << 20        // bytes of a log, unless the configuration says otherwise
	logEvery = 5 * time.Second // between looks at how much was written
	logAside = ".1"            // ends the name of what was set aside of a log
)

// LogOptions says which part of a log is wanted.
type LogOptions struct {
	Tail int   // that many last lines; 0 is all
	Most int64 // that many last bytes, as it stands now; 0 is all
}

// logs keeps the files that containers write, in a folder per workload, each beside what was set aside of it last.
type logs struct {
	dir  string
	most int64      // bytes of a log; what was before is kept once
	mu   sync.Mutex // no log is set aside while another is, or is opened or removed
}

// logDir gives the folder of the workload's logs.
func (o *owner) logDir() string { return filepath.Join(o.svc.logs.dir, groupHash(o.key)) }

func (o *owner) logPath(container string) string {
	return filepath.Join(o.logDir(), container+".log")
}

// prepareLog gives the file that a container's next incarnation appends to.
func (o *owner) prepareLog(container string) (string, error) {
	path := o.logPath(container)
	if err := os.MkdirAll(o.logDir(), 0o700); err != nil {
		return "", fmt.Errorf("making the folder of logs: %w", err)
	}
	return path, o.svc.logs.renew(path)
}

// renew sets a full log aside that nobody writes to.
func (l *logs) renew(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := os.Stat(path); err == nil && info.Size() > l.most {
		if err := os.Rename(path, path+logAside); err != nil {
			return fmt.Errorf("setting a full log aside: %w", err)
		}
	}
	return nil
}

// remove removes the logs of a workload.
func (l *logs) remove(dir string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return os.RemoveAll(dir)
}

// tendLogs sets aside what was written, whenever it is too much, until ctx ends: a container that never exits would fill
// the disk. It looks at files, not at what is known of containers, for there are some that run on although they are not
// wanted any more.
func (s *Service) tendLogs(ctx context.Context) {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		names, _ := fs.Glob(os.DirFS(s.logs.dir), "*/*.log") // the pattern is a good one
		for _, name := range names {
			if err := s.logs.rotate(filepath.Join(s.logs.dir, name)); err != nil {
				s.cfg.Log.ErrorContext(ctx, "a full log was not set aside", "log", name, "error", err)
			}
		}
	}
}

// rotate sets a full log aside that somebody may write to: the writer has it open, to append, so its end is copied and
// the file made empty in place. That is done also when it cannot be copied, as on a full disk.
//
// What is written between the last look at the file and its emptying is lost: no more than one call of the system lies
// between them, unless it is written faster than it can be copied.
func (l *logs) rotate(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := os.Stat(path); err != nil || info.Size() <= l.most {
		return nil //nolint:nilerr // what is not there, or not any more, is not full
	}
	from, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := l.setAside(from, path+logAside)
	if err != nil {
		return errors.Join(err, from.Truncate(0))
	}
	_, err = io.CopyN(to, from, l.most) // what was added meanwhile
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(from.Truncate(0), err, to.Close())
}

// setAside copies the end of a log to a file that takes the place of aside; readers of that go on.
func (l *logs) setAside(from *os.File, aside string) (to *os.File, err error) {
	if _, err = from.Seek(-l.most, io.SeekEnd); err != nil {
		return nil, err
	}
	fresh := aside + ".new"
	if to, err = os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	if _, err = io.CopyN(to, from, l.most); err == nil {
		err = os.Rename(fresh, aside)
	}
	if err != nil {
		return nil, errors.Join(err, to.Close(), os.Remove(fresh))
	}
	return to, nil
}

// Logs gives what a container has written, over its restarts; nothing before it has. Of more than is kept it is the end.
// ErrNotFound, ErrContainerUnknown.
func (s *Service) Logs(ctx context.Context, id resource.ID, container string, opts LogOptions) (io.ReadCloser, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := o.shownContainer(container); err != nil {
		return nil, err
	}
	return s.logs.open(o.logPath(container), opts)
}

// open gives the wanted part of a log and of what was set aside of it, as one. It may end early when the log is set aside
// while it is read.
func (l *logs) open(path string, opts LogOptions) (io.ReadCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &history{}
	for _, name := range []string{path + logAside, path} {
		if err := h.add(name); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	first, err := h.tail(opts)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.Reader = io.NewSectionReader(h, first, h.size-first)
	return h, nil
}

// history is files read as one, as long as they were when they were opened.
type history struct {
	io.Reader
	parts []part
	size  int64
}

type part struct {
	*os.File
	size int64
}

// add opens a file, if it is there.
func (h *history) add(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekEnd)
	h.parts, h.size = append(h.parts, part{file, size}), h.size+size
	return err
}

// ReadAt implements io.ReaderAt.
func (h *history) ReadAt(p []byte, at int64) (n int, err error) {
	for _, part := range h.parts {
		if at < part.size && n < len(p) {
			m, err := part.ReadAt(p[n:n+int(min(int64(len(p)-n), part.size-at))], at)
			n, at = n+m, at+int64(m)
			if err != nil {
				return n, err
			}
		}
		at -= part.size
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// Close closes the files.
func (h *history) Close() error {
	var err error
	for _, part := range h.parts {
		err = cmp.Or(err, part.Close())
	}
	return err
}

// tail finds what is behind the line break before the last lines, or where the last bytes begin if that is nearer; a line
// without a break at the end counts as one.
func (h *history) tail(opts LogOptions) (first int64, err error) {
	lines := opts.Tail
	if opts.Most > 0 {
		first = max(0, h.size-opts.Most)
	}
	block := make([]byte, 32<<10)
	for at := h.size; lines > 0 && at > first; {
		n := min(int64(len(block)), at-first)
		at -= n
		if _, err := h.ReadAt(block[:n], at); err != nil {
			return 0, err
		}
		for i := n - 1; i >= 0 && lines > 0; i-- {
			if block[i] != '\n' || at+i == h.size-1 {
				continue
			}
			if lines--; lines == 0 {
				first = at + i + 1
			}
		}
	}
	return first, nil
}
