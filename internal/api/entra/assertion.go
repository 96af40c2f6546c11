package entra

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// Bounds of an assertion.
const (
	maxAssertion  = 16 << 10 // bytes
	assertionSkew = time.Minute
	minRSABits    = 2048
)

// assertionType is the one type of client assertions (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionAlgorithms are those that an assertion may be signed with: none with a shared key, which would let whoever
// reads an issuer's public keys sign in its name.
func assertionAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512}
}

// readAssertion reads a client assertion (RFC 7523) without believing it yet. It may end in a newline, for clients send
// a token's file as it is.
func (h *handler) readAssertion(form url.Values) (identity.Assertion, error) {
	switch given := form.Get("client_assertion_type"); given {
	case assertionType:
	case "":
		return identity.Assertion{}, missing("client_assertion_type")
	default:
		return identity.Assertion{}, errMalformed.WithMessage("Invalid request. The client_assertion_type '%.100s' is not supported: it must be '%s'.", given, assertionType)
	}
	text := strings.TrimSpace(form.Get("client_assertion"))
	if len(text) > maxAssertion {
		return identity.Assertion{}, errAssertion.WithMessage("JWT token is invalid or malformed: it is over %d bytes long.", maxAssertion)
	}
	token, err := jwt.ParseSigned(text, assertionAlgorithms())
	_, otherAlgorithm := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err)
	switch {
	case otherAlgorithm:
		return identity.Assertion{}, errAssertionAlgorithm.WithCause(err)
	case err != nil:
		return identity.Assertion{}, errAssertion.WithCause(err)
	case len(token.Headers) != 1:
		return identity.Assertion{}, errAssertion
	}
	var claims jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return identity.Assertion{}, errAssertion.WithCause(err)
	}
	for name, absent := range map[string]bool{"iss": claims.Issuer == "", "sub": claims.Subject == "", "exp": claims.Expiry == nil} {
		if absent {
			return identity.Assertion{}, errAssertion.WithMessage("JWT token is invalid or malformed: it has no claim '%s'.", name)
		}
	}
	return identity.Assertion{
		ClientID: form.Get("client_id"), Issuer: claims.Issuer, Subject: claims.Subject, Audiences: claims.Audience,
		Verify: func(ctx context.Context) error { return h.verifyAssertion(ctx, token, claims) },
	}, nil
}

// verifyAssertion checks an assertion's signature and period. claims are those of the token itself.
func (h *handler) verifyAssertion(ctx context.Context, token *jwt.JSONWebToken, claims jwt.Claims) error {
	kid := token.Headers[0].KeyID
	set, err := h.keysOf(ctx, claims.Issuer, kid)
	if err != nil {
		return err
	}
	fitting := keysFor(set, kid, token.Headers[0].Algorithm)
	if len(fitting) == 0 {
		return errAssertionKey.WithMessage("The key with identifier '%.100s' used to sign the federated credential could not be found in the metadata of identity provider %.200s.", kid, claims.Issuer)
	}
	signed := false
	for _, key := range fitting {
		signed = signed || token.Claims(key, &jwt.Claims{}) == nil
	}
	if !signed {
		return errAssertionSignature
	}
	return h.checkPeriod(claims)
}

func (h *handler) checkPeriod(claims jwt.Claims) error {
	now, from, until := h.Now().UTC(), time.Time{}, claims.Expiry.Time().UTC()
	if claims.NotBefore != nil {
		from = claims.NotBefore.Time().UTC()
	}
	if now.Before(until.Add(assertionSkew)) && !now.Add(assertionSkew).Before(from) {
		return nil
	}
	return errAssertionPeriod.WithMessage("Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.",
		now.Format(time.RFC3339), from.Format(time.RFC3339), until.Format(time.RFC3339))
}

// keysOf gives the keys of an issuer: one that runs here is asked nothing over the network.
func (h *handler) keysOf(ctx context.Context, issuer, kid string) (jose.JSONWebKeySet, error) {
	set, ours, err := h.Issuers.Keys(ctx, issuer)
	if err != nil || ours {
		return set, err
	}
	if u, err := url.Parse(issuer); err == nil {
		switch kind, name := h.Origin.ParseHost(u.Host); {
		case kind == resource.HostService && resource.Service(name) == resource.OIDC:
			return set, errIssuer.WithMessage("The issuer %.200s is that of no cluster here: it may have been deleted.", issuer)
		case kind != resource.HostUnknown:
			return set, errIssuerOurs
		}
	}
	set, err = h.Foreign.Keys(ctx, issuer, kid)
	if f := fault.From(err); err != nil && f.Kind == fault.Unavailable {
		return set, errIssuer.WithMessage("Request to External OIDC endpoint failed: %s.", f.Message).WithCause(err)
	}
	return set, err
}

// keysFor gives the keys of a set that a signature with this key id and algorithm may be checked with. Without an id
// only a set of one key says which is meant.
func keysFor(set jose.JSONWebKeySet, kid, algorithm string) []jose.JSONWebKey {
	var out []jose.JSONWebKey
	for _, k := range set.Keys {
		if usable(k) && (k.KeyID == kid || kid == "" && len(set.Keys) == 1) && (k.Algorithm == "" || k.Algorithm == algorithm) {
			out = append(out, k)
		}
	}
	return out
}

// usable reports whether a key is a public one for signatures, and strong enough.
func usable(k jose.JSONWebKey) bool {
	if !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey:
		return true
	}
	return false
}

// explainAssertion puts the directory's refusal of an assertion into Entra's words.
func explainAssertion(a identity.Assertion, err error) error {
	audiences := strings.Join(a.Audiences, ", ")
	switch {
	case errors.Is(err, identity.ErrFederationUnknown):
		hint := ""
		if f := fault.From(err); f.Hint != "" {
			hint = " " + f.Hint
		}
		return errFederation.WithMessage("No matching federated identity record found for presented assertion. Assertion Issuer: '%.600s'. Assertion Subject: '%.600s'. Assertion Audience: '%.600s'.%s",
			a.Issuer, a.Subject, audiences, hint)
	case errors.Is(err, identity.ErrFederationAudience):
		return errFederationAudience.WithMessage("No matching federated identity record found for presented assertion audience '%.600s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.", audiences)
	}
	return err
}
