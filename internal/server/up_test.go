//go:build linux

package server

import (
	"os"
	"path/filepath"
	"testing"
)

// TestStaleReadyFilesGo looks for a killed server's ready files while the next one starts.
func TestStaleReadyFilesGo(t *testing.T) {
	data, named := t.TempDir(), filepath.Join(t.TempDir(), "ready.json")
	must(t, serverIn(t, data, Config{}).Close())
	stale := []string{ReadyFile(data), named}
	for _, path := range stale {
		must(t, os.WriteFile(path, []byte("{}"), 0o600))
	}
	s := serverIn(t, data, Config{ReadyFile: named})
	defer s.Close()
	for _, path := range stale {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is there before anything answers", path)
		}
	}
}
