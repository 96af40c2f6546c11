package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxAttempts  = 5
	maxBody      = 64 << 20 // bytes of one answer
	maxRetryWait = 30 * time.Second
	firstWait    = 100 * time.Millisecond
)

// request is one exchange that may be repeated: its body is in memory.
type request struct {
	method, url string
	header      http.Header
	body        []byte
	scope       string // of the token to send; "" sends none
	auth        string // the Authorization header; set from the token when there is a scope
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// decode reads the answer's JSON into v; a nil v discards it.
func (a answer) decode(v any) error {
	if v == nil || len(a.body) == 0 {
		return nil
	}
	if raw, ok := v.(*json.RawMessage); ok {
		*raw = a.body
		return nil
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("the server's answer is not the JSON that was expected: %w", err)
	}
	return nil
}

// send makes the exchange, repeating it within bounds, and returns *Error for any status of 400 and above.
func (c *Client) send(ctx context.Context, r request) (answer, error) {
	renewed := false
	for attempt := 1; ; attempt++ {
		if r.scope != "" {
			token, err := c.Token(ctx, r.scope)
			if err != nil {
				return answer{}, err
			}
			r.auth = "Bearer " + string(token)
		}
		a, err := c.try(ctx, r)
		if err == nil && a.status < 400 {
			return a, nil
		}
		if err == nil && a.status == http.StatusUnauthorized && r.scope != "" && !renewed {
			renewed = true
			c.forget(r.scope)
			continue
		}
		if attempt == maxAttempts || ctx.Err() != nil || !repeatable(r, a, err) {
			return a, outcome(a, err)
		}
		if err := wait(ctx, pause(attempt, a.header)); err != nil {
			return a, outcome(a, err)
		}
	}
}

// outcome is the error of an exchange that is not repeated.
func outcome(a answer, err error) error {
	if err != nil {
		return err
	}
	return decodeError(a.status, a.header, a.body)
}

func (c *Client) try(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", "application/json")
	maps.Copy(req.Header, r.header)
	if r.auth != "" {
		req.Header.Set("Authorization", r.auth)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, unreachable(ctx, req.URL.Host, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer of %s: %w", req.URL.Host, err)
	}
	if len(body) > maxBody {
		return answer{}, fmt.Errorf("the answer of %s is over the limit of %d bytes", req.URL.Host, maxBody)
	}
	return answer{res.StatusCode, res.Header, body}, nil
}

// unreachable names the host in a network error; the caller's own cancellation passes as it is.
func unreachable(ctx context.Context, host string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return &UnreachableError{Host: host, Err: err}
}

// repeatable: a connection that was never made, and an answer by which the server says that it did nothing, allow any
// request again; other server faults only those that may arrive twice.
func repeatable(r request, a answer, err error) bool {
	if err != nil {
		var refused *net.OpError
		return errors.As(err, &refused) && refused.Op == "dial"
	}
	switch a.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return r.method != http.MethodPost && r.method != http.MethodPatch
	}
	return false
}

// pause is what the server asked for, else 100 ms doubling with each attempt, with jitter.
func pause(attempt int, header http.Header) time.Duration {
	if asked, ok := retryAfter(header); ok {
		return min(asked, maxRetryWait)
	}
	d := firstWait << (attempt - 1)
	return d/2 + rand.N(d)
}

// retryAfter reads Retry-After in seconds; clients of ARM send and get no dates there.
func retryAfter(header http.Header) (time.Duration, bool) {
	seconds, err := strconv.Atoi(strings.TrimSpace(header.Get("Retry-After")))
	if err != nil || seconds < 0 {
		return 0, false
	}
	return time.Duration(seconds) * time.Second, true
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
