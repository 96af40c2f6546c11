// Package parts owns what the parts of Kubernetes in one process have in common: they run until all are told to end, and
// when one ends by itself, so do the others.
package parts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// Group is parts that run together.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	all    sync.WaitGroup
}

// New makes a group that ends with ctx.
func New(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

// Context ends when the group does.
func (g *Group) Context() context.Context { return g.ctx }

var errEnded = errors.New("it is not meant to end by itself")

// Start runs a part. When it ends while the group goes on, the group ends, for that reason.
func (g *Group) Start(name string, run func(context.Context) error) {
	g.all.Go(func() {
		err := run(g.ctx)
		if g.ctx.Err() == nil {
			g.cancel(fmt.Errorf("%s ended: %w", name, errors.Join(err, errEnded)))
		}
	})
}

// Keep starts a part that the others can do without: when it ends by itself it is started again, later each time.
func (g *Group) Keep(name string, run func(context.Context) error) {
	g.Start(name, func(ctx context.Context) error {
		for pause := shortest; ; pause = min(2*pause, longest) {
			err := run(ctx)
			if ctx.Err() != nil {
				return nil
			}
			klog.ErrorS(errors.Join(err, errEnded), "A part ended and is started again", "part", name, "pause", pause)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
}

// Pauses before a part is started again.
const (
	shortest = 500 * time.Millisecond
	longest  = time.Minute
)

// Err waits for the end of the group and gives its reason; nil when it was told to end.
func (g *Group) Err() error {
	<-g.ctx.Done()
	if cause := context.Cause(g.ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// Close tells all parts to end and waits until they have, for no longer than grace when that is above zero: some do not
// hear it, and the process ends anyhow.
func (g *Group) Close(grace time.Duration) {
	g.cancel(nil)
	done := make(chan struct{})
	go func() { g.all.Wait(); close(done) }()
	var late <-chan time.Time
	if grace > 0 {
		late = time.After(grace)
	}
	select {
	case <-done:
	case <-late:
	}
}
