//go:build linux

package server

import (
	"context"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fairlead.dev/internal/driver/oidc"
)

// clusterIssuers are the issuers of the clusters that run here.
type clusterIssuers struct{}

// Keys implements entra.Issuers. There are no clusters here yet, so no issuer is ours.
func (clusterIssuers) Keys(context.Context, string) (jose.JSONWebKeySet, bool, error) {
	return jose.JSONWebKeySet{}, false, nil
}

// foreignIssuers asks all others, as far as the configuration lets it.
func (s *Server) foreignIssuers() *oidc.Keys {
	return oidc.New(oidc.Config{Allowed: s.cfg.AllowIssuers, Now: time.Now})
}
