// Package whole replaces files as a whole: whoever reads one sees the old content or the new, also when the program is
// killed in between. What stands in them is the business of those who write them.
package whole

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write puts a file of mode 0600 in its place: CreateTemp makes it so, whatever the old one's mode was. settle is done to
// the new file before it takes the place, and may be nil. What cannot be put in place does not stay.
func Write(path string, text []byte, settle func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(text)
	if settle != nil {
		err = errors.Join(err, settle(f))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
