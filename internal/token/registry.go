package token

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// registryIssuer is the issuer of every registry token, in Azure's words.
const registryIssuer = "Azure Container Registry"

// The grant types that registry tokens carry.
const (
	grantRefresh = "refresh_token"
	grantAccess  = "access_token"
)

// RegistryClaims is what a verified registry token says.
type RegistryClaims struct {
	Subject         string // principal id
	Tenant          string
	AdminGeneration int64          // of the registry's admin user; 0 for all others
	Access          []ScopedAccess // of an access token; never nil then
	ID              string         // of this token alone
	Issued, Expires time.Time
}

type registryClaims struct {
	ID          string         `json:"jti"`
	Subject     string         `json:"sub"`
	NotBefore   int64          `json:"nbf"`
	Expires     int64          `json:"exp"`
	IssuedAt    int64          `json:"iat"`
	Issuer      string         `json:"iss"`
	Audience    string         `json:"aud"`
	Version     string         `json:"version"`
	GrantType   string         `json:"grant_type"`
	AppID       string         `json:"appid,omitempty"`
	Tenant      string         `json:"tenant"`
	Generation  int64          `json:"generation,omitempty"` // ours: see RegistryClaims.AdminGeneration
	Permissions *permissions   `json:"permissions,omitempty"`
	Roles       []string       `json:"roles"`
	Access      []ScopedAccess `json:"access,omitempty"`
}

type permissions struct {
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions"`
}

// IssueRegistryRefresh signs a refresh token of p for the registry with a login server. actions are what p may do there
// at present, for clients that look; they are asked for anew whenever the token is used.
func (s *Service) IssueRegistryRefresh(ctx context.Context, p identity.Principal, loginServer string, actions ...string) (secret.Text, error) {
	c := s.registryClaims(p, loginServer, grantRefresh, registryRefreshLife)
	c.Permissions = &permissions{Actions: append([]string{}, actions...), NotActions: []string{}}
	return s.sign(ctx, c)
}

// IssueRegistryAccess signs an access token of p for the registry with a login server, which opens no more than access.
func (s *Service) IssueRegistryAccess(ctx context.Context, p identity.Principal, loginServer string, access []ScopedAccess) (secret.Text, error) {
	c := s.registryClaims(p, loginServer, grantAccess, registryAccessLife)
	c.Access = access
	return s.sign(ctx, c)
}

func (s *Service) registryClaims(p identity.Principal, loginServer, grant string, life time.Duration) registryClaims {
	now := s.now()
	return registryClaims{
		ID: uuid.NewString(), Subject: p.ID(), AppID: p.ClientID(), Issuer: registryIssuer, Audience: loginServer, Version: "1.0",
		NotBefore: now.Unix(), IssuedAt: now.Unix(), Expires: now.Add(life).Unix(),
		GrantType: grant, Tenant: s.tenant, Generation: p.Generation(), Roles: []string{},
	}
}

// VerifyRegistryRefresh checks a refresh token of the registry called name; ErrInvalid, ErrExpired, ErrAudience.
func (s *Service) VerifyRegistryRefresh(ctx context.Context, raw secret.Text, name string) (RegistryClaims, error) {
	return s.verifyRegistry(ctx, raw, name, grantRefresh)
}

// VerifyRegistryAccess checks an access token of the registry called name; ErrInvalid, ErrExpired, ErrAudience.
func (s *Service) VerifyRegistryAccess(ctx context.Context, raw secret.Text, name string) (RegistryClaims, error) {
	return s.verifyRegistry(ctx, raw, name, grantAccess)
}

func (s *Service) verifyRegistry(ctx context.Context, raw secret.Text, name, grant string) (RegistryClaims, error) {
	var c registryClaims
	if err := s.verify(ctx, raw, &c); err != nil {
		return RegistryClaims{}, err
	}
	switch {
	case c.Issuer != registryIssuer, c.GrantType != grant, c.Tenant != s.tenant, c.Subject == "":
		return RegistryClaims{}, ErrInvalid
	case !s.isRegistry(c.Audience, name):
		return RegistryClaims{}, ErrAudience.WithMessage("the token is for another registry: %.200q", c.Audience)
	}
	if err := s.checkPeriod(c.NotBefore, c.Expires); err != nil {
		return RegistryClaims{}, err
	}
	if c.Access == nil {
		c.Access = []ScopedAccess{}
	}
	return RegistryClaims{
		Subject: c.Subject, Tenant: c.Tenant, AdminGeneration: c.Generation, Access: c.Access, ID: c.ID,
		Issued: time.Unix(c.IssuedAt, 0).UTC(), Expires: time.Unix(c.Expires, 0).UTC(),
	}, nil
}

// isRegistry reports whether a login server, under whichever of our domains and ports or under Azure's, is that of name.
func (s *Service) isRegistry(loginServer, name string) bool {
	if alias, ok := strings.CutSuffix(strings.ToLower(loginServer), resource.AzureRegistries); ok {
		return strings.EqualFold(alias, name)
	}
	kind, found := s.origin.ParseHost(loginServer)
	return kind == resource.HostRegistry && strings.EqualFold(found, name)
}
