package credentialprovider_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/api/oci"
	"fairlead.dev/internal/pull"
)

// TestWayOfAKS goes the way of AKS's own provider over the handlers: Azure's library asks at the fixed address of instance
// metadata, the registry's challenge is read, and the token exchanged with the grant type that only that provider uses.
// It is not that program itself.
//
// Source: https://github.com/kubernetes-sigs/cloud-provider-azure/tree/master/pkg/credentialprovider
func TestWayOfAKS(t *testing.T) {
	if !apitest.OnMachine(t) {
		return
	}
	w := newWorld(t)
	w.Now = time.Now() // a foreign client has a clock of its own
	id := w.puller("kubelet")
	w.node = []pull.Identity{w.identity("control-plane"), id}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", apitest.MetadataAddress+":80")
	apitest.Must(t, err)
	metadata := &http.Server{Handler: w.wrappedNode, ReadHeaderTimeout: time.Minute}
	go metadata.Serve(listener)
	t.Cleanup(func() { metadata.Close() })
	exchange := w.wrapped
	challenge := apitest.Wrap(oci.New(oci.Deps{
		Resolve: w.resolve, Auth: &api.RegistryAuth{Tokens: w.Tokens, Directory: w.Directory}, Access: w.Access, Log: apitest.Log(),
	}))
	w.wrapped = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			challenge.ServeHTTP(rw, r)
			return
		}
		exchange.ServeHTTP(rw, r)
	})
	client := w.client()

	for _, by := range []azidentity.ManagedIDKind{azidentity.ClientID(id.ClientID), azidentity.ResourceID(id.Resource.String())} {
		credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: by, ClientOptions: azcore.ClientOptions{
			Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: "https://login.fairlead.internal:8443/adfs"},
		}})
		apitest.Must(t, err)
		token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://containerregistry.azure.net/.default"}})
		apitest.Must(t, err)
		answer, err := client.Get("https://" + local + "/v2/")
		apitest.Must(t, err)
		answer.Body.Close()
		found := regexp.MustCompile(`^Bearer realm="(https://[^/]+)/oauth2/token",service="([^"]+)"$`).FindStringSubmatch(answer.Header.Get("WWW-Authenticate"))
		if answer.StatusCode != http.StatusUnauthorized || found == nil {
			t.Fatalf("the challenge is %d %q", answer.StatusCode, answer.Header)
		}
		answer, err = client.PostForm(found[1]+"/oauth2/exchange", url.Values{
			"grant_type": {"access_token_refresh_token"}, "service": {found[2]}, "tenant": {apitest.Tenant},
			"access_token": {token.Token}, "refresh_token": {token.Token},
		})
		apitest.Must(t, err)
		body, err := io.ReadAll(answer.Body)
		apitest.Must(t, err)
		answer.Body.Close()
		var reply struct {
			RefreshToken string `json:"refresh_token"`
		}
		apitest.Must(t, json.Unmarshal(body, &reply))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+local+"/v2/", nil)
		apitest.Must(t, err)
		r.SetBasicAuth("00000000-0000-0000-0000-000000000000", reply.RefreshToken)
		answer, err = client.Do(r)
		apitest.Must(t, err)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("with %v: the login is answered with %d", by, answer.StatusCode)
		}
	}
}

// client gives an HTTP client that trusts Fairlead and reaches it by any name.
func (w *world) client() *http.Client {
	w.T.Helper()
	pem, err := os.ReadFile(filepath.Join(w.dir, "ca.pem"))
	apitest.Must(w.T, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.fairlead.Listener.Addr().String())
		},
	}}
	w.T.Cleanup(client.CloseIdleConnections)
	return client
}
