package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

// TokenUser is the user name that goes with a registry token as password.
const TokenUser = "00000000-0000-0000-0000-000000000000"

// maxUser is the longest user name that is looked up, in bytes.
const maxUser = 256

// ErrNoCredential says that the request carries neither a user name with a password nor a token.
var ErrNoCredential = fault.New(fault.Unauthenticated, "UNAUTHORIZED", "authentication required")

// RegistryVerifier checks registry tokens; *token.Service is one.
type RegistryVerifier interface {
	VerifyRegistryRefresh(ctx context.Context, raw secret.Text, registry string) (token.RegistryClaims, error)
	VerifyRegistryAccess(ctx context.Context, raw secret.Text, registry string) (token.RegistryClaims, error)
}

// RegistryPrincipals finds and authenticates principals; *identity.Directory is one.
type RegistryPrincipals interface {
	Principals
	Authenticate(ctx context.Context, c identity.Credential) (identity.Principal, error)
	AdminPrincipal(ctx context.Context, registry resource.ID, generation int64) (identity.Principal, error)
}

// RegistryAuth establishes who asks a registry, by any credential that ACR takes. The principal it gives is alive now:
// one that was deleted or disabled since its token was issued is refused.
type RegistryAuth struct {
	Tokens    RegistryVerifier
	Directory RegistryPrincipals
}

// Authenticate gives the principal behind the Authorization header, and what its token is good for; nil when a password
// or a refresh token was presented, which are good for all that the principal may do. Every error that is the caller's
// fault is of kind Unauthenticated: ErrNoCredential, or those of token and identity.
func (a *RegistryAuth) Authenticate(ctx context.Context, r *http.Request, registry resource.ID) (identity.Principal, []token.ScopedAccess, error) {
	if user, password, ok := r.BasicAuth(); ok {
		return a.Password(ctx, user, secret.New(password), registry)
	}
	if raw, ok := BearerToken(r); ok {
		return a.accessToken(ctx, raw, registry)
	}
	return identity.Principal{}, nil, ErrNoCredential
}

// Password is Authenticate for a user name and password that came by another way: the registry's name with an admin
// password, a client id with a client secret, or TokenUser with a refresh or access token of the registry.
func (a *RegistryAuth) Password(ctx context.Context, user string, password secret.Text, registry resource.ID) (identity.Principal, []token.ScopedAccess, error) {
	switch {
	case user == "" || password.IsZero():
		return identity.Principal{}, nil, ErrNoCredential
	case len(user) > maxUser:
		return identity.Principal{}, nil, identity.ErrBadPassword
	case user == TokenUser:
		p, err := a.RefreshToken(ctx, password, registry)
		if err == nil || fault.KindOf(err) != fault.Unauthenticated {
			return p, nil, err
		}
		return a.accessToken(ctx, password, registry)
	case isGUID(user):
		p, err := a.Directory.Authenticate(ctx, identity.ClientSecret{ClientID: user, Secret: password})
		return p, nil, err
	}
	p, err := a.Directory.Authenticate(ctx, identity.RegistryPassword{Registry: registry, Username: user, Password: password})
	return p, nil, err
}

// RefreshToken gives the principal behind a refresh token of the registry.
func (a *RegistryAuth) RefreshToken(ctx context.Context, raw secret.Text, registry resource.ID) (identity.Principal, error) {
	claims, err := a.Tokens.VerifyRegistryRefresh(ctx, raw, registry.Name())
	if err != nil {
		return identity.Principal{}, err
	}
	return a.alive(ctx, claims, registry)
}

func (a *RegistryAuth) accessToken(ctx context.Context, raw secret.Text, registry resource.ID) (identity.Principal, []token.ScopedAccess, error) {
	claims, err := a.Tokens.VerifyRegistryAccess(ctx, raw, registry.Name())
	if err != nil {
		return identity.Principal{}, nil, err
	}
	p, err := a.alive(ctx, claims, registry)
	if err != nil {
		return identity.Principal{}, nil, err
	}
	return p, claims.Access, nil
}

// alive gives the principal of a registry token as it is now.
func (a *RegistryAuth) alive(ctx context.Context, claims token.RegistryClaims, registry resource.ID) (identity.Principal, error) {
	if claims.AdminGeneration != 0 {
		return a.Directory.AdminPrincipal(ctx, registry, claims.AdminGeneration)
	}
	return a.Directory.Principal(ctx, claims.Subject)
}

// isGUID reports whether s has the form of a client id.
func isGUID(s string) bool {
	_, err := uuid.Parse(s)
	return err == nil && len(s) == 36
}
