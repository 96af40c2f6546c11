package sql

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
)

// changes counts what one store of this process has changed, and wakes whoever waits for a change. A store that other
// processes write to as well would have to hear of theirs; until then there is one process per database.
type changes struct {
	version atomic.Int64
	mu      sync.Mutex
	next    chan struct{}
}

func newChanges() *changes { return &changes{next: make(chan struct{})} }

// Version gives a number that moves on with every change.
func (c *changes) Version(context.Context) (int64, error) { return c.version.Load(), nil }

// Changed gives a channel that is closed at the next change.
func (c *changes) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// tx is DB.tx, followed by a change of the version unless it failed.
func (c *changes) tx(ctx context.Context, db *DB, f func(*sql.Tx) error) error {
	if err := db.tx(ctx, f); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version.Add(1)
	close(c.next)
	c.next = make(chan struct{})
	return nil
}

// exec runs one statement in a transaction of its own; when it touches no row, the error none is returned.
func (c *changes) exec(ctx context.Context, db *DB, none error, query string, args ...any) error {
	return c.tx(ctx, db, func(tx *sql.Tx) error { return touch(ctx, tx, none, query, args...) })
}

// touch runs one statement and returns the error none when it touches no row.
func touch(ctx context.Context, tx *sql.Tx, none error, query string, args ...any) error {
	done, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	n, err := done.RowsAffected()
	if err == nil && n == 0 {
		return none
	}
	return err
}
