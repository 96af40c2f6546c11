package files

import (
	"context"
	"hash"
	"sync"
	"sync/atomic"

	"fairlead.dev/internal/content"
)

// upload is one that is worked on, or whose hash so far is remembered so that committing it need not read it again.
// What is remembered is of this process: after a restart the file itself is hashed, as it may have lost its end.
type upload struct {
	turn    chan struct{} // holds one token: who has it works on the upload
	users   int           // who works on it or waits; guarded by turns.mu
	dropped atomic.Bool   // its file is gone: whoever works on it or waits gives up
	sum     hash.Hash     // sha256 of the first summed bytes; nil when nothing is remembered
	summed  int64
}

func (u *upload) begin() { u.sum, u.summed = content.Digest("sha256:").NewHash(), 0 }

func (u *upload) forget() { u.sum, u.summed = nil, 0 }

// maxRemembered is how many idle uploads' hashes are kept, a few hundred bytes each.
const maxRemembered = 4096

// turns lets those who work on the same upload take turns.
type turns struct {
	mu   sync.Mutex
	open map[string]*upload
}

// take waits for its turn at the upload, which give ends; it fails when ctx is done first.
func (t *turns) take(ctx context.Context, id string) (*upload, error) {
	t.mu.Lock()
	u, ok := t.open[id]
	if !ok {
		u = &upload{turn: make(chan struct{}, 1)}
		u.turn <- struct{}{}
		t.open[id] = u
	}
	u.users++
	t.mu.Unlock()
	select {
	case <-u.turn:
		return u, nil
	case <-ctx.Done():
		t.leave(id, u)
		return nil, ctx.Err()
	}
}

// give ends a turn.
func (t *turns) give(id string, u *upload) {
	u.turn <- struct{}{}
	t.leave(id, u)
}

// drop makes whoever works on the upload, or waits to, give up.
func (t *turns) drop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u, ok := t.open[id]; ok {
		u.dropped.Store(true)
		if u.users == 0 {
			delete(t.open, id)
		}
	}
}

// leave lets go of an upload that nobody else uses, unless its hash is worth keeping.
func (t *turns) leave(id string, u *upload) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.users--; u.users == 0 && (u.sum == nil || u.dropped.Load() || len(t.open) > maxRemembered) {
		delete(t.open, id)
	}
}
