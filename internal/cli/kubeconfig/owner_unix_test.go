//go:build unix

package kubeconfig_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"fairlead.dev/internal/cli/kubeconfig"
)

// TestTheOwnerStays: who adds a cluster as root, with sudo, does not take the file from the one it belongs to.
func TestTheOwnerStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can write a file that belongs to somebody else")
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(odd), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, 23456); err != nil {
		t.Fatal(err)
	}
	if err := put(t, path, kubeconfig.Options{}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 23456 || info.Mode().Perm() != 0o600 {
		t.Errorf("it belongs to %d:%d, mode %v", s.Uid, s.Gid, info.Mode())
	}
}
