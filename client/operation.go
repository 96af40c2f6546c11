package client

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Operation is a request that the server goes on working at.
type Operation struct {
	client *Client
	poll   string // URL to ask; "" when there is nothing to wait for
	status bool   // poll answers with a status document (Azure-AsyncOperation), else with a status code (Location)
	first  answer
	done   bool // the first answer was already the last
}

// pollEvery is the wait between two polls when the server names none; ARM's own default of 30 s is for clouds.
const pollEvery = time.Second

// firstPoll is the wait before the first poll, doubled until it reaches what the server asks for: Retry-After counts in
// whole seconds, and most of our operations take a part of one.
const firstPoll = 50 * time.Millisecond

func (c *Client) operation(id string, a answer) *Operation {
	op := &Operation{client: c, first: a}
	switch {
	case a.header.Get("Azure-AsyncOperation") != "":
		op.poll, op.status = a.header.Get("Azure-AsyncOperation"), true
	case a.status == http.StatusAccepted && a.header.Get("Location") != "":
		op.poll = a.header.Get("Location")
	case a.status == http.StatusAccepted:
		op.poll = c.server.ARM + escapePath(id)
	default:
		op.done = true
	}
	if strings.HasPrefix(op.poll, "/") {
		op.poll = c.server.ARM + op.poll
	}
	return op
}

// Wait returns when the operation has ended. An operation that failed gives an *Error with Status 0.
func (o *Operation) Wait(ctx context.Context) error {
	if o.done {
		return nil
	}
	if !strings.HasPrefix(o.poll, o.client.server.ARM+"/") {
		return fmt.Errorf("the operation is to be followed at another host: %s", o.poll)
	}
	header := o.first.header
	for soon := firstPoll; ; soon = min(2*soon, maxRetryWait) {
		pause, ok := retryAfter(header)
		if !ok {
			pause = pollEvery
		}
		if err := wait(ctx, min(pause, soon, maxRetryWait)); err != nil {
			return err
		}
		a, err := o.client.send(ctx, request{method: http.MethodGet, url: o.poll, scope: o.client.armScope()})
		if err != nil {
			return err
		}
		if ended, err := o.ended(a); ended || err != nil {
			return err
		}
		header = a.header
	}
}

// ended reads one poll. A status that is none of ARM's three final ones means that the work goes on.
func (o *Operation) ended(a answer) (bool, error) {
	if !o.status {
		return a.status != http.StatusAccepted, nil
	}
	var document struct {
		Status string   `json:"status"`
		Error  armError `json:"error"`
	}
	if err := a.decode(&document); err != nil {
		return false, err
	}
	switch strings.ToLower(document.Status) {
	case "succeeded":
		return true, nil
	case "failed", "canceled":
		e := document.Error.asError(0)
		e.RequestID, e.CorrelationID = a.header.Get("x-ms-request-id"), a.header.Get("x-ms-correlation-request-id")
		if e.Message == "" {
			e.Message = "the operation " + strings.ToLower(document.Status)
		}
		return true, e
	}
	return false, nil
}
