package connected

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Config is what a Service needs. All but Log and Now must be set.
type Config struct {
	Store  cluster.Store
	Sealer *secret.Sealer
	// Open speaks to the cluster of a kubeconfig; nobody is asked yet. id tells its secrets from those of others.
	Open func(id resource.ID, kubeconfig secret.Text, context string) (Remote, error)
	// Lend gives what fetches from a registry as a managed identity may; a Denied fault, or another that is neither
	// Unavailable nor Internal, says that it may not.
	Lend    func(ctx context.Context, registry string, identity resource.ID) (pull.Login, error)
	Changed func() <-chan struct{} // closed when rights may have changed
	Now     func() time.Time       // nil is time.Now
	Log     *slog.Logger           // nil discards
}

// Times between looks.
const (
	lookMost  = 5 * time.Minute
	lookAgain = 15 * time.Second // after something went wrong that may pass
	askMost   = 20 * time.Second // for one cluster's answer
)

// Service keeps the pull secrets of connected clusters. Its methods wait until Run has read what is stored.
type Service struct {
	cfg   Config
	ready chan struct{} // closed when everything is read
	done  chan struct{} // closed when Run ends
	wake  chan struct{} // holds a token when Run has to look

	mu  sync.Mutex
	all map[string]*kept // by Key of the id
}

// kept is one cluster.
type kept struct {
	mu     sync.Mutex // one at a time speaks to the cluster
	gone   bool
	record record
	remote Remote
	status Status      // guarded by Service.mu
	due    []time.Time // of each pull, when it is to be seen to
}

// record is what is kept of a cluster.
type record struct {
	ID         resource.ID `json:"id"`
	Kubeconfig []byte      `json:"kubeconfig"` // sealed
	Context    string      `json:"context,omitempty"`
	Pulls      []Pull      `json:"pulls,omitempty"`
}

// NewService makes a Service; Run brings it to life.
func NewService(cfg Config) *Service {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{cfg: cfg, ready: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1), all: map[string]*kept{}}
}

func sealContext(id resource.ID) string { return "connected/" + id.Key() }

// Run reads what is stored, then keeps pull secrets fresh until ctx ends. It is called once.
func (s *Service) Run(ctx context.Context) error {
	defer close(s.done)
	stored, err := s.cfg.Store.Clusters(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("reading connected clusters: %w", err)
	}
	for _, one := range stored {
		k := &kept{}
		if err := json.Unmarshal(one.Record, &k.record); err != nil {
			return fmt.Errorf("reading the connected cluster %s: %w", one.ID, err)
		}
		if k.remote, err = s.open(k.record); err != nil {
			return fmt.Errorf("reading the connected cluster %s: %w", one.ID, err)
		}
		k.plan()
		s.all[one.ID.Key()] = k
	}
	close(s.ready)
	for {
		changed := s.cfg.Changed()
		next := s.look(ctx)
		timer := time.NewTimer(next.Sub(s.cfg.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-s.wake:
		case <-changed:
			s.dueAll()
		}
		timer.Stop()
	}
}

func (s *Service) open(r record) (Remote, error) {
	plain, err := s.cfg.Sealer.Open(r.Kubeconfig, sealContext(r.ID))
	if err != nil {
		return nil, err
	}
	return s.cfg.Open(r.ID, secret.New(string(plain)), r.Context)
}

// plan has everything be due at once.
func (k *kept) plan() {
	k.due = make([]time.Time, len(k.record.Pulls))
	k.status.Pulls = nil
	for _, p := range k.record.Pulls {
		k.status.Pulls = append(k.status.Pulls, PullStatus{Pull: p})
	}
}

func (s *Service) list() []*kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*kept, 0, len(s.all))
	for _, k := range s.all {
		out = append(out, k)
	}
	return out
}

func (s *Service) dueAll() {
	for _, k := range s.list() {
		k.mu.Lock()
		clear(k.due)
		k.mu.Unlock()
	}
}

// look sees to what is due, of all clusters at once, and tells when the next will be.
func (s *Service) look(ctx context.Context) time.Time {
	next := s.cfg.Now().Add(lookMost)
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, k := range s.list() {
		all.Go(func() {
			at := s.see(ctx, k)
			mu.Lock()
			defer mu.Unlock()
			if at.Before(next) {
				next = at
			}
		})
	}
	all.Wait()
	return next
}

// see sees to one cluster's due secrets.
func (s *Service) see(ctx context.Context, k *kept) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := s.cfg.Now().Add(lookMost)
	if k.gone {
		return next
	}
	s.mu.Lock()
	stale := s.cfg.Now().Sub(k.status.Seen) >= lookMost
	s.mu.Unlock()
	if stale {
		if err := s.meet(ctx, k); err != nil && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "a connected cluster does not answer", "cluster", k.record.ID.String(), "error", err)
		}
	}
	for i, p := range k.record.Pulls {
		if !s.cfg.Now().Before(k.due[i]) {
			var status PullStatus
			status, k.due[i] = s.keep(ctx, k, p)
			s.mu.Lock()
			pulls := slices.Clone(k.status.Pulls) // what was shown does not change
			pulls[i] = status
			k.status.Pulls = pulls
			s.mu.Unlock()
		}
		if k.due[i].Before(next) {
			next = k.due[i]
		}
	}
	return next
}

// keep brings one pull secret about, or takes it away when the right to pull is gone, and tells when it is to be seen to
// again: when what is in it has had half its life.
func (s *Service) keep(ctx context.Context, k *kept, p Pull) (PullStatus, time.Time) {
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	status, now := PullStatus{Pull: p}, s.cfg.Now()
	login, err := s.cfg.Lend(ctx, p.Registry, p.Identity)
	passing := fault.KindOf(err) == fault.Unavailable || fault.KindOf(err) == fault.Internal
	switch {
	case err != nil && passing:
		status.Failure = fault.From(err).Message
		return status, now.Add(lookAgain)
	case err != nil:
		status.Failure = fault.From(err).Message
		if err := k.remote.Remove(ctx, p); err != nil {
			s.cfg.Log.WarnContext(ctx, "a pull secret whose right is gone is still there", "cluster", k.record.ID.String(), "namespace", p.Namespace, "secret", p.Secret, "error", err)
			return status, now.Add(lookAgain)
		}
		return status, now.Add(lookMost)
	}
	err = k.remote.Put(ctx, p, login)
	if err != nil {
		status.Failure = fault.From(err).Message
		if fault.KindOf(err) != fault.NotFound {
			return status, now.Add(lookAgain)
		}
	}
	status.Expires = login.Expires
	due := now.Add(lookMost)
	if half := now.Add(login.Expires.Sub(now) / 2); !login.Expires.IsZero() {
		due = half
	}
	if err != nil {
		due = now.Add(min(lookAgain, due.Sub(now)))
	}
	return status, due
}

// awake waits until everything is read; ErrClosed when Run has ended.
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

func (s *Service) find(ctx context.Context, id resource.ID) (*kept, error) {
	if err := s.awake(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.all[id.Key()]; k != nil {
		return k, nil
	}
	return nil, ErrNotFound.WithMessage("there is no connected cluster %s", id)
}

// Put stores a cluster as it is wanted, once it has answered; its pull secrets come about by themselves, and those that
// are not wanted any more go. ErrUnreachable, ErrInvalid, or what Config.Open says of the kubeconfig.
func (s *Service) Put(ctx context.Context, c Cluster) error {
	if err := c.validate(); err != nil {
		return err
	}
	before, err := s.find(ctx, c.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	next := record{ID: c.ID, Context: c.Context, Pulls: c.Pulls}
	switch {
	case !c.Kubeconfig.IsZero():
		next.Kubeconfig = s.cfg.Sealer.Seal([]byte(c.Kubeconfig.Reveal()), sealContext(c.ID))
	case before == nil:
		return ErrInvalid.WithMessage("the kubeconfig is missing").WithTarget("kubeconfig")
	default:
		next.Kubeconfig = before.record.Kubeconfig
	}
	k := &kept{record: next}
	if k.remote, err = s.open(next); err != nil {
		return err
	}
	if err := s.meet(ctx, k); err != nil {
		return err
	}
	k.plan()
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if before != nil {
		before.mu.Lock()
		defer before.mu.Unlock()
		s.dropUnwanted(ctx, before, c.Pulls)
		before.gone = true
	}
	if err := s.cfg.Store.PutCluster(ctx, cluster.Stored{ID: c.ID, Record: raw}); err != nil {
		return err
	}
	s.mu.Lock()
	s.all[c.ID.Key()] = k
	s.mu.Unlock()
	s.nudge()
	return nil
}

// meet asks a cluster for its version.
func (s *Service) meet(ctx context.Context, k *kept) error {
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	version, err := k.remote.Version(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		k.status.Failure = err.Error()
		return ErrUnreachable.WithMessage("the cluster does not answer with this kubeconfig: %v", err).WithCause(err)
	}
	k.status.Version, k.status.Seen, k.status.Failure = version, s.cfg.Now(), ""
	return nil
}

// dropUnwanted takes away the secrets that are not among wanted.
func (s *Service) dropUnwanted(ctx context.Context, k *kept, wanted []Pull) {
	for _, p := range k.record.Pulls {
		same := func(q Pull) bool {
			return q.Namespace == p.Namespace && q.Secret == p.Secret && slices.Equal(q.Accounts, p.Accounts)
		}
		if slices.ContainsFunc(wanted, same) {
			continue
		}
		if err := k.remote.Remove(ctx, p); err != nil {
			s.cfg.Log.WarnContext(ctx, "a pull secret stays on a cluster until what is in it ends", "cluster", k.record.ID.String(), "namespace", p.Namespace, "secret", p.Secret, "error", err)
		}
	}
}

func (s *Service) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // Run looks anyway
	}
}

// Delete forgets a cluster and takes its pull secrets away; nil also when there is none. From a cluster that does not
// answer they cannot be taken: what is in them ends by itself.
func (s *Service) Delete(ctx context.Context, id resource.ID) error {
	k, err := s.find(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	drop, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	s.dropUnwanted(drop, k, nil)
	if err := s.cfg.Store.DeleteCluster(ctx, id); err != nil {
		return err
	}
	k.gone = true
	s.mu.Lock()
	delete(s.all, id.Key())
	s.mu.Unlock()
	return nil
}

// Status gives how far a cluster is; ErrNotFound.
func (s *Service) Status(ctx context.Context, id resource.ID) (Status, error) {
	k, err := s.find(ctx, id)
	if err != nil {
		return Status{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return k.status, nil
}

// Refresh mints every pull secret of a cluster anew, now, and tells what came of it; ErrNotFound, ErrUnreachable.
func (s *Service) Refresh(ctx context.Context, id resource.ID) (Status, error) {
	k, err := s.find(ctx, id)
	if err != nil {
		return Status{}, err
	}
	if err := s.meet(ctx, k); err != nil {
		return Status{}, err
	}
	k.mu.Lock()
	clear(k.due)
	k.mu.Unlock()
	s.see(ctx, k)
	s.nudge() // the next time to look may be an earlier one
	return s.Status(ctx, id)
}
