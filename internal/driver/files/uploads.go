package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

// bufferSize is how many bytes of an upload are held in memory at once.
const bufferSize = 256 << 10

// Append writes body behind the upload's end; see registry.Blobs.
func (s *Store) Append(ctx context.Context, id string, at int64, body io.Reader) (size int64, err error) {
	path, err := s.uploadPath(id)
	if err != nil {
		return 0, err
	}
	u, err := s.uploads.take(ctx, id)
	if err != nil {
		return 0, err
	}
	defer s.uploads.give(id, u)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return 0, writing("an upload", err)
	}
	defer func() { err = errors.Join(err, writing("an upload", f.Close())) }()
	if size, err = f.Seek(0, io.SeekEnd); err != nil {
		return 0, err
	}
	if at != registry.AtEnd && at != size {
		return size, registry.ErrRangeInvalid.WithMessage("the chunk begins at byte %d, but the next byte of the upload is %d", at, size)
	}
	if size, err = u.copy(f, size, body); u.dropped.Load() {
		return size, errors.Join(registry.ErrUploadUnknown, remove(path)) // which it may have made anew
	}
	return size, err
}

// copy appends body to the file, which ends at size, and gives its new size. What arrived before body failed stays; of
// what cannot be written nothing does, because on a full disk it would hold the room that everybody lacks.
func (u *upload) copy(f *os.File, size int64, body io.Reader) (int64, error) {
	start := size
	if size == 0 {
		u.begin()
	}
	buf := make([]byte, bufferSize)
	for !u.dropped.Load() {
		n, end, failed := fill(buf, body)
		if _, err := f.Write(buf[:n]); err != nil {
			u.forget()
			return start, errors.Join(writing("an upload", err), f.Truncate(start))
		}
		if u.sum != nil && u.summed == size {
			_, _ = u.sum.Write(buf[:n]) // a hash never fails
			u.summed += int64(n)
		}
		size += int64(n)
		if failed != nil {
			return size, registry.ErrUploadCut.WithCause(failed)
		}
		if end {
			return size, nil
		}
	}
	return size, nil
}

// fill reads until buf is full or body ends. Unlike io.ReadFull it tells an end from a body that was cut off, which may
// also call itself an unexpected EOF or wrap one.
func fill(buf []byte, body io.Reader) (n int, end bool, err error) {
	for n < len(buf) {
		m, err := body.Read(buf[n:])
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// Size gives how many bytes an upload has.
func (s *Store) Size(_ context.Context, id string) (int64, error) {
	path, err := s.uploadPath(id)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Commit makes an upload a blob; see registry.Blobs.
func (s *Store) Commit(ctx context.Context, id string, d content.Digest) (int64, error) {
	from, err := s.uploadPath(id)
	if err != nil {
		return 0, err
	}
	to, err := s.blobPath(d)
	if err != nil {
		return 0, err
	}
	u, err := s.uploads.take(ctx, id)
	if err != nil {
		return 0, err
	}
	defer s.uploads.give(id, u)
	size, got, err := u.seal(from, d)
	switch {
	case err != nil:
	case got != d:
		err = registry.ErrDigestInvalid.WithMessage("the uploaded content has the digest %s, not %s", got, d)
	default:
		err = s.publish(from, to)
	}
	u.forget()
	switch {
	case err == nil:
		return size, nil
	case u.dropped.Load():
		err = registry.ErrUploadUnknown
	case !errors.Is(err, registry.ErrDigestInvalid):
		err = writing("blob "+d.String(), err)
	}
	// Kept, it could not be trusted: what a failed sync has lost, the next one does not miss.
	return 0, errors.Join(err, remove(from))
}

// publish renames an upload to a blob, durably.
func (s *Store) publish(from, to string) error {
	if err := s.ensure(filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// seal makes the upload's bytes durable and gives their number and digest, in the algorithm of d.
func (u *upload) seal(path string, d content.Digest) (size int64, got content.Digest, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Sync(); err != nil {
		return 0, "", err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, "", err
	}
	sum := u.sum
	if sum == nil || u.summed != info.Size() || d.Algorithm() != "sha256" {
		sum = d.NewHash()
		if _, err := io.Copy(sum, f); err != nil {
			return 0, "", fmt.Errorf("reading the upload back: %w", err)
		}
	}
	return info.Size(), content.FromHash(d.Algorithm(), sum), nil
}

// Discard drops an upload; see registry.Blobs.
func (s *Store) Discard(_ context.Context, id string) error {
	path, err := s.uploadPath(id)
	if err != nil {
		return err
	}
	s.uploads.drop(id)
	return remove(path)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("dropping an upload: %w", err)
	}
	return nil
}

// Sweep drops uploads whose last byte came before a time.
func (s *Store) Sweep(ctx context.Context, before time.Time) error {
	entries, err := os.ReadDir(filepath.Join(s.root, "uploads"))
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range entries {
		_, foreign := s.uploadPath(e.Name())
		info, gone := e.Info()
		if foreign != nil || gone != nil || !info.ModTime().Before(before) {
			continue
		}
		failed = append(failed, s.Discard(ctx, e.Name()))
	}
	return errors.Join(failed...)
}
