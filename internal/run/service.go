package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Config is what a Service needs. Store, Runtime, Puller, Sealer and LogDir must be set.
type Config struct {
	Store   Store
	Runtime Runtime
	Execer  Execer // nil refuses Exec
	Puller  Puller
	Sealer  *secret.Sealer
	Log     *slog.Logger     // nil discards
	Now     func() time.Time // nil is time.Now
	LogDir  string           // holds a folder per workload
	LogMost int64            // bytes of a container's log, and again of what was before; 0 is 64 MiB

	Platform content.Platform // of this machine
	// SameRegistry tells whether two hosts name one registry here; nil never.
	SameRegistry func(a, b string) bool
	// AccessChanged gives a channel that is closed at the next change of assignments, principals or credentials; nil never.
	AccessChanged func() <-chan struct{}
	// Warm asks web apps whether they answer; nil is a plain transport without proxies.
	Warm http.RoundTripper
}

func (c Config) withDefaults() Config {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.LogMost = cmp.Or(c.LogMost, logMost)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.SameRegistry == nil {
		c.SameRegistry = func(string, string) bool { return false }
	}
	if c.AccessChanged == nil {
		c.AccessChanged = func() <-chan struct{} { return nil }
	}
	if c.Warm == nil {
		c.Warm = &http.Transport{DisableKeepAlives: true}
	}
	return c
}

// Service runs workloads. Its methods wait until Run has adopted what was there before.
type Service struct {
	cfg   Config
	ready chan struct{} // closed when everything is adopted
	done  chan struct{} // closed when Run ends
	spawn chan *owner
	logs  *logs
	left  observation // orphans that could not be ended; written before ready is closed

	mu     sync.Mutex
	owners map[string]*owner // by groupHash
}

// NewService makes a Service; Run brings it to life.
func NewService(cfg Config) *Service {
	cfg = cfg.withDefaults()
	return &Service{
		cfg: cfg, logs: &logs{dir: cfg.LogDir, most: cfg.LogMost}, ready: make(chan struct{}), done: make(chan struct{}), spawn: make(chan *owner),
		owners: map[string]*owner{},
	}
}

// Run adopts what is stored and what still runs, then keeps every workload as it is desired until ctx ends. It returns
// when every goroutine has ended; containers go on running. It is called once.
func (s *Service) Run(ctx context.Context) error {
	defer close(s.done)
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()

	exits, err := s.cfg.Runtime.Exits(ctx)
	if err != nil {
		return fmt.Errorf("subscribing to exits: %w", err)
	}
	if err := s.adopt(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to end before it had begun
		}
		return err
	}
	for _, o := range s.all() {
		all.Go(func() { o.run(ctx) })
	}
	all.Go(func() { s.dispatch(ctx, exits) })
	all.Go(func() { s.tendLogs(ctx) })
	close(s.ready)
	for {
		select {
		case o := <-s.spawn:
			all.Go(func() { o.run(ctx) })
		case <-ctx.Done():
			return nil
		}
	}
}

// adopt makes an owner for each stored workload, shows it what the runtime has of it, and ends what belongs to nobody.
func (s *Service) adopt(ctx context.Context) error {
	stored, err := s.cfg.Store.Workloads(ctx)
	if err != nil {
		return fmt.Errorf("reading workloads: %w", err)
	}
	have, err := s.observe(ctx)
	if err != nil {
		return err
	}
	for _, w := range stored {
		o, err := s.load(w)
		if err != nil {
			return err
		}
		o.adopt(have)
		o.publish()
		s.owners[groupHash(o.id.Key())] = o
	}
	s.endOrphans(ctx, have)
	return ctx.Err()
}

// load makes the owner of a stored workload.
func (s *Service) load(w Stored) (*owner, error) {
	plain, err := s.cfg.Sealer.Open(w.Spec, sealContext(w.ID))
	if err != nil {
		return nil, fmt.Errorf("opening workload %s: %w", w.ID, err)
	}
	o := newOwner(s, w.ID)
	if o.group, err = decode(plain); err != nil {
		return nil, err
	}
	return o, o.restore(w.State)
}

func sealContext(id resource.ID) string { return "run/" + id.Key() }

// observe lists what the runtime has.
func (s *Service) observe(ctx context.Context) (observation, error) {
	containers, sandboxes, err := s.cfg.Runtime.List(ctx)
	if err != nil {
		return observation{}, fmt.Errorf("listing containers: %w", err)
	}
	return observation{containers, sandboxes}, nil
}

// endOrphans ends what no stored workload knows: the rest of one whose deletion was cut short behind its last step. What
// cannot be ended hinders nobody but the next workload of that id, which ends it before it begins.
func (s *Service) endOrphans(ctx context.Context, have observation) {
	stuck := map[string]bool{}
	end := func(id string, remove func(context.Context, string) error) (left bool) {
		if s.owners[hashOf(id)] != nil {
			return false
		}
		err := cmp.Or(remove(ctx, id), ctx.Err())
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.ErrorContext(ctx, "what belongs to no workload cannot be removed", "id", id, "error", err)
		}
		return err != nil
	}
	for _, c := range have.containers {
		if end(c.ID, s.cfg.Runtime.Remove) {
			stuck[hashOf(c.ID)] = true
			s.left.containers = append(s.left.containers, c)
		}
	}
	for _, b := range have.sandboxes {
		if stuck[b.ID] || end(b.ID, s.cfg.Runtime.RemoveSandbox) {
			s.left.sandboxes = append(s.left.sandboxes, b)
		}
	}
}

// dispatch hands exits to the owners. When the runtime's connection is lost it subscribes again and has every owner look
// for itself.
func (s *Service) dispatch(ctx context.Context, exits <-chan Exit) {
	for {
		for e := range exits {
			if o := s.owner(hashOf(e.ID)); o != nil {
				o.inbox.post(func(context.Context) { o.exited(e) })
			}
		}
		for wait := time.Second; ; wait = min(2*wait, time.Minute) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			var err error
			if exits, err = s.cfg.Runtime.Exits(ctx); err == nil {
				break
			}
			s.cfg.Log.WarnContext(ctx, "the runtime does not answer", "error", err)
		}
		for _, o := range s.all() {
			o.inbox.post(o.look)
		}
	}
}

func (s *Service) owner(hash string) *owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owners[hash]
}

func (s *Service) all() []*owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*owner, 0, len(s.owners))
	for _, o := range s.owners {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *owner) int { return strings.Compare(a.id.Key(), b.id.Key()) })
	return out
}

// awake waits until everything is adopted; ErrClosed when Run has ended.
func (s *Service) awake(ctx context.Context) error {
	select {
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ready:
		return nil
	}
}

// find gives the owner of a workload; ErrNotFound.
func (s *Service) find(ctx context.Context, id resource.ID) (*owner, error) {
	if err := s.awake(ctx); err != nil {
		return nil, err
	}
	if o := s.owner(groupHash(id.Key())); o != nil && o.status() != nil {
		return o, nil
	}
	return nil, ErrNotFound.WithMessage("there is no workload %s", id)
}

// forget takes an owner whose workload is gone out of the list.
func (s *Service) forget(o *owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, groupHash(o.id.Key()))
}

// findOrMake gives the owner of a workload, new or not.
func (s *Service) findOrMake(ctx context.Context, id resource.ID) (*owner, error) {
	if err := s.awake(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	o, found := s.owners[groupHash(id.Key())]
	if !found {
		o = newOwner(s, id)
		o.adopt(s.left)
		s.owners[groupHash(id.Key())] = o
	}
	s.mu.Unlock()
	if found {
		return o, nil
	}
	select {
	case s.spawn <- o:
		return o, nil
	case <-s.done:
		return nil, ErrClosed
	}
}

// Put stores a workload as desired and returns; bringing it about goes on by itself, and Status tells how far it is. For
// one that exists the right to pull is asked anew; its containers are replaced only if what they are made of, or the
// digest that an image's tag stands for, has changed. It returns an Invalid fault for a group that cannot be.
func (s *Service) Put(ctx context.Context, g Group) error {
	if err := g.validate(); err != nil {
		return err
	}
	g, err := g.clone()
	if err != nil {
		return err
	}
	for {
		o, err := s.findOrMake(ctx, g.ID)
		if err != nil {
			return err
		}
		err = o.do(ctx, func(ctx context.Context) error { return o.put(ctx, g) })
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		// Its deletion ended while we asked; the next owner is a new one.
	}
}

// Delete ends a workload and returns nil when its processes, mounts and network are gone, also when there was none. It
// cuts short whatever is under way. When it fails or ctx ends, deleting goes on by itself.
func (s *Service) Delete(ctx context.Context, id resource.ID) error {
	o, err := s.find(ctx, id)
	if err == nil {
		err = o.do(ctx, o.remove)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Stop ends a workload's containers and gives back their network, and returns when that is done. ErrNotFound,
// ErrTransitioning.
func (s *Service) Stop(ctx context.Context, id resource.ID) error {
	o, err := s.find(ctx, id)
	if err != nil {
		return err
	}
	return o.do(ctx, o.stop)
}

// Start asks the right to pull and starts a stopped or ended workload. It returns when the containers were started, or
// why they were not; then it is tried again as for a Put. ErrNotFound, ErrTransitioning, or the Failure as a fault.
func (s *Service) Start(ctx context.Context, id resource.ID) error {
	return s.begin(ctx, id, false)
}

// Restart is Start, and replaces containers that run.
func (s *Service) Restart(ctx context.Context, id resource.ID) error {
	return s.begin(ctx, id, true)
}

func (s *Service) begin(ctx context.Context, id resource.ID, replace bool) error {
	o, err := s.find(ctx, id)
	if err != nil {
		return err
	}
	answer := make(chan error, 1)
	if err := o.do(ctx, func(ctx context.Context) error { return o.start(ctx, replace, answer) }); err != nil {
		return err
	}
	return o.wait(ctx, answer)
}

// fault gives the failure as an error for who asked for the start.
func (f *Failure) fault() error {
	kind := fault.Invalid
	if f.Code == codeRegistry {
		kind = fault.Conflict
	}
	return fault.New(kind, f.Code, f.Message)
}
