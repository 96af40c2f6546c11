//go:build linux

package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/rogpeppe/go-internal/testscript"
)

// tokenIssuer is an OpenID Connect issuer that Fairlead does not run.
type tokenIssuer struct {
	server *httptest.Server
	key    *ecdsa.PrivateKey
}

type issuerKey struct{}

// startIssuer gives a script an issuer on a loopback address: its URL is $ISSUER, and a server that is started behind
// $SSL_CERT_FILE trusts its certificate.
func startIssuer(env *testscript.Env) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	i := &tokenIssuer{key: key}
	i.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.server.URL, "jwks_uri": i.server.URL + "/keys"})
		case "/keys":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
		default:
			http.NotFound(w, r)
		}
	}))
	env.Defer(i.server.Close)
	env.Values[issuerKey{}] = i
	env.Setenv("ISSUER", i.server.URL)
	return os.WriteFile(env.WorkDir+"/issuer.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw}), 0o600)
}

// cmdAssertion writes a token of the script's issuer, as Kubernetes does: assertion FILE SUBJECT AUDIENCE LIFE.
func cmdAssertion(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: assertion FILE SUBJECT AUDIENCE LIFE")
	}
	i := ts.Value(issuerKey{}).(*tokenIssuer)
	life, err := time.ParseDuration(args[3])
	ts.Check(err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "one"}}, nil)
	ts.Check(err)
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: i.server.URL, Subject: args[1], Audience: jwt.Audience{args[2]}, Expiry: jwt.NewNumericDate(time.Now().Add(life)),
	}).Serialize()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(token+"\n"), 0o600))
}

// cmdWorkload signs in as a program in a pod does, with Azure's own library, and writes the access token, or why there is
// none, to a file: workload TOKENFILE CLIENTID AUDIENCE OUT.
func cmdWorkload(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: workload TOKENFILE CLIENTID AUDIENCE OUT")
	}
	credential, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: ts.Getenv("LOGIN") + "/"},
			Transport: &http.Client{Transport: transport(ts)}, Retry: policy.RetryOptions{MaxRetries: -1},
		},
		TenantID: "adfs", ClientID: args[1], TokenFilePath: ts.MkAbs(args[0]),
	})
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{args[2] + "/.default"}})
	if (err != nil) != neg {
		ts.Fatalf("workload: %v", err)
	}
	text := token.Token
	if err != nil {
		text = err.Error()
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), []byte(text), 0o600))
}
