package arm

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/resource"
)

const (
	// promptDelete is how long a DELETE that may be answered 202 is waited for: most are done by then.
	promptDelete = 2 * time.Second
	// operationsKept is how long the end of an operation can be asked for.
	operationsKept = 24 * time.Hour
)

// deletes carries out deletions: each is a stored operation and a goroutine that Run owns.
type deletes struct {
	destroy func(context.Context, resource.ID) error
	store   resource.Operations
	log     *slog.Logger

	mu      sync.Mutex
	running *sync.WaitGroup // nil while Run is not running
	ctx     context.Context //nolint:containedctx // Run's own: deletions outlive the requests that begin them
}

func newDeletes(destroy func(context.Context, resource.ID) error, store resource.Operations, log *slog.Logger) *deletes {
	return &deletes{destroy: destroy, store: store, log: log}
}

// run takes up what an earlier process left and serves until ctx ends.
func (d *deletes) run(ctx context.Context) error {
	var running sync.WaitGroup
	d.mu.Lock()
	d.ctx, d.running = ctx, &running
	d.mu.Unlock()
	open, err := d.store.OpenOperations(ctx, resource.OperationDelete)
	if err == nil {
		for _, o := range open {
			d.start(o)
		}
		d.forget(ctx)
	}
	d.mu.Lock()
	d.running = nil
	d.mu.Unlock()
	running.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// forget removes old operations, now and every hour, until ctx ends.
func (d *deletes) forget(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := d.store.ForgetOperations(ctx, time.Now().Add(-operationsKept)); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "old operations were not removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// start carries out a stored operation; the channel closes at its end, or when the server stops before that.
func (d *deletes) start(o resource.Operation) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	done := make(chan struct{})
	if d.running == nil {
		close(done)
		return done
	}
	d.running.Go(func() {
		defer close(done)
		d.carryOut(d.ctx, o)
	})
	return done
}

func (d *deletes) carryOut(ctx context.Context, o resource.Operation) {
	err := d.destroy(ctx, o.Resource)
	if ctx.Err() != nil && err != nil {
		return // the next process finishes it
	}
	o.Status = resource.Succeeded
	if err != nil {
		shown := armFault(err)
		o.Status, o.Code, o.Message = resource.Failed, shown.code, shown.message
		d.log.WarnContext(ctx, "deletion failed", "resource", o.Resource.String(), "operation", o.ID, "error", err)
	}
	if err := d.store.EndOperation(context.WithoutCancel(ctx), o); err != nil {
		d.log.ErrorContext(ctx, "the end of a deletion was not stored", "operation", o.ID, "error", err)
	}
}

// delete removes the resource that a call names. Of a type whose deletion may be slow, what takes longer than a moment
// is answered 202.
func (h *Handler) delete(ctx context.Context, c *call, t *armType) (*reply, error) {
	r, err := h.find(ctx, c.id)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		if _, err := h.loadGroup(ctx, c.id.Group()); err != nil {
			return nil, err
		}
		return empty(http.StatusNoContent)
	}
	if err := c.precondition(r); err != nil {
		return nil, err
	}
	o := h.newOperation(c, resource.OperationDelete, *r)
	if err := h.Operations.BeginOperation(ctx, o); err != nil {
		return nil, err
	}
	var prompt <-chan time.Time
	if t.slowDelete {
		prompt = time.After(promptDelete)
	}
	select {
	case <-h.deletes.start(o):
	case <-prompt:
	}
	return h.deleted(ctx, c, t, o, *r)
}

// deleted answers a DELETE by the state of its operation.
func (h *Handler) deleted(ctx context.Context, c *call, t *armType, o resource.Operation, r resource.Resource) (*reply, error) {
	now, err := h.Operations.Operation(ctx, o.ID)
	switch {
	case err != nil:
		return nil, err
	case now.Status == resource.InProgress:
		return h.accepted(c, o), nil
	case now.Status == resource.Failed:
		return nil, failureOf(now)
	case t.goneEmpty:
		return empty(http.StatusNoContent)
	}
	view, err := h.encode(ctx, r, map[string]string{"provisioningState": "Deleting"})
	return &reply{status: http.StatusOK, body: view}, err
}

// destroy removes a resource or a group with all that hangs on it. It may be repeated after being cut short at any
// point: the resource itself goes last.
func (h *Handler) destroy(ctx context.Context, id resource.ID) error {
	if id.Is(groupTypeName) {
		return h.destroyGroup(ctx, id)
	}
	defer h.locks.alone(id.Key())()
	r, err := h.Store.Resource(ctx, id)
	if errors.Is(err, resource.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return h.destroyLocked(ctx, r)
}

func (h *Handler) destroyLocked(ctx context.Context, r resource.Resource) error {
	if t, ok := h.types[strings.ToLower(r.ID.Type())]; ok {
		if err := t.remove(ctx, r); err != nil {
			return err
		}
	}
	if err := h.Directory.DeleteManaged(ctx, r.ID); err != nil {
		return err
	}
	if err := h.Access.DeleteUnder(ctx, r.ID); err != nil {
		return err
	}
	err := h.Store.DeleteResource(ctx, r.ID)
	if errors.Is(err, resource.ErrNotFound) {
		return nil
	}
	return err
}

// newOperation makes an operation that is not stored yet.
func (h *Handler) newOperation(c *call, kind resource.OperationKind, r resource.Resource) resource.Operation {
	return resource.Operation{ID: uuid.NewString(), Kind: kind, Resource: r.ID, Location: r.Location, Caller: c.who.ID(), Status: resource.InProgress}
}

// locks keeps two changes of one resource, or a change beneath a group and the group's closing, from interleaving. A lock
// that is no resource's is taken last.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	sync.RWMutex
	users int
}

func newLocks() *locks { return &locks{held: map[string]*lock{}} }

// enter takes group shared and id alone; the function that it gives lets both go.
func (l *locks) enter(group, id resource.ID) func() {
	shared, letGroup := l.grab(group.Key())
	shared.RLock()
	unlock := l.alone(id.Key())
	return func() {
		unlock()
		shared.RUnlock()
		letGroup()
	}
}

// alone takes what key names for one.
func (l *locks) alone(key string) func() {
	own, let := l.grab(key)
	own.Lock()
	return func() {
		own.Unlock()
		let()
	}
}

// grab finds or makes the lock of a key; it is forgotten when its last user lets go.
func (l *locks) grab(key string) (*lock, func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.held[key]
	if k == nil {
		k = &lock{}
		l.held[key] = k
	}
	k.users++
	return k, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, key)
		}
	}
}
