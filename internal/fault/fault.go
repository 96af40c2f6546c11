// Package fault owns the one error type of the core: what kind of failure it is, a message that is safe to show to
// the caller, and a wrapped cause that goes to the log only. It knows no protocol: each surface maps kinds and codes
// to its own status and body in its own error.go.
package fault

import (
	"errors"
	"fmt"
	"log/slog"
)

// Kind says what sort of failure happened. The zero value is Internal, so that a forgotten kind never leaks detail.
type Kind uint8

// The kinds, from which every surface derives a status.
const (
	Internal        Kind = iota // our own fault; no detail leaves the process
	Invalid                     // the request is malformed or breaks a rule
	Unauthenticated             // who asks is not established
	Denied                      // who asks is known and may not
	NotFound                    // what is asked for does not exist, or must look so
	Conflict                    // the present state forbids it
	Exhausted                   // a limit or quota is reached
	Unsupported                 // it exists elsewhere but not here
	Unavailable                 // it may work later
)

var kindNames = [...]string{"internal", "invalid", "unauthenticated", "denied", "not_found", "conflict", "exhausted", "unsupported", "unavailable"} //nolint:gochecknoglobals // a constant in all but the language

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is a failure with a public face. Code is a stable name within its package ("MANIFEST_UNKNOWN",
// "InaccessibleImage", "ROLE_MISSING"); Message is a full sentence that may be shown to the caller and never holds a
// secret; Target is the path of the field at fault, when there is one ("properties.containers[0].name"); Hint says
// what to do next.
type Error struct {
	Kind    Kind
	Code    string
	Message string
	Target  string
	Hint    string
	cause   error
}

// New makes a fault. Package-level named errors are made with it.
func New(kind Kind, code, message string) *Error {
	return &Error{Kind: kind, Code: code, Message: message}
}

// Newf makes a fault whose message is formatted; no argument may be a secret.
func Newf(kind Kind, code, format string, args ...any) *Error {
	return New(kind, code, fmt.Sprintf(format, args...))
}

// Error gives the message and the whole chain of causes: it is for the log, not for the caller.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.cause.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is a fault of the same kind and code, so that a copy made by With* still matches its
// named original under errors.Is.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Code == e.Code
}

// WithCause gives a copy that wraps cause.
func (e *Error) WithCause(cause error) *Error { c := *e; c.cause = cause; return &c }

// WithMessage gives a copy with another message.
func (e *Error) WithMessage(format string, args ...any) *Error {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// WithTarget gives a copy that names the field at fault.
func (e *Error) WithTarget(path string) *Error { c := *e; c.Target = path; return &c }

// WithHint gives a copy that says what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// LogValue lets a fault stand in a log line as a group.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", e.Kind.String()), slog.String("code", e.Code), slog.String("message", e.Message)}
	if e.cause != nil {
		attrs = append(attrs, slog.String("cause", e.cause.Error()))
	}
	return slog.GroupValue(attrs...)
}

// From gives the fault in err's chain. An error that carries none becomes an Internal fault that wraps it and shows
// nothing; nil gives nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return New(Internal, "InternalError", "the server met an error it did not expect; its log has the detail under this request's id").WithCause(err)
}

// KindOf gives the kind of err's fault; Internal when it carries none, and for nil.
func KindOf(err error) Kind {
	if f := From(err); f != nil {
		return f.Kind
	}
	return Internal
}
