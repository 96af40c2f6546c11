//go:build linux

package server

import (
	"context"
	"sync"
)

// changes tells of the next change of the directory or of the role assignments: whichever comes first. Failed pulls
// wait for it.
type changes struct {
	directory, access func() <-chan struct{}

	mu   sync.Mutex
	next chan struct{}
}

func newChanges(directory, access func() <-chan struct{}) *changes {
	return &changes{directory: directory, access: access, next: make(chan struct{})}
}

// Changed gives a channel that is closed at the next change.
func (c *changes) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// Run passes changes on until ctx ends. The sources are asked for their channels before the last change is told, so
// that none falls between.
func (c *changes) Run(ctx context.Context) error {
	directory, access := c.directory(), c.access()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-directory:
			directory = c.directory()
		case <-access:
			access = c.access()
		}
		c.mu.Lock()
		close(c.next)
		c.next = make(chan struct{})
		c.mu.Unlock()
	}
}
