package runtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/run"
)

// Machine is a runtime under test, with nothing on it, and an image of a small Unix with a shell.
type Machine struct {
	Runtime run.Runtime
	Execer  run.Execer
	Image   pull.Image
}

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// Runtime checks the contract of run.Runtime and run.Execer; open gives a Machine of its own to each test.
func Runtime(t *testing.T, open func(t *testing.T) Machine) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"a container runs and its end is told", runsAndEnds},
		{"a log goes on where it was emptied", logEmptied},
		{"each start has a fresh file system", fresh},
		{"stop asks before it kills", stopAsks},
		{"stop kills what does not listen", stopKills},
		{"too much memory ends a container", outOfMemory},
		{"what cannot be started is told and leaves nothing", cannotStart},
		{"remove ends what runs and nothing twice", removes},
		{"list tells what runs and what has ended", lists},
		{"sandboxes have addresses and their ids are free again", sandboxes},
		{"the end of a context closes its exits", exitsClose},
		{"exec", execs},
		{"exec that cannot be", cannotExec},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bench{Machine: open(t), t: t, logs: t.TempDir()}
			t.Cleanup(b.clean)
			var err error
			if b.exits, err = b.Runtime.Exits(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.sandbox("box")
			c.test(t, b)
		})
	}
}

// bench is a Machine with one sandbox called "box".
type bench struct {
	Machine
	t     *testing.T
	logs  string
	exits <-chan run.Exit
}

// clean leaves the machine as it was.
func (b *bench) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	containers, boxes, err := b.Runtime.List(ctx)
	for _, c := range containers {
		err = errors.Join(err, b.Runtime.Remove(ctx, c.ID))
	}
	for _, s := range boxes {
		err = errors.Join(err, b.Runtime.RemoveSandbox(ctx, s.ID))
	}
	if err != nil {
		b.t.Errorf("cleaning up: %v", err)
	}
}

func (b *bench) sandbox(id string) run.Sandbox {
	b.t.Helper()
	box, err := b.Runtime.CreateSandbox(b.t.Context(), run.SandboxSpec{ID: id, Hostname: id, Workload: workload(id)})
	if err != nil {
		b.t.Fatalf("creating sandbox %s: %v", id, err)
	}
	return box
}

func (b *bench) spec(id, script string) run.ContainerSpec {
	return run.ContainerSpec{
		ID: id, Sandbox: "box", Name: id, Image: b.Image, Hostname: "box", Command: []string{"sh", "-c", script},
		Env: []string{"GREETING=hello"}, LogPath: filepath.Join(b.logs, id+".log"),
	}
}

// start starts a script.
func (b *bench) start(id, script string) time.Time {
	b.t.Helper()
	return b.startAll(b.spec(id, script))
}

// startAll starts the containers that a sandbox begins with, and tells when the first was.
func (b *bench) startAll(specs ...run.ContainerSpec) time.Time {
	b.t.Helper()
	started := b.Runtime.Start(b.t.Context(), specs...)
	if len(started) != len(specs) {
		b.t.Fatalf("%d containers, %d told of", len(specs), len(started))
	}
	for i, s := range started {
		if s.Err != nil {
			b.t.Fatalf("starting %s: %v", specs[i].ID, s.Err)
		}
	}
	return started[0].At
}

// exit waits until it is told that a container has ended.
func (b *bench) exit(id string) run.Exit {
	b.t.Helper()
	late := time.After(patience)
	for {
		select {
		case e, ok := <-b.exits:
			if !ok {
				b.t.Fatal("the exits were closed")
			}
			if e.ID == id {
				return e
			}
		case <-late:
			b.t.Fatalf("the end of %s was not told", id)
		}
	}
}

// ready waits until a container has written "ready".
func (b *bench) ready(id string) {
	b.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(b.log(id), "ready"); {
		if time.Now().After(end) {
			b.t.Fatalf("%s wrote %q, never ready", id, b.log(id))
		}
		<-time.After(10 * time.Millisecond) // a file tells nobody that it grows
	}
}

func (b *bench) log(id string) string {
	text, _ := os.ReadFile(filepath.Join(b.logs, id+".log")) // none is an empty one
	return string(text)
}

func (b *bench) remove(id string) {
	b.t.Helper()
	if err := b.Runtime.Remove(b.t.Context(), id); err != nil {
		b.t.Fatalf("removing %s: %v", id, err)
	}
}

func runsAndEnds(t *testing.T, b *bench) {
	started := b.start("c", "echo $GREETING; echo error >&2; exit 3")
	e := b.exit("c")
	if e.Code != 3 || e.OOM || e.At.Before(started.Add(-time.Second)) {
		t.Errorf("started at %v, exit %+v", started, e)
	}
	b.remove("c")
	// The two streams are two pipes: which is written first is not promised.
	if got := b.log("c"); got != "hello\nerror\n" && got != "error\nhello\n" {
		t.Errorf("log %q", got)
	}
}

func logEmptied(t *testing.T, b *bench) {
	b.start("c", "trap exit TERM; echo ready; echo ready >&2; while [ ! -e /more ]; do sleep 0.01; done; echo more; echo more >&2")
	for end := time.Now().Add(patience); b.log("c") != "ready\nready\n"; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("log %q", b.log("c"))
		}
	}
	if err := os.Truncate(filepath.Join(b.logs, "c.log"), 0); err != nil {
		t.Fatal(err)
	}
	// The end of the container takes this command along, so how it ends is open.
	_, err := b.Execer.Exec(t.Context(), "c", run.ExecSpec{Command: []string{"touch", "/more"}, Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	b.exit("c")
	b.remove("c")
	if got := b.log("c"); got != "more\nmore\n" {
		t.Errorf("log %q", got)
	}
}

func fresh(t *testing.T, b *bench) {
	for _, id := range []string{"c-1", "c-2"} {
		b.start(id, "test ! -e /mark && touch /mark")
		if e := b.exit(id); e.Code != 0 {
			t.Errorf("%s: exit %+v, log %q", id, e, b.log(id))
		}
		b.remove(id)
	}
}

func stopAsks(t *testing.T, b *bench) {
	b.start("c", `trap "exit 7" TERM; echo ready; while :; do sleep 0.1; done`)
	b.ready("c")
	if err := b.Runtime.Stop(t.Context(), "c", patience); err != nil {
		t.Fatal(err)
	}
	if e := b.exit("c"); e.Code != 7 {
		t.Errorf("exit %+v", e)
	}
	for _, id := range []string{"c", "unknown"} {
		if err := b.Runtime.Stop(t.Context(), id, patience); err != nil {
			t.Errorf("stopping %s, which does not run: %v", id, err)
		}
	}
}

func stopKills(t *testing.T, b *bench) {
	b.start("c", `trap "" TERM; echo ready; while :; do sleep 0.1; done`)
	b.ready("c")
	began := time.Now()
	if err := b.Runtime.Stop(t.Context(), "c", time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("killed after %v", took)
	}
	if e := b.exit("c"); e.Code != 137 || e.OOM {
		t.Errorf("exit %+v", e)
	}
}

func outOfMemory(t *testing.T, b *bench) {
	spec := b.spec("c", "echo ready; tail /dev/zero")
	spec.MemoryBytes = 32 << 20
	b.startAll(spec)
	if e := b.exit("c"); !e.OOM || e.Code == 0 {
		t.Errorf("exit %+v, want one for memory", e)
	}
}

func cannotStart(t *testing.T, b *bench) {
	spec := b.spec("c", "")
	spec.Command = []string{"/no/such/program"}
	if err := b.Runtime.Start(t.Context(), spec)[0].Err; fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.From(err).Message, "/no/such/program") {
		t.Errorf("got %v, want an Invalid fault that names the program", err)
	}
	if containers, _, err := b.Runtime.List(t.Context()); err != nil || len(containers) > 0 {
		t.Errorf("left %+v, %v", containers, err)
	}
	b.start("c", "exit 0") // its id is free
	b.exit("c")
}

func removes(t *testing.T, b *bench) {
	b.start("c", "echo ready; sleep 1000")
	b.ready("c")
	b.remove("c")
	b.remove("c")
	b.remove("unknown")
	if containers, _, err := b.Runtime.List(t.Context()); err != nil || len(containers) > 0 {
		t.Errorf("left %+v, %v", containers, err)
	}
}

func lists(t *testing.T, b *bench) {
	b.startAll(b.spec("runs", "sleep 1000"), b.spec("ended", "exit 4"))
	b.exit("ended")
	containers, boxes, err := b.Runtime.List(t.Context())
	if err != nil || len(containers) != 2 || len(boxes) != 1 || boxes[0].ID != "box" || boxes[0].IP == "" {
		t.Fatalf("%+v, %+v, %v", containers, boxes, err)
	}
	for _, c := range containers {
		good := c.Running && !c.StartedAt.IsZero()
		if c.ID == "ended" {
			good = !c.Running && c.ExitCode == 4 && !c.ExitedAt.IsZero()
		}
		if !good || c.Sandbox != "box" {
			t.Errorf("%+v", c)
		}
	}
}

func sandboxes(t *testing.T, b *bench) {
	one, two := b.sandbox("one"), b.sandbox("two")
	if one.ID != "one" || one.IP == "" || one.IP == two.IP {
		t.Errorf("%+v and %+v", one, two)
	}
	for _, id := range []string{"one", "one", "unknown"} {
		if err := b.Runtime.RemoveSandbox(t.Context(), id); err != nil {
			t.Errorf("removing %s: %v", id, err)
		}
	}
	b.sandbox("one")
}

func exitsClose(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(t.Context())
	exits, err := b.Runtime.Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	late := time.After(patience)
	for {
		select {
		case _, open := <-exits:
			if !open {
				return
			}
		case <-late:
			t.Fatal("the channel outlives its context")
		}
	}
}

func execs(t *testing.T, b *bench) {
	b.start("c", "echo ready; sleep 1000")
	b.ready("c")
	var out, errs bytes.Buffer
	code, err := b.Execer.Exec(t.Context(), "c", run.ExecSpec{
		Command: []string{"sh", "-c", "cat; echo error >&2; exit 5"}, Stdin: strings.NewReader("input"), Stdout: &out, Stderr: &errs,
	})
	if err != nil || code != 5 || out.String() != "input" || errs.String() != "error\n" {
		t.Errorf("%d, %v, %q, %q", code, err, out.String(), errs.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := b.Execer.Exec(ctx, "c", run.ExecSpec{Command: []string{"sleep", "1000"}, Stdout: &out, Stderr: &errs}); err == nil {
		t.Error("a command outlives its context")
	}
}

func cannotExec(t *testing.T, b *bench) {
	b.startAll(b.spec("runs", "echo ready; sleep 1000"), b.spec("ended", "exit 0"))
	b.ready("runs")
	b.exit("ended")
	for _, c := range []struct {
		id, command string
		kind        fault.Kind
	}{
		{"unknown", "true", fault.NotFound},
		{"ended", "true", fault.NotFound},
		{"runs", "/no/such/program", fault.Invalid},
	} {
		var out bytes.Buffer
		if _, err := b.Execer.Exec(t.Context(), c.id, run.ExecSpec{Command: []string{c.command}, Stdout: &out, Stderr: &out}); fault.KindOf(err) != c.kind {
			t.Errorf("%s in %s: %v, want kind %s", c.command, c.id, err, c.kind)
		}
	}
}
