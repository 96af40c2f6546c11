package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fairlead.dev/internal/secret"
)

// login is all that checking a client secret needs.
type login struct {
	secrets   []StoredSecret
	principal ServicePrincipal
	known     bool // whether there is a service principal
}

// Authenticate establishes who asks. For a ClientSecret it returns ErrAppUnknown, ErrSecretWrong, ErrSecretExpired,
// ErrPrincipalUnknown or ErrPrincipalDisabled; for a RegistryPassword ErrAdminDisabled or ErrBadPassword; for an Assertion
// ErrAppUnknown, ErrFederationUnknown, ErrFederationAudience, ErrPrincipalDisabled, or what its Verify returns.
func (d *Directory) Authenticate(ctx context.Context, c Credential) (Principal, error) {
	switch c := c.(type) {
	case ClientSecret:
		return d.application(ctx, c)
	case RegistryPassword:
		return d.registryAdmin(ctx, c)
	case Assertion:
		return d.assertion(ctx, c)
	}
	return Principal{}, fmt.Errorf("authenticating: no such kind of credential: %T", c)
}

// InspectSecret tells what is wrong with a client secret; nil, or the errors of Authenticate.
func (d *Directory) InspectSecret(ctx context.Context, clientID string, s secret.Text) error {
	_, err := d.application(ctx, ClientSecret{clientID, s})
	return err
}

func (d *Directory) application(ctx context.Context, c ClientSecret) (Principal, error) {
	version, err := d.store.Version(ctx)
	if err != nil {
		return Principal{}, err
	}
	clientID := fold(c.ClientID)
	l, err := d.secrets.Get(version, clientID, func() (login, error) { return d.login(ctx, clientID) })
	if errors.Is(err, ErrNotFound) {
		return Principal{}, ErrAppUnknown
	}
	if err != nil {
		return Principal{}, err
	}
	if err := check(l.secrets, c.Secret, d.now()); err != nil {
		return Principal{}, err
	}
	switch {
	case !l.known:
		return Principal{}, ErrPrincipalUnknown.WithMessage("the application %s has no service principal in the directory", clientID)
	case !l.principal.Enabled:
		return Principal{}, ErrPrincipalDisabled
	}
	return d.principal(l.principal), nil
}

func (d *Directory) login(ctx context.Context, clientID string) (login, error) {
	secrets, err := d.store.Secrets(ctx, clientID)
	if err != nil {
		return login{}, err
	}
	sp, err := d.store.ServicePrincipalByClientID(ctx, clientID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return login{}, err
	}
	return login{secrets: secrets, principal: sp, known: err == nil}, nil
}

// check looks for the secret given among those of an application. Only who knows the secret learns that it expired.
func check(secrets []StoredSecret, given secret.Text, now time.Time) error {
	err := error(ErrSecretWrong)
	for _, s := range secrets {
		if !secret.Matches(s.Hash, given) {
			continue
		}
		switch {
		case now.Before(s.Start):
			err = ErrSecretWrong.WithMessage("the client secret is not valid before %s", s.Start.Format(time.RFC3339))
		case !now.Before(s.End):
			err = ErrSecretExpired.WithMessage("the client secret %s expired on %s", s.KeyID, s.End.Format(time.RFC3339))
		default:
			return nil
		}
	}
	return err
}

// Principal gives the principal with an object id as it is now; ErrPrincipalUnknown, ErrPrincipalDisabled. It is asked at
// every request, so that a principal that was deleted or disabled is refused at once.
func (d *Directory) Principal(ctx context.Context, objectID string) (Principal, error) {
	version, err := d.store.Version(ctx)
	if err != nil {
		return Principal{}, err
	}
	id := fold(objectID)
	sp, err := d.principals.Get(version, id, func() (ServicePrincipal, error) { return d.store.ServicePrincipal(ctx, id) })
	switch {
	case errors.Is(err, ErrNotFound):
		return Principal{}, ErrPrincipalUnknown
	case err != nil:
		return Principal{}, err
	case !sp.Enabled:
		return Principal{}, ErrPrincipalDisabled
	}
	return d.principal(sp), nil
}

func (d *Directory) registryAdmin(ctx context.Context, c RegistryPassword) (Principal, error) {
	if !strings.EqualFold(c.Username, c.Registry.Name()) {
		return Principal{}, ErrBadPassword
	}
	a, err := d.admin(ctx, c.Registry)
	if err != nil {
		return Principal{}, err
	}
	passwords, err := d.open(a)
	if err != nil {
		return Principal{}, err
	}
	given := secret.HashGenerated(c.Password)
	if secret.Matches(given, passwords[0]) || secret.Matches(given, passwords[1]) {
		return d.adminPrincipal(a), nil
	}
	return Principal{}, ErrBadPassword
}
