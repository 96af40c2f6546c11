package server

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// ReadyFile gives the path of the ready file that every server keeps in its data directory.
func ReadyFile(data string) string { return filepath.Join(data, "ready.json") }

// AuthorityFile gives the path of the certificate authority in a data directory.
func AuthorityFile(data string) string { return filepath.Join(data, "ca.pem") }

// trustFile gives the path of a data directory's authority among those that the system in dir trusts. The name follows
// from the data directory's, so that two of them are trusted side by side.
func trustFile(dir, data string) string {
	sum := sha256.Sum256([]byte(realPath(data)))
	return filepath.Join(dir, "fairlead-"+hex.EncodeToString(sum[:4])+".crt")
}

// realPath is the one name of a directory: absolute, and without links as far as it is there.
func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}
