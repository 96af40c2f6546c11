//go:build linux

package server

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDownSparesStrangers has the number of a killed server, which a stranger bears now, in a lock that another Down
// holds.
func TestDownSparesStrangers(t *testing.T) {
	dir := t.TempDir()
	d, err := openData(dir)
	must(t, err)
	must(t, d.Close())
	stranger := exec.Command("sleep", "60")
	must(t, stranger.Start())
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	defer func() { _ = stranger.Process.Kill() }()
	must(t, os.WriteFile(filepath.Join(dir, "lock"), []byte(strconv.Itoa(stranger.Process.Pid)+"\n"), 0o600))
	first, err := endServer(t.Context(), dir, io.Discard)
	must(t, err)
	if _, err := openData(dir); !errors.Is(err, errDataHeld) || !strings.Contains(err.Error(), "fairlead down") {
		t.Errorf("a start beside a Down: %v", err)
	}
	var said string
	second, err := endServer(t.Context(), dir, listener(func(line string) {
		said += line
		_ = first.Close()
	}))
	must(t, err)
	must(t, second.Close())
	if !strings.Contains(said, "waiting") {
		t.Errorf("it says %q", said)
	}
	select {
	case err := <-ended:
		t.Errorf("the stranger was ended: %v", err)
	default:
	}
}

// listener is told each thing that is written.
type listener func(line string)

func (l listener) Write(p []byte) (int, error) {
	l(string(p))
	return len(p), nil
}

// TestPurgeFollowsALink purges a directory that is reached by a symbolic link.
func TestPurgeFollowsALink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	real, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(real, link))
	d, err := openData(link)
	must(t, err)
	must(t, d.Close())
	must(t, Down(t.Context(), link, true, io.Discard, io.Discard))
	for _, path := range []string{real, link} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// TestDownKnowsTheContainerdOfOthers starts once with a containerd that is not ours and once without compute.
func TestDownKnowsTheContainerdOfOthers(t *testing.T) {
	data := t.TempDir()
	s := &Server{cfg: Config{Data: data, Listen: "127.0.0.1:0", Compute: computeOn, Containerd: "/run/others.sock"}, log: slog.New(slog.DiscardHandler)}
	var err error
	s.data, err = openData(data)
	must(t, err)
	s.later(s.data.Close)
	must(t, s.settleOrigin())
	must(t, s.Close())
	must(t, serverIn(t, data, Config{}).Close()) // without compute: what runs there runs on
	if got := lastConfig(data).Containerd; got != "/run/others.sock" {
		t.Errorf("it looks for containers at %q", got)
	}
}
