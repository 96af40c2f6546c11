package api

import (
	"context"
	"net/http"
	"strings"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

// Errors that Bearer returns.
var (
	// ErrNoToken: the request carries no bearer token.
	ErrNoToken = fault.New(fault.Unauthenticated, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	// ErrBadToken: the token is malformed, expired, for another audience, or its principal is gone.
	ErrBadToken = fault.New(fault.Unauthenticated, "InvalidAuthenticationToken", "The access token is invalid.")
)

// Verifier checks access tokens; *token.Service is one.
type Verifier interface {
	VerifyAccess(ctx context.Context, raw secret.Text, accept func(aud string) bool) (token.Claims, error)
}

// Principals finds live principals; *identity.Directory is one.
type Principals interface {
	Principal(ctx context.Context, objectID string) (identity.Principal, error)
}

// Bearer establishes who asks from an access token of ours.
type Bearer struct {
	Tokens    Verifier
	Directory Principals
	Accept    func(aud string) bool // the audiences that this surface answers to
}

// Authenticate gives the live principal behind the request's token; ErrNoToken, ErrBadToken. The principal is looked up
// at every request: one that was deleted or disabled since the token was issued is refused.
func (b Bearer) Authenticate(ctx context.Context, r *http.Request) (identity.Principal, error) {
	raw, ok := BearerToken(r)
	if !ok {
		return identity.Principal{}, ErrNoToken
	}
	claims, err := b.Tokens.VerifyAccess(ctx, raw, b.Accept)
	if err != nil {
		if f := fault.From(err); f.Kind != fault.Internal {
			return identity.Principal{}, ErrBadToken.WithMessage("The access token is invalid: %s", f.Message).WithCause(err)
		}
		return identity.Principal{}, err
	}
	p, err := b.Directory.Principal(ctx, claims.ObjectID)
	if err != nil {
		if fault.KindOf(err) == fault.Internal {
			return identity.Principal{}, err
		}
		return identity.Principal{}, ErrBadToken.WithMessage("The access token is invalid: its principal no longer exists or is disabled.").WithCause(err)
	}
	return p, nil
}

// BearerToken gives the token of an "Authorization: Bearer" header.
func BearerToken(r *http.Request) (secret.Text, bool) {
	scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	value = strings.TrimSpace(value)
	if !ok || !strings.EqualFold(scheme, "Bearer") || value == "" {
		return secret.Text{}, false
	}
	return secret.New(value), true
}
