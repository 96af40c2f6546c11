package files_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/files"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/registry/registrytest"
)

func open(t *testing.T, root string) *files.Store {
	t.Helper()
	s, err := files.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBlobs(t *testing.T) {
	registrytest.Blobs(t, func(t *testing.T) func() registry.Blobs {
		root := t.TempDir()
		return func() registry.Blobs { return open(t, root) }
	})
}

const upload = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

// TestNamesDoNotLeaveTheRoot tells the attack first: a digest or an upload id that is a path must not reach a file.
func TestNamesDoNotLeaveTheRoot(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, filepath.Join(dir, "root"))
	for _, d := range []content.Digest{"sha256:../../../../secret", "sha256:" + content.Digest(strings.Repeat("../", 21)) + "x", "../secret", "", "sha256:", "sha256:..", "md5:00"} {
		if _, _, err := s.Open(t.Context(), d); !errors.Is(err, content.ErrDigestInvalid) {
			t.Errorf("opening %q: %v", d, err)
		}
		if _, err := s.Commit(t.Context(), upload, d); !errors.Is(err, content.ErrDigestInvalid) {
			t.Errorf("committing %q: %v", d, err)
		}
	}
	for _, id := range []string{"../../secret", "", "..", strings.Repeat("../", 12), strings.ToUpper(upload)} {
		if _, err := s.Append(t.Context(), id, registry.AtEnd, strings.NewReader("x")); !errors.Is(err, registry.ErrUploadUnknown) {
			t.Errorf("appending to %q: %v", id, err)
		}
		if err := s.Discard(t.Context(), id); !errors.Is(err, registry.ErrUploadUnknown) {
			t.Errorf("discarding %q: %v", id, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "secret")); err != nil || string(text) != "secret" {
		t.Errorf("the file outside is %q, %v", text, err)
	}
}

func TestOpenRefusesWhatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Open(filepath.Join(file, "content")); err == nil {
		t.Error("opened beneath a file")
	}
}

// TestFullDisk appends to a device on which every write fails for want of space.
func TestFullDisk(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	if err := os.Symlink("/dev/full", filepath.Join(root, "uploads", upload)); err != nil {
		t.Fatal(err)
	}
	size, err := s.Append(t.Context(), upload, registry.AtEnd, strings.NewReader("abc"))
	if !errors.Is(err, registry.ErrFull) || size != 0 {
		t.Errorf("%d, %v, want ErrFull", size, err)
	}
}

func TestNothingIsLeftOpen(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	before := openFiles(t)
	for range 20 {
		_, _ = s.Append(t.Context(), upload, registry.AtEnd, strings.NewReader("abc"))
		_, _ = s.Append(t.Context(), upload, 99, strings.NewReader("abc"))
		_, _ = s.Commit(t.Context(), upload, content.FromBytes([]byte("other")))
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files open, %d before", after, before)
	}
	if left, err := os.ReadDir(filepath.Join(root, "uploads")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc")
	}
	return len(entries)
}

func TestSweepLeavesForeignFiles(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	foreign := filepath.Join(root, "uploads", "lost+found")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(context.Background(), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
}
