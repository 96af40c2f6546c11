//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"fairlead.dev/internal/api/arm/managedcluster"
	"fairlead.dev/internal/driver/containerd/daemon"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// Applet reports whether a process that was started with args is to be containerd or its shim, and gives what it has to
// run then.
func Applet(args []string) (run func() int, ok bool) { return daemon.Applet(args) }

// The types whose resources have host names.
const (
	typeRegistry = "Microsoft.ContainerRegistry/registries"
	typeSite     = "Microsoft.Web/sites"
	typeCluster  = "Microsoft.ContainerService/managedClusters"
)

// HostNames gives the names that a data directory's server answers to: its own, and those of its registries, web
// apps and clusters, under every domain. It works whether or not the server runs.
func HostNames(ctx context.Context, cfg Config) ([]string, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &dataDir{path: cfg.Data}
	s, err := d.readStored()
	if err != nil {
		return nil, err
	}
	if s.Port == 0 {
		return nil, fmt.Errorf("%s is no data directory of Fairlead: start it once with 'fairlead up', or name another with --data", cfg.Data)
	}
	db, err := sql.Open(ctx, d.file("fairlead.db"))
	if err != nil {
		return nil, err
	}
	names, err := hostNames(ctx, sql.NewResources(db, s.Tenant), s)
	return names, errors.Join(err, db.Close())
}

func hostNames(ctx context.Context, resources resource.Store, s stored) ([]string, error) {
	var names []string
	registries, err := resources.ListResources(ctx, resource.Root, typeRegistry, "", 0)
	if err != nil {
		return nil, err
	}
	sites, err := resources.ListResources(ctx, resource.Root, typeSite, "", 0)
	if err != nil {
		return nil, err
	}
	managed, err := resources.ListResources(ctx, resource.Root, typeCluster, "", 0)
	if err != nil {
		return nil, err
	}
	for _, domain := range s.Domains {
		origin := resource.Origin{Domains: []string{domain}, Port: 443}
		for _, service := range []resource.Service{resource.ARM, resource.Login, resource.OIDC, resource.Graph} {
			names = append(names, string(service)+"."+domain)
		}
		for _, r := range registries {
			names = append(names, origin.LoginServer(r.ID.Name()))
		}
		for _, r := range sites {
			names = append(names, origin.SiteHost(r.ID.Name()))
		}
		for _, r := range managed {
			state, err := managedcluster.Read(r.Properties)
			if err != nil {
				return nil, err
			}
			names = append(names, state.Hosts(r.ID, r.Location, origin)...)
		}
	}
	return names, nil
}

// groupAddress finds the container group that a name on the container network means: its DNS name label and region.
func (s *Server) groupAddress(name string) (netip.Addr, bool) {
	kind, label := s.origin.ParseHost(name)
	if kind != resource.HostGroup {
		return netip.Addr{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	statuses, err := s.core.run.Statuses(ctx)
	if err != nil {
		return netip.Addr{}, true
	}
	for _, status := range statuses {
		if status.Kind != run.KindContainerGroup || status.IP == "" {
			continue
		}
		group, err := s.core.run.Group(ctx, status.ID)
		if err != nil || group.IP == nil || group.IP.DNSNameLabel == "" {
			continue
		}
		if _, ours := s.origin.ParseHost(s.origin.GroupHost(group.IP.DNSNameLabel, group.Location)); ours == label {
			address, _ := netip.ParseAddr(status.IP)
			return address, true
		}
	}
	return netip.Addr{}, true
}
