package entra_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/secret"
)

// TestAzureManagedIdentity has Azure's own library find the machine's identity at the address where it always looks.
func TestAzureManagedIdentity(t *testing.T) {
	if !apitest.OnMachine(t) {
		return
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", apitest.MetadataAddress+":80")
	apitest.Must(t, err)
	m := newMachine(t)
	m.Now = time.Now() // a foreign client has a clock of its own
	one, two := m.give("one", false), m.give("two", false)
	server := &http.Server{Handler: m.handler, ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })

	m.wantToken(one, azidentity.ClientID(one.ClientID))
	m.wantToken(two, azidentity.ObjectID(two.PrincipalID))
	m.wantToken(two, azidentity.ResourceID(two.Resource.String()))
	if _, err := getToken(t, nil); err == nil || !strings.Contains(err.Error(), "Multiple user assigned identities exist") {
		t.Errorf("two identities and no name: %v", err)
	}
	m.identities = m.identities[:1]
	m.wantToken(one, nil) // last, for the library remembers tokens
	m.identities = append(m.identities, two)
	apitest.Must(t, m.Directory.DeleteManaged(t.Context(), two.Resource))
	if _, err := getToken(t, azidentity.ClientID(two.ClientID)); err == nil || !strings.Contains(err.Error(), "the requested identity isn't assigned to this resource") {
		t.Errorf("a deleted identity: %v", err)
	}
	if _, err := getToken(t, azidentity.ClientID("99999999-2222-3333-4444-555555555555")); err == nil || !strings.Contains(err.Error(), "the requested identity isn't assigned to this resource") {
		t.Errorf("an identity of somebody else: %v", err)
	}
}

// wantToken has the library get a token of an identity.
func (m *machine) wantToken(want pull.Identity, id azidentity.ManagedIDKind) {
	m.T.Helper()
	raw, err := getToken(m.T, id)
	apitest.Must(m.T, err)
	claims, err := m.Tokens.VerifyAccess(m.T.Context(), secret.New(raw), func(aud string) bool { return aud == registryAudience })
	if err != nil || claims.ObjectID != want.PrincipalID {
		m.T.Errorf("with %v the token is of %s, want %s: %v", id, claims.ObjectID, want.PrincipalID, err)
	}
}

func getToken(t testing.TB, id azidentity.ManagedIDKind) (string, error) {
	t.Helper()
	credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id})
	apitest.Must(t, err)
	got, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{registryAudience + "/.default"}})
	return got.Token, err
}
