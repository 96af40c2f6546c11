// Package api owns what every HTTP surface shares: request and correlation ids, the access log, reading and writing
// JSON within limits, and who asks (a bearer token of the token service, or a registry's credentials). Each protocol
// has its own folder beneath, with its own error table.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
)

// The headers that carry ids, as Azure names them.
const (
	HeaderRequestID       = "X-Ms-Request-Id"
	HeaderCorrelationID   = "X-Ms-Correlation-Request-Id"
	HeaderClientRequestID = "X-Ms-Client-Request-Id"
)

type ctxKey int

const (
	keyIDs ctxKey = iota
	keyPrincipal
)

type ids struct{ request, correlation string }

// RequestID gives the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string { v, _ := ctx.Value(keyIDs).(ids); return v.request }

// CorrelationID gives the id that ties this request to others of one undertaking (a pull, a deployment), or "".
func CorrelationID(ctx context.Context) string { v, _ := ctx.Value(keyIDs).(ids); return v.correlation }

// WithPrincipal notes who asks, for the access log and for handlers further in.
func WithPrincipal(ctx context.Context, p identity.Principal) context.Context {
	if slot, ok := ctx.Value(keyPrincipal).(*identity.Principal); ok {
		*slot = p
		return ctx
	}
	return context.WithValue(ctx, keyPrincipal, &p)
}

// PrincipalFrom gives who asks, when a surface has established it.
func PrincipalFrom(ctx context.Context) (identity.Principal, bool) {
	if slot, ok := ctx.Value(keyPrincipal).(*identity.Principal); ok && !slot.IsZero() {
		return *slot, true
	}
	return identity.Principal{}, false
}

// withIDs gives the request its ids and writes them on the answer. A caller's correlation id is taken over when it is a
// GUID; anything else is replaced, so that no caller can write into our log.
func withIDs(w http.ResponseWriter, r *http.Request) *http.Request {
	v := ids{request: uuid.NewString()}
	v.correlation = v.request
	if given, err := uuid.Parse(r.Header.Get(HeaderCorrelationID)); err == nil {
		v.correlation = given.String()
	}
	w.Header().Set(HeaderRequestID, v.request)
	w.Header().Set(HeaderCorrelationID, v.correlation)
	if given, err := uuid.Parse(r.Header.Get(HeaderClientRequestID)); err == nil {
		w.Header().Set(HeaderClientRequestID, given.String())
	}
	ctx := context.WithValue(r.Context(), keyIDs, v)
	return r.WithContext(context.WithValue(ctx, keyPrincipal, new(identity.Principal)))
}

// Errors that ReadJSON returns.
var (
	// ErrBodyTooLarge: the body is over the limit.
	ErrBodyTooLarge = fault.New(fault.Exhausted, "RequestTooLarge", "the request body is too large")
	// ErrBodyMalformed: the body is not the JSON that is wanted.
	ErrBodyMalformed = fault.New(fault.Invalid, "InvalidRequestContent", "the request content was invalid and could not be deserialized")
)

// drained is how much of a body that is too large is read all the same: a client that is cut off while it sends does not
// get to read why.
const drained = 16 << 20

// ReadBody reads a body of at most limit bytes; ErrBodyTooLarge.
func ReadBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, ErrBodyMalformed.WithMessage("the request body ended early").WithCause(err)
	}
	if int64(len(body)) > limit {
		_, _ = io.CopyN(io.Discard, r.Body, drained)
		return nil, ErrBodyTooLarge.WithMessage("the request body is over the limit of %d bytes", limit)
	}
	return body, nil
}

// ReadJSON decodes a body of at most limit bytes into v, names without regard to case, unknown ones ignored;
// ErrBodyTooLarge, ErrBodyMalformed (with the place of the fault).
func ReadJSON(r *http.Request, limit int64, v any) error {
	body, err := ReadBody(r, limit)
	if err != nil {
		return err
	}
	return DecodeJSON(body, v)
}

// DecodeJSON is ReadJSON for a body that is already in memory.
func DecodeJSON(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if err == nil {
		return nil
	}
	bad := ErrBodyMalformed.WithCause(err)
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return bad.WithTarget(wrong.Field).WithMessage("the request content was invalid: '%s' must be %s, not a JSON %s", wrong.Field, article(wrong.Type.String()), wrong.Value)
	case errors.As(err, &syntax):
		return bad.WithMessage("the request content was invalid: it is not JSON, at byte %d", syntax.Offset)
	case fault.KindOf(err) == fault.Invalid:
		return err
	}
	return bad
}

func article(goType string) string {
	switch {
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"), strings.HasPrefix(goType, "float"):
		return "a number"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "[]"):
		return "an array"
	case strings.HasSuffix(goType, "string"):
		return "a string"
	}
	return "an object"
}

// WriteJSON writes v with status.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that went away needs no answer
}

// MediaType gives the request's media type without parameters, in lower case.
func MediaType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}
