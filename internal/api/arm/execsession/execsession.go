// Package execsession owns the second half of an exec: the request that was authorised gets an address and a password,
// both for one use and soon; who connects there with that password as the first frame is joined to the process. Frames
// of the client are standard input, an empty one its end; frames of the server are output; the reason of the closing
// frame tells the exit code. Running the process is the workload's business.
package execsession

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

const (
	lifetime     = time.Minute      // in which the client connects
	patience     = 10 * time.Second // for the first frame
	maxWaiting   = 256              // sessions that nobody has connected to
	maxFrame     = 1 << 20          // bytes of a client's frame
	maxReason    = 120              // bytes of a closing frame's reason; RFC 6455 section 5.5 allows 123
	bufferSize   = 32               // random bytes of an address or a password
	exitReason   = "exit code "     // begins the reason after a process that ended
	frontMessage = "the session does not exist, has been used, or is too old"
)

// ErrTooMany: more sessions were opened than connected to.
var ErrTooMany = fault.New(fault.Exhausted, "TooManyExecSessions", "too many exec sessions are waiting to be connected to; please retry later")

// Execer runs a command in a running container of a workload; *run.Service is one.
type Execer interface {
	Exec(ctx context.Context, id resource.ID, container string, spec run.ExecSpec) (exitCode int, err error)
}

// Command is what is to be run, once somebody is connected.
type Command struct {
	Workload  resource.ID
	Container string
	Spec      run.ExecSpec // without streams
	// Allowed tells whether who opened the session may still do this when its client connects.
	Allowed func(context.Context) error
}

type session struct {
	command  Command
	password secret.Text
	until    time.Time
}

// Sessions are those that wait and those that run.
type Sessions struct {
	execer Execer
	now    func() time.Time
	log    *slog.Logger
	ended  context.Context //nolint:containedctx // ends at Close: sessions live as long as this value
	end    context.CancelFunc

	mu      sync.Mutex
	waiting map[string]session
	running sync.WaitGroup
}

// New makes an empty set of sessions.
func New(execer Execer, now func() time.Time, log *slog.Logger) *Sessions {
	ended, end := context.WithCancel(context.Background())
	return &Sessions{execer: execer, now: now, log: log, ended: ended, end: end, waiting: map[string]session{}}
}

// Close ends all sessions and returns when they have ended; none can be opened or connected to any more.
func (s *Sessions) Close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.running.Wait()
}

// Open makes a session that waits for its client; ErrTooMany.
func (s *Sessions) Open(c Command) (address string, password secret.Text, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for address, waiting := range s.waiting {
		if s.now().After(waiting.until) {
			delete(s.waiting, address)
		}
	}
	if len(s.waiting) >= maxWaiting {
		return "", secret.Text{}, ErrTooMany
	}
	address, password = secret.Generate(bufferSize).Reveal(), secret.Generate(bufferSize)
	s.waiting[address] = session{c, password, s.now().Add(lifetime)}
	return address, password, nil
}

// take gives a session to the one client that asks for it first.
func (s *Sessions) take(address string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.waiting[address]
	delete(s.waiting, address)
	if !ok || s.now().After(one.until) || s.ended.Err() != nil {
		return session{}, false
	}
	s.running.Add(1)
	return one, true
}

// Serve connects a client to the session at an address and returns when that has ended.
func (s *Sessions) Serve(w http.ResponseWriter, r *http.Request, address string) {
	one, ok := s.take(address)
	if !ok {
		http.Error(w, frontMessage, http.StatusNotFound)
		return
	}
	defer s.running.Done()
	var reader sync.WaitGroup
	defer reader.Wait() // ends when the connection is closed
	// No origin is asked for: what lets a client in is the password, which no browser adds by itself.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow() //nolint:errcheck // closed already, unless something went wrong
	conn.SetReadLimit(maxFrame)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ended, cancel)()
	if !admitted(ctx, conn, one.password) {
		_ = conn.Close(websocket.StatusPolicyViolation, "the first frame is not the session's password")
		return
	}
	if err := one.command.Allowed(ctx); err != nil {
		_ = conn.Close(websocket.StatusPolicyViolation, reason(err))
		return
	}
	stdin, feed := io.Pipe()
	reader.Go(func() { receive(ctx, cancel, conn, feed) })
	code, err := s.join(ctx, conn, one.command, stdin)
	if err != nil {
		s.log.InfoContext(ctx, "exec failed", "workload", one.command.Workload.String(), "container", one.command.Container, "error", err)
		_ = conn.Close(websocket.StatusInternalError, reason(err))
		return
	}
	_ = conn.Close(websocket.StatusNormalClosure, fmt.Sprint(exitReason, code))
}

// reason gives an error as far as a closing frame holds it; it must be valid UTF-8, also where it is cut.
func reason(err error) string {
	message := fault.From(err).Message
	return strings.ToValidUTF8(message[:min(len(message), maxReason)], "")
}

// admitted reports whether the first frame is the password.
func admitted(ctx context.Context, conn *websocket.Conn, password secret.Text) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	kind, data, err := conn.Read(ctx)
	return err == nil && kind == websocket.MessageText && subtle.ConstantTimeCompare(data, []byte(password.Reveal())) == 1
}

// join runs the command with the connection as its streams.
func (s *Sessions) join(ctx context.Context, conn *websocket.Conn, c Command, stdin *io.PipeReader) (int, error) {
	defer stdin.Close() //nolint:errcheck // never fails; lets receive go on, should nobody have read
	out := &writer{ctx: ctx, conn: conn}
	spec := c.Spec
	spec.Stdin, spec.Stdout, spec.Stderr = stdin, out, out
	code, err := s.execer.Exec(ctx, c.Workload, c.Container, spec)
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	return code, err
}

// receive passes the client's frames on as standard input. A client that goes away ends the process.
func receive(ctx context.Context, cancel context.CancelFunc, conn *websocket.Conn, feed *io.PipeWriter) {
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			_ = feed.CloseWithError(io.EOF)
			cancel()
			return
		}
		if len(data) == 0 {
			_ = feed.Close()
			continue
		}
		_, _ = feed.Write(data) // fails when the process reads no more: the rest is for nobody
	}
}

// writer sends output as binary frames.
type writer struct {
	ctx  context.Context //nolint:containedctx // the session's: io.Writer takes none
	conn *websocket.Conn
}

func (w *writer) Write(p []byte) (int, error) {
	if err := w.conn.Write(w.ctx, websocket.MessageBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
