package entra_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/acr"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/api/entra"
	"fairlead.dev/internal/driver/oidc"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

const (
	exchange      = "api://AzureADTokenExchange"
	subject       = "system:serviceaccount:shop:web"
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	cluster       = "aaaaaaaa-2222-3333-4444-555555555555"
	otherCluster  = "bbbbbbbb-2222-3333-4444-555555555555"
)

// signer is a key of an issuer.
type signer struct {
	kid     string
	private any
	public  jose.JSONWebKey
}

func rsaSigner(t testing.TB, kid string, bits int) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	apitest.Must(t, err)
	return signer{kid, key, jose.JSONWebKey{Key: &key.PublicKey, KeyID: kid, Algorithm: "RS256", Use: "sig"}}
}

func ecSigner(t testing.TB, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	apitest.Must(t, err)
	return signer{kid, key, jose.JSONWebKey{Key: &key.PublicKey, KeyID: kid, Algorithm: "ES256", Use: "sig"}}
}

// sign makes a token; more are further headers.
func (s signer) sign(t testing.TB, claims any, more ...map[jose.HeaderKey]any) string {
	t.Helper()
	algorithm := jose.SignatureAlgorithm(s.public.Algorithm)
	options := (&jose.SignerOptions{}).WithType("JWT")
	if s.kid != "" {
		options = options.WithHeader("kid", s.kid)
	}
	for _, headers := range more {
		for name, v := range headers {
			options = options.WithHeader(name, v)
		}
	}
	j, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: s.private}, options)
	apitest.Must(t, err)
	raw, err := jwt.Signed(j).Claims(claims).Serialize()
	apitest.Must(t, err)
	return raw
}

// clusters are the issuers that run here.
type clusters struct {
	mu   sync.Mutex
	keys map[string]jose.JSONWebKeySet
}

func (c *clusters) Keys(_ context.Context, issuer string) (jose.JSONWebKeySet, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set, ours := c.keys[issuer]
	return set, ours, nil
}

func (c *clusters) put(issuer string, signers ...signer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, s := range signers {
		set.Keys = append(set.Keys, s.public)
	}
	c.keys[issuer] = set
}

func (c *clusters) remove(issuer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, issuer)
}

// federated is a world with a managed identity that trusts a service account of a cluster that runs here.
type federated struct {
	*world
	puller resource.ID
	sp     identity.ServicePrincipal
	issuer string
	key    signer
}

func newFederated(t testing.TB) *federated {
	t.Helper()
	f := &federated{world: newWorld(t), key: rsaSigner(t, "cluster-key", 2048)}
	f.puller = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller")
	f.issuer = f.Origin.ClusterIssuer(apitest.Tenant, cluster)
	f.clusters.put(f.issuer, f.key)
	var err error
	f.sp, err = f.Directory.EnsureManaged(t.Context(), f.puller, false, "puller")
	apitest.Must(t, err)
	f.federate("cluster", f.issuer)
	return f
}

func (f *federated) federate(name, issuer string) {
	f.T.Helper()
	_, _, err := f.Directory.Federate(f.T.Context(), f.puller, identity.Federation{Name: name, Issuer: issuer, Subject: subject, Audiences: []string{exchange}})
	apitest.Must(f.T, err)
}

// claims gives those of a good token, changed by pairs of name and value; a nil value takes the claim out.
func (f *federated) claims(pairs ...any) map[string]any {
	c := map[string]any{
		"iss": f.issuer, "sub": subject, "aud": []string{exchange}, "iat": f.Now.Unix(), "nbf": f.Now.Unix(), "exp": f.Now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "shop"},
	}
	for i := 0; i < len(pairs); i += 2 {
		c[pairs[i].(string)] = pairs[i+1]
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (f *federated) form(assertion string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "client_id": {f.sp.ClientID}, "scope": {arm + "/.default openid offline_access profile"},
		"client_assertion_type": {assertionType}, "client_assertion": {assertion},
	}
}

func (f *federated) exchange(assertion string) *httptest.ResponseRecorder {
	return f.post("/"+apitest.Tenant+"/oauth2/v2.0/token", f.form(assertion))
}

// refused checks that an assertion gives no token, and why.
func (f *federated) refused(what, assertion, code string) {
	f.T.Helper()
	rec := f.exchange(assertion)
	if rec.Code == http.StatusOK || !strings.Contains(rec.Body.String(), `"AADSTS`+code+":") {
		f.T.Errorf("%s: %d %s, want AADSTS%s", what, rec.Code, rec.Body, code)
	}
}

func TestAssertionGivesTheIdentitysToken(t *testing.T) {
	f := newFederated(t)
	good := f.key.sign(t, f.claims())
	for name, assertion := range map[string]string{
		"as it is": good, "as a file": good + "\n", "among blanks": " \r\n" + good + "\t", "audience as text": f.key.sign(t, f.claims("aud", exchange)),
		"nearly expired": f.key.sign(t, f.claims("exp", f.Now.Add(-59*time.Second).Unix())), "nearly valid": f.key.sign(t, f.claims("nbf", f.Now.Add(59*time.Second).Unix())),
		"no nbf": f.key.sign(t, f.claims("nbf", nil)), "more audiences": f.key.sign(t, f.claims("aud", []string{"other", exchange})),
	} {
		for _, path := range []string{"/" + apitest.Tenant, "/adfs", "/adfs/" + apitest.Tenant} {
			c := f.world.claims(f.post(path+"/oauth2/v2.0/token", f.form(assertion)))
			if c["oid"] != f.sp.ID || c["appid"] != f.sp.ClientID || c["xms_mirid"] != f.puller.String() || c["aud"] != arm || c["idtyp"] != "app" {
				t.Errorf("%s at %s: claims %v", name, path, c)
			}
		}
	}
	byResource := f.form(good)
	byResource.Del("scope")
	byResource.Set("resource", arm)
	if c := f.world.claims(f.post("/adfs/oauth2/token", byResource)); c["oid"] != f.sp.ID {
		t.Errorf("claims %v", c)
	}
}

func TestEveryAlgorithmOfTheList(t *testing.T) {
	f := newFederated(t)
	for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		s := f.key
		s.public.Algorithm = algorithm
		f.clusters.put(f.issuer, s)
		f.world.claims(f.exchange(s.sign(t, f.claims())))
	}
	s := ecSigner(t, "ec")
	f.clusters.put(f.issuer, f.key, s)
	f.world.claims(f.exchange(s.sign(t, f.claims())))
	s.public.Algorithm = ""
	f.clusters.put(f.issuer, s)
	s.public.Algorithm, s.kid = "ES256", ""
	f.world.claims(f.exchange(s.sign(t, f.claims()))) // one key, and no word of which
}

func TestAssertionErrorBodies(t *testing.T) {
	f := newFederated(t)
	good := f.key.sign(t, f.claims())
	edit := func(name, value string) url.Values {
		form := f.form(good)
		form.Set(name, value)
		if value == "" {
			form.Del(name)
		}
		return form
	}
	as := func(pairs ...any) url.Values { return f.form(f.key.sign(t, f.claims(pairs...))) }
	for name, form := range map[string]url.Values{
		"unknown-identity": edit("client_id", "99999999-2222-3333-4444-555555555555"),
		"no-client":        edit("client_id", ""),
		"no-type":          edit("client_assertion_type", ""),
		"saml":             edit("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
		"and-secret":       edit("client_secret", "x"),
		"empty":            edit("client_assertion", " "),
		"no-token":         edit("client_assertion", "a.b.c"),
		"long":             edit("client_assertion", strings.Repeat("a", 17<<10)),
		"issuer":           as("iss", "https://idp.example/"),
		"subject":          as("sub", "system:serviceaccount:shop:other"),
		"subject-case":     as("sub", "system:serviceaccount:Shop:web"),
		"audience":         as("aud", "https://kubernetes.default.svc"),
		"no-subject":       as("sub", nil),
		"no-expiry":        as("exp", nil),
		"expired":          as("exp", f.Now.Add(-time.Hour).Unix(), "nbf", f.Now.Add(-2*time.Hour).Unix()),
		"early":            as("nbf", f.Now.Add(2*time.Hour).Unix(), "exp", f.Now.Add(3*time.Hour).Unix()),
		"key-unknown":      f.form(rsaSigner(t, "other-key", 2048).sign(t, f.claims())),
		"signature":        f.form(rsaSigner(t, "cluster-key", 2048).sign(t, f.claims())),
	} {
		t.Run(name, func(t *testing.T) {
			rec := f.post("/"+apitest.Tenant+"/oauth2/v2.0/token", form)
			if strings.Contains(rec.Body.String(), good) {
				t.Error("the answer holds the assertion")
			}
			apitest.Golden(t, "assertion-"+name, rec)
		})
	}
}

// TestAttackTokenOfAnotherIssuer: who runs an issuer of their own signs a token for the very same subject.
func TestAttackTokenOfAnotherIssuer(t *testing.T) {
	f := newFederated(t)
	evil := rsaSigner(t, "cluster-key", 2048)
	evilIssuer := f.Origin.ClusterIssuer(apitest.Tenant, otherCluster)
	f.clusters.put(evilIssuer, evil)
	f.refused("honest about its issuer", evil.sign(t, f.claims("iss", evilIssuer)), "70021")
	for _, near := range []string{strings.TrimSuffix(f.issuer, "/"), strings.ToUpper(f.issuer), f.issuer + "/", "https://evil.example/?" + f.issuer, f.issuer + "\x00"} {
		f.refused(near, evil.sign(t, f.claims("iss", near)), "70021")
	}
}

// TestAttackAnotherClustersKey: a second cluster of this Fairlead signs with its own key, claiming the first one's issuer.
func TestAttackAnotherClustersKey(t *testing.T) {
	f := newFederated(t)
	other, sameID := ecSigner(t, "other"), rsaSigner(t, "cluster-key", 2048)
	f.clusters.put(f.Origin.ClusterIssuer(apitest.Tenant, otherCluster), other, sameID)
	f.refused("under its own key id", other.sign(t, f.claims()), "7000272")
	f.refused("under the other's key id", sameID.sign(t, f.claims()), "50013")
}

// TestAttackOtherAudience: a token that a pod got for something else, such as the API server, is replayed here.
func TestAttackOtherAudience(t *testing.T) {
	f := newFederated(t)
	for _, aud := range []any{"https://kubernetes.default.svc", strings.ToLower(exchange), exchange + "/", []string{}, nil} {
		f.refused("for another audience", f.key.sign(t, f.claims("aud", aud)), "700212")
	}
}

// TestAttackAlgorithmConfusion: the issuer's public key, which everybody may read, is used as a shared secret; or no
// signature is given at all.
func TestAttackAlgorithmConfusion(t *testing.T) {
	f := newFederated(t)
	der, err := x509.MarshalPKIXPublicKey(f.key.public.Key)
	apitest.Must(t, err)
	asJSON, err := json.Marshal(f.key.public)
	apitest.Must(t, err)
	for _, shared := range [][]byte{der, asJSON} {
		for _, algorithm := range []string{"HS256", "HS384", "HS512"} {
			s := signer{"cluster-key", shared, jose.JSONWebKey{Algorithm: algorithm}}
			f.refused(algorithm, s.sign(t, f.claims()), "5002738")
		}
	}
	parts := strings.Split(f.key.sign(t, f.claims()), ".")
	for _, header := range []string{"eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb05lIiwia2lkIjoiY2x1c3Rlci1rZXkifQ"} { // alg none, NoNe
		f.refused("none", header+"."+parts[1]+".", "5002738")
		f.refused("none, with a signature", header+"."+parts[1]+"."+parts[2], "5002738")
	}
	// A set with a shared key in it, and a token signed by that.
	f.clusters.mu.Lock()
	f.clusters.keys[f.issuer] = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: der, KeyID: "cluster-key"}}}
	f.clusters.mu.Unlock()
	f.refused("shared key in the set", signer{"cluster-key", der, jose.JSONWebKey{Algorithm: "HS256"}}.sign(t, f.claims()), "5002738")
	f.refused("shared key for another algorithm", f.key.sign(t, f.claims()), "7000272")
}

// TestAttackKeyBroughtAlong: the token's header says where its key is to be found, or brings the key along.
func TestAttackKeyBroughtAlong(t *testing.T) {
	f := newFederated(t)
	asked := false
	thief := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer thief.Close()
	own := rsaSigner(t, "cluster-key", 2048)
	f.refused("its own key", own.sign(t, f.claims(), map[jose.HeaderKey]any{"jwk": own.public}), "50013")
	f.refused("a key's address", own.sign(t, f.claims(), map[jose.HeaderKey]any{"jku": thief.URL, "x5u": thief.URL}), "50013")
	for _, kid := range []string{thief.URL + "/key", "../../../../dev/null", "' or 1=1 --", "CLUSTER-KEY"} {
		s := own
		s.kid = kid
		f.refused("kid "+kid, s.sign(t, f.claims()), "7000272")
	}
	if asked {
		t.Error("the token's own word of where its key is was followed")
	}
	nobody := own
	nobody.kid = ""
	f.clusters.put(f.issuer, f.key, rsaSigner(t, "second", 2048))
	f.refused("no kid among two keys", nobody.sign(t, f.claims()), "7000272")
}

// TestAttackWeakKey: a key of 1024 bits can be broken.
func TestAttackWeakKey(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	f := newFederated(t)
	weak := rsaSigner(t, "weak", 1024)
	f.clusters.put(f.issuer, f.key, weak)
	f.refused("1024 bits", weak.sign(t, f.claims()), "7000272")
	encryption := rsaSigner(t, "enc", 2048)
	encryption.public.Use = "enc"
	f.clusters.put(f.issuer, encryption)
	f.refused("a key for encryption", encryption.sign(t, f.claims()), "7000272")
}

// TestAttackStolenTokenLater: a token that was stolen is used after it ran out, or after its owner was taken away.
func TestAttackStolenTokenLater(t *testing.T) {
	f := newFederated(t)
	stolen := f.key.sign(t, f.claims())
	access := f.accessToken(f.exchange(stolen))
	f.Now = f.Now.Add(61 * time.Minute)
	f.refused("an hour later", stolen, "700024")
	f.Now = f.Now.Add(-61 * time.Minute)

	apitest.Must(t, f.Directory.Unfederate(t.Context(), f.puller, "cluster"))
	f.refused("after the federated credential was removed", stolen, "70021")
	f.federate("again", f.issuer)
	f.world.claims(f.exchange(stolen))
	f.clusters.remove(f.issuer)
	f.refused("after the cluster was deleted", stolen, "50166")
	f.clusters.put(f.issuer, f.key)
	apitest.Must(t, f.Directory.SetEnabled(t.Context(), f.sp.ID, false))
	f.refused("after the identity was disabled", stolen, "7000112")
	apitest.Must(t, f.Directory.SetEnabled(t.Context(), f.sp.ID, true))
	apitest.Must(t, f.Directory.DeleteManaged(t.Context(), f.puller))
	f.refused("after the identity was deleted", stolen, "700016")
	claims, err := f.Tokens.VerifyAccess(t.Context(), access, func(string) bool { return true })
	apitest.Must(t, err)
	if _, err := f.Directory.Principal(t.Context(), claims.ObjectID); err == nil {
		t.Error("an access token outlives its identity")
	}
	// A new identity under the old name is somebody else.
	f.sp, err = f.Directory.EnsureManaged(t.Context(), f.puller, false, "puller")
	apitest.Must(t, err)
	f.refused("at a new identity under the old name", stolen, "70021")
}

// TestAttackOurOwnTokens: an access token of ours is presented as if another issuer had signed it.
func TestAttackOurOwnTokens(t *testing.T) {
	f := newFederated(t)
	issuer := f.Origin.IssuerV1(apitest.Tenant)
	_, _, err := f.Directory.Federate(t.Context(), f.puller, identity.Federation{Name: "loop", Issuer: issuer, Subject: f.program.ID(), Audiences: []string{arm}})
	apitest.Must(t, err)
	f.refused("an access token", f.Token(f.program.Principal, arm), "700222")
}

func (f *federated) accessToken(rec *httptest.ResponseRecorder) secret.Text {
	f.T.Helper()
	var reply struct {
		AccessToken string `json:"access_token"`
	}
	apitest.Must(f.T, json.Unmarshal(rec.Body.Bytes(), &reply))
	if reply.AccessToken == "" {
		f.T.Fatalf("no token: %d %s", rec.Code, rec.Body)
	}
	return secret.New(reply.AccessToken)
}

// provider is an issuer elsewhere, over real TLS.
type provider struct {
	server *httptest.Server
	mu     sync.Mutex
	set    jose.JSONWebKeySet
}

func newProvider(t testing.TB, keys ...signer) *provider {
	p := &provider{}
	p.rotate(keys...)
	p.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.server.URL, "jwks_uri": p.server.URL + "/keys"})
		case "/keys":
			_ = json.NewEncoder(w).Encode(p.set)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(p.server.Close)
	return p
}

func (p *provider) rotate(keys ...signer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set = jose.JSONWebKeySet{}
	for _, s := range keys {
		p.set.Keys = append(p.set.Keys, s.public)
	}
}

// trust lets the surface ask the provider, which is on a loopback address, because it is allowed by name.
func (f *federated) trust(p *provider, allowed ...string) {
	roots := x509.NewCertPool()
	roots.AddCert(p.server.Certificate())
	f.setForeign(oidc.New(oidc.Config{Allowed: allowed, Roots: roots, Now: f.Clock}))
}

// TestIssuerElsewhere exchanges tokens of a real issuer, across a rotation of its keys.
func TestIssuerElsewhere(t *testing.T) {
	f := newFederated(t)
	first, second := ecSigner(t, "first"), rsaSigner(t, "second", 2048)
	p := newProvider(t, first)
	f.federate("elsewhere", p.server.URL)
	f.trust(p, "127.0.0.1")
	f.world.claims(f.exchange(first.sign(t, f.claims("iss", p.server.URL))))
	p.rotate(second)
	f.refused("a key that has just come", second.sign(t, f.claims("iss", p.server.URL)), "7000272")
	f.Now = f.Now.Add(time.Minute)
	f.world.claims(f.exchange(second.sign(t, f.claims("iss", p.server.URL))))
	f.refused("a key that has gone", first.sign(t, f.claims("iss", p.server.URL)), "7000272")

	f.trust(p) // now without being allowed
	rec := f.exchange(second.sign(t, f.claims("iss", p.server.URL)))
	if !strings.Contains(rec.Body.String(), "AADSTS50166") || !strings.Contains(rec.Body.String(), "--allow-issuer 127.0.0.1") {
		t.Errorf("an issuer on a loopback address: %d %s", rec.Code, rec.Body)
	}
}

// TestAzureWorkloadIdentity has Azure's own Go library do what a program in a pod does: nothing but the environment that
// the webhook gives, no option set.
func TestAzureWorkloadIdentity(t *testing.T) {
	for name, c := range map[string]struct{ authority, tenant string }{
		"tenant adfs":        {login + "/", "adfs"},         // what the webhook gives: nothing is looked up elsewhere
		"plain, discovering": {login + "/", apitest.Tenant}, // asks login.microsoftonline.com, which leads to us here
	} {
		t.Run(name, func(t *testing.T) {
			f := newFederated(t)
			client := f.serve()
			file := filepath.Join(t.TempDir(), "azure-identity-token")
			apitest.Must(t, os.WriteFile(file, []byte(f.key.sign(t, f.claims())+"\n"), 0o600))
			for k, v := range map[string]string{
				"AZURE_CLIENT_ID": f.sp.ClientID, "AZURE_TENANT_ID": c.tenant, "AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_AUTHORITY_HOST": c.authority,
			} {
				t.Setenv(k, v)
			}
			credential, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: client}})
			apitest.Must(t, err)
			f.wantIdentity(t, credential)
			if name == "plain, discovering" {
				return
			}
			fallback, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: client}})
			apitest.Must(t, err)
			f.wantIdentity(t, fallback)
		})
	}
}

// TestFederatedTokenOpensTheRegistry goes on to where the token is meant for: to the resource manager's door and to a
// registry's /oauth2/exchange, before and after the identity may pull there.
func TestFederatedTokenOpensTheRegistry(t *testing.T) {
	f := newFederated(t)
	acme := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/acme")
	door := apitest.Wrap(acr.New(acr.Deps{
		Resolve: func(*http.Request) (registry.Registry, error) { return registry.Registry{ID: acme, Name: "acme"}, nil },
		Auth:    &api.RegistryAuth{Tokens: f.Tokens, Directory: f.Directory},
		Entra:   f.Tokens, Tokens: f.Tokens, Access: f.Access, Origin: f.Origin, Log: apitest.Log(),
	}))
	access := f.accessToken(f.exchange(f.key.sign(t, f.claims()))).Reveal()
	r := httptest.NewRequest(http.MethodGet, arm, nil)
	r.Header.Set("Authorization", "Bearer "+access)
	who, err := api.Bearer{
		Tokens: f.Tokens, Directory: f.Directory, Accept: func(aud string) bool { return f.Origin.IsAudience(aud, resource.ARM) },
	}.Authenticate(t.Context(), r)
	apitest.Must(t, err)
	if who.ID() != f.sp.ID || who.Kind() != identity.KindManaged {
		t.Errorf("the resource manager sees %+v", who)
	}
	exchanged := func() int {
		form := url.Values{"grant_type": {"access_token"}, "service": {"acme.azurecr.fairlead.localhost:8443"}, "access_token": {access}}
		r := httptest.NewRequest(http.MethodPost, "https://acme.azurecr.fairlead.localhost:8443/oauth2/exchange", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		door.ServeHTTP(rec, r)
		return rec.Code
	}
	if got := exchanged(); got != http.StatusUnauthorized {
		t.Errorf("without a role: %d", got)
	}
	f.Assign(who, apitest.AcrPull, acme)
	if got := exchanged(); got != http.StatusOK {
		t.Errorf("with AcrPull: %d", got)
	}
	apitest.Must(t, f.Directory.DeleteManaged(t.Context(), f.puller))
	if got := exchanged(); got != http.StatusUnauthorized {
		t.Errorf("after the identity was deleted: %d", got)
	}
}

func TestAzureClientAssertion(t *testing.T) {
	f := newFederated(t)
	client := f.serve()
	assertion := f.key.sign(t, f.claims())
	credential := func() azcore.TokenCredential {
		c, err := azidentity.NewClientAssertionCredential("adfs", f.sp.ClientID, func(context.Context) (string, error) { return assertion, nil },
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: client, Cloud: cloudOf(login), Retry: policy.RetryOptions{MaxRetries: -1}}})
		apitest.Must(t, err)
		return c
	}
	f.wantIdentity(t, credential())
	assertion = f.key.sign(t, f.claims("sub", "system:serviceaccount:shop:other"))
	_, err := credential().GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{arm + "/.default"}})
	if err == nil || !strings.Contains(err.Error(), "AADSTS70021") {
		t.Errorf("error is %v", err)
	}
}

// wantIdentity gets tokens for the resource manager and for registries and looks whose they are.
func (f *federated) wantIdentity(t *testing.T, credential azcore.TokenCredential) {
	t.Helper()
	for _, audience := range []string{arm, "https://containerregistry.azure.net"} {
		got, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{audience + "/.default"}})
		if err != nil {
			t.Fatal(err)
		}
		claims, err := f.Tokens.VerifyAccess(t.Context(), secret.New(got.Token), func(aud string) bool { return aud == audience })
		if err != nil || claims.ObjectID != f.sp.ID || claims.ClientID != f.sp.ClientID {
			t.Errorf("%s: %+v, %v", audience, claims, err)
		}
	}
}

func cloudOf(authority string) cloud.Configuration {
	return cloud.Configuration{ActiveDirectoryAuthorityHost: authority}
}

// fixedSigner has a key that is the same in every run, for golden files.
func fixedSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), []byte(strings.Repeat("k", 32)))
	apitest.Must(t, err)
	return signer{"fixed", key, jose.JSONWebKey{Key: &key.PublicKey, KeyID: "fixed", Algorithm: "ES256", Use: "sig"}}
}

func TestClustersDescribeThemselves(t *testing.T) {
	w := newWorld(t)
	key, second := fixedSigner(t), ecSigner(t, "second")
	issuer := w.Origin.ClusterIssuer(apitest.Tenant, cluster)
	w.clusters.put(issuer, key)
	handler := apitest.Wrap(entra.NewIssuers(w.Origin, w.clusters, apitest.Log()))
	get := func(method, path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(method, "https://oidc.fairlead.internal:8443"+path, nil))
		return rec
	}
	at := "/" + apitest.Tenant + "/" + cluster
	apitest.Golden(t, "issuer", get("GET", at+"/.well-known/openid-configuration"))
	apitest.Golden(t, "issuer-keys", get("GET", strings.ToUpper(at)+"/openid/v1/jwks"))
	apitest.Golden(t, "issuer-unknown", get("GET", "/"+apitest.Tenant+"/"+otherCluster+"/.well-known/openid-configuration"))
	apitest.Golden(t, "issuer-path", get("GET", at+"/.well-known/other"))
	apitest.Golden(t, "issuer-method", get("POST", at+"/openid/v1/jwks"))
	if rec := get("HEAD", at+"/openid/v1/jwks"); rec.Code != http.StatusOK {
		t.Errorf("HEAD: %d", rec.Code)
	}

	// A cluster that hands out its private key by mistake shows the public one; a shared one is not shown.
	w.clusters.mu.Lock()
	w.clusters.keys[issuer] = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: second.private, KeyID: "second"}, {Key: []byte("shared-secret"), KeyID: "shared"}}}
	w.clusters.mu.Unlock()
	var set jose.JSONWebKeySet
	rec := get("GET", at+"/openid/v1/jwks")
	if strings.Contains(rec.Body.String(), `"d"`) || strings.Contains(rec.Body.String(), "shared") {
		t.Errorf("secrets are shown: %s", rec.Body)
	}
	apitest.Must(t, json.Unmarshal(rec.Body.Bytes(), &set))
	if len(set.Keys) != 1 || !set.Keys[0].IsPublic() {
		t.Errorf("keys %v", set.Keys)
	}
}

// TestClustersAreIssuersForOthers has the same client that asks issuers elsewhere ask ours.
func TestClustersAreIssuersForOthers(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "https://"), ":")
	issuer := "https://127.0.0.1:" + port + "/" + apitest.Tenant + "/" + cluster + "/"
	w.clusters.put(w.Origin.ClusterIssuer(apitest.Tenant, cluster), ecSigner(t, "one"))
	ours := entra.NewIssuers(w.Origin, w.clusters, apitest.Log())
	server.Config.Handler = http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		ours.ServeHTTP(rec, r)
		// The origin of the test's world has another address than the test's server: only that is put right.
		_, _ = out.Write([]byte(strings.Replace(rec.Body.String(), w.Origin.ClusterIssuer(apitest.Tenant, cluster), issuer, 1)))
	})
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	set, err := oidc.New(oidc.Config{Allowed: []string{"127.0.0.1"}, Roots: roots, Now: time.Now}).Keys(t.Context(), issuer, "one")
	if err != nil || len(set.Key("one")) != 1 {
		t.Errorf("%v, %v", set, err)
	}
}

func FuzzAssertion(f *testing.F) {
	w := newFederated(f)
	f.Add(w.key.sign(f, w.claims()) + "x")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("{}")
	other := rsaSigner(f, "cluster-key", 2048)
	f.Add(other.sign(f, w.claims()))
	good := w.key.sign(f, w.claims())
	f.Fuzz(func(t *testing.T, assertion string) {
		rec := w.exchange(assertion)
		if rec.Code == http.StatusOK && strings.TrimSpace(assertion) != good {
			t.Errorf("%q gives a token", assertion)
		}
		if rec.Code >= 500 || !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%q: %d %s", assertion, rec.Code, rec.Body)
		}
	})
}

func FuzzIssuerPath(f *testing.F) {
	w := newWorld(f)
	w.clusters.put(w.Origin.ClusterIssuer(apitest.Tenant, cluster), ecSigner(f, "one"))
	handler := entra.NewIssuers(w.Origin, w.clusters, apitest.Log())
	f.Add("/" + apitest.Tenant + "/" + cluster + "/openid/v1/jwks")
	f.Add("/" + uuid.NewString() + "//..")
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "https://oidc.fairlead.localhost", nil)
		r.URL.Path = path
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		if rec.Code != http.StatusOK && rec.Code != http.StatusNotFound || !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%q: %d %s", path, rec.Code, rec.Body)
		}
	})
}
