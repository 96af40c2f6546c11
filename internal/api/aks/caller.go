package aks

import (
	"context"
	"net/http"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// CallerByToken tells clusters apart by the bearer tokens in their webhooks' kubeconfigs (see WebhookKubeconfig). hashes
// gives, of each cluster that may ask, what secret.HashGenerated made of its token. All are compared, each in constant time.
func CallerByToken(hashes func(ctx context.Context) map[resource.ID]string) func(r *http.Request) (cluster resource.ID, ok bool) {
	return func(r *http.Request) (resource.ID, bool) {
		token, ok := api.BearerToken(r)
		if !ok {
			return resource.ID{}, false
		}
		var found resource.ID
		for cluster, hash := range hashes(r.Context()) {
			if secret.Matches(hash, token) {
				found = cluster
			}
		}
		return found, !found.IsZero()
	}
}
