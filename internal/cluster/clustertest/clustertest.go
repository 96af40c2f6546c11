// Package clustertest holds the contract of cluster.Store as tests, and a machine that runs nothing.
package clustertest

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/resource"
)

// Store tests a store; open gives an empty one.
func Store(t *testing.T, open func(t *testing.T) cluster.Store) {
	t.Helper()
	s := open(t)
	a := cluster.Stored{ID: ID("a"), Record: []byte(`{"generation":1}`)}
	b := cluster.Stored{ID: ID("B"), Record: []byte(`{"generation":2}`)}
	listed := func(want ...cluster.Stored) {
		t.Helper()
		got, err := s.Clusters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(resource.ID.Equal)); diff != "" {
			t.Errorf("the clusters: -want +got:\n%s", diff)
		}
	}
	put := func(c cluster.Stored) {
		t.Helper()
		if err := s.PutCluster(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	listed()
	put(b)
	put(a)
	listed(a, b)
	b.ID, b.Record = ID("b"), []byte(`{"generation":3}`) // the same by its key
	put(b)
	listed(a, b)
	for range 2 {
		if err := s.DeleteCluster(t.Context(), ID("A")); err != nil {
			t.Fatal(err)
		}
		listed(b)
	}
}

// ID gives the id of a cluster by its name.
func ID(name string) resource.ID {
	return resource.MustParseID("/subscriptions/s/resourceGroups/web/providers/Microsoft.ContainerService/managedClusters/" + name)
}

// Machine is a machine on which clusters are names only. Its zero value is ready.
type Machine struct {
	mu       sync.Mutex
	Calls    []string // "start KEY", "stop KEY", "rotate KEY", "remove KEY", in order; read them by Log
	plans    map[string]cluster.Plan
	fail     map[string]error
	hold     chan struct{} // starts wait for it; nil lets them go
	runs     int           // of Running.Run that have not ended
	breaking map[string]chan error
}

// Fail has every later call of one kind ("start", "stop", "remove", "check") end with err; nil ends that.
func (m *Machine) Fail(call string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.fail = map[string]error{}
	}
	m.fail[call] = err
}

// Hold lets starts wait until the function that it gives is called.
func (m *Machine) Hold() (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hold := make(chan struct{})
	m.hold = hold
	return func() { close(hold) }
}

// Log gives the calls so far.
func (m *Machine) Log() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.Calls)
}

// Plan gives the plan by which a cluster was started last.
func (m *Machine) Plan(key string) cluster.Plan {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plans[key]
}

// Kept gives how many running clusters are being kept running.
func (m *Machine) Kept() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.runs
}

// Break has what keeps a cluster running give up with err.
func (m *Machine) Break(key string, err error) {
	m.mu.Lock()
	broken := m.breaking[key]
	m.mu.Unlock()
	broken <- err
}

// called notes a call, and gives the error that it is to end with.
func (m *Machine) called(kind, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Calls = append(m.Calls, kind+" "+key)
	return m.fail[kind]
}

// Check implements cluster.Machine.
func (m *Machine) Check(_ context.Context, nodes, others int) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if nodes+others > 5 {
		return "", cluster.ErrTooManyNodes.WithMessage("%d nodes beside %d others are too many", nodes, others)
	}
	return "1.2.3", m.fail["check"]
}

// Start implements cluster.Machine.
func (m *Machine) Start(ctx context.Context, plan cluster.Plan, progress func(string)) (cluster.Running, error) {
	progress("starting")
	err := m.called("start", plan.Key)
	m.mu.Lock()
	hold := m.hold
	m.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plans == nil {
		m.plans, m.breaking = map[string]cluster.Plan{}, map[string]chan error{}
	}
	broken := make(chan error)
	m.plans[plan.Key], m.breaking[plan.Key] = plan, broken
	return &running{m, broken}, nil
}

// Stop implements cluster.Machine.
func (m *Machine) Stop(_ context.Context, key string) error { return m.called("stop", key) }

// Rotate implements cluster.Machine.
func (m *Machine) Rotate(_ context.Context, key string) error { return m.called("rotate", key) }

// Remove implements cluster.Machine.
func (m *Machine) Remove(_ context.Context, key string) error { return m.called("remove", key) }

type running struct {
	machine *Machine
	broken  chan error
}

// Run implements cluster.Running.
func (r *running) Run(ctx context.Context) error {
	r.count(1)
	defer r.count(-1)
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.broken:
		return err
	}
}

func (r *running) count(by int) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	r.machine.runs += by
}

// Close implements cluster.Running.
func (r *running) Close() error { return nil }

// Access implements cluster.Running.
func (r *running) Access() (cluster.Access, error) {
	return cluster.Access{
		Server: netip.MustParseAddrPort("192.0.2.1:6443"), Authority: []byte("the authority"), Certificate: []byte("the certificate"), Key: []byte("the key"),
	}, nil
}
