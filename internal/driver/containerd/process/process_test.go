//go:build linux

package process

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv("FAIRLEAD_TEST_PROGRAM") != "" {
		os.Exit(programMain())
	}
	goleak.VerifyTestMain(m)
}

// programMain is a program that is ready at its second start. Its configuration is where it writes down that it was started.
func programMain() int {
	if err := os.Mkdir(os.Args[1]+".started", 0o700); err == nil {
		return 7
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGTERM)
	said, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return 8
	}
	if _, err := said.Write([]byte("STATUS=nearly\nREADY=1")); err != nil {
		return 9
	}
	<-told
	return 0
}

func TestStartIsTriedAgainWhenTheProgramEnds(t *testing.T) {
	for tries, fails := range []bool{true, true, false} { // no number is one try
		t.Run(strconv.Itoa(tries), func(t *testing.T) {
			dir := t.TempDir()
			p := Program{
				Name: "fairlead-test-program", Args: []string{filepath.Join(dir, "config")}, Env: []string{"FAIRLEAD_TEST_PROGRAM=1"},
				Log: filepath.Join(dir, "log"), Notify: filepath.Join(dir, "n.sock"), ConfigFile: filepath.Join(dir, "config"),
				StartLimit: time.Minute, StartTries: tries,
			}
			s, err := Supervise(t.Context(), p, slog.New(slog.DiscardHandler))
			if !fails {
				must(t, err)
				must(t, errors.Join(s.Stop(t.Context()), s.Close()))
				return
			}
			if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "exit status 7") {
				t.Errorf("the start: %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestProcessEnds(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	g := Processes([]int{cmd.Process.Pid, 1 << 22})
	defer g.Close()
	if len(g) != 1 {
		t.Fatalf("%d processes", len(g))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := g[0].wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for what runs: %v", err)
	}
	must(t, g.End(t.Context(), 0))
	_ = cmd.Wait()
	must(t, g.End(t.Context(), time.Second))
	must(t, g.Signal(unix.SIGTERM))
}
