package terminal_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/internal/cli/terminal"
)

// TestSizeOfATerminal asks a real terminal of 50 rows and 132 columns, by itself and behind what commands write to.
func TestSizeOfATerminal(t *testing.T) {
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	fd := int(ours.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 132}); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	for _, s := range []terminal.Streams{{Out: theirs}, {Out: &terminal.Watched{Writer: theirs}}} {
		if rows, columns := s.Size(); rows != 50 || columns != 132 || !terminal.IsTerminal(s.Out) {
			t.Errorf("%T: %d rows, %d columns", s.Out, rows, columns)
		}
	}
}
