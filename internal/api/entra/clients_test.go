package entra_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/coreos/go-oidc/v3/oidc"

	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/secret"
)

// serve puts the surface behind real HTTPS and gives a client for which every host name leads to it.
func (w *world) serve() *http.Client {
	w.T.Helper()
	w.Now = time.Now() // foreign clients have clocks of their own
	w.program = w.Program("client")
	server := httptest.NewTLSServer(w.handler)
	w.T.Cleanup(server.Close)
	client := server.Client()
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig.ServerName = "example.com" // the name in httptest's certificate
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}
	return client
}

// TestOIDCClient has an unmodified OpenID Connect client find the keys and verify a token, also across a rotation.
func TestOIDCClient(t *testing.T) {
	w := newWorld(t)
	ctx := oidc.ClientContext(t.Context(), w.serve())
	// The issuer of tokens carries no port, so that they outlive a change of it; the client must be told.
	issuer := "https://login.fairlead.localhost/" + apitest.Tenant + "/v2.0"
	provider, err := oidc.NewProvider(oidc.InsecureIssuerURLContext(ctx, issuer), login+"/"+apitest.Tenant+"/v2.0")
	apitest.Must(t, err)
	if got := provider.Endpoint().TokenURL; got != login+"/"+apitest.Tenant+"/oauth2/v2.0/token" {
		t.Errorf("token endpoint is %s", got)
	}
	verifier := provider.VerifierContext(ctx, &oidc.Config{ClientID: graph})
	token := func() string {
		raw, _, err := w.Tokens.IssueAccess(ctx, w.program.Principal, graph, 2)
		apitest.Must(t, err)
		return raw.Reveal()
	}
	before := token()
	got, err := verifier.Verify(ctx, before)
	apitest.Must(t, err)
	if got.Subject != w.program.ID() || got.Issuer != issuer {
		t.Errorf("verified as %+v", got)
	}
	apitest.Must(t, w.Tokens.Rotate(ctx))
	for _, raw := range []string{before, token()} {
		if _, err := verifier.Verify(ctx, raw); err != nil {
			t.Errorf("after rotation: %v", err)
		}
	}
	if _, err := verifier.Verify(ctx, w.Token(w.program.Principal, arm)); err == nil {
		t.Error("a token for another audience is verified")
	}
}

// TestAzureIdentity has Azure's own Go library sign in under both authorities.
func TestAzureIdentity(t *testing.T) {
	w := newWorld(t)
	client := w.serve()
	for name, c := range map[string]struct {
		tenant    string
		discovery bool
	}{
		"tenant":                  {apitest.Tenant, false},
		"tenant, with discovery":  {apitest.Tenant, true}, // asks login.microsoftonline.com, which leads to us here
		"adfs":                    {"adfs", false},
		"adfs, as if with lookup": {"adfs", true}, // nothing is looked up under this authority
	} {
		credential, err := azidentity.NewClientSecretCredential(c.tenant, w.program.ClientID(), w.program.Secret.Reveal(), &azidentity.ClientSecretCredentialOptions{
			ClientOptions: azcore.ClientOptions{
				Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: login},
				Transport: client,
				Retry:     policy.RetryOptions{MaxRetries: -1},
			},
			DisableInstanceDiscovery: !c.discovery,
		})
		apitest.Must(t, err)
		got, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{arm + "/.default"}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		claims, err := w.Tokens.VerifyAccess(t.Context(), secret.New(got.Token), func(aud string) bool { return aud == arm })
		if err != nil || claims.ObjectID != w.program.ID() || time.Until(got.ExpiresOn) < 50*time.Minute {
			t.Errorf("%s: %+v until %s, %v", name, claims, got.ExpiresOn, err)
		}
	}
}

func TestAzureIdentityShowsOurErrors(t *testing.T) {
	w := newWorld(t)
	credential, err := azidentity.NewClientSecretCredential(apitest.Tenant, w.program.ClientID(), "wrong", &azidentity.ClientSecretCredentialOptions{
		ClientOptions:            azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: login}, Transport: w.serve()},
		DisableInstanceDiscovery: true,
	})
	apitest.Must(t, err)
	_, err = credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{arm + "/.default"}})
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) || failed.RawResponse == nil || failed.RawResponse.StatusCode != 401 || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("error is %v", err)
	}
}

// TestOIDCClientOnTheUsualPort needs to be told nothing: description, tokens and address have one issuer.
func TestOIDCClientOnTheUsualPort(t *testing.T) {
	w := newWorld(t)
	ctx := oidc.ClientContext(t.Context(), w.serve())
	provider, err := oidc.NewProvider(ctx, "https://login.fairlead.localhost/"+apitest.Tenant+"/v2.0")
	apitest.Must(t, err)
	raw, _, err := w.Tokens.IssueAccess(ctx, w.program.Principal, graph, 2)
	apitest.Must(t, err)
	if _, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: graph}).Verify(ctx, raw.Reveal()); err != nil {
		t.Error(err)
	}
}

// TestStrictVerifiers have our issuers and addresses only, as the API server of a cluster does, which reads a description
// from an address that is not the issuer's and refuses one with another issuer.
func TestStrictVerifiers(t *testing.T) {
	w := newWorld(t)
	client := w.serve()
	const clusters = "6dae42f8-4368-4678-94ff-3960e28e3630"
	for version, c := range map[int]struct{ issuer, discovery string }{
		1: {w.Origin.IssuerV1(apitest.Tenant), "https://login.fairlead.internal:8443/" + apitest.Tenant + "/.well-known/openid-configuration"},
		2: {w.Origin.Issuer(apitest.Tenant), "https://login.fairlead.internal:8443/" + apitest.Tenant + "/discovery/v2.0/openid-configuration"},
	} {
		redirected := &http.Client{Transport: rewrite{client.Transport, strings.TrimSuffix(c.issuer, "/") + "/.well-known/openid-configuration", c.discovery}}
		ctx := oidc.ClientContext(t.Context(), redirected)
		provider, err := oidc.NewProvider(ctx, c.issuer)
		apitest.Must(t, err)
		raw, _, err := w.Tokens.IssueAccess(ctx, w.program.Principal, clusters, version)
		apitest.Must(t, err)
		if _, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: clusters}).Verify(ctx, raw.Reveal()); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// rewrite asks to in place of from.
type rewrite struct {
	http.RoundTripper
	from, to string
}

func (r rewrite) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.String() == r.from {
		req = req.Clone(req.Context())
		req.URL, _ = url.Parse(r.to)
		req.Host = ""
	}
	return r.RoundTripper.RoundTrip(req)
}
