//go:build linux

package sql_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/resource"
)

// TestFullDisk: a change that finds no room says so, changes nothing, and is taken when there is room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("needs the right to mount:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	db, err := sql.Open(t.Context(), filepath.Join(dir, "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	store := sql.NewResources(db, "tenant")
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 8<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal("the disk is not full:", err)
	}
	r := resource.Resource{ID: resource.MustParseID("/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg"), Location: "westus2"}
	if _, _, err := store.PutResource(t.Context(), r, ""); !errors.Is(err, sql.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, created, err := store.PutResource(t.Context(), r, ""); err != nil || !created {
		t.Errorf("with room again: created %v, %v", created, err)
	}
}
