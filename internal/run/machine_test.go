package run_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/internal/run"
	"fairlead.dev/internal/run/runtest"
)

// machine simulates a runtime behind a runtest.Fake. It outlives the Service, as containers do, and remembers every
// breach of the contract on the Service's side.
type machine struct {
	latency time.Duration // before and after each call does its work

	mu         sync.Mutex
	sandboxes  map[string]bool
	containers map[string]*process
	exits      []chan run.Exit
	breaches   []string
	boxes      []run.SandboxSpec
	starts     []run.ContainerSpec
	startErr   func(run.ContainerSpec) error // nil starts
	stopErr    func() error                  // nil stops
	removeErr  func() error                  // nil removes
	exec       func(context.Context, string, run.ExecSpec) (int, error)
	// startedHook runs behind a start, before its caller knows of it.
	startedHook func(context.Context)
	stopCode    int // of a container that is told to stop
}

type process struct {
	spec    run.ContainerSpec
	running bool
	started time.Time
	exit    run.Exit
}

func newMachine() *machine {
	return &machine{sandboxes: map[string]bool{}, containers: map[string]*process{}, stopCode: 143}
}

func (m *machine) runtime() *runtest.Fake {
	return &runtest.Fake{
		CreateSandboxFunc: func(ctx context.Context, spec run.SandboxSpec) (box run.Sandbox, err error) {
			m.slowly(ctx, func() { box, err = m.createSandbox(ctx, spec) })
			return box, cmp.Or(err, ctx.Err())
		},
		RemoveSandboxFunc: func(ctx context.Context, id string) (err error) {
			m.slowly(ctx, func() { err = m.removeSandbox(ctx, id) })
			return cmp.Or(err, ctx.Err())
		},
		StartFunc: func(ctx context.Context, spec run.ContainerSpec) (started run.Started, err error) {
			m.slowly(ctx, func() { started, err = m.start(ctx, spec) })
			return started, cmp.Or(err, ctx.Err())
		},
		StopFunc: func(ctx context.Context, id string, grace time.Duration) (err error) {
			m.slowly(ctx, func() { err = m.stop(ctx, id, grace) })
			return cmp.Or(err, ctx.Err())
		},
		RemoveFunc: func(ctx context.Context, id string) (err error) {
			m.slowly(ctx, func() { err = m.remove(ctx, id) })
			return cmp.Or(err, ctx.Err())
		},
		ListFunc: m.list, ExitsFunc: m.subscribe,
		ExecFunc: func(ctx context.Context, id string, spec run.ExecSpec) (int, error) { return m.exec(ctx, id, spec) },
	}
}

// set changes how the machine behaves.
func (m *machine) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// slowly does f between two waits, unless ctx ends before: a call may be cut short on either side of its work.
func (m *machine) slowly(ctx context.Context, f func()) {
	time.Sleep(m.latency)
	if ctx.Err() == nil {
		m.mu.Lock()
		f()
		m.mu.Unlock()
	}
	time.Sleep(m.latency)
}

func (m *machine) breach(format string, args ...any) {
	m.breaches = append(m.breaches, fmt.Sprintf(format, args...))
}

func (m *machine) createSandbox(_ context.Context, spec run.SandboxSpec) (run.Sandbox, error) {
	if m.sandboxes[spec.ID] {
		m.breach("sandbox %s made twice", spec.ID)
	}
	m.sandboxes[spec.ID] = true
	m.boxes = append(m.boxes, spec)
	return run.Sandbox{ID: spec.ID, IP: address(spec.ID)}, nil
}

// address gives the address of a sandbox: any will do that is always the same.
func address(sandbox string) string {
	return fmt.Sprintf("10.0.%d.%d", sandbox[0], sandbox[1])
}

func (m *machine) removeSandbox(_ context.Context, id string) error {
	for _, p := range m.containers {
		if p.spec.Sandbox == id {
			m.breach("sandbox %s removed with container %s in it", id, p.spec.ID)
		}
	}
	delete(m.sandboxes, id)
	return nil
}

func (m *machine) start(ctx context.Context, spec run.ContainerSpec) (run.Started, error) {
	if len(spec.ID) > 76 {
		m.breach("container id %s is too long", spec.ID)
	}
	if !m.sandboxes[spec.Sandbox] {
		m.breach("container %s started without its sandbox", spec.ID)
	}
	for _, p := range m.containers {
		if p.spec.Sandbox == spec.Sandbox && p.spec.Name == spec.Name {
			m.breach("container %s started beside %s", spec.ID, p.spec.ID)
		}
	}
	if m.startErr != nil {
		if err := m.startErr(spec); err != nil {
			return run.Started{}, err
		}
	}
	m.starts = append(m.starts, spec)
	m.containers[spec.ID] = &process{spec: spec, running: true, started: time.Now()}
	if m.startedHook != nil {
		m.startedHook(ctx)
	}
	return run.Started{PID: uint32(len(m.starts)), At: time.Now()}, nil
}

func (m *machine) stop(_ context.Context, id string, _ time.Duration) error {
	if m.stopErr != nil {
		if err := m.stopErr(); err != nil {
			return err
		}
	}
	if p := m.containers[id]; p != nil && p.running {
		m.end(p, m.stopCode, false)
	}
	return nil
}

func (m *machine) remove(_ context.Context, id string) error {
	if m.removeErr != nil {
		if err := m.removeErr(); err != nil {
			return err
		}
	}
	if p := m.containers[id]; p != nil && p.running {
		m.end(p, 137, false)
	}
	delete(m.containers, id)
	return nil
}

func (m *machine) list(context.Context) ([]run.Observed, []run.Sandbox, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var containers []run.Observed
	for id, p := range m.containers {
		containers = append(containers, run.Observed{
			ID: id, Sandbox: p.spec.Sandbox, Running: p.running, StartedAt: p.started,
			ExitCode: p.exit.Code, OOM: p.exit.OOM, ExitedAt: p.exit.At,
		})
	}
	var sandboxes []run.Sandbox
	for id := range m.sandboxes {
		sandboxes = append(sandboxes, run.Sandbox{ID: id, IP: address(id)})
	}
	return containers, sandboxes, nil
}

func (m *machine) subscribe(ctx context.Context) (<-chan run.Exit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := make(chan run.Exit, 1000)
	m.exits = append(m.exits, c)
	context.AfterFunc(ctx, func() { m.unsubscribe(c) })
	return c, nil
}

func (m *machine) unsubscribe(c chan run.Exit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.exits, c); i >= 0 {
		m.exits = slices.Delete(m.exits, i, i+1)
		close(c)
	}
}

// end ends a process and tells of it twice: once is not promised.
func (m *machine) end(p *process, code int, oom bool) {
	p.running = false
	p.exit = run.Exit{ID: p.spec.ID, Code: code, OOM: oom, At: time.Now()}
	for _, c := range m.exits {
		c <- p.exit
		c <- p.exit
	}
}

// exit ends the container of that name in any workload, if one runs.
func (m *machine) exit(name string, code int, oom bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.containers {
		if p.spec.Name == name && p.running {
			m.end(p, code, oom)
			return true
		}
	}
	return false
}

// reboot ends everything without a word.
func (m *machine) reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.containers)
	clear(m.sandboxes)
}

// loseConnection closes all subscriptions.
func (m *machine) loseConnection() {
	m.mu.Lock()
	exits := slices.Clone(m.exits)
	m.mu.Unlock()
	for _, c := range exits {
		m.unsubscribe(c)
	}
}

// running gives "name-incarnation" of what runs, sorted.
func (m *machine) running() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for id, p := range m.containers {
		if p.running {
			_, rest, _ := strings.Cut(id, "-")
			out = append(out, rest)
		}
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}

// started counts the starts so far.
func (m *machine) started() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.starts)
}

// check reports every breach so far.
func (m *machine) check() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.breaches) > 0 {
		return errors.New(strings.Join(m.breaches, "; "))
	}
	return nil
}
