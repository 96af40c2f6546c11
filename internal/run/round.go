package run

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
)

// Limits on one pull. A refusal comes in moments; these are for registries that do not answer.
const (
	pullStall = 45 * time.Second // without any progress before the layers are there
	pullMost  = 30 * time.Minute // altogether, as Azure allows a create
)

var errStalled = fault.New(fault.Unavailable, "NET_TIMEOUT", "the registry does not answer")

// round is one asking for all images of a workload. It belongs to the owner's goroutine.
type round struct {
	cancel  context.CancelFunc
	pending int // pulls that have not answered yet
	refused bool
	images  map[string]pull.Image // by container
}

// beginRound begins to pull every image of the group, if the right to has to be asked and it is time.
func (o *owner) beginRound(ctx context.Context) {
	r := &o.rec
	if r.Target != wantRunning || o.round != nil || r.Answered >= r.Ask || o.now().Before(r.NextRetry) {
		return
	}
	o.access = o.cfg.AccessChanged() // before we ask: a change from here on is worth another try
	if r.Provisioning == ProvisioningPending {
		r.Provisioning = ProvisioningCreating
	}
	ctx, cancel := context.WithCancel(ctx)
	now, correlation := o.now(), uuid.NewString()
	current := &round{cancel: cancel, pending: len(r.Containers), images: map[string]pull.Image{}}
	o.round = current
	for _, c := range r.Containers {
		c.note(now, EventPulling, TypeNormal, o.say().pulling(c.Image))
		if o.held() && c.Current.State == Waiting {
			c.Current.Detail = DetailPulling
		}
		request := pull.Request{
			Workload: o.id, Container: c.Name, Image: c.Image, Platform: o.cfg.Platform,
			Candidates: o.svc.candidates(o.group, c.Image), Correlation: correlation,
		}
		o.children.Go(func() { o.pull(ctx, current, request) })
	}
}

// candidates gives the credentials for an image; none for what is no reference, as pull will say.
func (s *Service) candidates(g Group, image string) []pull.Candidate {
	reference, err := content.ParseReference(image)
	if err != nil {
		return nil
	}
	return Candidates(g, reference, s.cfg.SameRegistry)
}

// pull pulls one image, in a goroutine of its own, and posts what came of it.
func (o *owner) pull(ctx context.Context, r *round, request pull.Request) {
	ctx, cancel := context.WithTimeoutCause(ctx, pullMost, errStalled)
	defer cancel()
	ctx, stall := context.WithCancelCause(ctx)
	defer stall(nil)
	watch := time.AfterFunc(pullStall, func() { stall(errStalled) })
	defer watch.Stop()

	image, attempt, err := o.cfg.Puller.Pull(ctx, request, func(a pull.Attempt) {
		if unpacking(a) {
			watch.Stop() // it tells of whole layers only, and these may take their time
		} else {
			watch.Reset(pullStall)
		}
		o.observe(ctx, a)
	})
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		err = errStalled.WithCause(err)
	}
	o.inbox.post(func(context.Context) {
		if o.round == r {
			o.pulled(request.Container, image, attempt, err)
		}
	})
}

func unpacking(a pull.Attempt) bool {
	_, ok := a.Stage(pull.StageUnpack)
	return ok
}

// pulled takes in what came of one pull. The first refusal is told at once; the round ends when all have answered.
func (o *owner) pulled(container string, image pull.Image, attempt pull.Attempt, err error) {
	c, r, now := o.rec.container(container), o.round, o.now()
	r.pending--
	c.Last = &attempt
	o.mu.Lock()
	o.live[container] = attempt // shown until the record is, which settling comes before
	o.mu.Unlock()
	o.recorded = append(o.recorded, container)
	if err == nil {
		r.images[container] = image
		c.note(now, EventPulled, TypeNormal, o.say().pulled(c.Image, attempt.Ended.Sub(attempt.Started)))
	} else {
		if c.First == nil {
			c.First = &attempt
		}
		c.note(now, EventFailed, TypeWarning, o.say().pullFailed(c.Image, cmp.Or(attempt.Summary, fault.From(err).Message)))
		c.note(now, EventBackOff, TypeNormal, o.say().backOff(c.Image))
		o.refuse(c, err)
	}
	if r.pending > 0 {
		return
	}
	r.cancel()
	o.round = nil
	if r.refused {
		o.rec.NextRetry = now.Add(backOff(o.rec.Retries))
		o.rec.Retries++
		return
	}
	o.apply(r.images)
}

// refuse takes in that an image could not be pulled.
func (o *owner) refuse(c *containerRecord, err error) {
	first := !o.round.refused
	if first && o.group.Kind == KindWebApp && o.rec.Applied != o.rec.Spec {
		o.endAll() // a change restarts a site, and it is not what it was any more
	}
	if o.held() && c.Current.State == Waiting {
		c.Current.Detail = DetailPullRetry
	}
	if !first {
		return
	}
	o.round.refused = true
	f := o.say().refusal(o.id.Name(), c.Image, err)
	f.Container, f.At = c.Name, o.now()
	o.fail(f)
	o.answer(f.fault())
}

// apply has the containers made of what was pulled: those that are so already stay, unless a person asked otherwise.
func (o *owner) apply(images map[string]pull.Image) {
	r := &o.rec
	replace := r.Replace || r.Applied != r.Spec
	for _, c := range r.Containers {
		replace = replace || c.Digest != images[c.Name].Digest()
		if c.Done && o.group.policy().restarts(c.Current.ExitCode) { // a new policy does not leave it so
			c.renew()
		}
	}
	o.images = images
	if replace {
		o.endAll()
		for _, c := range r.Containers {
			c.renew()
			c.Digest = images[c.Name].Digest()
		}
		r.Stale = r.Sandbox && r.Applied != r.Spec
	}
	r.Applied, r.Answered, r.Replace = r.Spec, r.Ask, false
	r.Retries, r.NextRetry, r.Failure = 0, time.Time{}, nil
	o.settleAt = time.Time{}
}

// observe shows how far a pull is, unless it was abandoned.
func (o *owner) observe(ctx context.Context, a pull.Attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ctx.Err() == nil {
		o.live[a.Container] = a
	}
}
