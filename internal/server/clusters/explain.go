//go:build linux

package clusters

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"fairlead.dev/client"
	"fairlead.dev/internal/explain"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// Identities implements explain.Clusters.
func (c *Clusters) Identities(ctx context.Context, id resource.ID) (kubelet, controlPlane pull.Identity, err error) {
	wanted, err := c.Cluster(ctx, id)
	if err != nil {
		return kubelet, controlPlane, err
	}
	if kubelet, err = c.managed(ctx, wanted.Kubelet); err != nil {
		return kubelet, controlPlane, err
	}
	controlPlane, err = c.managed(ctx, wanted.ID)
	controlPlane.System = true
	if controlPlane.PrincipalID == "" {
		controlPlane = pull.Identity{} // the cluster has no such identity
	}
	return kubelet, controlPlane, err
}

// managed gives the identity of a resource; of one that is gone no more than whose it was.
func (c *Clusters) managed(ctx context.Context, owner resource.ID) (pull.Identity, error) {
	if owner.IsZero() {
		return pull.Identity{}, nil
	}
	sp, err := c.deps.Directory.Managed(ctx, owner)
	if err != nil && !errors.Is(err, identity.ErrPrincipalUnknown) {
		return pull.Identity{}, err
	}
	return pull.Identity{Resource: owner, ClientID: sp.ClientID, PrincipalID: sp.ID}, nil
}

// Issuer implements explain.Clusters.
func (c *Clusters) Issuer(ctx context.Context, id resource.ID) (string, error) {
	wanted, err := c.Cluster(ctx, id)
	if err != nil {
		return "", err
	}
	return c.issuer(wanted), nil
}

// ProviderError implements explain.Clusters. The nodes of a cluster have one place for failures, as they have one identity.
func (c *Clusters) ProviderError(_ context.Context, id resource.ID, _, host, account string) (explain.ProviderError, error) {
	text, err := os.ReadFile(c.CredentialFailure(id, host, account))
	if errors.Is(err, os.ErrNotExist) {
		return explain.ProviderError{}, nil
	}
	if err != nil {
		return explain.ProviderError{}, err
	}
	var failure client.ProviderFailure
	if err := json.Unmarshal(text, &failure); err != nil {
		return explain.ProviderError{}, err
	}
	return explain.ProviderError{Message: failure.Message, Time: failure.Time}, nil
}
