package run

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"fairlead.dev/internal/fault"
)

var containerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// validate refuses what could not be run at all. What Azure demands beyond that is the surface's to check.
func (g Group) validate() error {
	bad := fault.New(fault.Invalid, "InvalidWorkload", "")
	switch {
	case g.ID.IsZero():
		return bad.WithMessage("a workload needs an id")
	case len(g.Containers) == 0:
		return bad.WithMessage("a workload needs a container").WithTarget("containers")
	case (g.Kind == KindWebApp) != (g.Web != nil):
		return bad.WithMessage("a web app, and only a web app, says how it is reached")
	}
	seen := map[string]bool{}
	for _, c := range g.Containers {
		switch {
		case !containerName.MatchString(c.Name):
			return bad.WithMessage("the container name %q is not 1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit", c.Name).WithTarget("containers")
		case seen[c.Name]:
			return bad.WithMessage("two containers are called %q", c.Name).WithTarget("containers")
		case c.Image == "":
			return bad.WithMessage("the container %q has no image", c.Name).WithTarget("containers")
		}
		seen[c.Name] = true
	}
	return nil
}

func (g Group) policy() RestartPolicy {
	if g.RestartPolicy == "" || g.Kind == KindWebApp {
		return Always
	}
	return g.RestartPolicy
}

// sameContainers reports whether containers made of a and of b would be the same. Credentials, identities and the
// restart policy may differ: they matter to who pulls or keeps them.
func sameContainers(a, b Group) bool {
	return slices.EqualFunc(a.Containers, b.Containers, func(x, y Container) bool {
		return x.Name == y.Name && x.Image == y.Image && x.CPU == y.CPU && x.MemoryGB == y.MemoryGB &&
			slices.Equal(x.Command, y.Command) && slices.Equal(x.Env, y.Env) && slices.Equal(x.Ports, y.Ports)
	})
}

// put takes in what is desired from now on, and has it asked for.
func (o *owner) put(ctx context.Context, g Group) error {
	r := &o.rec
	if r.Target == wantDeleted {
		return o.transitioning()
	}
	o.abandon(ErrTransitioning)
	stopped := r.Target == wantStopped
	r.Replace = stopped || r.Generation > 0 && r.state(g.Kind) == StateFailed
	if r.Generation == 0 || !sameContainers(o.group, g) {
		r.Spec++
	}
	r.Generation++
	r.reshape(o.key, g)
	r.ask()
	r.Failure, r.Provisioning = nil, ProvisioningPending
	if g.Kind == KindWebApp {
		r.Provisioning = ProvisioningSucceeded
	}
	if r.Target = wantRunning; stopped && g.Kind == KindWebApp {
		r.Target, r.Answered = wantStopped, r.Ask // a site that was stopped stays so, as in Azure
	}
	o.settleAt = o.now()
	if err := o.store(ctx, g); err != nil {
		return o.undo(err)
	}
	o.publish()
	return nil
}

// start has the right to pull asked on behalf of a person, who is answered when it is known what came of it.
func (o *owner) start(ctx context.Context, replace bool, answer chan<- error) error {
	r := &o.rec
	if r.Target == wantDeleted || o.provisioning() {
		return o.transitioning()
	}
	o.abandon(ErrTransitioning)
	r.Replace = replace || r.Target == wantStopped || r.done()
	r.Target = wantRunning
	r.ask()
	r.Failure = nil // what was refused before says nothing about this
	if o.group.Kind != KindWebApp {
		r.Provisioning = ProvisioningPending
	}
	o.settleAt = o.now()
	if err := o.save(ctx); err != nil {
		return o.undo(err)
	}
	o.starting = append(o.starting, answer)
	return nil
}

// stop ends the containers and gives back their network.
func (o *owner) stop(ctx context.Context) error {
	r := &o.rec
	if r.Target == wantDeleted || o.provisioning() {
		return o.transitioning()
	}
	o.abandon(ErrTransitioning)
	r.Target, r.Answered, r.Replace = wantStopped, r.Ask, false
	r.Retries, r.NextRetry = 0, time.Time{}
	r.Failure, r.Provisioning = nil, ProvisioningSucceeded
	o.endAll()
	if err := o.save(ctx); err != nil {
		return o.undo(err)
	}
	return o.settleNow(ctx)
}

// remove ends the workload. Whoever waits for anything else is told that it is gone.
func (o *owner) remove(ctx context.Context) error {
	o.abandon(ErrNotFound)
	o.rec.Target = wantDeleted
	o.endAll()
	if err := o.save(ctx); err != nil {
		return o.undo(err)
	}
	o.children.Wait()
	return o.settleNow(ctx)
}

// endAll marks every container to be ended.
func (o *owner) endAll() {
	now := o.now()
	for _, c := range o.rec.Containers {
		switch c.Current.State {
		case Running:
			c.note(now, EventKilling, TypeNormal, "Killing container")
			c.Current = c.ended(0, false, now) // until the exit tells more
		case Waiting:
			c.Current = State{State: Waiting}
		}
		o.rec.discard(o.key, c)
	}
	o.rec.Garbage = append(o.rec.Garbage, o.rec.Leaving...)
	o.rec.Leaving, o.rec.Backend = nil, ""
	o.coolDown()
}

// provisioning reports whether a container group is being brought about for the first time since a person asked for it.
// Until that is done or refused Azure allows a delete and a new Put, and nothing else. App Service has no such rule.
func (o *owner) provisioning() bool {
	return o.group.Kind != KindWebApp && o.rec.Answered < o.rec.Ask && o.rec.Retries == 0
}

func (o *owner) transitioning() error {
	if o.group.Kind == KindWebApp {
		return ErrTransitioning
	}
	return ErrTransitioning.WithMessage("The container group '%s' is still transitioning, please retry later.", o.id.Name())
}

// abandon cuts short the pulls that are under way and tells err to whoever waits for them.
func (o *owner) abandon(err error) {
	if o.round != nil {
		o.round.cancel()
		o.round = nil
		o.mu.Lock()
		clear(o.live)
		o.mu.Unlock()
		o.recorded = nil
	}
	o.answer(err)
}

// answer tells everybody who waits for a start what came of it, as soon as the status shows it too.
func (o *owner) answer(err error) {
	for _, answer := range o.starting {
		o.answers = append(o.answers, func() { answer <- err })
	}
	o.starting = nil
}

// store writes the group and the record, new or not.
func (o *owner) store(ctx context.Context, g Group) error {
	plain, err := encode(g)
	if err != nil {
		return err
	}
	state, err := json.Marshal(&o.rec)
	if err != nil {
		return err
	}
	sealed := o.cfg.Sealer.Seal(plain, sealContext(o.id))
	if err := o.cfg.Store.PutWorkload(ctx, Stored{ID: o.id, Spec: sealed, State: state}); err != nil {
		return err
	}
	o.group, o.saved = g, state
	return nil
}

// undo goes back to what is stored, after a change could not be stored: who asked for it is told err.
func (o *owner) undo(err error) error {
	if o.saved == nil {
		o.gone = true // there never was anything
		return err
	}
	o.rec = record{}
	if restoreErr := o.restore(o.saved); restoreErr != nil {
		return restoreErr
	}
	return err
}
