package run

import (
	"context"
	"slices"
	"time"
)

// observation is what the runtime had at one moment.
type observation struct {
	containers []Observed
	sandboxes  []Sandbox
}

// look compares the record with what the runtime has, after exits may have been missed.
func (o *owner) look(ctx context.Context) {
	have, err := o.svc.observe(ctx)
	if err != nil {
		o.cfg.Log.WarnContext(ctx, "the runtime does not answer", "error", err)
		return // its connection is lost again, and found again
	}
	o.adopt(have)
}

// adopt takes in what the runtime has of the workload: what runs as recorded goes on untouched, what ended meanwhile is
// handled by policy, what nobody knows goes.
func (o *owner) adopt(have observation) {
	o.adoptSandbox(have.sandboxes)
	mine := map[string]Observed{}
	for _, c := range have.containers {
		if hashOf(c.ID) == groupHash(o.key) {
			mine[c.ID] = c
		}
	}
	for _, c := range o.rec.Containers {
		id := c.id(o.key)
		seen, found := mine[id]
		if c.Made {
			delete(mine, id)
			o.adoptContainer(c, seen, found)
		}
	}
	for id := range mine {
		if !slices.Contains(o.rec.Garbage, id) && !slices.Contains(o.rec.Leaving, id) {
			o.rec.Garbage = append(o.rec.Garbage, id)
		}
	}
	slices.Sort(o.rec.Garbage)
	o.rec.NextRetry = time.Time{} // a change of access may have been missed as well
}

func (o *owner) adoptSandbox(boxes []Sandbox) {
	r := &o.rec
	i := slices.IndexFunc(boxes, func(b Sandbox) bool { return b.ID == sandboxID(o.key) })
	switch {
	case i < 0:
		r.Sandbox, r.Stale, r.IP = false, false, ""
	case r.Sandbox && r.IP != "":
		r.IP = boxes[i].IP
	default: // its making was cut short
		r.Sandbox, r.Stale = true, true
	}
}

func (o *owner) adoptContainer(c *containerRecord, seen Observed, found bool) {
	now := o.now()
	if found && c.Current.State != Running { // its start was cut short behind the last step
		c.started(seen.StartedAt.UTC())
	}
	switch {
	case found && seen.Running && o.rec.Sandbox && !o.rec.Stale:
	case found && !seen.Running:
		o.containerEnded(c, Exit{Code: seen.ExitCode, OOM: seen.OOM, At: seen.ExitedAt})
	case c.Current.State == Running:
		o.containerEnded(c, Exit{Code: exitUnknown, At: now})
	default:
		o.rec.discard(o.key, c) // its start was cut short before the first
	}
}

// exited takes in an exit that the runtime told of, perhaps again, perhaps of an incarnation long replaced.
func (o *owner) exited(e Exit) {
	for _, c := range o.rec.Containers {
		switch {
		case c.id(o.key) != e.ID:
		case c.Made && c.Current.State == Running:
			o.containerEnded(c, e)
		case !c.Made && c.Current.State == Terminated && !c.Done: // we ended it, and now know how
			c.Current = c.ended(e.Code, e.OOM, e.At.UTC())
		}
	}
}

// containerEnded decides by policy what follows the end of a container that ran.
func (o *owner) containerEnded(c *containerRecord, e Exit) {
	if e.At.IsZero() {
		e.At = o.now()
	}
	c.exited(e.Code, e.OOM, e.At.UTC(), o.group.policy())
	o.rec.discard(o.key, c)
	o.siteEnded(c)
	if c.NextStart.After(e.At) {
		c.note(o.now(), EventBackOff, TypeWarning, "Back-off restarting failed container")
	}
}
