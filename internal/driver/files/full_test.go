//go:build linux

package files_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

// TestFullDiskGetsItsRoomBack: a push that fills the disk keeps none of what it did not finish, and can be gone on with.
func TestFullDiskGetsItsRoomBack(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("needs the right to mount:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := open(t, root)
	first, last := strings.Repeat("a", 300<<10), strings.Repeat("b", 1<<20)
	if size, err := s.Append(t.Context(), upload, registry.AtEnd, strings.NewReader(first)); size != int64(len(first)) || err != nil {
		t.Fatal(size, err)
	}
	size, err := s.Append(t.Context(), upload, registry.AtEnd, strings.NewReader(strings.Repeat("x", 4<<20)))
	if !errors.Is(err, registry.ErrFull) || size != int64(len(first)) {
		t.Errorf("%d, %v, want ErrFull at %d", size, err, len(first))
	}
	if size, err := s.Append(t.Context(), upload, int64(len(first)), strings.NewReader(last)); size != int64(len(first+last)) || err != nil {
		t.Errorf("going on: %d, %v", size, err)
	}
	if _, err := s.Commit(t.Context(), upload, content.FromBytes([]byte(first+last))); err != nil {
		t.Error(err)
	}
}
