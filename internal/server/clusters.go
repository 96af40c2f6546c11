//go:build linux

package server

import (
	"context"
	"net/http"
	"os"
	"time"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/driver/containerd"
	"fairlead.dev/internal/driver/oidc"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/server/clusters"
)

// openClusters makes the service of managed clusters over this machine.
func (s *Server) openClusters() error {
	authority, err := os.ReadFile(AuthorityFile(s.data.path))
	if err != nil {
		return err
	}
	s.core.clusters = clusters.New(clusters.Deps{
		Origin: s.origin, Inside: forContainers(s.origin), Tenant: s.stored.Tenant, Authority: authority, Store: sql.NewClusters(s.db, s.stored.Tenant),
		Sealer: s.sealer, Directory: s.core.directory, Roles: s.core.access, Tokens: s.core.tokens, Log: s.log,
		Machine: func(metadata func(key string) http.Handler) clusters.Machine {
			if s.node.driver == nil {
				return noClusters{}
			}
			return s.node.driver.Clusters(containerd.ClusterConfig{Authority: AuthorityFile(s.data.path), Registries: s.hostsDir(), Metadata: metadata})
		},
	})
	return nil
}

// noClusters is the machine of clusters of a server that was started without compute.
type noClusters struct{}

func (noClusters) Check(context.Context, int, int) (string, error) { return "", errNoCompute }

func (noClusters) Start(context.Context, cluster.Plan, func(string)) (cluster.Running, error) {
	return nil, errNoCompute
}

func (noClusters) Stop(context.Context, string) error { return nil }

func (noClusters) Rotate(context.Context, string) error { return nil }

func (noClusters) Remove(context.Context, string) error { return nil }

func (noClusters) Dir(string) string { return "" }

// foreignIssuers asks the issuers that do not run here, as far as the configuration lets it.
func (s *Server) foreignIssuers() *oidc.Keys {
	return oidc.New(oidc.Config{Allowed: s.cfg.AllowIssuers, Now: time.Now})
}
