package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Config is what a Service needs. Store, Machine and Sealer must be set.
type Config struct {
	Store   Store
	Machine Machine
	Sealer  *secret.Sealer
	Log     *slog.Logger     // nil discards
	Now     func() time.Time // nil is time.Now
	// Complete adds to a plan what Fairlead's other parts have to say: who is let in, whose tokens are whose. token is what
	// the cluster's API server shows when it asks Fairlead. nil adds nothing.
	Complete func(ctx context.Context, c Cluster, token secret.Text, p *Plan) error
	// Settle makes within a cluster that has just come up what Fairlead puts there. It is repeated at each start. nil makes
	// nothing.
	Settle func(ctx context.Context, c Cluster, a Access) error
}

func (c Config) withDefaults() Config {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Complete == nil {
		c.Complete = func(context.Context, Cluster, secret.Text, *Plan) error { return nil }
	}
	if c.Settle == nil {
		c.Settle = func(context.Context, Cluster, Access) error { return nil }
	}
	return c
}

// Service keeps managed clusters as they are wanted. Its methods wait until Run has read what is stored.
type Service struct {
	cfg   Config
	ready chan struct{} // closed when everything is read
	done  chan struct{} // closed when Run ends
	spawn chan *owner

	putting sync.Mutex

	mu     sync.Mutex
	owners map[string]*owner // by Key of the id
}

// NewService makes a Service; Run brings it to life.
func NewService(cfg Config) *Service {
	return &Service{
		cfg: cfg.withDefaults(), ready: make(chan struct{}), done: make(chan struct{}), spawn: make(chan *owner), owners: map[string]*owner{},
	}
}

// Run reads what is stored, then keeps every cluster as it is wanted until ctx ends. It returns when every goroutine has
// ended; clusters go on running. It is called once.
func (s *Service) Run(ctx context.Context) error {
	defer close(s.done)
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	stored, err := s.cfg.Store.Clusters(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to end before it had begun
		}
		return fmt.Errorf("reading clusters: %w", err)
	}
	for _, one := range stored {
		o := newOwner(s, one.ID)
		if err := o.restore(one.Record); err != nil {
			return err
		}
		s.owners[one.ID.Key()] = o
		all.Go(func() { o.run(ctx) })
	}
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

// awake waits until everything is read; ErrClosed when Run has ended.
func (s *Service) awake(ctx context.Context) error {
	select {
	case <-s.done:
		return ErrClosed
	default:
	}
	select {
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ready:
		return nil
	}
}

// find gives the owner of a cluster; ErrNotFound.
func (s *Service) find(ctx context.Context, id resource.ID) (*owner, error) {
	if err := s.awake(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[id.Key()]; o != nil {
		return o, nil
	}
	return nil, ErrNotFound.WithMessage("there is no cluster %s", id)
}

// all gives the owners in order.
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

// Put stores a cluster as wanted and returns; bringing it about goes on by itself, and Status tells how far it is. A stopped
// cluster stays so, and one that is wanted like that already is left alone. ErrInvalid, ErrFixed, ErrDeleting, and what
// Machine.Check says.
func (s *Service) Put(ctx context.Context, c Cluster) error {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return err
	}
	if err := s.awake(ctx); err != nil {
		return err
	}
	s.putting.Lock() // so that two cannot take the same room, or the same name
	defer s.putting.Unlock()
	others := 0
	for _, o := range s.all() {
		if !o.id.Equal(c.ID) {
			others += o.nodes()
		}
	}
	version, err := s.cfg.Machine.Check(ctx, c.Nodes(), others)
	if err != nil {
		return err
	}
	err = s.command(ctx, c.ID, func(r *record) error { return r.update(c, version) })
	if errors.Is(err, ErrNotFound) {
		err = s.create(ctx, c, version)
	}
	return err
}

// create stores a new cluster and gives it its owner.
func (s *Service) create(ctx context.Context, c Cluster, version string) error {
	o := newOwner(s, c.ID)
	c.UID = uuid.NewString()
	sealed := s.cfg.Sealer.Seal([]byte(secret.Generate(32).Reveal()), sealContext(c.ID))
	o.rec = record{Cluster: c, Target: wantRunning, Provisioning: ProvisioningCreating, Generation: 1, Version: version, Token: sealed}
	if err := o.save(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.owners[c.ID.Key()] = o
	s.mu.Unlock()
	select {
	case s.spawn <- o:
		return nil
	case <-s.done:
		return nil // it is stored: the next start goes on with it
	}
}

func sealContext(id resource.ID) string { return "cluster/" + id.Key() }

// update takes a changed cluster.
func (r *record) update(c Cluster, version string) error {
	for _, fixed := range []struct {
		name     string
		old, new any
	}{{"podCIDR", r.Cluster.PodCIDR, c.PodCIDR}, {"serviceCIDR", r.Cluster.ServiceCIDR, c.ServiceCIDR}, {"dnsDomain", r.Cluster.DNSDomain, c.DNSDomain}} {
		if fixed.old != fixed.new {
			return ErrFixed.WithMessage("%s is %v and cannot be changed on a cluster that exists", fixed.name, fixed.old).WithTarget(fixed.name)
		}
	}
	c.UID = r.Cluster.UID
	if r.Failure == nil && r.Version == version && reflect.DeepEqual(r.Cluster, c) {
		return nil // it is as wanted, or on its way there
	}
	r.Cluster, r.Version = c, version
	r.Generation++
	if r.Target == wantRunning {
		r.Provisioning, r.Failure = ProvisioningUpdating, nil
	}
	return nil
}

// Start starts a stopped cluster and returns; Status tells how far it is. ErrNotFound, ErrDeleting.
func (s *Service) Start(ctx context.Context, id resource.ID) error {
	return s.command(ctx, id, func(r *record) error {
		if r.Target != wantRunning {
			r.Target, r.Provisioning, r.Failure = wantRunning, ProvisioningStarting, nil
		}
		return nil
	})
}

// Stop ends what runs of a cluster, keeps what it stores, and returns at once; Status tells how far it is. ErrNotFound,
// ErrDeleting.
func (s *Service) Stop(ctx context.Context, id resource.ID) error {
	return s.command(ctx, id, func(r *record) error {
		if r.Target != wantStopped {
			r.Target, r.Provisioning, r.Failure = wantStopped, ProvisioningStopping, nil
		}
		return nil
	})
}

// RotateCertificates makes all of a cluster's certificates anew, its authority's among them: who had a certificate of the
// cluster needs another. It returns at once; Status tells how far it is. ErrNotFound, ErrDeleting.
func (s *Service) RotateCertificates(ctx context.Context, id resource.ID) error {
	return s.command(ctx, id, func(r *record) error {
		r.Rotate = true
		if r.Target == wantRunning {
			r.Provisioning, r.Failure = ProvisioningRotating, nil
		}
		return nil
	})
}

// Delete ends a cluster and returns nil when nothing is left of it, also when there was none. When ctx ends, deleting goes
// on by itself.
func (s *Service) Delete(ctx context.Context, id resource.ID) error {
	o, err := s.find(ctx, id)
	if err == nil {
		err = o.command(ctx, func(r *record) error {
			r.Target, r.Provisioning, r.Failure = wantDeleted, ProvisioningDeleting, nil
			return nil
		})
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil && !errors.Is(err, ErrDeleting):
		return err
	}
	select {
	case <-o.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return ErrClosed
	}
}

func (s *Service) command(ctx context.Context, id resource.ID, change func(*record) error) error {
	o, err := s.find(ctx, id)
	if err != nil {
		return err
	}
	return o.command(ctx, change)
}

// Cluster gives a cluster as it is wanted; ErrNotFound.
func (s *Service) Cluster(ctx context.Context, id resource.ID) (Cluster, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return Cluster{}, err
	}
	return o.cluster(), nil
}

// Status gives how far a cluster is; ErrNotFound.
func (s *Service) Status(ctx context.Context, id resource.ID) (Status, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return Status{}, err
	}
	return o.status(), nil
}

// Access is how a cluster is reached; ErrNotFound, ErrNotRunning.
func (s *Service) Access(ctx context.Context, id resource.ID) (Access, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return Access{}, err
	}
	if a := o.access(); a != nil {
		return *a, nil
	}
	return Access{}, ErrNotRunning.WithMessage("the cluster %s does not run", id.Name())
}

// Token is what a cluster's API server shows when it asks Fairlead; ErrNotFound.
func (s *Service) Token(ctx context.Context, id resource.ID) (secret.Text, error) {
	o, err := s.find(ctx, id)
	if err != nil {
		return secret.Text{}, err
	}
	return o.token()
}

// Version gives the release of Kubernetes that a new cluster gets: "1.37.2"; what Machine.Check says of a machine without.
func (s *Service) Version(ctx context.Context) (string, error) { return s.cfg.Machine.Check(ctx, 0, 0) }

// Clusters gives all clusters in order. It waits for nothing: before Run has read them there are none.
func (s *Service) Clusters() []Cluster {
	var out []Cluster
	for _, o := range s.all() {
		out = append(out, o.cluster())
	}
	return out
}

// Reach gives the address of the API server that has a name; the address is invalid while it does not run.
func (s *Service) Reach(host string) (netip.AddrPort, bool) {
	for _, o := range s.all() {
		if !slices.ContainsFunc(o.cluster().Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
			continue
		}
		if a := o.access(); a != nil {
			return a.Server, true
		}
		return netip.AddrPort{}, true
	}
	return netip.AddrPort{}, false
}
