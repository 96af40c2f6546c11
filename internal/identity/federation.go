package identity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"fairlead.dev/internal/resource"
)

// Bounds of federations, as Azure has them.
//
// Source: https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
const (
	MaxFederations    = 20  // of one identity
	maxFederationText = 600 // characters of an issuer, a subject or an audience
)

var federationName = regexp.MustCompile(`^[A-Za-z0-9][-_A-Za-z0-9]{2,119}$`)

// Federation says that a managed identity trusts tokens of another issuer: whoever presents one for this subject and
// audience is that identity. Azure calls it a federated identity credential. All three compare exactly, with their case.
type Federation struct {
	Name      string // unique within the identity, without regard to case
	Issuer    string // https URL
	Subject   string
	Audiences []string // exactly one, as in Azure
	Created   time.Time
}

// Assertion proves to be a managed identity by a token of an issuer that it is federated with.
type Assertion struct {
	ClientID        string
	Issuer, Subject string   // what the token claims
	Audiences       []string // what the token claims
	// Verify checks that the issuer has signed what is claimed. It may ask the issuer for keys, so it is called only when a
	// federation fits.
	Verify func(ctx context.Context) error
}

func (Assertion) credential() {}

// federated is all that checking an assertion needs.
type federated struct {
	federations []Federation
	principal   ServicePrincipal
}

// assertion establishes who asks: first that there is a federation which the claims fit, then that they are true. What
// was taken away while the issuer was asked no longer counts.
func (d *Directory) assertion(ctx context.Context, a Assertion) (Principal, error) {
	if _, err := d.federatedAs(ctx, a); err != nil {
		return Principal{}, err
	}
	if err := a.Verify(ctx); err != nil {
		return Principal{}, err
	}
	return d.federatedAs(ctx, a)
}

// federatedAs gives the principal that an assertion would prove if it were true.
func (d *Directory) federatedAs(ctx context.Context, a Assertion) (Principal, error) {
	version, err := d.store.Version(ctx)
	if err != nil {
		return Principal{}, err
	}
	clientID := fold(a.ClientID)
	f, err := d.federated.Get(version, clientID, func() (f federated, err error) {
		if f.principal, err = d.store.ServicePrincipalByClientID(ctx, clientID); err != nil {
			return f, err
		}
		f.federations, err = d.store.Federations(ctx, f.principal.ID)
		return f, err
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return Principal{}, ErrAppUnknown
	case err != nil:
		return Principal{}, err
	}
	if err := match(f.federations, a); err != nil {
		return Principal{}, err
	}
	if !f.principal.Enabled {
		return Principal{}, ErrPrincipalDisabled
	}
	return d.principal(f.principal), nil
}

// match looks for the federation that claims fit. A near miss is told apart, since it is nearly always a slip.
func match(all []Federation, a Assertion) error {
	near := ""
	for _, f := range all {
		switch {
		case f.Issuer == a.Issuer && f.Subject == a.Subject:
			if slices.ContainsFunc(f.Audiences, func(one string) bool { return slices.Contains(a.Audiences, one) }) {
				return nil
			}
			return ErrFederationAudience
		case strings.EqualFold(strings.TrimRight(f.Issuer, "/"), strings.TrimRight(a.Issuer, "/")) && strings.EqualFold(f.Subject, a.Subject):
			near = f.Name
		}
	}
	if near != "" {
		return ErrFederationUnknown.WithHint("The federated credential '%s' differs only in letter case or a final slash, and both count.", near)
	}
	return ErrFederationUnknown
}

// Federate stores a federation of the managed identity of owner, or changes the one with its name, and tells whether it
// is new. ErrPrincipalUnknown; ErrInvalid, whose Target names the field; ErrDuplicate when another federation of the
// identity has the same issuer and subject; ErrFederationsFull.
func (d *Directory) Federate(ctx context.Context, owner resource.ID, f Federation) (stored Federation, created bool, err error) {
	if err := checkFederation(f); err != nil {
		return f, false, err
	}
	sp, err := d.Managed(ctx, owner)
	if err != nil {
		return f, false, err
	}
	f.Created = d.stamp()
	stored, created, err = d.store.PutFederation(ctx, sp.ID, f, MaxFederations)
	if err != nil {
		return f, false, fmt.Errorf("storing federation %q of %s: %w", f.Name, owner, err)
	}
	return stored, created, nil
}

// Federations gives the federations of the managed identity of owner in order of their names; ErrPrincipalUnknown.
func (d *Directory) Federations(ctx context.Context, owner resource.ID) ([]Federation, error) {
	sp, err := d.Managed(ctx, owner)
	if err != nil {
		return nil, err
	}
	return d.store.Federations(ctx, sp.ID)
}

// Unfederate removes one; ErrPrincipalUnknown, ErrNotFound. Tokens of its issuer are refused from then on; access tokens
// that were given for them before live on, as those of every identity do.
func (d *Directory) Unfederate(ctx context.Context, owner resource.ID, name string) error {
	sp, err := d.Managed(ctx, owner)
	if err != nil {
		return err
	}
	return d.store.DeleteFederation(ctx, sp.ID, name)
}

func checkFederation(f Federation) error {
	if !federationName.MatchString(f.Name) {
		return ErrInvalid.WithTarget("name").WithMessage("a federated credential's name has 3 to 120 letters, digits, '-' and '_', and begins with a letter or digit")
	}
	if err := checkFederationText("issuer", f.Issuer); err != nil {
		return err
	}
	if err := checkFederationText("subject", f.Subject); err != nil {
		return err
	}
	if len(f.Audiences) != 1 {
		return ErrInvalid.WithTarget("audiences").WithMessage("a federated credential has exactly one audience, usually 'api://AzureADTokenExchange'; there are %d", len(f.Audiences))
	}
	if err := checkFederationText("audiences", f.Audiences[0]); err != nil {
		return err
	}
	u, err := url.Parse(f.Issuer)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.ContainsAny(f.Issuer, "?#") {
		return ErrInvalid.WithTarget("issuer").WithMessage("the issuer must be a URL that begins with https:// and has no query, fragment or user: exactly what the tokens' 'iss' says")
	}
	return nil
}

func checkFederationText(field, text string) error {
	switch {
	case text == "" || utf8.RuneCountInString(text) > maxFederationText || !utf8.ValidString(text):
		return ErrInvalid.WithTarget(field).WithMessage("the %s must have 1 to %d characters; it has %d", field, maxFederationText, utf8.RuneCountInString(text))
	case strings.Contains(text, "*") || strings.ContainsFunc(text, isControl):
		return ErrInvalid.WithTarget(field).WithMessage("the %s compares exactly: it may hold neither '*' nor a control character", field)
	}
	return nil
}
