// Package files keeps the bytes of blobs and uploads in files beneath one directory:
//
//	blobs/<algorithm>/<first two hexadecimal digits>/<hexadecimal digest>
//	uploads/<upload id>
//
// A blob's file appears by a rename, after its bytes were hashed and synced, so that whatever stands under a digest has
// that digest, also after a power cut. Which repository holds which blob is not known here: that is metadata.
package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

// Store is a registry.Blobs in a directory that no other process writes to.
type Store struct {
	root    string
	uploads turns
	spread  sync.Map // the directories of blobs that are known to be there, durably
}

// Open opens the store in the directory root, making what is missing of it. It fails when the directory cannot be
// written.
func Open(root string) (*Store, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("making the content directory: %w", err)
	}
	for _, dir := range []string{"uploads", "blobs", filepath.Join("blobs", "sha256"), filepath.Join("blobs", "sha512")} {
		if err := mkdir(filepath.Join(root, dir)); err != nil {
			return nil, fmt.Errorf("making the content directory: %w", err)
		}
	}
	for _, dir := range []string{filepath.Dir(root), root, filepath.Join(root, "blobs")} {
		if err := syncDir(dir); err != nil {
			return nil, fmt.Errorf("making the content directory durable: %w", err)
		}
	}
	return &Store{root: root, uploads: turns{open: map[string]*upload{}}}, nil
}

// ensure makes one of the directories among which blobs are spread, durably, once in the life of the process.
func (s *Store) ensure(dir string) error {
	if _, known := s.spread.Load(dir); known {
		return nil
	}
	if err := errors.Join(mkdir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return err
	}
	s.spread.Store(dir, struct{}{})
	return nil
}

func mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// blobPath checks the digest again: a path is made of it.
func (s *Store) blobPath(d content.Digest) (string, error) {
	if _, err := content.ParseDigest(string(d)); err != nil {
		return "", err
	}
	return filepath.Join(s.root, "blobs", d.Algorithm(), d.Hex()[:2], d.Hex()), nil
}

// uploadPath lets nothing but the GUIDs that registry makes become a file name.
func (s *Store) uploadPath(id string) (string, error) {
	if len(id) != 36 || strings.Trim(id, "0123456789abcdef-") != "" {
		return "", registry.ErrUploadUnknown
	}
	return filepath.Join(s.root, "uploads", id), nil
}

// Open gives a blob's content and size; registry.ErrBlobUnknown.
func (s *Store) Open(_ context.Context, d content.Digest) (io.ReadSeekCloser, int64, error) {
	path, err := s.blobPath(d)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, registry.ErrBlobUnknown
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening blob %s: %w", d, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// writing explains an error met while writing: a full disk has its own.
func writing(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return registry.ErrFull.WithCause(err)
	}
	return fmt.Errorf("writing %s: %w", what, err)
}
