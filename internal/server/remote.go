//go:build linux

package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/cluster/connected"
	"fairlead.dev/internal/driver/kubernetes/compute"
	"fairlead.dev/internal/driver/kubernetes/secrets"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// standBy is how often a Fairlead that stands by looks whether the data directory is free.
const standBy = time.Second

// remote names the cluster that workloads run on.
func (c Config) remote() compute.Cluster {
	return compute.Cluster{Kubeconfig: c.Kubeconfig, Context: c.Context}
}

// openData opens the data directory. A replica, whose compute is a cluster, waits for the one that has it.
func (s *Server) openData(ctx context.Context) (*dataDir, error) {
	for told := false; ; told = true {
		data, err := openData(s.cfg.Data)
		if s.cfg.Compute != computeRemote || !errors.Is(err, errDataHeld) {
			return data, err
		}
		if !told {
			s.log.Info("another Fairlead has the data directory; this one stands by", "data", s.cfg.Data)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(standBy):
		}
	}
}

// claimCluster waits until this Fairlead is the one that acts on its cluster, before anything of the data is read.
func (s *Server) claimCluster(ctx context.Context) error {
	if s.cfg.Compute != computeRemote {
		return nil
	}
	kept, err := s.data.readStored()
	if err != nil {
		return err
	}
	if kept.Installation == "" {
		kept.Installation = "f" + strings.ReplaceAll(uuid.NewString(), "-", "")[:11]
		if err := s.data.writeStored(kept); err != nil {
			return err
		}
	}
	if s.claim, err = compute.Hold(ctx, s.cfg.remote(), kept.Installation, s.log); err != nil {
		return err
	}
	s.later(func() error { s.claim.Release(); return nil })
	return nil
}

// openRemote finds the cluster, whose nodes reach registries by the name that containers reach them by.
func (s *Server) openRemote(ctx context.Context) (*node, error) {
	dir := s.data.file("compute", "images")
	images, err := compute.OpenImages(dir)
	if err != nil {
		return nil, err
	}
	driver, err := compute.Open(ctx, compute.Config{
		Cluster: s.cfg.remote(), Installation: s.stored.Installation, Changed: s.changes.Changed, Log: s.log,
		Registry: s.registryOnClusters,
		Lend: func(ctx context.Context, workload resource.ID, container string) (pull.Login, error) {
			request, err := s.core.run.PullRequest(ctx, workload, container)
			if err != nil {
				return pull.Login{}, err
			}
			return s.core.pull.Lend(ctx, request)
		},
	})
	if err != nil {
		return nil, err
	}
	return &node{runtime: driver, execer: driver, images: images, cluster: driver}, nil
}

// registryOnClusters gives the name by which clusters' nodes reach the registry of a login server: the one that containers
// reach it by.
func (s *Server) registryOnClusters(host string) string {
	if name, ok := registryName(s.origin, host); ok {
		return forContainers(s.origin).LoginServer(name)
	}
	return host
}

// openConnected makes the service of the clusters of others.
func (s *Server) openConnected() {
	s.core.connected = connected.NewService(connected.Config{
		Store: sql.NewConnected(s.db, s.stored.Tenant), Sealer: s.sealer, Changed: s.changes.Changed, Log: s.log,
		Open: func(id resource.ID, kubeconfig secret.Text, context string) (connected.Remote, error) {
			return secrets.Open(id, kubeconfig, context, s.registryOnClusters)
		},
		Lend: func(ctx context.Context, registry string, identity resource.ID) (pull.Login, error) {
			return s.core.pull.LendRegistry(ctx, registry, pull.Identity{Resource: identity})
		},
	})
}

// Transport reaches workloads by their addresses; nil is the usual one.
func (n *node) Transport(once bool) http.RoundTripper {
	if n.cluster == nil {
		return nil
	}
	return &http.Transport{DialContext: n.cluster.DialContext, DisableKeepAlives: once, DisableCompression: true, IdleConnTimeout: time.Minute}
}

// purgeRemote ends what the last start had on a cluster.
func purgeRemote(ctx context.Context, data string) error {
	kept, err := (&dataDir{path: data}).readStored()
	if err != nil || kept.Kubeconfig == "" {
		return nil //nolint:nilerr // what cannot be read keeps nothing from ending
	}
	return compute.Purge(ctx, compute.Cluster{Kubeconfig: kept.Kubeconfig, Context: kept.Context}, kept.Installation)
}

// checkRemote looks whether the cluster answers and lets us do what we have to.
func checkRemote(ctx context.Context, cfg Config) []Finding {
	const what = "running containers on the cluster"
	version, problems := compute.Check(ctx, cfg.remote())
	var out []Finding
	for _, p := range problems {
		out = append(out, Finding{What: what, Detail: p.What, Remedy: p.Remedy})
	}
	if len(out) == 0 {
		out = append(out, Finding{What: what, OK: true, Detail: "Kubernetes " + version + " answers, and no right is missing"})
	}
	return out
}
