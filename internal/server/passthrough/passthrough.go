// Package passthrough owns connections that come to Fairlead's listener and are for somebody else: by the server name in
// their first message they are led, as they are, to where that name's own TLS ends, so that certificates of both sides,
// HTTP/2 and upgrades work as if there were nothing between. Which names those are, and where they lead, the caller says;
// what everybody else's connections carry is the business of the server behind the listener.
package passthrough

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Route gives where connections for a server name lead, a name in lower case and without a final dot; false for those
// that the listener's own server answers. An invalid address ends the connection: whoever answered in the place of the one
// who is meant would only be taken for an impostor.
type Route func(serverName string) (netip.AddrPort, bool)

// New gives a listener whose connections look at their first message when they are first read, and pass themselves on if
// route says so. That Read then lasts as long as the connection, and fails in the end with an error that says what came
// of it. So the server behind the listener keeps all connections as its own: its deadlines bound the time that a client
// has for its first message, no client waits for another, and what closes the server closes those that were passed on.
//
// The server has to read first, as TLS servers do.
func New(l net.Listener, route Route) net.Listener { return &listener{l, route} }

type listener struct {
	net.Listener
	route Route
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, route: l.route}, nil
}

// conn is a connection that may turn out to be somebody else's.
type conn struct {
	net.Conn
	route   Route
	decided bool
	head    []byte // what was read to decide, and has still to be given on
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if !c.decided {
		c.decided = true
		if to, elsewhere := c.route(c.peek()); elsewhere {
			return 0, c.passOn(to)
		}
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// maxHello is how much of a connection is looked at, in bytes. A ClientHello has a few hundred, or two thousand with the
// keys of post-quantum exchanges.
const maxHello = 32 << 10

var errPeeked = errors.New("that was all that was wanted")

// peek gives the server name of the connection's ClientHello (RFC 6066 section 3), and "" if there is none or the
// message is something else: whoever reads it after all will say so.
func (c *conn) peek() string {
	var name string
	seen := &recorder{Conn: c.Conn}
	_ = tls.Server(seen, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name = hello.ServerName
			return nil, errPeeked
		},
	}).Handshake()
	c.head = seen.head.Bytes()
	return strings.TrimSuffix(strings.ToLower(name), ".")
}

// recorder keeps what is read of a connection, and lets nothing be written to it.
type recorder struct {
	net.Conn
	head bytes.Buffer
}

// Read implements net.Conn.
func (r *recorder) Read(p []byte) (int, error) {
	if r.head.Len() >= maxHello {
		return 0, errPeeked
	}
	n, err := r.Conn.Read(p)
	r.head.Write(p[:n])
	return n, err
}

// Write implements net.Conn.
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }

// dialLimit is how long the other side may take to be reached. It is on this machine.
const dialLimit = 5 * time.Second

// passOn connects both sides until both have ended what they say, or one is lost.
func (c *conn) passOn(to netip.AddrPort) error {
	if !to.IsValid() {
		return fmt.Errorf("nobody is there to pass the connection on to: %w", net.ErrClosed)
	}
	there, err := net.DialTimeout("tcp", to.String(), dialLimit)
	if err != nil {
		return fmt.Errorf("pass the connection on: %w", err)
	}
	defer func() { _ = there.Close() }()
	if err := c.SetDeadline(time.Time{}); err != nil { // it was for the first message
		return err
	}
	if _, err := there.Write(c.head); err != nil {
		return fmt.Errorf("pass the connection on: %w", err)
	}
	c.head = nil
	var both errgroup.Group
	for _, way := range []struct{ to, from net.Conn }{{there, c.Conn}, {c.Conn, there}} {
		both.Go(func() error {
			err := carry(way.to, way.from)
			if err != nil { // what cannot be said in one direction makes the other one pointless
				_ = errors.Join(c.Close(), there.Close())
			}
			return err
		})
	}
	if err := both.Wait(); err != nil {
		return fmt.Errorf("the connection, passed on to %s, broke: %w", to, err)
	}
	return fmt.Errorf("the connection was passed on to %s and has ended: %w", to, net.ErrClosed)
}

// carry passes on what from says, and that it has ended.
func carry(to, from net.Conn) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return to.Close()
}
