//go:build linux

package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestStalledBodies announces a body over HTTP/1.1 and sends none of it, or a part: both are ended, whether the handler
// reads or refuses without reading.
func TestStalledBodies(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"read":    func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
		"refused": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
	} {
		for _, sent := range []string{"", "half"} {
			t.Run(fmt.Sprintf("%s after %q", name, sent), func(t *testing.T) {
				s := httptest.NewServer(patient(handler, 50*time.Millisecond))
				defer s.Close()
				conn, err := net.Dial("tcp", s.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n%s", sent)
				_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
				if _, err := io.Copy(io.Discard, conn); err != nil { // it ends when the server closes the connection
					t.Error(err)
				}
			})
		}
	}
}

// TestPatienceIsForBodiesOnly has a handler that takes longer than the limit when all has come, and a second request on
// the same connection behind it.
func TestPatienceIsForBodiesOnly(t *testing.T) {
	const limit = 50 * time.Millisecond
	s := httptest.NewServer(patient(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		select {
		case <-r.Context().Done():
			err = r.Context().Err()
		case <-time.After(4 * limit):
		}
		fmt.Fprint(w, string(body), err)
	}), limit))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for range 2 {
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nwhole")
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "whole<nil>" {
			t.Errorf("%q, %v", body, err)
		}
	}
}
