package pulltest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// Disk is a node that keeps content as files and only checks what it is told to unpack. It never collects.
type Disk struct{ dir string }

// NewDisk makes a node in dir, an empty directory.
func NewDisk(dir string) *Disk { return &Disk{dir} }

// Begin implements pull.Node.
func (n *Disk) Begin(context.Context, string) (pull.Session, error) { return diskSession{n.dir}, nil }

// Files counts the files on the node, unfinished ones too.
func (n *Disk) Files() int {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return -1
	}
	return len(entries)
}

// Path gives the file that content lies in.
func (n *Disk) Path(d content.Digest) string { return diskSession{n.dir}.path(d) }

type diskSession struct{ dir string }

func (s diskSession) path(d content.Digest) string { return filepath.Join(s.dir, d.Hex()) }

func (s diskSession) Has(_ context.Context, d content.Descriptor) (bool, error) {
	info, err := os.Stat(s.path(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && (d.Size == 0 || d.Size == info.Size()), err
}

func (s diskSession) Open(_ context.Context, d content.Descriptor) (io.ReadCloser, error) {
	f, err := os.Open(s.path(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, pull.ErrNotOnNode
	}
	return f, err
}

func (s diskSession) Write(_ context.Context, d content.Descriptor) (pull.Writer, error) {
	f, err := os.CreateTemp(s.dir, "writing-")
	return &diskWriter{f, s, d}, err
}

type diskWriter struct {
	*os.File
	session diskSession
	want    content.Descriptor
}

func (w *diskWriter) Commit(context.Context) error {
	body, err := os.ReadFile(w.Name())
	if err != nil {
		return err
	}
	if int64(len(body)) != w.want.Size || !w.want.Digest.Verify(body) {
		return errors.Join(pull.ErrMismatch, os.Remove(w.Name()))
	}
	return os.Rename(w.Name(), w.session.path(w.want.Digest))
}

func (w *diskWriter) Close() error {
	_ = os.Remove(w.Name()) // there is none after Commit
	return w.File.Close()
}

func (s diskSession) Unpack(_ context.Context, layers []pull.Layer, progress func(int)) error {
	for i, l := range layers {
		body, err := os.ReadFile(s.path(l.Digest))
		if err != nil {
			return errors.Join(pull.ErrNotOnNode, err)
		}
		zr, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return err
		}
		plain, err := io.ReadAll(zr)
		if err != nil {
			return err
		}
		if !l.DiffID.Verify(plain) {
			return pull.ErrMismatch
		}
		progress(i)
	}
	return nil
}

func (s diskSession) Pin(ctx context.Context, _ string, target content.Descriptor) error {
	if has, err := s.Has(ctx, target); err != nil || !has {
		return errors.Join(pull.ErrNotOnNode, err)
	}
	return nil
}

func (s diskSession) End(context.Context) error { return nil }
