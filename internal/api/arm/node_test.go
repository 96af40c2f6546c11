package arm

import (
	"context"
	"net/http"
	"sync"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/run/runtest"
)

// node pulls whatever it is asked for, unless refuse says otherwise, and runs it in memory.
type node struct {
	mu        sync.Mutex
	sandboxes map[string]bool
	exits     chan run.Exit
	refuse    func(pull.Request) error
	hold      chan struct{} // when not nil, a pull waits until it is closed
	exec      func(context.Context, run.ExecSpec) (int, error)
	stopping  func(context.Context) // called when a container is stopped
	onStart   func(run.ContainerSpec)
	running   map[string]run.ContainerSpec
}

func newNode() *node {
	return &node{sandboxes: map[string]bool{}, running: map[string]run.ContainerSpec{}, exits: make(chan run.Exit, 100)}
}

func (n *node) Pull(ctx context.Context, q pull.Request, observe pull.Observer) (pull.Image, pull.Attempt, error) {
	a := pull.Attempt{ID: "attempt", Workload: q.Workload, Container: q.Container, Image: q.Image, Started: time.Now()}
	observe(a)
	n.mu.Lock()
	refuse, hold := n.refuse, n.hold
	n.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return pull.Image{}, a, ctx.Err()
		}
	}
	if refuse != nil {
		return pull.Image{}, a, refuse(q)
	}
	return pull.Image{}, a, nil
}

func (n *node) Reopen(context.Context, string, content.Digest) (pull.Image, error) {
	return pull.Image{}, nil
}

func (n *node) set(f func(*node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *node) runtime() *runtest.Fake {
	return &runtest.Fake{
		CreateSandboxFunc: func(_ context.Context, s run.SandboxSpec) (run.Sandbox, error) {
			n.set(func(n *node) { n.sandboxes[s.ID] = true })
			return run.Sandbox{ID: s.ID, IP: "10.0.0.2"}, nil
		},
		RemoveSandboxFunc: func(_ context.Context, id string) error {
			n.set(func(n *node) { delete(n.sandboxes, id) })
			return nil
		},
		StartFunc: func(_ context.Context, s run.ContainerSpec) (run.Started, error) {
			n.set(func(n *node) {
				n.running[s.ID] = s
				if n.onStart != nil {
					n.onStart(s)
				}
			})
			return run.Started{PID: 1, At: time.Now()}, nil
		},
		StopFunc: func(ctx context.Context, id string, _ time.Duration) error {
			n.mu.Lock()
			stopping := n.stopping
			n.mu.Unlock()
			if stopping != nil {
				stopping(ctx)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			n.exits <- run.Exit{ID: id, Code: 143, At: time.Now()}
			return nil
		},
		RemoveFunc: func(_ context.Context, id string) error {
			n.set(func(n *node) { delete(n.running, id) })
			return nil
		},
		ListFunc: n.list,
		ExitsFunc: func(ctx context.Context) (<-chan run.Exit, error) {
			out := make(chan run.Exit)
			go func() {
				defer close(out)
				for {
					select {
					case e := <-n.exits:
						select {
						case out <- e:
						case <-ctx.Done():
							return
						}
					case <-ctx.Done():
						return
					}
				}
			}()
			return out, nil
		},
		ExecFunc: func(ctx context.Context, _ string, spec run.ExecSpec) (int, error) {
			n.mu.Lock()
			exec := n.exec
			n.mu.Unlock()
			if exec == nil {
				return 0, run.ErrUnsupported
			}
			return exec(ctx, spec)
		},
	}
}

// list tells what runs, for a Service that is started anew.
func (n *node) list(context.Context) ([]run.Observed, []run.Sandbox, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var containers []run.Observed
	var sandboxes []run.Sandbox
	for id, s := range n.running {
		containers = append(containers, run.Observed{ID: id, Sandbox: s.Sandbox, Running: true, PID: 1})
	}
	for id := range n.sandboxes {
		sandboxes = append(sandboxes, run.Sandbox{ID: id, IP: "10.0.0.2"})
	}
	return containers, sandboxes, nil
}

// alwaysWarm lets every web app answer at once.
type alwaysWarm struct{}

func (alwaysWarm) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r, Header: http.Header{}}, nil
}
