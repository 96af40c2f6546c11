// Package exit owns how a command ends: the exit codes, which are promised to scripts (docs/exit-codes.md), and errors
// that carry a code and a hint of what to do next.
package exit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"fairlead.dev/client"
)

// Code is what the program exits with.
type Code int

// The exit codes. They are an interface: docs/exit-codes.md lists them, and they do not change their meaning.
const (
	OK          Code = 0
	Failure     Code = 1   // anything that has no code of its own
	Usage       Code = 2   // the command line or a file given on it is wrong
	NotFound    Code = 3   // a resource that was named does not exist
	Denied      Code = 4   // not signed in, or not allowed
	CannotStart Code = 5   // the request was taken, and the workload cannot pull or start
	Unreachable Code = 6   // no Fairlead was found or answers
	TimedOut    Code = 7   // the time given with --timeout ran out
	Interrupted Code = 130 // Ctrl-C
)

// Table lists the codes with their meaning, in the words of `fairlead help exit-codes`.
func Table() [][2]string {
	return [][2]string{
		{"0", "it is done; for 'why': the image can be pulled"},
		{"1", "it failed, and none of the codes below fits"},
		{"2", "the command line, or a file named on it, is wrong; nothing was changed"},
		{"3", "a resource that was named does not exist"},
		{"4", "not signed in, or not allowed"},
		{"5", "the workload cannot pull its image or cannot start; 'fairlead why' tells the reason"},
		{"6", "no Fairlead was found, or none answers"},
		{"7", "the time given with --timeout ran out"},
		{"130", "interrupted (Ctrl-C)"},
		{"any", "'fairlead exec' and 'fairlead kube kubectl' exit with the code of the command that they ran"},
	}
}

// Error is an error with a code and a hint.
type Error struct {
	Code Code
	Hint string // what to do next: a command or a sentence; may be ""
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the error itself.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error with a code and a hint.
func Errorf(code Code, hint, format string, args ...any) error {
	return &Error{Code: code, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// Usagef makes an error of wrong usage. It needs no hint: the command line points to the command's own help.
func Usagef(format string, args ...any) error { return Errorf(Usage, "", format, args...) }

// Quiet is an error of which everything has been said already: only its code counts.
func Quiet(code Code) error { return &Error{Code: code, Err: errQuiet} }

var errQuiet = errors.New("")

// IsQuiet reports whether err is to be passed over in silence.
func IsQuiet(err error) bool { return errors.Is(err, errQuiet) }

// WithHint adds a hint to an error, unless it has one.
func WithHint(err error, hint string) error {
	if err == nil || HintOf(err) != "" {
		return err
	}
	return &Error{Code: CodeOf(err), Hint: hint, Err: err}
}

// CodeOf gives the code that a command ending with err exits with.
func CodeOf(err error) Code {
	var own *Error
	var refusal *client.Error
	var unreachable *client.UnreachableError
	switch {
	case err == nil:
		return OK
	case errors.As(err, &own):
		return own.Code
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	case errors.As(err, &unreachable):
		return Unreachable
	case errors.As(err, &refusal):
		return ofStatus(refusal.Status)
	}
	return Failure
}

func ofStatus(status int) Code {
	switch status {
	case http.StatusNotFound:
		return NotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return Denied
	}
	return Failure
}

// HintOf gives what to do next about err, or "".
func HintOf(err error) string {
	var own *Error
	if errors.As(err, &own) && own.Hint != "" {
		return own.Hint
	}
	var hinting interface{ Hint() string } // errors of the commands that act on this machine
	if errors.As(err, &hinting) {
		return hinting.Hint()
	}
	var path *fs.PathError
	switch CodeOf(err) {
	case Unreachable:
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return "its certificate is not trusted: sign in with 'fairlead login --ca-file', with the file that its ready file names as caFile"
		}
		return "start one with 'fairlead up', name its ready file with --ready-file, or sign in with 'fairlead login'"
	case Denied:
		return deniedHint(err)
	case TimedOut:
		return "the work may still go on; give it more time with --timeout"
	}
	if errors.As(err, &path) && errors.Is(err, fs.ErrNotExist) {
		return "check the path " + path.Path
	}
	return ""
}

func deniedHint(err error) string {
	if client.HasCode(err, "AuthorizationFailed") {
		return "ask an Owner of that scope for a role: fairlead role assign ROLE --to CLIENT_ID --on SCOPE"
	}
	if client.HasCode(err, "Authorization_RequestDenied") {
		return "the directory is read with the role Reader, and written with User Access Administrator, at the scope /"
	}
	if client.HasCode(err, "invalid_client", "unauthorized_client") {
		return "sign in again with 'fairlead login', or check --ready-file"
	}
	return ""
}
