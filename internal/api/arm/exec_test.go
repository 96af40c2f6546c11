package arm

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// dial connects to an exec session as its client does, without the first frame.
func (w *world) dial(a answer) (*websocket.Conn, error) {
	w.t.Helper()
	path, ok := strings.CutPrefix(a.text("webSocketUri"), "wss://"+testHost)
	if !ok {
		w.t.Fatal(a.raw)
	}
	conn, res, err := websocket.Dial(w.t.Context(), w.server.URL+path, &websocket.DialOptions{HTTPClient: w.client, Host: testHost})
	if err != nil && (res == nil || res.StatusCode != http.StatusNotFound) {
		w.t.Fatal(err)
	}
	return conn, err
}

// read gives all output up to the closing frame, and that frame's reason.
func (w *world) read(conn *websocket.Conn) (output, reason string) {
	w.t.Helper()
	for {
		_, data, err := conn.Read(w.t.Context())
		if err != nil {
			var closed websocket.CloseError
			if !errors.As(err, &closed) {
				w.t.Fatal(err)
			}
			return output, closed.Reason
		}
		output += string(data)
	}
}

func (w *world) write(conn *websocket.Conn, kind websocket.MessageType, text string) {
	w.t.Helper()
	if err := conn.Write(w.t.Context(), kind, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	var spec run.ExecSpec
	w.node.set(func(n *node) {
		n.exec = func(_ context.Context, s run.ExecSpec) (int, error) {
			spec = s
			in, err := io.ReadAll(s.Stdin)
			if err != nil {
				return 0, err
			}
			_, err = s.Stdout.Write([]byte("got " + string(in)))
			return 7, err
		}
	})
	// As az asks: one text, and a terminal.
	asked := w.want(http.StatusOK, "POST", groups+"g1/containers/app/exec", `{"command":"/bin/sh -c 'a b'","terminalSize":{"rows":24,"cols":80}}`)
	conn, err := w.dial(asked)
	if err != nil {
		t.Fatal(err)
	}
	w.write(conn, websocket.MessageText, asked.text("password"))
	w.write(conn, websocket.MessageBinary, "hello ")
	w.write(conn, websocket.MessageText, "world")
	w.write(conn, websocket.MessageBinary, "")
	if output, reason := w.read(conn); output != "got hello world" || reason != "exit code 7" {
		t.Errorf("%q, %q", output, reason)
	}
	if strings.Join(spec.Command, "|") != "/bin/sh|-c|a b" || !spec.TTY || spec.Rows != 24 || spec.Cols != 80 {
		t.Errorf("%+v", spec)
	}
	// The address and the password are for one use.
	if _, err := w.dial(asked); err == nil {
		t.Error("a session was connected to twice")
	}
	if strings.Contains(w.logs.String(), asked.text("password")) {
		t.Error("the password is in the log")
	}
	// As Fairlead asks: words, no terminal.
	asked = w.want(http.StatusOK, "POST", groups+"g1/containers/app/exec", `{"command":"cat","arguments":["cat","a b"],"terminal":false}`)
	if conn, err = w.dial(asked); err != nil {
		t.Fatal(err)
	}
	w.write(conn, websocket.MessageText, asked.text("password"))
	w.write(conn, websocket.MessageBinary, "")
	if _, reason := w.read(conn); reason != "exit code 7" || strings.Join(spec.Command, "|") != "cat|a b" || spec.TTY {
		t.Errorf("%q, %+v", reason, spec)
	}
}

func TestExecRefusals(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	exec := groups + "g1/containers/app/exec"
	for _, body := range []string{`{}`, `{"command":"a 'b"}`, `{"command":7}`, `{`} {
		w.want(http.StatusBadRequest, "POST", exec, body)
	}
	w.want(http.StatusNotFound, "POST", groups+"nothing/containers/app/exec", `{"command":"a"}`)
	w.want(http.StatusNotFound, "POST", groups+"g1/containers/nothing/exec", `{"command":"a"}`)
	// A wrong password ends the session, and the right one comes too late then.
	asked := w.want(http.StatusOK, "POST", exec, `{"command":"a"}`)
	conn, err := w.dial(asked)
	if err != nil {
		t.Fatal(err)
	}
	w.write(conn, websocket.MessageText, "guess")
	if _, reason := w.read(conn); !strings.Contains(reason, "password") {
		t.Error(reason)
	}
	if _, err := w.dial(asked); err == nil {
		t.Error("a second guess was possible")
	}
	// What cannot be run is told in the closing frame.
	asked = w.want(http.StatusOK, "POST", exec, `{"command":"a"}`)
	if conn, err = w.dial(asked); err != nil {
		t.Fatal(err)
	}
	w.write(conn, websocket.MessageText, asked.text("password"))
	if _, reason := w.read(conn); !strings.Contains(reason, "cannot") {
		t.Error(reason)
	}
	w.want(http.StatusNoContent, "POST", groups+"g1/stop", "")
	if a := w.want(http.StatusConflict, "POST", exec, `{"command":"a"}`); a.code() != "ContainerNotRunning" {
		t.Error(a.raw)
	}
	if a := w.as("", "GET", "/exec/unknown", ""); a.status != http.StatusNotFound {
		t.Errorf("an unknown session: %d", a.status)
	}
}

// TestExecReasonIsCutBetweenLetters has a command fail with more words than a closing frame holds.
func TestExecReasonIsCutBetweenLetters(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	w.node.set(func(n *node) {
		n.exec = func(context.Context, run.ExecSpec) (int, error) {
			return 0, fault.New(fault.Invalid, "COMMAND_INVALID", "x"+strings.Repeat("ä", 100))
		}
	})
	asked := w.want(http.StatusOK, "POST", groups+"g1/containers/app/exec", `{"command":"a"}`)
	conn, err := w.dial(asked)
	if err != nil {
		t.Fatal(err)
	}
	w.write(conn, websocket.MessageText, asked.text("password"))
	if _, reason := w.read(conn); reason != "x"+strings.Repeat("ä", 59) {
		t.Errorf("%q", reason)
	}
}

// The attack: a session is opened while one still may, and used after the right to it is gone.
func TestAnExecSessionIsNoWayRoundARevocation(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	w.node.set(func(n *node) {
		n.exec = func(context.Context, run.ExecSpec) (int, error) { return 7, nil }
	})
	name := group + assigned + "44444444-4444-4444-4444-444444444444"
	for what, c := range map[string]struct {
		revoke func(identity.ServicePrincipal)
		want   string
	}{
		"nothing":     {func(identity.ServicePrincipal) {}, "exit code 7"},
		"the role":    {func(identity.ServicePrincipal) { w.want(http.StatusOK, "DELETE", name, "") }, "does not have au"},
		"the account": {func(sp identity.ServicePrincipal) { _ = w.dir.SetEnabled(t.Context(), sp.ID, false) }, "disabled"},
	} {
		sp, token := w.newPrincipal("", resource.Root)
		w.do("DELETE", name, "")
		w.want(http.StatusCreated, "PUT", name, assignment(contributor, sp.ID, ""))
		asked := w.as(token, "POST", groups+"g1/containers/app/exec"+version, `{"command":"a"}`)
		conn, err := w.dial(asked)
		if err != nil {
			t.Fatal(err)
		}
		c.revoke(sp)
		w.write(conn, websocket.MessageText, asked.text("password"))
		if _, reason := w.read(conn); !strings.Contains(reason, c.want) {
			t.Errorf("%s taken away: %q, want %q", what, reason, c.want)
		}
	}
}

func TestExecEndsWithItsClientAndWithTheServer(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	ended := make(chan error, 2)
	w.node.set(func(n *node) {
		n.exec = func(ctx context.Context, s run.ExecSpec) (int, error) {
			_, _ = s.Stdout.Write([]byte("ready"))
			<-ctx.Done()
			ended <- ctx.Err()
			return 0, ctx.Err()
		}
	})
	for _, end := range []func(*websocket.Conn){func(c *websocket.Conn) { _ = c.CloseNow() }, func(*websocket.Conn) { w.stop() }} {
		asked := w.want(http.StatusOK, "POST", groups+"g1/containers/app/exec", `{"command":"a"}`)
		conn, err := w.dial(asked)
		if err != nil {
			t.Fatal(err)
		}
		w.write(conn, websocket.MessageText, asked.text("password"))
		if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "ready" {
			t.Fatalf("%q, %v", data, err)
		}
		end(conn)
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = conn.CloseNow()
	}
	w.boot() // for the cleanup to stop
}
