package run_test

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/run"
)

// write appends to the log of the container that was started last.
func (w *world) write(text string) {
	w.t.Helper()
	f, err := os.OpenFile(w.machine.starts[len(w.machine.starts)-1].LogPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) logs(g run.Group, opts run.LogOptions) io.ReadCloser {
	w.t.Helper()
	r, err := w.Logs(w.t.Context(), g.ID, "main", opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestLogs(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		most := int64(0)
		read := func(tail int) string {
			t.Helper()
			r := w.logs(g, run.LogOptions{Tail: tail, Most: most})
			defer r.Close()
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		if got := read(0); got != "" {
			t.Errorf("before anything was written: %q", got)
		}
		w.write("one\ntwo\n")
		w.machine.exit("main", 1, false)
		w.pass(0)
		w.write("three\nfour")
		for tail, want := range map[int]string{0: "one\ntwo\nthree\nfour", 1: "four", 2: "three\nfour", 4: "one\ntwo\nthree\nfour", 9: "one\ntwo\nthree\nfour"} {
			if got := read(tail); got != want {
				t.Errorf("tail %d: %q, want %q", tail, got, want)
			}
		}
		w.write("\n" + strings.Repeat(strings.Repeat("x", 99)+"\n", 1000)) // beyond one block
		if got := read(500); got != strings.Repeat(strings.Repeat("x", 99)+"\n", 500) {
			t.Errorf("tail 500: %d bytes", len(got))
		}
		if err := os.Truncate(w.machine.starts[0].LogPath, 1<<34); err != nil { // too long to be read through
			t.Fatal(err)
		}
		w.write("one\ntwo\n")
		most = 70000
		for tail, want := range map[int]string{1: "two\n", 2: "one\ntwo\n"} {
			if got := read(tail); strings.TrimLeft(got, "\x00") != want {
				t.Errorf("tail %d: %q", tail, got)
			}
		}
		for _, tail := range []int{0, 3} {
			if got := read(tail); len(got) != 70000 || !strings.HasSuffix(got, "\x00one\ntwo\n") {
				t.Errorf("tail %d: %d bytes of the last 70000", tail, len(got))
			}
		}
	})
}

func TestFullLogIsSetAside(t *testing.T) {
	simulate(t, func(w *world) {
		g := group("one", run.Always)
		w.put(g)
		path := w.machine.starts[0].LogPath
		w.write("x")
		if err := os.Truncate(path, 64<<20+1); err != nil {
			t.Fatal(err)
		}
		w.machine.exit("main", 1, false)
		w.pass(0)
		if _, err := os.Stat(path + ".1"); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the full log goes on: %v", err)
		}
	})
}

// TestLogOfARunningContainerIsSetAside writes more than a log may hold, while the container runs and nothing else happens.
func TestLogOfARunningContainerIsSetAside(t *testing.T) {
	simulate(t, func(w *world) {
		w.logMost = 100
		w.reboot(func() {})
		g := group("one", run.Always)
		w.put(g)
		path := w.machine.starts[0].LogPath
		files := func() (aside, now string) {
			a, _ := os.ReadFile(path + ".1") // none is an empty one
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return string(a), string(b)
		}
		read := func(opts run.LogOptions) string {
			r := w.logs(g, opts)
			defer r.Close()
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		w.write(strings.Repeat("a", 99) + "\n")
		w.pass(time.Minute)
		if aside, now := files(); aside != "" || len(now) != 100 {
			t.Errorf("what is not too much: %q, %q", aside, now)
		}
		before := w.logs(g, run.LogOptions{})
		defer before.Close()
		w.write("one\ntwo\n")
		w.pass(time.Minute)
		whole := strings.Repeat("a", 91) + "\none\ntwo\n"
		if aside, now := files(); aside != whole || now != "" {
			t.Errorf("%q, %q", aside, now)
		}
		if _, err := io.ReadAll(before); err != nil {
			t.Errorf("a reader from before: %v", err)
		}
		before = w.logs(g, run.LogOptions{})
		defer before.Close()
		w.write("three\n")
		for want, opts := range map[string]run.LogOptions{
			whole + "three\n":   {},
			"three\n":           {Tail: 1},
			"two\nthree\n":      {Tail: 2},
			"one\ntwo\nthree\n": {Tail: 3},
			"o\nthree\n":        {Most: 8},
			"ne\ntwo\nthree\n":  {Most: 13, Tail: 9},
		} {
			if got := read(opts); got != want {
				t.Errorf("%+v: %q, want %q", opts, got, want)
			}
		}
		w.write(strings.Repeat("b", 100))
		w.pass(time.Minute)
		if got := read(run.LogOptions{}); got != strings.Repeat("b", 100) {
			t.Errorf("the next time: %q", got)
		}
		if b, err := io.ReadAll(before); err != nil || string(b) != whole {
			t.Errorf("a reader of what was set aside: %q, %v", b, err)
		}
		w.starts(1)
		if err := w.Delete(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(w.logDir); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// TestLogThatCannotBeSetAsideIsEmptied has the copy fail, as on a full disk, which the log must not go on to fill.
func TestLogThatCannotBeSetAsideIsEmptied(t *testing.T) {
	simulate(t, func(w *world) {
		w.logMost = 100
		w.reboot(func() {})
		w.put(group("one", run.Always))
		path := w.machine.starts[0].LogPath
		if err := os.MkdirAll(path+".1.new/in the way", 0o700); err != nil {
			t.Fatal(err)
		}
		w.write(strings.Repeat("a", 101))
		w.pass(time.Minute)
		if info, err := os.Stat(path); err != nil || info.Size() != 0 {
			t.Errorf("%v, %v", info, err)
		}
	})
}
