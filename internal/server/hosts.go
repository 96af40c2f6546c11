package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// HostsFile is where this system keeps its hosts file.
const HostsFile = "/etc/hosts"

// HostsBlock is the part of a hosts file that belongs to one data directory, between two lines that name it.
type HostsBlock struct{ begin, end string }

// HostsBlockOf gives the block of a data directory.
func HostsBlockOf(data string) HostsBlock {
	owner := "fairlead " + realPath(data)
	return HostsBlock{"# BEGIN " + owner + " (lines up to END are replaced by 'fairlead hosts')", "# END " + owner}
}

// Text gives the block that leads names to address, one name a line in order.
func (b HostsBlock) Text(address string, names []string) string {
	var text strings.Builder
	text.WriteString(b.begin + "\n")
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		fmt.Fprintf(&text, "%s %s\n", address, name)
	}
	text.WriteString(b.end + "\n")
	return text.String()
}

// Write puts text in place of the block in the file at path, or at its end; an empty text removes the block. The rest of
// the file stays as it is, byte by byte. A file with a begin mark and no end mark is refused, for what belongs to whom
// cannot be told.
func (b HostsBlock) Write(path, text string) error {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	changed, err := b.replace(string(before), text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if changed == string(before) {
		return nil
	}
	// In place: a hosts file is often a mount of its own, which a rename cannot replace.
	if err := os.WriteFile(filepath.Clean(path), []byte(changed), 0o644); err != nil {
		return fmt.Errorf("writing the hosts file needs the right to do so (run as root, or print the block and add it by hand): %w", err)
	}
	return nil
}

func (b HostsBlock) replace(file, text string) (string, error) {
	begin, _ := lineIndex(file, b.begin)
	if begin < 0 {
		if text != "" && file != "" && !strings.HasSuffix(file, "\n") {
			file += "\n"
		}
		return file + text, nil
	}
	last, end := lineIndex(file[begin:], b.end)
	if last < 0 {
		return "", fmt.Errorf("the line %q has no line %q after it; mend it by hand", b.begin, b.end)
	}
	return file[:begin] + text + file[begin+end:], nil
}

// lineIndex gives where the first line that is line begins, or -1, and where the next one does.
func lineIndex(text, line string) (begin, next int) {
	for one := range strings.Lines(text) {
		if strings.TrimRight(one, "\r\n") == line {
			return begin, begin + len(one)
		}
		begin += len(one)
	}
	return -1, -1
}
