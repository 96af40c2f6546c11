package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// How long a failed attempt waits for the next.
const (
	backOffFirst = time.Second
	backOffMost  = time.Minute
)

// owner is the one goroutine that acts on a cluster. Commands change the record and wake it; what it is at then is cut
// short, for it is no longer wanted.
type owner struct {
	svc   *Service
	id    resource.ID
	gone  chan struct{} // closed when the cluster is deleted
	woken chan struct{} // holds a token when the record was changed

	// These are the goroutine's alone.
	running Running
	applied int64 // generation of what runs
	endRun  func()
	died    <-chan error // tells why what runs is no longer kept running

	mu       sync.Mutex
	rec      record
	shown    *Access            // nil while it does not run
	progress string             // what is waited for
	cut      context.CancelFunc // ends what the goroutine is at
}

func newOwner(s *Service, id resource.ID) *owner {
	return &owner{svc: s, id: id, gone: make(chan struct{}), woken: make(chan struct{}, 1)}
}

// command changes the record, stores it, and has the owner act on it. When it cannot be stored nothing is changed.
func (o *owner) command(ctx context.Context, change func(*record) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rec.Target == wantDeleted {
		return ErrDeleting
	}
	before := o.rec
	if err := change(&o.rec); err != nil {
		o.rec = before
		return err
	}
	if err := o.saveLocked(ctx); err != nil {
		o.rec = before
		return err
	}
	if o.cut != nil {
		o.cut()
	}
	select {
	case o.woken <- struct{}{}:
	default:
	}
	return nil
}

func (o *owner) save(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.saveLocked(ctx)
}

func (o *owner) saveLocked(ctx context.Context) error {
	raw, err := json.Marshal(o.rec)
	if err != nil {
		return err
	}
	return o.svc.cfg.Store.PutCluster(ctx, Stored{ID: o.id, Record: raw})
}

// restore reads the record as it was stored.
func (o *owner) restore(raw []byte) error {
	if err := json.Unmarshal(raw, &o.rec); err != nil {
		return fmt.Errorf("reading the record of cluster %s: %w", o.id, err)
	}
	return nil
}

// run owns the cluster until ctx ends, which leaves it running, or until it is deleted.
func (o *owner) run(ctx context.Context) {
	defer o.release()
	for fails := 0; ctx.Err() == nil; {
		rec, step, cancel := o.next(ctx)
		err := o.bring(step, rec)
		interrupted := step.Err() != nil
		cancel()
		if err == nil && rec.Target == wantDeleted {
			o.forget()
			return
		}
		switch {
		case interrupted:
			continue
		case err == nil:
			err = o.settled(ctx, rec)
		default:
			o.failed(ctx, rec, err)
		}
		var again <-chan time.Time
		if err != nil {
			again = time.After(min(backOffFirst<<fails, backOffMost))
			fails = min(fails+1, 6)
		} else {
			fails = 0
		}
		o.wait(ctx, again)
	}
}

// next gives what is wanted now, and the context of bringing that about.
func (o *owner) next(ctx context.Context) (record, context.Context, context.CancelFunc) {
	step, cancel := context.WithCancel(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.woken: // what it tells of is in the record
	default:
	}
	o.cut = cancel
	return o.rec, step, cancel
}

// wait waits for a change, for again, or for the death of what runs.
func (o *owner) wait(ctx context.Context, again <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-again:
	case <-o.woken:
	case err := <-o.died:
		o.svc.cfg.Log.WarnContext(ctx, "a cluster is no longer kept running, and is brought up again", "cluster", o.id.String(), "error", err)
		o.release()
	}
}

// bring brings about what is wanted.
func (o *owner) bring(ctx context.Context, rec record) error {
	machine, key := o.svc.cfg.Machine, Key(o.id)
	switch rec.Target {
	case wantDeleted:
		o.release()
		o.tell("ending the cluster")
		if err := machine.Remove(ctx, key); err != nil {
			return err
		}
		return o.svc.cfg.Store.DeleteCluster(ctx, o.id)
	case wantStopped:
		o.release()
		o.tell("stopping the cluster")
		return machine.Stop(ctx, key)
	}
	if rec.Rotate {
		if err := o.rotate(ctx, key); err != nil {
			return err
		}
	}
	if o.running != nil && o.applied == rec.Generation {
		return nil
	}
	return o.start(ctx, rec)
}

// rotate takes the certificates of the cluster away. Should it be cut short, it is done again.
func (o *owner) rotate(ctx context.Context, key string) error {
	o.release()
	o.tell("stopping the cluster, whose certificates are made anew")
	if err := o.svc.cfg.Machine.Stop(ctx, key); err != nil {
		return err
	}
	if err := o.svc.cfg.Machine.Rotate(ctx, key); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rec.Rotate = false
	return o.saveLocked(ctx)
}

// start brings the cluster up, or finds it up, as the record says.
func (o *owner) start(ctx context.Context, rec record) error {
	o.release()
	plan := rec.Cluster.plan()
	token, err := o.token()
	if err != nil {
		return err
	}
	if err := o.svc.cfg.Complete(ctx, rec.Cluster, token, &plan); err != nil {
		return err
	}
	running, err := o.svc.cfg.Machine.Start(ctx, plan, o.tell)
	if err != nil {
		return err
	}
	o.keep(running)
	access, err := running.Access()
	if err != nil {
		return errors.Join(err, o.drop())
	}
	o.tell("settling in the cluster what Fairlead puts there")
	if err := o.svc.cfg.Settle(ctx, rec.Cluster, access); err != nil {
		return errors.Join(err, o.drop())
	}
	o.applied = rec.Generation
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shown = &access
	return nil
}

// keep has a running cluster brought back what dies in it.
func (o *owner) keep(r Running) {
	ctx, cancel := context.WithCancel(context.Background()) // release ends it
	died, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.Run(ctx); ctx.Err() == nil {
			died <- err
		}
	}()
	o.running, o.died = r, died
	o.endRun = func() { cancel(); <-ended }
}

// drop lets go of what runs; the cluster goes on without.
func (o *owner) drop() error {
	o.mu.Lock()
	o.shown = nil
	o.mu.Unlock()
	if o.running == nil {
		return nil
	}
	o.endRun()
	err := o.running.Close()
	o.running, o.died, o.applied = nil, nil, 0
	return err
}

// release is drop, whose error hinders nobody.
func (o *owner) release() {
	if err := o.drop(); err != nil {
		o.svc.cfg.Log.Warn("letting go of a cluster", "cluster", o.id.String(), "error", err)
	}
}

// forget takes the deleted cluster out of the list and lets those go who wait for that.
func (o *owner) forget() {
	o.svc.mu.Lock()
	delete(o.svc.owners, o.id.Key())
	o.svc.mu.Unlock()
	close(o.gone)
}

// settled records that what rec wants is so, unless something else is wanted by now.
func (o *owner) settled(ctx context.Context, rec record) error {
	return o.conclude(ctx, rec, ProvisioningSucceeded, nil)
}

// failed records why what rec wants is not so.
func (o *owner) failed(ctx context.Context, rec record, err error) {
	if ctx.Err() != nil {
		return // Fairlead is going down, which is no failure of the cluster
	}
	o.svc.cfg.Log.ErrorContext(ctx, "a cluster cannot be brought about", "cluster", o.id.String(), "error", err)
	provisioning := ProvisioningFailed
	if rec.Target == wantDeleted {
		provisioning = ProvisioningDeleting
	}
	f := fault.From(err)
	if f.Kind == fault.Internal {
		// Who has a cluster here has the machine too, and can mend it only when told what ails it.
		f = fault.Newf(fault.Unavailable, "ReconcileFailed", "The cluster could not be brought about: %v.", err)
	}
	failure := &Failure{Code: f.Code, Message: f.Message, At: o.svc.cfg.Now().UTC()}
	if err := o.conclude(ctx, rec, provisioning, failure); err != nil {
		o.svc.cfg.Log.ErrorContext(ctx, "a cluster's state is not stored", "cluster", o.id.String(), "error", err)
	}
}

func (o *owner) conclude(ctx context.Context, rec record, provisioning string, failure *Failure) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.progress = ""
	if o.rec.Target != rec.Target || o.rec.Generation != rec.Generation || o.rec.Rotate {
		return nil
	}
	o.rec.Provisioning, o.rec.Failure = provisioning, failure
	return o.saveLocked(ctx)
}

// tell shows what is waited for.
func (o *owner) tell(progress string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.progress = progress
}

func (o *owner) cluster() Cluster {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rec.Cluster
}

func (o *owner) access() *Access {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shown
}

// nodes gives how many nodes the cluster takes room for.
func (o *owner) nodes() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rec.Target != wantRunning {
		return 0
	}
	return o.rec.Cluster.Nodes()
}

func (o *owner) token() (secret.Text, error) {
	o.mu.Lock()
	sealed := o.rec.Token
	o.mu.Unlock()
	plain, err := o.svc.cfg.Sealer.Open(sealed, sealContext(o.id))
	if err != nil {
		return secret.Text{}, fmt.Errorf("opening the token of cluster %s: %w", o.id, err)
	}
	return secret.New(string(plain)), nil
}

func (o *owner) status() Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := Status{
		ID: o.id, Generation: o.rec.Generation, Provisioning: o.rec.Provisioning, Power: PowerRunning, Failure: o.rec.Failure,
		Progress: o.progress, Version: o.rec.Version, Nodes: o.rec.Cluster.NodeNames(),
	}
	if o.rec.Target == wantStopped {
		s.Power = PowerStopped
	}
	return s
}
