package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Error is a refusal by the server, whatever the protocol's own form was.
type Error struct {
	Status        int      // HTTP status; 0 when a long-running operation ended with the error
	Code          string   // "ResourceNotFound", "invalid_client", "MANIFEST_UNKNOWN"
	Message       string   // for people
	Target        string   // the field or parameter at fault, when the server names one
	Details       []Detail // further faults
	RequestID     string   // x-ms-request-id
	CorrelationID string   // x-ms-correlation-request-id
}

// Detail is one of several faults of a request.
type Detail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target"`
}

// Error gives code, message and details in one line each.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Message == "" {
		fmt.Fprintf(&b, "the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Target != "" && !strings.Contains(e.Message, e.Target) {
		fmt.Fprintf(&b, " (at %s)", e.Target)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, " [%s]", e.Code)
	}
	for _, d := range e.Details {
		if d.Message != e.Message {
			fmt.Fprintf(&b, "\n  %s", strings.TrimSpace(d.Target+" "+d.Message))
		}
	}
	return b.String()
}

// UnreachableError says that no server answered: the name did not resolve, nothing listens, or its certificate is not
// trusted.
type UnreachableError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no Fairlead answers at %s: %v", e.Host, e.Err)
}

// Unwrap gives the network's own error.
func (e *UnreachableError) Unwrap() error { return e.Err }

// NotFound reports whether err is the server saying that the thing is not there.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// HasCode reports whether err is a refusal with one of the codes, without regard to case.
func HasCode(err error, codes ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if strings.EqualFold(code, e.Code) {
			return true
		}
	}
	return false
}

// armError is the error object of the resource manager and of the directory.
type armError struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Target  string   `json:"target"`
	Details []Detail `json:"details"`
}

func (a armError) asError(status int) *Error {
	return &Error{Status: status, Code: a.Code, Message: a.Message, Target: a.Target, Details: a.Details}
}

// decodeError reads the three forms that errors come in: ARM and Graph {"error":{…}}, OAuth2 {"error":"…"}, OCI
// {"errors":[…]}. A body of any other form gives an Error with the status only.
func decodeError(status int, header http.Header, body []byte) *Error {
	var form struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
		Errors      []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	e := &Error{Status: status}
	if json.Unmarshal(body, &form) == nil {
		var object armError
		var text string
		switch {
		case len(form.Errors) > 0:
			e.Code, e.Message = form.Errors[0].Code, form.Errors[0].Message
		case json.Unmarshal(form.Error, &text) == nil:
			e.Code, e.Message = text, form.Description
		case json.Unmarshal(form.Error, &object) == nil:
			e = object.asError(status)
		}
	}
	e.RequestID, e.CorrelationID = header.Get("x-ms-request-id"), header.Get("x-ms-correlation-request-id")
	return e
}
