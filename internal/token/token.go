// Package token owns the grant in transit: it signs and verifies access tokens with Azure's claims and the refresh and
// access tokens of registries, and keeps and rotates the keys that they are signed with. Algorithm and key are ours to
// choose, never the token's. Who may get which token, and what it opens, is for the surfaces and package access.
package token

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// How long tokens are valid, as Azure's are.
const (
	applicationLife     = time.Hour
	managedLife         = 24 * time.Hour
	registryRefreshLife = 3 * time.Hour
	registryAccessLife  = 75 * time.Minute
	longestLife         = managedLife
)

// skew is how far in the future a token's beginning may lie: the clocks of two replicas differ by less.
const skew = time.Minute

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 16 << 10

// Errors of verification.
var (
	// ErrInvalid: the token is malformed, not signed by us, or not of the kind that is wanted here.
	ErrInvalid = fault.New(fault.Unauthenticated, "TokenInvalid", "the token is not one that was issued here")
	// ErrExpired: the token has run out, or is not valid yet.
	ErrExpired = fault.New(fault.Unauthenticated, "TokenExpired", "the token has expired")
	// ErrAudience: the token is for another audience.
	ErrAudience = fault.New(fault.Unauthenticated, "TokenAudience", "the token is for another audience")
)

// Service issues and verifies the tokens of one tenant. All methods are safe for concurrent use.
type Service struct {
	keys   *keyring
	origin resource.Origin
	tenant string
	now    func() time.Time
}

// NewService makes the token service of a tenant. The first key is made when it is first needed.
func NewService(keys KeyStore, sealer *secret.Sealer, origin resource.Origin, tenant string, now func() time.Time) *Service {
	return &Service{keys: &keyring{store: keys, sealer: sealer, now: now}, origin: origin, tenant: tenant, now: now}
}

// Claims is what a verified access token says.
type Claims struct {
	ObjectID        string
	ClientID        string
	Tenant          string
	Audience        string
	Version         string // "1.0", "2.0"
	ID              string // of this token alone
	Issued, Expires time.Time
}

// accessClaims is the body of an access token.
//
// Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
type accessClaims struct {
	Audience   string `json:"aud"`
	Issuer     string `json:"iss"`
	IssuedAt   int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	Expires    int64  `json:"exp"`
	AppID      string `json:"appid,omitempty"`    // version 1.0
	AppIDACR   string `json:"appidacr,omitempty"` // version 1.0
	AZP        string `json:"azp,omitempty"`      // version 2.0
	AZPACR     string `json:"azpacr,omitempty"`   // version 2.0
	IDP        string `json:"idp"`
	IDType     string `json:"idtyp"`
	ObjectID   string `json:"oid"`
	Subject    string `json:"sub"`
	Tenant     string `json:"tid"`
	UTI        string `json:"uti"`
	Version    string `json:"ver"`
	ResourceID string `json:"xms_mirid,omitempty"` // of a managed identity
}

// How the client proved itself, in the claims appidacr and azpacr.
const (
	provedBySecret      = "1"
	provedByCertificate = "2" // as managed identities do
)

// IssueAccess signs an access token for p in Azure's version 1 or 2 and gives it with the time at which it ends.
func (s *Service) IssueAccess(ctx context.Context, p identity.Principal, audience string, version int) (secret.Text, time.Time, error) {
	now, life, proof := s.now(), applicationLife, provedBySecret
	c := accessClaims{
		Audience: audience, IDType: "app", ObjectID: p.ID(), Subject: p.ID(), Tenant: s.tenant, UTI: uti(),
		IDP: s.origin.IssuerV1(s.tenant),
	}
	if p.Kind() == identity.KindManaged {
		life, proof, c.ResourceID = managedLife, provedByCertificate, p.Resource().String()
	}
	switch version {
	case 1:
		c.Issuer, c.Version, c.AppID, c.AppIDACR = s.origin.IssuerV1(s.tenant), "1.0", p.ClientID(), proof
	case 2:
		c.Issuer, c.Version, c.AZP, c.AZPACR = s.origin.Issuer(s.tenant), "2.0", p.ClientID(), proof
	default:
		return secret.Text{}, time.Time{}, fmt.Errorf("issuing an access token: there is no version %d", version)
	}
	c.IssuedAt, c.NotBefore, c.Expires = now.Unix(), now.Unix(), now.Add(life).Unix()
	t, err := s.sign(ctx, c)
	return t, time.Unix(c.Expires, 0).UTC(), err
}

// VerifyAccess checks an access token: our signature, issuer, tenant, period, and an audience that accept takes.
// ErrInvalid, ErrExpired, ErrAudience. Whether its principal still exists is for the caller to ask.
func (s *Service) VerifyAccess(ctx context.Context, raw secret.Text, accept func(aud string) bool) (Claims, error) {
	var c accessClaims
	if err := s.verify(ctx, raw, &c); err != nil {
		return Claims{}, err
	}
	issuers := map[string]string{"1.0": s.origin.IssuerV1(s.tenant), "2.0": s.origin.Issuer(s.tenant)}
	switch {
	case c.Issuer == "" || c.Issuer != issuers[c.Version], c.Tenant != s.tenant, c.ObjectID == "":
		return Claims{}, ErrInvalid
	case !accept(c.Audience):
		return Claims{}, ErrAudience.WithMessage("the token is for another audience: %.200q", c.Audience)
	}
	if err := s.checkPeriod(c.NotBefore, c.Expires); err != nil {
		return Claims{}, err
	}
	return Claims{
		ObjectID: c.ObjectID, ClientID: c.AppID + c.AZP, Tenant: c.Tenant, Audience: c.Audience, Version: c.Version, ID: c.UTI,
		Issued: time.Unix(c.IssuedAt, 0).UTC(), Expires: time.Unix(c.Expires, 0).UTC(),
	}, nil
}

func (s *Service) checkPeriod(notBefore, expires int64) error {
	now := s.now()
	switch {
	case !now.Before(time.Unix(expires, 0)):
		return ErrExpired.WithMessage("the token expired at %s", time.Unix(expires, 0).UTC().Format(time.RFC3339))
	case now.Add(skew).Before(time.Unix(notBefore, 0)):
		return ErrExpired.WithMessage("the token is not valid before %s", time.Unix(notBefore, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

// JWKS gives the public keys that tokens may be verified with at present.
func (s *Service) JWKS(ctx context.Context) (jose.JSONWebKeySet, error) { return s.keys.public(ctx) }

// Rotate makes a new key to sign with. Older ones verify until the last token they signed has run out, and are then
// removed.
func (s *Service) Rotate(ctx context.Context) error { return s.keys.rotate(ctx) }

func (s *Service) sign(ctx context.Context, claims any) (secret.Text, error) {
	signer, err := s.keys.signer(ctx)
	if err != nil {
		return secret.Text{}, fmt.Errorf("signing a token: %w", err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		return secret.Text{}, fmt.Errorf("signing a token: %w", err)
	}
	return secret.New(raw), nil
}

// verify checks that raw was signed by one of our keys and decodes it into claims; ErrInvalid.
func (s *Service) verify(ctx context.Context, raw secret.Text, claims any) error {
	text := strings.TrimSpace(raw.Reveal())
	if len(text) > maxToken {
		return ErrInvalid.WithMessage("the token is over %d bytes long", maxToken)
	}
	t, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(t.Headers) != 1 {
		return ErrInvalid
	}
	key, err := s.keys.find(ctx, t.Headers[0].KeyID)
	if err != nil {
		return err
	}
	if err := t.Claims(key, claims); err != nil {
		return ErrInvalid
	}
	return nil
}

// uti gives a token's own id, as Azure writes it: 16 random bytes in base64url.
func uti() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
