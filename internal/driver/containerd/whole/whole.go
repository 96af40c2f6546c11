// Package whole replaces files as a whole, for programs that read them at any time: each sees the old content or the new.
package whole

import (
	"os"
	"path/filepath"
)

// Write makes the file at path hold text, and the directories above it. Nothing is written when it does already. One
// writer at a time may change a file.
func Write(path string, text []byte, file, dir os.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), dir); err != nil {
		return err
	}
	half := path + ".new"
	if err := os.WriteFile(half, text, file); err != nil {
		return err
	}
	return os.Rename(half, path)
}
