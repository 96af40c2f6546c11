package passthrough_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"fairlead.dev/internal/server/passthrough"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The names of the tests: one whose connections are passed on, and one of the front itself.
const (
	elsewhere = "demo.example"
	own       = "own.example"
)

// front is an HTTPS server behind a pass-through.
type front struct {
	address string
	trust   *x509.CertPool
	log     *journal
	stop    func(grace time.Duration)
}

// newFront starts a server that answers "own" and leads connections for the name elsewhere to a TCP address.
func newFront(t *testing.T, to net.Addr) front {
	t.Helper()
	return newFrontTo(t, netip.MustParseAddrPort(to.String()))
}

func newFrontTo(t *testing.T, to netip.AddrPort) front {
	t.Helper()
	pair, trust := certificate(t, own)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f := front{address: l.Addr().String(), trust: trust, log: &journal{}}
	s := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "own "+r.Proto) }),
		ReadHeaderTimeout: 200 * time.Millisecond, ErrorLog: log.New(f.log, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}},
	}
	route := func(name string) (netip.AddrPort, bool) {
		return to, name == elsewhere
	}
	ended := make(chan error, 1)
	go func() { ended <- s.ServeTLS(passthrough.New(l, route), "", "") }()
	f.stop = func(grace time.Duration) {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			must(t, s.Close())
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ended with %v", err)
		}
		ended <- http.ErrServerClosed // may be stopped twice
	}
	t.Cleanup(func() { f.stop(time.Millisecond) })
	return f
}

// dial opens a TLS connection to the front.
func (f front) dial(t *testing.T, c *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", f.address, c)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// silent opens a connection that says nothing after first.
func (f front) silent(t *testing.T, first string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", f.address)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = io.WriteString(c, first)
	must(t, err)
	return c
}

// awaitEnd waits until the front has given a connection up.
func awaitEnd(t *testing.T, c net.Conn) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a client that does not get on reads %v", err)
	}
}

// client gives an HTTP client that connects every name to the front.
func (f front) client(t *testing.T, c *tls.Config) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: c, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, f.address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get gives what an HTTPS request is answered.
func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	resp, err := c.Get(url)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(body)
}

// newBackend starts an HTTPS server that has its own certificate and demands one of clients, as an API server does.
func newBackend(t *testing.T, h http.HandlerFunc) (net.Addr, *tls.Config) {
	t.Helper()
	pair, trust := certificate(t, elsewhere)
	client, clients := certificate(t, "somebody")
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr(), &tls.Config{RootCAs: trust, Certificates: []tls.Certificate{client}, ServerName: elsewhere}
}

func TestBothEndsOfTLSMeet(t *testing.T) {
	to, config := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s to %s by %s", r.Proto, r.Host, r.TLS.PeerCertificates[0].DNSNames[0])
	})
	f := newFront(t, to)
	passed := f.client(t, config)
	for _, name := range []string{elsewhere, strings.ToUpper(elsewhere)} {
		if got := get(t, passed, "https://"+name+"/"); !strings.HasPrefix(got, "HTTP/2.0 to ") || !strings.HasSuffix(got, " by somebody") {
			t.Errorf("%s answers %q", name, got)
		}
	}
	if got := get(t, f.client(t, &tls.Config{RootCAs: f.trust}), "https://"+own+"/"); got != "own HTTP/2.0" {
		t.Errorf("the front itself answers %q", got)
	}
}

func TestUpgradesPass(t *testing.T) {
	to, config := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		_, text, err := c.Read(r.Context())
		if err != nil {
			t.Error(err)
		}
		if err := c.Write(r.Context(), websocket.MessageText, append([]byte("heard "), text...)); err != nil {
			t.Error(err)
		}
		<-c.CloseRead(r.Context()).Done()
	})
	config.NextProtos = []string{"http/1.1"}
	f := newFront(t, to)
	client := f.client(t, config)
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	c, resp, err := websocket.Dial(t.Context(), "wss://"+elsewhere, &websocket.DialOptions{HTTPClient: client})
	must(t, err)
	defer c.CloseNow()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	awaitEnd(t, f.silent(t, "")) // by now what the front gives a client for its first message is over for c too
	must(t, c.Write(t.Context(), websocket.MessageText, []byte("hello")))
	if _, text, err := c.Read(t.Context()); err != nil || string(text) != "heard hello" {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestHalfCloses has the client end what it says, and the server answer only then.
func TestHalfCloses(t *testing.T) {
	pair, trust := certificate(t, elsewhere)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	must(t, err)
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		all, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(c, "%d bytes", len(all))
	}()
	f := newFront(t, l.Addr())
	c := f.dial(t, &tls.Config{RootCAs: trust, ServerName: elsewhere})
	_, err = c.Write(make([]byte, 3<<20))
	must(t, err)
	must(t, c.CloseWrite())
	if got, err := io.ReadAll(c); err != nil || string(got) != "3145728 bytes" {
		t.Errorf("got %q, %v", got, err)
	}
	must(t, c.Close())
	f.log.await(t, "has ended")
}

// TestServersEndEndsWhatWasPassedOn stops the front, and the connection is over on both sides.
func TestServersEndEndsWhatWasPassedOn(t *testing.T) {
	pair, trust := certificate(t, elsewhere)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	must(t, err)
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			ended <- err
			return
		}
		defer c.Close()
		fmt.Fprint(c, "x")
		_, err = c.Read(make([]byte, 1))
		ended <- err
	}()
	f := newFront(t, l.Addr())
	c := f.dial(t, &tls.Config{RootCAs: trust, ServerName: elsewhere})
	_, err = io.ReadFull(c, make([]byte, 1))
	must(t, err)
	f.stop(10 * time.Millisecond)
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the client read %d bytes, %v", n, err)
	}
	if err := <-ended; err == nil {
		t.Error("the server behind goes on")
	}
}

// TestSlowClientsKeepNobodyWaiting lets clients connect and say nothing, or not enough.
func TestSlowClientsKeepNobodyWaiting(t *testing.T) {
	to, config := newBackend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "answered") })
	f := newFront(t, to)
	var slow []net.Conn
	for _, first := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01"} {
		slow = append(slow, f.silent(t, first))
	}
	if got := get(t, f.client(t, config), "https://"+elsewhere+"/"); got != "answered" {
		t.Errorf("got %q", got)
	}
	for _, c := range slow { // and their own time ends
		awaitEnd(t, c)
	}
}

// TestOtherFirstMessages sends what is no ClientHello with a server name: it is the front's to answer.
func TestOtherFirstMessages(t *testing.T) {
	to, _ := newBackend(t, func(http.ResponseWriter, *http.Request) { t.Error("it was passed on") })
	f := newFront(t, to)
	t.Run("no TLS", func(t *testing.T) {
		resp, err := http.Get("http://" + f.address)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Error(resp.Status)
		}
	})
	t.Run("no server name", func(t *testing.T) {
		c := f.dial(t, &tls.Config{InsecureSkipVerify: true})
		must(t, c.ConnectionState().PeerCertificates[0].VerifyHostname(own))
	})
	t.Run("endless", func(t *testing.T) {
		c, err := net.Dial("tcp", f.address)
		must(t, err)
		defer c.Close()
		record := append([]byte{22, 3, 1, 0x40, 0}, bytes.Repeat([]byte{0}, 0x4000)...) // 16 KiB of a handshake
		copy(record[5:], []byte{1, 0xff, 0xff, 0xff})                                   // whose ClientHello has 16 MiB
		for err == nil {
			_, err = c.Write(record)
		}
	})
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	f := newFront(t, l.Addr())
	_, err = tls.Dial("tcp", f.address, &tls.Config{ServerName: elsewhere})
	if !errors.Is(err, io.EOF) {
		t.Errorf("the client is told %v", err)
	}
	f.log.await(t, "connection refused")

	f = newFrontTo(t, netip.AddrPort{})
	_, err = tls.Dial("tcp", f.address, &tls.Config{ServerName: elsewhere})
	if !errors.Is(err, io.EOF) {
		t.Errorf("the client is told %v", err)
	}
	f.log.await(t, "nobody is there")
}

// certificate makes one for a name, which is its own authority.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// journal is a log that can be waited for.
type journal struct {
	mu    sync.Mutex
	lines []string
	grown chan struct{}
}

// Write implements io.Writer.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for s := bufio.NewScanner(bytes.NewReader(p)); s.Scan(); {
		j.lines = append(j.lines, s.Text())
	}
	if j.grown != nil {
		close(j.grown)
		j.grown = nil
	}
	return len(p), nil
}

// await waits until a line holds text.
func (j *journal) await(t *testing.T, text string) {
	t.Helper()
	for limit := time.After(20 * time.Second); ; {
		j.mu.Lock()
		for _, line := range j.lines {
			if strings.Contains(line, text) {
				j.mu.Unlock()
				return
			}
		}
		if j.grown == nil {
			j.grown = make(chan struct{})
		}
		grown := j.grown
		j.mu.Unlock()
		select {
		case <-grown:
		case <-limit:
			t.Fatalf("nothing says %q: %q", text, j.lines)
		}
	}
}
