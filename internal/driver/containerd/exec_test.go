//go:build linux

package containerd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/run"
)

type execResult struct {
	Code        int
	Out, ErrOut string
}

func (b *box) exec(id string, spec run.ExecSpec) (execResult, error) {
	var out, errOut bytes.Buffer
	spec.Stdout, spec.Stderr = &out, &errOut
	code, err := b.d.Exec(b.t.Context(), id, spec)
	return execResult{code, out.String(), errOut.String()}, err
}

// runIn gives what a command in a running container writes.
func (b *box) runIn(id string, command ...string) string {
	b.t.Helper()
	got, err := b.exec(id, run.ExecSpec{Command: command})
	must(b.t, err)
	return got.Out + got.ErrOut
}

func TestExec(t *testing.T) {
	b := newBox(t, Config{})
	b.start("c", idle, func(s *run.ContainerSpec) { s.Env = []string{"OWN=yes"} })
	large := strings.Repeat("0123456789", 30_000)
	for name, c := range map[string]struct {
		spec run.ExecSpec
		want execResult
	}{
		"streams and code":     {run.ExecSpec{Command: []string{"sh", "-c", "echo out $OWN; echo err >&2; exit 5"}}, execResult{5, "out yes\n", "err\n"}},
		"killed":               {run.ExecSpec{Command: []string{"sh", "-c", "kill -9 $$"}}, execResult{Code: 137}},
		"input ends":           {run.ExecSpec{Command: []string{"cat"}, Stdin: strings.NewReader(large)}, execResult{Out: large}},
		"much output":          {run.ExecSpec{Command: []string{"dd", "if=/dev/zero", "bs=1000", "count=1000", "status=none"}}, execResult{Out: strings.Repeat("\x00", 1_000_000)}},
		"terminal":             {run.ExecSpec{Command: []string{"sh", "-c", "stty size; echo $TERM; echo err >&2"}, TTY: true, Rows: 24, Cols: 132}, execResult{Out: "24 132\r\nxterm\r\nerr\r\n"}},
		"a child that remains": {run.ExecSpec{Command: []string{"sh", "-c", "sleep 1000 & echo done"}}, execResult{Out: "done\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := b.exec("c", c.spec)
			must(t, err)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := b.exec("c", run.ExecSpec{Command: []string{"nothing-like-this"}}); !errors.Is(err, ErrCommandInvalid) || strings.Contains(fault.From(err).Message, "exec failed") {
		t.Errorf("an unknown command: %v", err)
	}
	if _, err := b.exec("other", run.ExecSpec{Command: []string{"id"}}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no such container: %v", err)
	}
	must(t, b.d.Stop(t.Context(), "c", 0))
	if _, err := b.exec("c", run.ExecSpec{Command: []string{"id"}}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stopped container: %v", err)
	}
}

// TestExecWithASlowReader ends long before its output is read.
func TestExecWithASlowReader(t *testing.T) {
	b := newBox(t, Config{})
	b.start("c", idle, nil)
	var out slowly
	if _, err := b.d.Exec(t.Context(), "c", run.ExecSpec{Command: []string{"head", "-c", "150000", "/dev/zero"}, Stdout: &out}); err != nil || out.bytes != 150_000 {
		t.Errorf("%d bytes, %v", out.bytes, err)
	}
}

// slowly counts what is written to it, which takes its time.
type slowly struct{ bytes int }

func (s *slowly) Write(p []byte) (int, error) {
	<-time.After(400 * time.Millisecond)
	s.bytes += len(p)
	return len(p), nil
}

// TestExecTerminal speaks with a shell on a terminal whose size changes.
func TestExecTerminal(t *testing.T) {
	b := newBox(t, Config{})
	b.start("c", idle, nil)
	in, typed := io.Pipe()
	shown, out := io.Pipe()
	resize := make(chan [2]uint16)
	done := make(chan error, 1)
	go func() {
		code, err := b.d.Exec(t.Context(), "c", run.ExecSpec{Command: []string{"sh"}, TTY: true, Rows: 24, Cols: 80, Stdin: in, Stdout: out, Resize: resize})
		if code != 9 {
			t.Errorf("code %d", code)
		}
		out.Close()
		done <- err
	}()
	var screen strings.Builder
	until := func(text string) {
		t.Helper()
		buf := make([]byte, 256)
		for !strings.Contains(screen.String(), text) {
			n, err := shown.Read(buf)
			must(t, err)
			screen.Write(buf[:n])
		}
		screen.Reset()
	}
	until("#")
	resize <- [2]uint16{50, 100}
	// The resize reaches the terminal by another way than what is typed, and perhaps later.
	_, _ = typed.Write([]byte("until [ \"$(stty size)\" = '50 100' ]; do sleep 0.01; done; echo re''sized\n"))
	until("resized")
	_, _ = typed.Write([]byte("exit 9\n"))
	go io.Copy(io.Discard, shown)
	must(t, <-done)
	typed.Close()
}

func TestExecEndsWithItsContext(t *testing.T) {
	b := newBox(t, Config{})
	b.start("c", idle, nil)
	ctx, cancel := context.WithCancel(t.Context())
	started, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := b.d.Exec(ctx, "c", run.ExecSpec{Command: []string{"sh", "-c", "echo on; exec sleep 4321"}, Stdout: out})
		done <- err
	}()
	_, err := started.Read(make([]byte, 3))
	must(t, err)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	left, err := b.exec("c", run.ExecSpec{Command: []string{"ps"}})
	must(t, err)
	if strings.Contains(left.Out, "4321") {
		t.Errorf("the process was left:\n%s", left.Out)
	}
}
