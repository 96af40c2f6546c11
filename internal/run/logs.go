package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fairlead.dev/internal/resource"
)

// logMost is the most bytes of a container's log; checked at each start, what was before is kept once as ".1".
const logMost = 64 << 20

// LogOptions says which part of a log is wanted.
type LogOptions struct {
	Tail int   // that many last lines; 0 is all
	Most int64 // that many last bytes, as it stands now; 0 is all
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

// Logs gives what a container has written, over its restarts; nothing before it has. ErrNotFound, ErrContainerUnknown.
func (s *Service) Logs(ctx context.Context, id resource.ID, container string, opts LogOptions) (io.ReadCloser, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := o.shownContainer(container); err != nil {
		return nil, err
	}
	file, err := openTail(o.logPath(container), opts)
	switch {
	case err != nil:
		return nil, err
	case file == nil:
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	return file, nil
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
