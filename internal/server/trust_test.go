package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrustIsInstalledAndRemoved works in a directory of its own, with a program in place of update-ca-certificates that
// only notes that it was run: the machine's own trust is not a test's to change.
func TestTrustIsInstalledAndRemoved(t *testing.T) {
	data, neighbour, dir := t.TempDir(), t.TempDir(), t.TempDir()
	update := filepath.Join(dir, "update")
	if err := os.WriteFile(AuthorityFile(data), []byte("the authority"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(update, []byte("#!/bin/sh\necho run >> "+dir+"/runs\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	installed := trustFile(dir, data)
	if installed == trustFile(dir, neighbour) {
		t.Error("two data directories have one place in the store")
	}
	for _, install := range []bool{true, true, false, false} {
		if err := installTrust(t.Context(), data, dir, update, install); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(installed)
		if install && string(text) != "the authority" || !install && !os.IsNotExist(err) {
			t.Fatalf("install %v leaves %q, %v", install, text, err)
		}
	}
	runs, err := os.ReadFile(filepath.Join(dir, "runs"))
	if err != nil || strings.Count(string(runs), "run") != 4 {
		t.Errorf("the store was brought up to date in %q, %v", runs, err)
	}
	if err := installTrust(t.Context(), data, dir, filepath.Join(dir, "absent"), true); err == nil || !strings.Contains(err.Error(), "ca-certificates") {
		t.Errorf("without the program: %v does not name the package", err)
	}
}
