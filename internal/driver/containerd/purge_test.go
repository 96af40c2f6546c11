//go:build linux

package containerd

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPurgeOfLittle purges what a start leaves that was killed in its first look at the machine, beside a containerd of
// others that is gone by now.
func TestPurgeOfLittle(t *testing.T) {
	data := t.TempDir()
	merged := filepath.Join(data, overlayCheck+"1", "merged")
	must(t, os.MkdirAll(merged, 0o700))
	if err := unix.Mount("tmpfs", merged, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("needs the right to mount:", err)
	}
	must(t, Purge(t.Context(), Config{DataDir: data, Socket: filepath.Join(data, "gone.sock")}))
	must(t, os.RemoveAll(data))
}
