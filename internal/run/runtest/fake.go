// Package runtest owns the contracts of run's drivers as tests, Runtime and Store, and the one fake of the project: a
// runtime that is a struct with a function per method. Simulated runtimes for tests are made of it where they are needed.
package runtest

import (
	"context"
	"time"

	"fairlead.dev/internal/run"
)

// Fake is a run.Runtime and run.Execer whose unset methods return run.ErrUnsupported.
type Fake struct {
	CreateSandboxFunc func(context.Context, run.SandboxSpec) (run.Sandbox, error)
	RemoveSandboxFunc func(context.Context, string) error
	StartFunc         func(context.Context, run.ContainerSpec) (run.Started, error)
	StopFunc          func(context.Context, string, time.Duration) error
	RemoveFunc        func(context.Context, string) error
	ListFunc          func(context.Context) ([]run.Observed, []run.Sandbox, error)
	ExitsFunc         func(context.Context) (<-chan run.Exit, error)
	ExecFunc          func(context.Context, string, run.ExecSpec) (int, error)
}

// CreateSandbox calls CreateSandboxFunc.
func (f *Fake) CreateSandbox(ctx context.Context, spec run.SandboxSpec) (run.Sandbox, error) {
	if f.CreateSandboxFunc == nil {
		return run.Sandbox{}, run.ErrUnsupported
	}
	return f.CreateSandboxFunc(ctx, spec)
}

// RemoveSandbox calls RemoveSandboxFunc.
func (f *Fake) RemoveSandbox(ctx context.Context, id string) error {
	if f.RemoveSandboxFunc == nil {
		return run.ErrUnsupported
	}
	return f.RemoveSandboxFunc(ctx, id)
}

// Start calls StartFunc for each.
func (f *Fake) Start(ctx context.Context, specs ...run.ContainerSpec) []run.Started {
	started := make([]run.Started, len(specs))
	for i, spec := range specs {
		if f.StartFunc == nil {
			started[i].Err = run.ErrUnsupported
			continue
		}
		var err error
		started[i], err = f.StartFunc(ctx, spec)
		started[i].Err = err
	}
	return started
}

// Stop calls StopFunc.
func (f *Fake) Stop(ctx context.Context, id string, grace time.Duration) error {
	if f.StopFunc == nil {
		return run.ErrUnsupported
	}
	return f.StopFunc(ctx, id, grace)
}

// Remove calls RemoveFunc.
func (f *Fake) Remove(ctx context.Context, id string) error {
	if f.RemoveFunc == nil {
		return run.ErrUnsupported
	}
	return f.RemoveFunc(ctx, id)
}

// List calls ListFunc.
func (f *Fake) List(ctx context.Context) ([]run.Observed, []run.Sandbox, error) {
	if f.ListFunc == nil {
		return nil, nil, run.ErrUnsupported
	}
	return f.ListFunc(ctx)
}

// Exits calls ExitsFunc.
func (f *Fake) Exits(ctx context.Context) (<-chan run.Exit, error) {
	if f.ExitsFunc == nil {
		return nil, run.ErrUnsupported
	}
	return f.ExitsFunc(ctx)
}

// Exec calls ExecFunc.
func (f *Fake) Exec(ctx context.Context, id string, spec run.ExecSpec) (int, error) {
	if f.ExecFunc == nil {
		return 0, run.ErrUnsupported
	}
	return f.ExecFunc(ctx, id, spec)
}
