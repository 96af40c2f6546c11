//go:build linux

package server

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// bodyPatience is how long a client may let its request's body stand still. It bounds no upload that moves, however long
// that takes.
const bodyPatience = 2 * time.Minute

// patient ends requests whose body stands still for longer than limit. Without it a client that announces a body and
// sends none holds a connection and a goroutine for as long as it likes, and needs no token for that: net/http waits for
// the body before it sends even a refusal.
func patient(next http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			b := &timedBody{ReadCloser: r.Body, deadline: http.NewResponseController(w).SetReadDeadline, limit: limit}
			b.renew(time.Now()) // a handler may answer without reading
			r.Body = b
		}
		next.ServeHTTP(w, r)
	})
}

// timedBody moves the connection's read deadline on while it is read.
type timedBody struct {
	io.ReadCloser
	deadline func(time.Time) error
	limit    time.Duration
	renewed  time.Time
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.renewed) > b.limit/8 { // not at each Read: HTTP/2 passes it to another goroutine
		b.renew(now)
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.deadline(time.Time{}) // what follows on the connection is no body
	}
	return n, err
}

func (b *timedBody) renew(now time.Time) {
	b.renewed = now
	_ = b.deadline(now.Add(b.limit)) // a connection without deadlines is one of a test
}
