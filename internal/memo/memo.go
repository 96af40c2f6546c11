// Package memo owns memory for answers that a version makes stale: what was read under one version of the truth is
// forgotten as soon as the version moves. Which version, and who moves it, is the business of the store behind it.
package memo

import (
	"sync"
	"sync/atomic"
)

// Memo remembers values by key under one version at a time. Reading a remembered value takes no lock. It holds at most
// limit values: when it is full it begins anew. The zero Memo is not usable; see New.
type Memo[K comparable, V any] struct {
	limit int64
	now   atomic.Pointer[generation[K, V]]
}

type generation[K comparable, V any] struct {
	version int64
	count   atomic.Int64
	values  sync.Map
}

// New makes a Memo of at most limit values.
func New[K comparable, V any](limit int) *Memo[K, V] {
	return &Memo[K, V]{limit: int64(limit)}
}

// Get gives the value of key under version, or asks load for it and remembers the answer. An error is passed on and not
// remembered. version must have been read before Get is called: then a change that happens while load reads can at
// worst be remembered under a version that nobody asks for any more.
func (m *Memo[K, V]) Get(version int64, key K, load func() (V, error)) (V, error) {
	g := m.generation(version)
	if v, ok := g.values.Load(key); ok {
		return v.(V), nil
	}
	v, err := load()
	if err != nil {
		return v, err
	}
	if g.count.Add(1) > m.limit {
		m.now.CompareAndSwap(g, nil)
		return v, nil
	}
	g.values.Store(key, v)
	return v, nil
}

// generation gives the memory of a version, which replaces that of any other: versions only move on.
func (m *Memo[K, V]) generation(version int64) *generation[K, V] {
	for {
		g := m.now.Load()
		if g != nil && g.version == version {
			return g
		}
		fresh := &generation[K, V]{version: version}
		if g != nil && g.version > version {
			return fresh // a reader that was overtaken: its answer is for itself alone
		}
		if m.now.CompareAndSwap(g, fresh) {
			return fresh
		}
	}
}
