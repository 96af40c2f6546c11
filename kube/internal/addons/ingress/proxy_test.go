package ingress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// front gives the proxy as a server, with one route to the endpoints. It believes whoever connects from trusted.
func front(t *testing.T, trusted string, endpoints ...string) *httptest.Server {
	t.Helper()
	p := newProxy("demo", netip.MustParseAddr(trusted))
	p.table.Store(&table{routes: map[string][]route{"shop.example": {{path: "/", to: backend{service: "a/web", endpoints: endpoints}}}}})
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s
}

// endpoint gives a server that answers with what it was asked.
func endpoint(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func ask(t *testing.T, s *httptest.Server, host string, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/x?y=1", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	r.Header.Set("X-Forwarded-Proto", "https")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

func show(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s for=%s proto=%s host=%s %s", r.Host, r.URL, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host"), body)
}

func TestForwardedHeaders(t *testing.T) {
	e := endpoint(t, show)
	if _, got := ask(t, front(t, "127.0.0.1", e), "shop.example", strings.NewReader("hello")); got != "shop.example /x?y=1 for=192.0.2.1 proto=https host=shop.example hello" {
		t.Errorf("from the proxy in front: %s", got)
	}
	if _, got := ask(t, front(t, "10.64.0.1", e), "shop.example", strings.NewReader("hello")); got != "shop.example /x?y=1 for=127.0.0.1 proto=http host=shop.example hello" {
		t.Errorf("from anybody: %s", got)
	}
}

// TestAnotherEndpoint has endpoints that nobody listens at; the body reaches the one that is there.
func TestAnotherEndpoint(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	s := front(t, "10.64.0.1", gone, gone, endpoint(t, show))
	for range 5 {
		if status, got := ask(t, s, "shop.example", strings.NewReader("hello")); status != http.StatusOK || !strings.HasSuffix(got, "hello") {
			t.Fatalf("%d %s", status, got)
		}
	}
	if status, got := ask(t, front(t, "10.64.0.1", gone), "shop.example", nil); status != http.StatusBadGateway || !strings.Contains(got, "the service a/web did not answer") {
		t.Errorf("%d %s", status, got)
	}
}

func TestRefusals(t *testing.T) {
	s := front(t, "10.64.0.1")
	if status, got := ask(t, s, "shop.example", nil); status != http.StatusServiceUnavailable || got != "the service a/web cannot answer: none of its pods is ready" {
		t.Errorf("%d %s", status, got)
	}
	if status, got := ask(t, s, "other.example", nil); status != http.StatusNotFound || got != "no Ingress of the cluster demo serves /x at other.example" {
		t.Errorf("%d %s", status, got)
	}
}

// TestUpgrade speaks another protocol through the proxy, as websockets do.
func TestUpgrade(t *testing.T) {
	s := front(t, "10.64.0.1", endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := buffered.ReadString('\n')
		io.WriteString(conn, "echo: "+line)
	}))
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	resp, err := http.ReadResponse(answers, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	io.WriteString(conn, "hello\n")
	if got, _ := answers.ReadString('\n'); got != "echo: hello\n" {
		t.Errorf("got %q", got)
	}
}
