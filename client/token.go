package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// registryScope is the audience that a token must have to be exchanged at a registry; a constant in every cloud.
const registryScope = "https://containerregistry.azure.net/.default"

type token struct {
	value   Secret
	expires time.Time
}

func (c *Client) armScope() string   { return c.server.ARM + "/.default" }
func (c *Client) graphScope() string { return c.server.Graph + "/.default" }

// Token gives an access token for a scope ("https://…/.default"), from memory while it has a minute to live. A refusal
// is an *Error whose message begins with Azure's AADSTS code.
func (c *Client) Token(ctx context.Context, scope string) (Secret, error) {
	value, _, err := c.TokenUntil(ctx, scope)
	return value, err
}

// TokenUntil is Token, with the time at which the token ends.
func (c *Client) TokenUntil(ctx context.Context, scope string) (Secret, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.tokens[scope]; ok && time.Until(t.expires) > time.Minute {
		return t.value, t.expires, nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.credential.ClientID},
		"client_secret": {string(c.credential.ClientSecret)}, "scope": {scope},
	}
	var reply struct {
		AccessToken Secret `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"` // seconds
	}
	if err := c.postForm(ctx, c.server.Login+"/"+url.PathEscape(c.server.Tenant)+"/oauth2/v2.0/token", form, &reply); err != nil {
		return "", time.Time{}, err
	}
	t := token{reply.AccessToken, time.Now().Add(time.Duration(reply.ExpiresIn) * time.Second)}
	c.tokens[scope] = t
	return t.value, t.expires, nil
}

// forget drops a cached token that the server no longer takes.
func (c *Client) forget(scope string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tokens, scope)
}

func (c *Client) postForm(ctx context.Context, to string, form url.Values, v any) error {
	a, err := c.send(ctx, request{
		method: http.MethodPost, url: to, body: []byte(form.Encode()),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	})
	if err != nil {
		return err
	}
	return a.decode(v)
}
