package pull

import (
	"context"
	"net/http"

	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Registries knows which registry a host in a reference means.
type Registries interface {
	// Endpoint finds the registry of a host, an alias ("myacr.azurecr.io") too; ErrHostUnknown.
	Endpoint(ctx context.Context, host string) (Endpoint, error)
}

// Endpoint is where a registry is reached.
type Endpoint struct {
	Registry resource.ID // zero when the registry is not ours
	BaseURL  string      // "https://myacr.azurecr.fairlead.localhost:8443"
	Service  string      // the login server, without a scheme
	// Client trusts the registry's authority and says which addresses may be reached at all, by redirects too. Its
	// redirect policy and cookies are not used.
	Client *http.Client
}

// Identities gives managed identities their tokens, as the instance metadata service does in Azure.
type Identities interface {
	// Token gives an access token of id for an audience; an error when the identity is gone or disabled.
	Token(ctx context.Context, id Identity, audience string) (secret.Text, error)
}
