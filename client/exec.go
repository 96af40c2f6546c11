package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/coder/websocket"
)

// ExecRequest is a command to run in a running container.
type ExecRequest struct {
	Container  string // "" for the first; web apps have only one
	Command    []string
	Terminal   bool // give the command a terminal
	Rows, Cols int  // of the terminal
}

// ErrNoExitCode is returned when the connection ended without saying how the command did.
var ErrNoExitCode = errors.New("the connection ended before the command did")

// exitReason begins the reason of the closing frame by which the server tells the command's exit code.
const exitReason = "exit code "

// Exec runs a command in a container of the workload with this resource id, feeds it stdin, copies what it writes to
// stdout and returns its exit code. It returns when the command has ended or ctx is done; a reader of stdin may then
// still be waiting for input.
func (c *Client) Exec(ctx context.Context, workload string, r ExecRequest, stdin io.Reader, stdout io.Writer) (int, error) {
	path := workload + "/exec"
	if r.Container != "" {
		path = workload + "/containers/" + r.Container + "/exec"
	}
	var reply struct {
		URI      string `json:"webSocketUri"`
		Password Secret `json:"password"`
	}
	body := map[string]any{"command": strings.Join(r.Command, " "), "arguments": r.Command, "terminal": r.Terminal}
	if r.Rows > 0 && r.Cols > 0 {
		body["terminalSize"] = map[string]int{"rows": r.Rows, "cols": r.Cols}
	}
	if err := c.Post(ctx, path, body, &reply); err != nil {
		return 0, err
	}
	conn, res, err := websocket.Dial(ctx, reply.URI, &websocket.DialOptions{HTTPClient: &http.Client{Transport: c.http.Transport}}) //nolint:bodyclose // the library has closed it
	if err != nil {
		if res != nil && res.StatusCode >= 400 {
			return 0, &Error{Status: res.StatusCode, Message: "the container's exec session was refused"}
		}
		return 0, fmt.Errorf("connecting to the container: %w", err)
	}
	defer conn.CloseNow() //nolint:errcheck // closed already when the command ended
	conn.SetReadLimit(1 << 20)
	if err := conn.Write(ctx, websocket.MessageText, []byte(reply.Password)); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if stdin != nil {
		go feed(ctx, conn, stdin)
	}
	return drain(ctx, conn, stdout)
}

// feed sends stdin in binary frames; an empty one says that there is no more.
func feed(ctx context.Context, conn *websocket.Conn, stdin io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := stdin.Read(buffer)
		if n > 0 && conn.Write(ctx, websocket.MessageBinary, buffer[:n]) != nil {
			return
		}
		if err != nil {
			_ = conn.Write(ctx, websocket.MessageBinary, nil) // the session may be over
			return
		}
	}
}

// drain copies output until the server closes, and reads the exit code from the closing frame's reason.
func drain(ctx context.Context, conn *websocket.Conn, stdout io.Writer) (int, error) {
	for {
		_, data, err := conn.Read(ctx)
		if err == nil {
			if _, err := stdout.Write(data); err != nil {
				return 0, err
			}
			continue
		}
		if closed, ok := errors.AsType[websocket.CloseError](err); ok {
			if text, ok := strings.CutPrefix(closed.Reason, exitReason); ok {
				return strconv.Atoi(text)
			}
			if closed.Reason != "" {
				return 0, fmt.Errorf("the exec session ended: %s", closed.Reason)
			}
			return 0, ErrNoExitCode
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, err
	}
}
