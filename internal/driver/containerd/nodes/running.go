//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/driver/containerd/process"
)

// running implements cluster.Running.
type running struct {
	cfg   Config
	dir   string
	nodes []*node

	mu        sync.Mutex
	parts     []*process.Supervisor
	listeners []net.Listener // of instance metadata, one for each node
}

func (r *running) add(s *process.Supervisor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = append(r.parts, s)
}

// apiPort is the API server's on its node.
const apiPort = 6443

func (r *running) server() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(r.nodes[0].state.Address), apiPort)
}

// listen opens the instance metadata service of a node, within it.
func (r *running) listen(n *node) error {
	return process.Within([]string{n.cfg.Network.Namespace(n.id())}, func() error {
		l, err := net.Listen("tcp", metadataAddress+":80")
		if err != nil {
			return fmt.Errorf("listen for instance metadata on node %s: %w", n.name(), err)
		}
		r.listeners = append(r.listeners, l)
		return nil
	})
}

// Run implements cluster.Running.
func (r *running) Run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, part := range r.parts {
		all.Go(func() error { return part.Run(ctx, func() {}) })
	}
	for _, l := range r.listeners {
		all.Go(func() error { return serve(ctx, l, r.cfg.Metadata(r.nodes[0].plan.Key)) })
	}
	return all.Wait()
}

// serve answers requests on l until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close implements cluster.Running.
func (r *running) Close() error {
	var errs []error
	for _, part := range r.parts {
		errs = append(errs, part.Close())
	}
	for _, l := range r.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Access implements cluster.Running.
func (r *running) Access() (cluster.Access, error) {
	a := cluster.Access{Server: r.server()}
	for _, f := range []struct {
		name string
		into *[]byte
	}{{"ca.crt", &a.Authority}, {"admin.crt", &a.Certificate}, {"admin.key", &a.Key}, {"service-accounts.pub", &a.TokenKey}} {
		var err error
		if *f.into, err = os.ReadFile(filepath.Join(r.dir, "pki", f.name)); err != nil {
			return a, fmt.Errorf("read the cluster's certificates: %w", err)
		}
	}
	return a, nil
}
