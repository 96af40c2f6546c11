package run

import (
	"context"
	"slices"

	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// publish shows everybody how the workload stands, if there is anything to show.
func (o *owner) publish() {
	var shown *Status
	if o.rec.Generation > 0 && !o.gone {
		s := o.snapshot()
		shown = &s
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shown, o.shownAs = shown, o.group
	for _, container := range o.recorded {
		delete(o.live, container)
	}
	o.recorded = nil
	if shown == nil {
		return
	}
	for w := range o.watchers {
		push(w, *shown)
	}
}

// push puts the newest status into a channel of one, in place of one that nobody has taken yet.
func push(w chan Status, s Status) {
	select {
	case <-w:
	default:
	}
	w <- s
}

func (o *owner) snapshot() Status {
	r := &o.rec
	s := Status{
		ID: o.group.ID, Kind: o.group.Kind, Generation: r.Generation, Provisioning: r.Provisioning, State: r.state(o.group.Kind),
		NextRetry: r.NextRetry, IP: r.IP, Backend: r.Backend, Events: slices.Clone(r.Events),
	}
	if s.NextRetry.IsZero() && o.settleFails > 0 {
		s.NextRetry = o.settleAt
	}
	if r.Failure != nil {
		s.Failure = clone(r.Failure)
	}
	for _, c := range r.Containers {
		s.Containers = append(s.Containers, ContainerStatus{
			Name: c.Name, Image: c.Image, Digest: c.Digest, RestartCount: c.RestartCount,
			Current: clone(&c.Current), Previous: clone(c.Previous), Events: slices.Clone(c.Events),
			id: c.id(o.key), first: c.First, last: c.Last,
		})
	}
	return s
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// status gives what publish showed last; nil when there is nothing.
func (o *owner) status() *Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shown
}

// Status gives how a workload stands; ErrNotFound.
func (s *Service) Status(ctx context.Context, id resource.ID) (Status, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return Status{}, err
	}
	if shown := o.status(); shown != nil {
		return *shown, nil
	}
	return Status{}, ErrNotFound
}

// Statuses gives how all workloads stand, in order of their ids.
func (s *Service) Statuses(ctx context.Context) ([]Status, error) {
	if err := s.awake(ctx); err != nil {
		return nil, err
	}
	var out []Status
	for _, o := range s.all() {
		if shown := o.status(); shown != nil {
			out = append(out, *shown)
		}
	}
	return out, nil
}

// Group gives a workload as it is desired, with its secrets; ErrNotFound.
func (s *Service) Group(ctx context.Context, id resource.ID) (Group, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return Group{}, err
	}
	o.mu.Lock()
	g := o.shownAs
	o.mu.Unlock()
	return g.clone()
}

// PullRequest gives what a container's image is asked for with, as the next pull would; ErrNotFound, ErrContainerUnknown.
func (s *Service) PullRequest(ctx context.Context, id resource.ID, container string) (pull.Request, error) {
	g, err := s.Group(ctx, id)
	if err != nil {
		return pull.Request{}, err
	}
	i := slices.IndexFunc(g.Containers, func(c Container) bool { return c.Name == container })
	if i < 0 {
		return pull.Request{}, ErrContainerUnknown
	}
	image := g.Containers[i].Image
	return pull.Request{
		Workload: id, Container: container, Image: image, Platform: s.cfg.Platform, Candidates: s.candidates(g, image),
	}, nil
}

// Watch gives the status now and at each change, the newest only when they come faster than they are taken. The channel
// closes when ctx ends or the workload is gone. ErrNotFound.
func (s *Service) Watch(ctx context.Context, id resource.ID) (<-chan Status, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shown == nil || o.watchers == nil {
		return nil, ErrNotFound
	}
	w := make(chan Status, 1)
	o.watchers[w] = struct{}{}
	w <- *o.shown
	context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, ok := o.watchers[w]; ok {
			delete(o.watchers, w)
			close(w)
		}
	})
	return w, nil
}

// Attempts gives the first pull of a container that was refused since its workload was put or started by a person, and
// the last pull, which may be under way; nil where there is none. ErrNotFound, ErrContainerUnknown.
func (s *Service) Attempts(ctx context.Context, id resource.ID, container string) (first, last *pull.Attempt, err error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	o.mu.Lock()
	live, ok := o.live[container] // before what is shown, which takes its place
	o.mu.Unlock()
	c, err := o.shownContainer(container)
	if err != nil {
		return nil, nil, err
	}
	if ok {
		return c.first, &live, nil
	}
	return c.first, c.last, nil
}

// Exec runs a command in a running container, until it ends or ctx does. ErrNotFound, ErrContainerUnknown, ErrNotRunning.
func (s *Service) Exec(ctx context.Context, id resource.ID, container string, spec ExecSpec) (exitCode int, err error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return 0, err
	}
	c, err := o.shownContainer(container)
	switch {
	case err != nil:
		return 0, err
	case s.cfg.Execer == nil:
		return 0, ErrUnsupported
	case c.Current.State != Running:
		return 0, ErrNotRunning.WithMessage("the container %s does not run: nothing can be executed in it", container)
	}
	return s.cfg.Execer.Exec(ctx, c.id, spec)
}

// shownContainer finds a container as it was shown last.
func (o *owner) shownContainer(name string) (ContainerStatus, error) {
	shown := o.status()
	if shown == nil {
		return ContainerStatus{}, ErrNotFound
	}
	i := slices.IndexFunc(shown.Containers, func(c ContainerStatus) bool { return c.Name == name })
	if i < 0 {
		return ContainerStatus{}, ErrContainerUnknown.WithMessage("the workload has no container %q", name)
	}
	return shown.Containers[i], nil
}
