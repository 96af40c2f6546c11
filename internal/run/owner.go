package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// owner is the one goroutine that decides on a workload. Commands, exits, results of pulls and of warm-ups reach it as
// functions in its inbox, so all its fields but the last block belong to that goroutine alone.
type owner struct {
	svc   *Service
	cfg   *Config
	id    resource.ID
	key   string
	inbox *inbox
	ended chan struct{} // closed when run has returned
	gone  bool          // the workload is deleted

	group    Group
	rec      record
	saved    []byte // the record as it is stored
	images   map[string]pull.Image
	round    *round          // of pulls; nil when none is under way
	recorded []string        // containers whose pull has ended since the status was shown
	access   <-chan struct{} // closed when a refused pull is worth another try
	starting []chan<- error  // persons who wait for a start
	answers  []func()        // to be given once the status is shown
	warm     *warmUp         // nil when no web app is being waited for
	children sync.WaitGroup  // pulls and warm-ups

	settleAt    time.Time // not before; after the runtime failed
	settleFails int

	mu       sync.Mutex // guards what other goroutines see
	shown    *Status    // nil before the first Put is stored
	shownAs  Group
	live     map[string]pull.Attempt // pulls under way or not yet in shown, by container
	watchers map[chan Status]struct{}
}

func newOwner(s *Service, id resource.ID) *owner {
	return &owner{
		svc: s, cfg: &s.cfg, id: id, key: id.Key(), inbox: newInbox(), ended: make(chan struct{}),
		live: map[string]pull.Attempt{}, watchers: map[chan Status]struct{}{},
	}
}

// run owns the workload until ctx ends or the workload is gone.
func (o *owner) run(ctx context.Context) {
	defer o.end()
	for ctx.Err() == nil {
		looked := o.now()
		o.reconcile(ctx)
		if o.gone {
			return
		}
		o.settled(ctx)
		timer := time.NewTimer(o.untilNext(looked))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-o.accessChanged():
			o.rec.NextRetry = time.Time{}
		case <-o.inbox.wake:
			for _, f := range o.inbox.take() {
				f(ctx)
			}
		}
		timer.Stop()
	}
}

// end joins what the owner started and lets everybody go who waits for it.
func (o *owner) end() {
	if o.round != nil {
		o.round.cancel()
	}
	o.coolDown()
	o.children.Wait()
	if o.gone {
		o.svc.forget(o)
	}
	o.tell()
	close(o.ended)
	o.mu.Lock()
	defer o.mu.Unlock()
	for w := range o.watchers {
		close(w)
	}
	o.watchers = nil
}

// reconcile takes the next steps towards what is wanted: it makes sandbox and containers as they should be, and begins to
// pull when the right to has to be asked.
func (o *owner) reconcile(ctx context.Context) {
	if o.rec.Generation == 0 || o.gone {
		return // nothing was put yet, or nothing is left
	}
	if !o.now().Before(o.settleAt) {
		err := o.settleNow(ctx)
		if o.rec.Answered == o.rec.Ask && ctx.Err() == nil {
			o.answer(err)
		}
	}
	o.beginRound(ctx)
}

// settleNow makes what the runtime has as it should be. When that fails it is tried again after a back-off.
func (o *owner) settleNow(ctx context.Context) error {
	err := o.settle(ctx)
	switch {
	case err == nil:
		o.settleAt, o.settleFails = time.Time{}, 0
	case ctx.Err() == nil:
		o.settleAt = o.now().Add(backOff(o.settleFails))
		o.settleFails++
		o.blame(ctx, err)
	}
	return err
}

// untilNext gives how long the owner may sleep when nothing reaches it. What has become due since it looked is due now.
func (o *owner) untilNext(looked time.Time) time.Duration {
	next := looked.Add(time.Hour)
	consider := func(at time.Time) {
		if at.After(looked) && at.Before(next) {
			next = at
		}
	}
	consider(o.settleAt)
	if o.rec.Target == wantRunning {
		if o.round == nil && o.rec.Answered < o.rec.Ask {
			consider(o.rec.NextRetry)
		}
		for _, c := range o.rec.Containers {
			consider(c.NextStart)
		}
	}
	return next.Sub(o.now())
}

// accessChanged gives the channel that tells of a change while a refused pull waits to be tried again.
func (o *owner) accessChanged() <-chan struct{} {
	if o.rec.Target != wantRunning || o.round != nil || o.rec.NextRetry.IsZero() {
		return nil
	}
	return o.access
}

// do has f run by the owner and gives its error; ErrNotFound when the workload is gone meanwhile. When ctx ends first, f
// runs all the same.
func (o *owner) do(ctx context.Context, f func(context.Context) error) error {
	answer := make(chan error, 1)
	o.inbox.post(func(ctx context.Context) {
		if o.gone {
			answer <- ErrNotFound
			return
		}
		err := f(ctx)
		o.settled(ctx)
		answer <- err
	})
	return o.wait(ctx, answer)
}

func (o *owner) wait(ctx context.Context, answer <-chan error) error {
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-o.ended:
	case <-o.svc.done: // perhaps before the owner ever began
	}
	select {
	case err := <-answer:
		return err
	default:
		if o.gone {
			return ErrNotFound
		}
		return ErrClosed
	}
}

func (o *owner) now() time.Time { return o.cfg.Now().UTC() }

// restore reads the record as it was stored.
func (o *owner) restore(state []byte) error {
	if err := json.Unmarshal(state, &o.rec); err != nil {
		return fmt.Errorf("reading the state of workload %s: %w", o.id, err)
	}
	o.saved = state
	return nil
}

// save stores the record if it has changed.
func (o *owner) save(ctx context.Context) error {
	state, err := json.Marshal(&o.rec)
	if err != nil || bytes.Equal(state, o.saved) {
		return err
	}
	if err := o.cfg.Store.SaveState(ctx, o.id, state); err != nil {
		return fmt.Errorf("storing the state of workload %s: %w", o.id, err)
	}
	o.saved = state
	return nil
}

// settled stores and shows what was decided since the last time, and answers who waited for it. What cannot be stored is
// tried again with the next change and at the latest after a back-off.
func (o *owner) settled(ctx context.Context) {
	if o.rec.Generation == 0 || o.gone {
		return
	}
	if err := o.save(ctx); err != nil && ctx.Err() == nil {
		o.cfg.Log.ErrorContext(ctx, "a workload's state is not stored", "workload", o.id.String(), "error", err)
		o.settleAt = o.now().Add(backOffFirst)
	}
	o.publish()
	o.tell()
}

// tell gives the answers that are due.
func (o *owner) tell() {
	for _, answer := range o.answers {
		answer()
	}
	o.answers = nil
}

// blame makes a failure of the runtime visible.
func (o *owner) blame(ctx context.Context, err error) {
	o.cfg.Log.ErrorContext(ctx, "a workload cannot be brought about", "workload", o.id.String(), "error", err)
	if o.rec.Target != wantRunning || errors.Is(err, context.Canceled) {
		return
	}
	f := fault.From(err)
	o.fail(Failure{Code: f.Code, Message: f.Message, At: o.now()})
}

// fail records why the workload is not as desired. A web app's Provisioning stays Succeeded, as in Azure.
func (o *owner) fail(f Failure) {
	o.rec.Failure = &f
	if o.group.Kind != KindWebApp {
		o.rec.Provisioning = ProvisioningFailed
	}
}

// inbox is a queue that takes without waiting, so that nobody who tells an owner something waits for what it does.
type inbox struct {
	wake chan struct{} // holds a token while there is something

	mu    sync.Mutex
	items []func(context.Context)
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) post(f func(context.Context)) {
	b.mu.Lock()
	b.items = append(b.items, f)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []func(context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = nil
	return items
}
