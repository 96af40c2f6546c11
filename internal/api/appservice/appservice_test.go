package appservice_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"fairlead.dev/internal/api/appservice"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var shop = resource.GroupID("s", "g").Provider("Microsoft.Web/sites", "shop")

// sites answers for the backend of the web app "shop".
type sites func(ctx context.Context) (string, error)

func (f sites) Backend(ctx context.Context, _ resource.ID) (string, error) { return f(ctx) }

// frontDoor serves the front door with the host name of "shop" on a real listener.
func frontDoor(t *testing.T, s sites) *httptest.Server {
	t.Helper()
	transport := &http.Transport{}
	server := httptest.NewServer(appservice.New(appservice.Deps{
		Run: s, Transport: transport,
		Find: func(_ context.Context, host string) (resource.ID, error) {
			if !strings.HasPrefix(host, "shop.") {
				return resource.ID{}, resource.ErrNotFound
			}
			return shop, nil
		},
	}))
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return server
}

// at gives a Sites for which the app runs at a test server.
func at(t *testing.T, app http.Handler) sites {
	t.Helper()
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	return func(context.Context) (string, error) { return server.Listener.Addr().String(), nil }
}

func get(t *testing.T, door *httptest.Server, host string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, door.URL+"/a%2Fb?c=d;e&f=100%", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	r.Header.Set("X-Forwarded-For", "6.6.6.6")
	answer, err := door.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(body)
}

func TestRequestReachesTheContainer(t *testing.T) {
	door := frontDoor(t, at(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprint(w, r.Host, " ", r.RequestURI, " ", r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Host"), " ", r.Header.Get("X-Forwarded-Proto"))
	})))
	status, _, body := get(t, door, "shop.azurewebsites.fairlead.localhost:8443")
	const host = "shop.azurewebsites.fairlead.localhost:8443"
	if want := host + " /a%2Fb?c=d;e&f=100% 127.0.0.1 " + host + " http"; status != http.StatusTeapot || body != want {
		t.Errorf("%d %q, want %q", status, body, want)
	}
}

func TestWithoutAContainer(t *testing.T) {
	for _, c := range []struct {
		name, host string
		err        error
		status     int
		says       string
	}{
		{"unknown host", "other.example", nil, 404, "404 Web Site not found."},
		{"stopped", "shop.x", run.ErrStopped, 403, "This web app is stopped."},
		{"refused", "shop.x", fault.New(fault.Unavailable, "ImagePullFailure", "hidden"), 503, "fairlead why webapp/shop"},
		{"too slow", "shop.x", context.DeadlineExceeded, 503, "fairlead why webapp/shop"},
		{"broken", "shop.x", io.ErrUnexpectedEOF, 500, "an error it did not expect"},
		{"deleted meanwhile", "shop.x", run.ErrNotFound, 404, "404 Web Site not found."},
	} {
		t.Run(c.name, func(t *testing.T) {
			door := frontDoor(t, func(context.Context) (string, error) { return "", c.err })
			status, header, body := get(t, door, c.host)
			if status != c.status || !strings.Contains(body, c.says) || strings.Contains(body, "hidden") {
				t.Errorf("%d %q", status, body)
			}
			if got := header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
				t.Errorf("content type %q", got)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	door := frontDoor(t, func(context.Context) (string, error) { return "127.0.0.1:1", nil }) // a port that is dealt to nobody
	if status, _, body := get(t, door, "shop.x"); status != http.StatusBadGateway || !strings.Contains(body, "did not answer") {
		t.Errorf("%d %q", status, body)
	}
}

func TestRequestIsHeld(t *testing.T) {
	asked, ready := make(chan struct{}), make(chan struct{})
	backend := at(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") }))
	door := frontDoor(t, func(ctx context.Context) (string, error) {
		close(asked)
		<-ready
		return backend(ctx)
	})
	go func() {
		<-asked
		close(ready)
	}()
	if status, _, body := get(t, door, "shop.x"); status != http.StatusOK || body != "page" {
		t.Errorf("%d %q", status, body)
	}
}

func TestClientThatGoesAwayIsNotWaitedFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	door := frontDoor(t, func(held context.Context) (string, error) {
		cancel()
		<-held.Done()
		close(ended)
		return "", held.Err()
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, door.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "shop.x"
	if answer, err := door.Client().Do(r); err == nil {
		_ = answer.Body.Close()
		t.Error("an answer to nobody")
	}
	<-ended
}

func TestAnswerStreams(t *testing.T) {
	next := make(chan struct{})
	door := frontDoor(t, at(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range []string{"one\n", "two\n"} {
			_, _ = io.WriteString(w, line)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, door.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "shop.x"
	answer, err := door.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for _, want := range []string{"one", "two"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
		next <- struct{}{} // the app goes on only when its line has arrived
	}
}

func TestWebsocket(t *testing.T) {
	door := frontDoor(t, at(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		kind, message, err := c.Read(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		if err := c.Write(r.Context(), kind, append(message, '!')); err != nil {
			t.Error(err)
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
	})))
	c, _, err := websocket.Dial(t.Context(), door.URL, &websocket.DialOptions{Host: "shop.x"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(t.Context()); err != nil || string(got) != "hello!" {
		t.Errorf("%q, %v", got, err)
	}
	_, _, _ = c.Read(t.Context()) // the end of it
}
