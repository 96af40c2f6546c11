package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The lines between which fairlead keeps its names in a hosts file.
const (
	hostsBegin = "# BEGIN fairlead"
	hostsEnd   = "# END fairlead"
)

// HostsFile is where this system keeps its hosts file.
const HostsFile = "/etc/hosts"

// HostsBlock gives the marked block that leads names to address, one name a line in order.
func HostsBlock(address string, names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	var b strings.Builder
	b.WriteString(hostsBegin + " (kept by 'fairlead hosts'; lines between the marks are replaced)\n")
	for _, name := range names {
		fmt.Fprintf(&b, "%s %s\n", address, name)
	}
	b.WriteString(hostsEnd + "\n")
	return b.String()
}

// WriteHosts puts block in place of the marked block of the file at path, or at its end; an empty block removes it. The
// rest of the file stays as it is, byte by byte. A file with a begin mark and no end mark is refused, for what
// belongs to whom cannot be told.
func WriteHosts(path, block string) error {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	changed, err := replaceBlock(string(text), block)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if changed == string(text) {
		return nil
	}
	// In place: a hosts file is often a mount of its own, which a rename cannot replace.
	if err := os.WriteFile(filepath.Clean(path), []byte(changed), 0o644); err != nil {
		return fmt.Errorf("writing the hosts file needs the right to do so (run as root, or print the block and add it by hand): %w", err)
	}
	return nil
}

func replaceBlock(text, block string) (string, error) {
	begin := lineIndex(text, hostsBegin)
	if begin < 0 {
		if block != "" && text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return text + block, nil
	}
	length := lineIndex(text[begin:], hostsEnd)
	if length < 0 {
		return "", fmt.Errorf("the line %q has no line %q after it; mend it by hand", hostsBegin, hostsEnd)
	}
	end := begin + length
	if n := strings.IndexByte(text[end:], '\n'); n >= 0 {
		end += n + 1
	} else {
		end = len(text)
	}
	return text[:begin] + block + text[end:], nil
}

// lineIndex gives where the first line that begins with prefix begins, or -1.
func lineIndex(text, prefix string) int {
	if strings.HasPrefix(text, prefix) {
		return 0
	}
	if i := strings.Index(text, "\n"+prefix); i >= 0 {
		return i + 1
	}
	return -1
}
