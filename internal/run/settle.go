package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
)

// settle makes what the runtime has as the record says. It may be called at any time and do nothing; what fails is tried
// again by whoever calls.
func (o *owner) settle(ctx context.Context) error {
	r := &o.rec
	if err := o.sweep(ctx); err != nil {
		return err
	}
	if err := o.dropSandbox(ctx); err != nil {
		return err
	}
	switch {
	case r.Target == wantDeleted:
		return o.vanish(ctx)
	case r.Target == wantStopped || o.held():
		return nil
	case !r.done():
		if err := o.makeSandbox(ctx); err != nil {
			return err
		}
		if err := o.startDue(ctx); err != nil {
			return err
		}
		o.warmUp(ctx)
	}
	if r.Answered == r.Ask && o.group.Kind != KindWebApp {
		r.Provisioning, r.Failure = ProvisioningSucceeded, nil
	}
	return nil
}

// held reports whether nothing may be started before the right to pull was granted: the containers' making has changed,
// or a person asks for new ones. Otherwise restarts by policy go on, whatever the registry says.
func (o *owner) held() bool {
	return o.rec.Applied != o.rec.Spec || o.rec.Replace
}

// sweep ends what has to go before anything starts, all at once.
func (o *owner) sweep(ctx context.Context) error {
	ids := o.rec.Garbage
	if len(ids) == 0 {
		return nil
	}
	if err := o.save(ctx); err != nil { // how they ended: behind this nobody else knows
		return err
	}
	if o.group.Web != nil {
		o.publish() // who asks for the site waits for the next container now, and is not sent to this one
	}
	errs := make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() {
			errs[i] = o.cfg.Runtime.Stop(ctx, id, stopGrace)
			if errs[i] == nil {
				errs[i] = o.cfg.Runtime.Remove(ctx, id)
			}
		})
	}
	all.Wait()
	o.rec.Garbage = nil
	for i, id := range ids {
		if errs[i] != nil {
			o.rec.Garbage = append(o.rec.Garbage, id)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("ending containers: %w", err)
	}
	return nil
}

// dropSandbox gives back the sandbox when nothing needs it any more.
func (o *owner) dropSandbox(ctx context.Context) error {
	r := &o.rec
	if !r.Sandbox || !r.Stale && r.Target == wantRunning && !r.done() {
		return nil
	}
	if err := o.cfg.Runtime.RemoveSandbox(ctx, sandboxID(o.key)); err != nil {
		return fmt.Errorf("removing the sandbox: %w", err)
	}
	r.Sandbox, r.Stale, r.IP = false, false, ""
	return nil
}

// vanish forgets the workload, of which nothing is left in the runtime.
func (o *owner) vanish(ctx context.Context) error {
	if err := o.svc.logs.remove(o.logDir()); err != nil {
		return fmt.Errorf("removing logs: %w", err)
	}
	if err := o.cfg.Store.DeleteWorkload(ctx, o.id); err != nil {
		return fmt.Errorf("deleting the workload's record: %w", err)
	}
	o.gone = true
	o.publish()
	return nil
}

func (o *owner) makeSandbox(ctx context.Context) error {
	r := &o.rec
	if r.Sandbox {
		return nil
	}
	r.Sandbox = true
	if err := o.save(ctx); err != nil {
		return err
	}
	began := o.now()
	box, err := o.cfg.Runtime.CreateSandbox(ctx, o.sandboxSpec())
	if err != nil {
		r.Stale = true
		return fmt.Errorf("creating the sandbox: %w", err)
	}
	r.IP = box.IP
	for _, c := range r.Containers {
		c.stage(pull.StageCreate, began, o.now(), nil)
	}
	return nil
}

// sandboxSpec limits the sandbox to what its containers may use together, unless one has no limit of its own.
func (o *owner) sandboxSpec() SandboxSpec {
	spec := SandboxSpec{ID: sandboxID(o.key), Workload: o.id, Hostname: hostname(o.id.Name()), Listens: o.listens()}
	freeCPU, freeMemory := false, false
	for _, c := range o.group.Containers {
		spec.CPU += c.CPU
		spec.MemoryBytes += memoryBytes(c)
		freeCPU, freeMemory = freeCPU || c.CPU == 0, freeMemory || c.MemoryGB == 0
	}
	if freeCPU {
		spec.CPU = 0
	}
	if freeMemory {
		spec.MemoryBytes = 0
	}
	return spec
}

// listens gives every port that the group is known to listen on, each once.
func (o *owner) listens() []Port {
	var all, once []Port
	for _, c := range o.group.Containers {
		all = append(all, c.Ports...)
	}
	if o.group.IP != nil {
		all = append(all, o.group.IP.Ports...)
	}
	if o.group.Web != nil {
		for _, port := range o.group.Web.ports() {
			all = append(all, Port{Port: port})
		}
	}
	for _, p := range all {
		if p.Protocol = cmp.Or(p.Protocol, "TCP"); !slices.Contains(once, p) {
			once = append(once, p)
		}
	}
	return once
}

// hostname gives a name that the kernel takes.
func hostname(name string) string { return name[:min(len(name), 63)] }

func memoryBytes(c Container) int64 { return int64(c.MemoryGB * (1 << 30)) }

// startDue starts the containers that do not run and should, all at once.
func (o *owner) startDue(ctx context.Context) error {
	var due []*containerRecord
	images := map[*containerRecord]pull.Image{}
	for _, c := range o.rec.Containers {
		if c.Made || c.Done || o.now().Before(c.NextStart) {
			continue
		}
		image, err := o.image(ctx, c)
		if errors.Is(err, pull.ErrNotOnNode) {
			if o.rec.Answered == o.rec.Ask {
				o.rec.ask()
			}
			continue
		}
		if err != nil {
			return err
		}
		due, images[c] = append(due, c), image
	}
	if len(due) == 0 {
		return nil
	}
	for _, c := range due {
		c.Incarnation++
		c.Made = true
	}
	if err := o.save(ctx); err != nil {
		return err
	}
	return o.begin(ctx, due, images)
}

// image gives the image that the container was granted.
func (o *owner) image(ctx context.Context, c *containerRecord) (pull.Image, error) {
	if image, ok := o.images[c.Name]; ok && image.Digest() == c.Digest {
		return image, nil
	}
	return o.cfg.Puller.Reopen(ctx, c.Image, c.Digest)
}

// begin starts the incarnations that were stored.
func (o *owner) begin(ctx context.Context, due []*containerRecord, images map[*containerRecord]pull.Image) error {
	var specs []ContainerSpec
	for _, c := range due {
		spec, err := o.containerSpec(c, images[c])
		if err != nil {
			return err
		}
		specs = append(specs, spec)
	}
	began := o.now()
	started := o.cfg.Runtime.Start(ctx, specs...)
	if ctx.Err() != nil {
		return ctx.Err() // whether they run is seen when they are adopted
	}
	var errs []error
	for i, c := range due {
		errs = append(errs, o.begun(c, began, started[i]))
	}
	return errors.Join(errs...)
}

// begun takes in what came of a start. That the image or its command cannot be started counts as an exit; that the
// runtime fails is tried again.
func (o *owner) begun(c *containerRecord, began time.Time, started Started) error {
	now, err := o.now(), started.Err
	c.stage(pull.StageStart, began, now, err)
	switch {
	case err == nil:
		c.started(started.At.UTC())
		c.note(now, EventCreated, TypeNormal, "Created container")
		c.note(now, EventStarted, TypeNormal, o.say().started())
	case fault.KindOf(err) == fault.Invalid:
		message := fault.From(err).Message
		c.note(now, EventFailed, TypeWarning, o.say().startFailed(message))
		c.started(now) // a try that failed counts as a restart, as everywhere
		o.containerEnded(c, Exit{Code: exitNotStarted, At: now})
	default:
		o.rec.discard(o.key, c)
		return fmt.Errorf("starting container %s: %w", c.Name, err)
	}
	return nil
}

func (o *owner) containerSpec(c *containerRecord, image pull.Image) (ContainerSpec, error) {
	i := slices.IndexFunc(o.group.Containers, func(w Container) bool { return w.Name == c.Name })
	want := o.group.Containers[i]
	path, err := o.prepareLog(c.Name)
	if err != nil {
		return ContainerSpec{}, err
	}
	spec := ContainerSpec{
		ID: c.id(o.key), Sandbox: sandboxID(o.key), Name: c.Name, Image: image,
		Command: want.Command, Hostname: hostname(o.id.Name()), CPU: want.CPU, MemoryBytes: memoryBytes(want), LogPath: path,
		Restart: o.group.policy(), Again: c.Crashes > 0,
	}
	for _, e := range want.Env {
		value := e.Value
		if e.IsSecure {
			value = e.Secure.Reveal()
		}
		spec.Env = append(spec.Env, e.Name+"="+value)
	}
	return spec, nil
}

// stage adds to the record of the last pull what came behind it: the first time, and when a stage that had failed went
// well at a later try.
func (c *containerRecord) stage(name pull.StageName, began, ended time.Time, err error) {
	if c.Last == nil {
		return
	}
	s := pull.Stage{Name: name, Outcome: pull.OK, Started: began, Ended: ended}
	if err != nil {
		f := fault.From(err)
		s.Outcome, s.Code, s.Message = pull.Failed, f.Code, f.Message
	}
	last := *c.Last // what was shown does not change
	last.Stages = slices.Clone(last.Stages)
	before := slices.IndexFunc(last.Stages, func(s pull.Stage) bool { return s.Name == name })
	switch {
	case before < 0:
		last.Stages = append(last.Stages, s)
	case last.Stages[before].Outcome == pull.Failed && err == nil:
		last.Stages[before] = s
	default:
		return
	}
	c.Last = &last
}
