package entra

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/secret"
)

// Bounds of a token request, in bytes.
const (
	maxForm  = 64 << 10
	maxScope = 4 << 10
)

// tokenReply is the answer of the v2.0 endpoint.
type tokenReply struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
}

// tokenReplyV1 is the answer to a request for a "resource": all numbers are strings.
type tokenReplyV1 struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    string `json:"expires_in"` // seconds
	ExtExpiresIn string `json:"ext_expires_in"`
	ExpiresOn    string `json:"expires_on"` // seconds since 1970
	NotBefore    string `json:"not_before"` // seconds since 1970
	Resource     string `json:"resource"`
	AccessToken  string `json:"access_token"`
}

// token answers a client_credentials request. The client is authenticated before what it asks for is looked at.
func (h *handler) token(r *http.Request, rt route) (any, error) {
	form, err := readForm(r)
	if err != nil {
		return nil, err
	}
	switch grant := form.Get("grant_type"); {
	case grant == "":
		return nil, missing("grant_type")
	case grant != "client_credentials":
		return nil, errGrantType.WithMessage("The app requested an unsupported grant type '%.80s'.", grant)
	}
	p, err := h.authenticate(r, form)
	if err != nil {
		return nil, err
	}
	api.WithPrincipal(r.Context(), p)
	asked, byResource, err := readAudience(form, rt)
	if err != nil {
		return nil, err
	}
	audience, version, ok := h.Origin.TokenAudience(asked, byResource)
	if !ok {
		return nil, errResource.WithMessage("The resource principal named %.200s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.", asked, h.Tenant)
	}
	raw, expires, err := h.Tokens.IssueAccess(r.Context(), p, audience, version)
	if err != nil {
		return nil, err
	}
	now := h.Now()
	life := max(0, expires.Unix()-now.Unix()-1) // 3599, as Azure counts
	if !byResource {
		return tokenReply{"Bearer", life, life, raw.Reveal()}, nil
	}
	return tokenReplyV1{
		TokenType: "Bearer", ExpiresIn: strconv.FormatInt(life, 10), ExtExpiresIn: strconv.FormatInt(life, 10),
		ExpiresOn: strconv.FormatInt(expires.Unix(), 10), NotBefore: strconv.FormatInt(now.Unix(), 10),
		Resource: audience, AccessToken: raw.Reveal(),
	}, nil
}

// readForm reads a body that must be a form with each field once.
func readForm(r *http.Request) (url.Values, error) {
	if api.MediaType(r) != "application/x-www-form-urlencoded" {
		return nil, missing("grant_type")
	}
	body, err := api.ReadBody(r, maxForm)
	if err != nil {
		return nil, errMalformed.WithMessage("Invalid request. The request body is over %d bytes or ended early.", maxForm).WithCause(err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errMalformed.WithCause(err)
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, errDuplicate.WithMessage("The request is not properly formatted. The parameter '%.80s' is duplicated.", name)
		}
	}
	return form, nil
}

// authenticate establishes who asks, by an assertion or by a secret.
func (h *handler) authenticate(r *http.Request, form url.Values) (identity.Principal, error) {
	if form.Has("client_assertion") {
		if err := checkAlone(r, form); err != nil {
			return identity.Principal{}, err
		}
		a, err := h.readAssertion(form)
		if err != nil {
			return identity.Principal{}, err
		}
		p, err := h.Directory.Authenticate(r.Context(), a)
		if err != nil {
			err = h.explainRefusal(a.ClientID, explainAssertion(a, err))
		}
		return p, err
	}
	credential, err := readCredential(r, form)
	if err != nil {
		return identity.Principal{}, err
	}
	p, err := h.Directory.Authenticate(r.Context(), credential)
	if err != nil {
		err = h.explainRefusal(credential.ClientID, err)
	}
	return p, err
}

// checkAlone refuses a client assertion without a client or with a second proof beside it (RFC 6749 section 2.3).
func checkAlone(r *http.Request, form url.Values) error {
	_, _, basic := r.BasicAuth()
	switch {
	case basic || form.Get("client_secret") != "":
		return errMalformed.WithMessage("Invalid request. A client assertion and a client secret are both given.")
	case form.Get("client_id") == "":
		return missing("client_id")
	}
	return nil
}

// readCredential reads client id and secret from the form or from a Basic header, never from both.
func readCredential(r *http.Request, form url.Values) (identity.ClientSecret, error) {
	id, text := form.Get("client_id"), form.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		user, password = formDecoded(user), formDecoded(password)
		if text != "" || id != "" && id != user {
			return identity.ClientSecret{}, errMalformed.WithMessage("Invalid request. Client credentials are given both in the header and in the body.")
		}
		id, text = user, password
	}
	switch {
	case id == "":
		return identity.ClientSecret{}, missing("client_id")
	case text == "":
		return identity.ClientSecret{}, errNoSecret
	}
	return identity.ClientSecret{ClientID: id, Secret: secret.New(text)}, nil
}

// formDecoded undoes the form encoding of a Basic header's parts (RFC 6749 section 2.3.1), which many clients leave out.
func formDecoded(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// readAudience reads what the token is to be for: a resource (version 1), or a scope that ends in "/.default", of which
// one slash goes and one stays when it has two. byResource tells which it was.
func readAudience(form url.Values, rt route) (audience string, byResource bool, err error) {
	scope, res := form.Get("scope"), form.Get("resource")
	switch {
	case len(scope) > maxScope || len(res) > maxScope:
		return "", false, errScope.WithMessage("The provided value for the input parameter 'scope' is over %d bytes long.", maxScope)
	case res != "" && rt.v2 && !rt.adfs:
		return "", false, errResourceV2
	case res != "":
		return res, true, nil
	case scope == "" && rt.v2:
		return "", false, missing("scope")
	case scope == "":
		return "", false, missing("resource")
	}
	audience, err = parseScope(scope)
	return audience, false, err
}

// parseScope gives the audience that a v2.0 scope names. The scopes of OpenID Connect change nothing.
func parseScope(scope string) (string, error) {
	audience := ""
	for one := range strings.FieldsSeq(scope) {
		if slices.Contains([]string{"openid", "profile", "email", "offline_access"}, one) {
			continue
		}
		found, ok := strings.CutSuffix(one, "/.default")
		switch {
		case !ok || found == "":
			return "", errScopeDefault.WithMessage("The provided value for scope %.200s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", one)
		case audience != "" && audience != found:
			return "", errScopeMany
		}
		audience = found
	}
	if audience == "" {
		return "", errScopeDefault.WithMessage("The provided value for scope %.200s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scope)
	}
	return audience, nil
}

// explainRefusal puts the directory's refusal into Entra's words.
func (h *handler) explainRefusal(clientID string, err error) error {
	switch {
	case errors.Is(err, identity.ErrAppUnknown):
		return errAppUnknown.WithMessage("Application with identifier '%.80s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.", clientID, h.Tenant)
	case errors.Is(err, identity.ErrSecretWrong):
		return errSecretWrong.WithMessage("Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%.80s'.", clientID)
	case errors.Is(err, identity.ErrSecretExpired):
		return errSecretExpired.WithMessage("The provided client secret keys for app '%.80s' are expired. Make new keys for the app, for example with 'fairlead sp reset'.", clientID)
	case errors.Is(err, identity.ErrPrincipalUnknown):
		return errNoPrincipal.WithMessage("The client application %.80s is missing service principal in the tenant %s.", clientID, h.Tenant)
	case errors.Is(err, identity.ErrPrincipalDisabled):
		return errDisabled.WithMessage("Application '%.80s' is disabled.", clientID)
	}
	return err
}
