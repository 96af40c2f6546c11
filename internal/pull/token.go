package pull

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// maxTokenAnswer is the most bytes that a token endpoint's answer is read of.
const maxTokenAnswer = 1 << 20

// login gives the function that gets a registry token for a candidate: none for a stranger, a user's by name and
// password, a managed identity's by the exchange of its access token for a refresh token (AAD-OAuth in Azure/acr's docs).
func (p *Puller) login(c *Candidate) func(context.Context, *remote) (secret.Text, error) {
	return func(ctx context.Context, r *remote) (secret.Text, error) {
		realm, service, err := r.ask(ctx)
		if err != nil || realm == nil {
			return secret.Text{}, err
		}
		switch {
		case c == nil:
			return r.tokenByGet(ctx, realm, service, nil)
		case c.Identity == nil:
			return r.tokenByGet(ctx, realm, service, c)
		}
		access, err := p.identities.Token(ctx, *c.Identity, resource.AzureRegistry)
		if err != nil {
			return secret.Text{}, identityGone(err)
		}
		return r.tokenByExchange(ctx, realm, service, access)
	}
}

func identityGone(err error) error {
	if fault.KindOf(err) == fault.Unavailable {
		return &Error{StageIdentity, ErrUnreachable.Code, ErrUnreachable.WithMessage("no token could be had for the identity at present").WithCause(err)}
	}
	return &Error{StageIdentity, ErrIdentityGone.Code, ErrIdentityGone.WithCause(err)}
}

// ask finds out where the registry gives tokens: its challenge to a stranger says so. A nil realm means that it asks
// for none. The realm must be on the registry's own host: a credential goes nowhere else.
func (r *remote) ask(ctx context.Context) (realm *url.URL, service string, err error) {
	res, err := r.send(ctx, func() (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, r.url("/v2/", nil), nil)
	})
	if err != nil {
		return nil, "", err
	}
	drop(res)
	if res.StatusCode == http.StatusOK {
		return nil, "", nil
	}
	if res.StatusCode != http.StatusUnauthorized {
		return nil, "", r.unexpected(res.StatusCode, "the question how to log in")
	}
	params, ok := bearerChallenge(res.Header.Values("WWW-Authenticate"))
	if !ok {
		return nil, "", ErrRegistryUnavailable.WithMessage("the registry %s asks for a kind of login that is not spoken here", r.service)
	}
	realm, err = url.Parse(params["realm"])
	if err != nil || !r.own(realm) {
		return nil, "", ErrRegistryUnavailable.WithMessage("the registry %s sends to another host for its tokens: no credential is sent there", r.service)
	}
	if service = params["service"]; service == "" {
		service = r.service
	}
	return realm, service, nil
}

func (r *remote) scope() string { return "repository:" + r.repository + ":pull" }

// tokenByGet asks with the name and password of c, or as a stranger.
func (r *remote) tokenByGet(ctx context.Context, realm *url.URL, service string, c *Candidate) (secret.Text, error) {
	query := url.Values{"service": {service}, "scope": {r.scope()}}
	if c != nil {
		query.Set("account", c.Username)
	}
	target := *realm
	target.RawQuery = query.Encode()
	a, err := r.auth(ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
		if err == nil && c != nil {
			req.SetBasicAuth(c.Username, c.Password.Reveal())
		}
		return req, err
	})
	if err != nil {
		return secret.Text{}, err
	}
	if a.refuses() {
		if c == nil {
			return secret.Text{}, r.stranger
		}
		return secret.Text{}, ErrRefused.WithMessage("the registry %s refused user %q: the password is wrong or has expired, or the user has no right to the registry", r.service, c.Username)
	}
	return r.tokenIn(a, "access_token", "token")
}

// tokenByExchange trades a managed identity's access token for a refresh token of the registry and that for a token of
// the repository.
func (r *remote) tokenByExchange(ctx context.Context, realm *url.URL, service string, access secret.Text) (secret.Text, error) {
	refresh, err := r.refreshToken(ctx, service, access)
	if err != nil {
		return secret.Text{}, err
	}
	a, err := r.post(ctx, realm.String(), url.Values{
		"grant_type": {"refresh_token"}, "service": {service}, "scope": {r.scope()}, "refresh_token": {refresh.Reveal()},
	})
	if err != nil {
		return secret.Text{}, err
	}
	if a.refuses() {
		return secret.Text{}, r.denied()
	}
	return r.tokenIn(a, "access_token")
}

// refreshToken trades an access token for a refresh token of the registry.
func (r *remote) refreshToken(ctx context.Context, service string, access secret.Text) (secret.Text, error) {
	a, err := r.post(ctx, r.url("/oauth2/exchange", nil), url.Values{
		"grant_type": {"access_token"}, "service": {service}, "access_token": {access.Reveal()},
	})
	if err != nil {
		return secret.Text{}, err
	}
	if a.refuses() {
		return secret.Text{}, r.denied()
	}
	return r.tokenIn(a, "refresh_token")
}

// denied is the refusal of a credential that is valid in itself.
func (r *remote) denied() error {
	return &Error{StageRole, ErrDenied.Code, ErrDenied.WithMessage("the registry %s refused the right to pull %s", r.service, r.repository)}
}

func (r *remote) post(ctx context.Context, target string, form url.Values) (answer, error) {
	return r.auth(ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	})
}

// auth makes a request that carries a credential; a redirect is an answer, and is not followed.
func (r *remote) auth(ctx context.Context, build func() (*http.Request, error)) (answer, error) {
	res, err := r.send(ctx, build)
	if err != nil {
		return answer{}, err
	}
	defer drop(res)
	a, err := read(res, maxTokenAnswer)
	if err != nil && !errors.Is(err, errLong) {
		return answer{}, r.unreachable(ctx, err)
	}
	return a, nil
}

func (r *remote) tokenIn(a answer, names ...string) (secret.Text, error) {
	if a.status != http.StatusOK {
		return secret.Text{}, r.unexpected(a.status, "the request for a token")
	}
	if token, ok := parseToken(a.body, names...); ok {
		return token, nil
	}
	return secret.Text{}, ErrRegistryUnavailable.WithMessage("the registry %s answers the request for a token with something else", r.service)
}

// claims are what is noted of a token: registries' tokens are JWTs mostly, and then they say how long they hold.
type claims struct {
	Audience  string `json:"aud"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
}

// readClaims reads a token's claims for the record. They are not verified, and nothing is decided by them.
func readClaims(t secret.Text) (c claims) {
	parts := strings.Split(t.Reveal(), ".")
	if len(parts) != 3 {
		return claims{}
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(body, &c) != nil {
		return claims{}
	}
	return c
}

// parseToken finds the first of names in a token endpoint's answer. What could not stand in a header is no token.
func parseToken(body []byte, names ...string) (secret.Text, bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return secret.Text{}, false
	}
	for _, name := range names {
		var s string
		if json.Unmarshal(fields[name], &s) != nil || s == "" {
			continue
		}
		visible := !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
		return secret.New(s), visible
	}
	return secret.Text{}, false
}
