package cluster_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/cluster/clustertest"
	"fairlead.dev/internal/resource"
)

// memory is a cluster.Store without a disk.
type memory struct {
	mu   sync.Mutex
	kept map[string]cluster.Stored
	fail error // of every change, when it is set
}

func TestMemoryIsAStore(t *testing.T) {
	clustertest.Store(t, func(*testing.T) cluster.Store { return &memory{} })
}

func (m *memory) Clusters(context.Context) ([]cluster.Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []cluster.Stored
	for _, key := range slices.Sorted(maps.Keys(m.kept)) {
		out = append(out, m.kept[key])
	}
	return out, nil
}

func (m *memory) PutCluster(_ context.Context, c cluster.Stored) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = map[string]cluster.Stored{}
	}
	if m.fail == nil {
		m.kept[c.ID.Key()] = c
	}
	return m.fail
}

func (m *memory) DeleteCluster(_ context.Context, id resource.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, id.Key())
	return m.fail
}

// tick lets a second of the bubble's time pass.
func tick() { time.Sleep(time.Second) }

func contains(s, part string) bool { return strings.Contains(s, part) }
