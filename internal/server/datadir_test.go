//go:build linux

package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDataOpensAfterAKill makes what a first start leaves that is killed early.
func TestDataOpensAfterAKill(t *testing.T) {
	for name, left := range map[string][]string{
		"before the format":       {"lock"},
		"in the format":           {"lock", ".format-123"},
		"behind the format":       {"lock", "format"},
		"between two of the subs": {"lock", "format", "keys/"},
	} {
		dir := t.TempDir()
		for _, entry := range left {
			path := filepath.Join(dir, entry)
			if strings.HasSuffix(entry, "/") {
				must(t, os.Mkdir(path, 0o700))
				continue
			}
			must(t, os.WriteFile(path, map[bool][]byte{true: []byte("1\n")}[entry == "format"], 0o600))
		}
		d, err := openData(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, sub := range []string{"format", "keys", "content", "compute"} {
			if _, err := os.Stat(d.file(sub)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		must(t, d.Close())
	}
}

// TestFormatComesFirst has prepare fail at its second step, where a kill may strike as well.
func TestFormatComesFirst(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "keys"), nil, 0o600))
	if err := (&dataDir{path: dir}).prepare(); !errors.Is(err, errDataReadOnly) {
		t.Errorf("a file in a directory's place: %v", err)
	}
	if err := (&dataDir{path: dir}).checkFormat(); err != nil {
		t.Errorf("and behind that: %v", err)
	}
}

// TestNothingIsForOthers looks at the files of a server whose data directory others can look into.
func TestNothingIsForOthers(t *testing.T) {
	data := t.TempDir()
	must(t, os.Chmod(data, 0o755))
	defer serverIn(t, data, Config{}).Close()
	entries, err := os.ReadDir(data)
	must(t, err)
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if e.Name() != filepath.Base(AuthorityFile(data)) && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", e.Name(), info.Mode())
		}
	}
}

func TestLostSealingKeysAreNotReplaced(t *testing.T) {
	d, err := openData(t.TempDir())
	must(t, err)
	defer d.Close()
	_, err = d.sealer()
	must(t, err)
	must(t, os.WriteFile(d.file("fairlead.db"), nil, 0o600))
	_, err = d.sealer()
	must(t, err)
	must(t, os.Remove(d.file("keys", "seal-1")))
	if _, err := d.sealer(); err == nil || !strings.Contains(err.Error(), "sealing key") {
		t.Errorf("with a database and no key: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
