package credentialprovider

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/client"
)

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 1 << 20

// fromMetadata gets an access token of the node's identity, and tells whose it is.
//
// Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
func (p *Provider) fromMetadata(ctx context.Context, s subject) (client.Secret, subject, error) {
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {audience}}
	if s.clientID != "" {
		query.Set("client_id", s.clientID)
	}
	target := strings.TrimRight(p.config.MetadataEndpoint, "/") + "/metadata/identity/oauth2/token"
	f := Failure{Step: StepMetadata, URL: target, ClientID: s.clientID}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target+"?"+query.Encode(), nil)
	if err != nil {
		return "", s, unreachable(f, err)
	}
	r.Header.Set("Metadata", "true")
	var reply struct {
		AccessToken client.Secret `json:"access_token"`
		ClientID    string        `json:"client_id"`
	}
	if err := p.ask(p.direct, r, f, &reply); err != nil {
		return "", s, err
	}
	if s.clientID == "" {
		s.clientID = reply.ClientID
	}
	if s.tenant == "" {
		s.tenant = readClaims(reply.AccessToken).Tenant
	}
	return reply.AccessToken, s, need(f, "access_token", reply.AccessToken)
}

// fromServiceAccount turns a service account's token into an access token of the managed identity that trusts it.
//
// Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow#third-case-access-token-request-with-a-federated-credential
func (p *Provider) fromServiceAccount(ctx context.Context, s subject) (client.Secret, subject, error) {
	f := Failure{Step: StepFederation, URL: p.config.Authority, ClientID: s.clientID}
	switch {
	case p.config.Authority == "":
		f.Message = "the configuration names no authority"
		f.Advice = "name it as 'authority', such as https://login.fairlead.internal:8443"
	case uuid.Validate(s.clientID) != nil:
		f.Message = fmt.Sprintf("the service account's annotation names %.80q, which is no client id", s.clientID)
		f.Advice = "annotate the service account with " + clientAnnotations()[0] + ": the client id of its managed identity, a GUID"
	case uuid.Validate(s.tenant) != nil:
		f.Message = fmt.Sprintf("%.80q is no tenant id", s.tenant)
		f.Advice = "name it as 'tenantId' in the configuration, or in the service account's annotation " + tenantAnnotations()[0]
	}
	if f.Message != "" {
		return "", s, &f
	}
	f.URL = strings.TrimRight(p.config.Authority, "/") + "/" + s.tenant + "/oauth2/v2.0/token"
	c := readClaims(s.assertion)
	f.Advice = fmt.Sprintf("the managed identity %s needs a federated credential with issuer %.200q, subject %.200q and audience %.200q", s.clientID, c.Issuer, c.Subject, strings.Join(c.Audience, " "))
	var reply struct {
		AccessToken client.Secret `json:"access_token"`
	}
	err := p.post(ctx, f, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {s.clientID}, "scope": {audience + "/.default"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {string(s.assertion)},
	}, &reply, s.assertion)
	if err != nil {
		return "", s, err
	}
	return reply.AccessToken, s, need(f, "access_token", reply.AccessToken)
}

// exchange turns an access token into a refresh token of the registry.
//
// Source: https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
func (p *Provider) exchange(ctx context.Context, server string, s subject, access client.Secret) (client.Secret, error) {
	f := Failure{Step: StepExchange, URL: "https://" + server + "/oauth2/exchange", ClientID: s.clientID}
	form := url.Values{"grant_type": {"access_token"}, "service": {server}, "access_token": {string(access)}}
	if s.tenant != "" {
		form.Set("tenant", s.tenant)
	}
	var reply struct {
		RefreshToken client.Secret `json:"refresh_token"`
	}
	if err := p.post(ctx, f, form, &reply, access); err != nil {
		return "", err
	}
	return reply.RefreshToken, need(f, "refresh_token", reply.RefreshToken)
}

func (p *Provider) post(ctx context.Context, f Failure, form url.Values, reply any, sent client.Secret) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return unreachable(f, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.ask(p.client, r, f, reply, sent)
}

// ask sends a request and decodes the answer, which must be 200; a *Failure made of f when it is not.
func (p *Provider) ask(c *http.Client, r *http.Request, f Failure, reply any, sent ...client.Secret) error {
	answer, err := c.Do(r)
	if err != nil {
		return unreachable(f, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return unreachable(f, err)
	}
	f.Status = answer.StatusCode
	switch {
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		f.Message, f.Advice = "it leads elsewhere, and tokens are not sent after it", "name the final address in the configuration"
		return &f
	case answer.StatusCode != http.StatusOK:
		return refused(f, body, sent...)
	}
	if json.Unmarshal(body, reply) != nil {
		f.Message, f.Advice = "the answer is not the JSON that is expected", "see whether that address is the right one"
		return &f
	}
	return nil
}

// need refuses an answer that lacks its token.
func need(f Failure, field string, value client.Secret) error {
	if value != "" {
		return nil
	}
	f.Status, f.Message, f.Advice = http.StatusOK, fmt.Sprintf("the answer has no %q", field), "see whether that address is the right one"
	return &f
}

// claims is what a token says, which nobody has verified: only for people to read, and for what cannot harm.
type claims struct {
	Issuer   string
	Subject  string
	Audience []string
	Tenant   string
	Expires  int64
}

func readClaims(token client.Secret) claims {
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return claims{}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var raw struct {
		Iss string          `json:"iss"`
		Sub string          `json:"sub"`
		Aud json.RawMessage `json:"aud"`
		Tid string          `json:"tid"`
		Exp float64         `json:"exp"`
	}
	if err != nil || json.Unmarshal(text, &raw) != nil {
		return claims{}
	}
	c := claims{Issuer: raw.Iss, Subject: raw.Sub, Tenant: raw.Tid, Expires: int64(raw.Exp)}
	if json.Unmarshal(raw.Aud, &c.Audience) != nil { // one audience may stand without a list
		var one string
		if json.Unmarshal(raw.Aud, &one) == nil {
			c.Audience = []string{one}
		}
	}
	return c
}
