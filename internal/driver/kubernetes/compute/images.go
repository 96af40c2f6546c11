package compute

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// Images is a pull.Node that keeps what says how to run an image, its manifest and config, as files; the layers are
// fetched by the cluster's nodes. It forgets nothing: some kilobytes for each version of an image.
type Images struct{ dir string }

// OpenImages opens the node's directory, and makes it if it is not there.
func OpenImages(dir string) (*Images, error) {
	return &Images{dir}, os.MkdirAll(dir, 0o700)
}

// Begin implements pull.Node.
func (n *Images) Begin(context.Context, string) (pull.Session, error) {
	return imageSession{n.dir}, nil
}

type imageSession struct{ dir string }

var _ pull.Elsewhere = imageSession{}

// Fetcher implements pull.Elsewhere.
func (imageSession) Fetcher() string { return "the cluster's node" }

func (s imageSession) path(d content.Descriptor) string { return filepath.Join(s.dir, d.Digest.Hex()) }

// Has implements pull.Session.
func (s imageSession) Has(_ context.Context, d content.Descriptor) (bool, error) {
	info, err := os.Stat(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && (d.Size == 0 || d.Size == info.Size()), err
}

// Open implements pull.Session.
func (s imageSession) Open(_ context.Context, d content.Descriptor) (io.ReadCloser, error) {
	f, err := os.Open(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, pull.ErrNotOnNode
	}
	return f, err
}

// Write implements pull.Session.
func (s imageSession) Write(_ context.Context, d content.Descriptor) (pull.Writer, error) {
	return &imageWriter{path: s.path(d), want: d}, nil
}

// Unpack implements pull.Session: there is nothing to unpack here.
func (imageSession) Unpack(context.Context, []pull.Layer, func(int)) error { return nil }

// Pin implements pull.Session: what is written stays.
func (imageSession) Pin(context.Context, string, content.Descriptor) error { return nil }

// End implements pull.Session.
func (imageSession) End(context.Context) error { return nil }

// imageWriter holds a manifest or config, which are small, until it is whole.
type imageWriter struct {
	bytes.Buffer
	path string
	want content.Descriptor
}

// Commit implements pull.Writer.
func (w *imageWriter) Commit(context.Context) error {
	if int64(w.Len()) != w.want.Size || !w.want.Digest.Verify(w.Bytes()) {
		return pull.ErrMismatch
	}
	f, err := os.CreateTemp(filepath.Dir(w.path), "writing-")
	if err != nil {
		return err
	}
	_, err = f.Write(w.Bytes())
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), w.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Close implements pull.Writer.
func (w *imageWriter) Close() error { return nil }
