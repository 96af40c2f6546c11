//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/client"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/server/passthrough"
)

// stopGrace is how long requests in flight may take when the server is told to end, and after them the daemon: together
// less than the 10 s that are promised.
const stopGrace = 4 * time.Second

// Up serves until ctx ends, which leaves containers running. It writes what a person should know to out and its log to
// logs.
func Up(ctx context.Context, cfg Config, version string, out, logs io.Writer) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	s, err := New(ctx, cfg, newLogger(cfg, logs))
	if err != nil {
		return err
	}
	return errors.Join(s.serve(ctx, version, out), s.Close())
}

func newLogger(cfg Config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// serve runs everything that has a loop, says so when it answers, and ends it all together.
func (s *Server) serve(ctx context.Context, version string, out io.Writer) error {
	listeners, err := s.gatewayListener()
	if err != nil {
		return err
	}
	names, err := s.node.resolver(s.origin, s.groupAddress, s.log)
	if err != nil {
		return fmt.Errorf("answering names on the container network: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	loop := func(name string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	loop("https", func(ctx context.Context) error { return serveAll(ctx, s.http, s.passThrough(listeners), stopGrace) })
	loop("compute", s.node.Run)
	if s.claim != nil {
		loop("claim", s.claim.Run)
	}
	loop("changes", s.changes.Run)
	loop("workloads", s.core.run.Run)
	loop("clusters", s.core.clusters.Run)
	loop("connected clusters", s.core.connected.Run)
	loop("resource manager", s.arm.Run)
	loop("uploads", s.sweep)
	if s.node.driver != nil {
		loop("names", names.Run)
		loop("registries of nodes", s.keepHosts)
	}
	if err := s.announce(ctx, version, out); err != nil {
		cancel(err)
	}
	<-ctx.Done()
	wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return errors.Join(err, s.withdraw())
}

// sweep ends abandoned uploads, at start and every hour.
func (s *Server) sweep(ctx context.Context) error {
	for tick := time.NewTicker(time.Hour); ; {
		if err := s.core.registry.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "sweeping abandoned uploads", "error", err)
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
	}
}

// gatewayListener adds the container network's own address to the listeners, so that containers reach Fairlead by the
// names that it is known by. A listener on every address has it already.
func (s *Server) gatewayListener() ([]net.Listener, error) {
	gateway := s.node.Gateway()
	if host, _, err := net.SplitHostPort(s.listeners[0].Addr().String()); err != nil || gateway == "" || net.ParseIP(host).IsUnspecified() {
		return s.listeners, err
	}
	l, err := net.Listen("tcp", hostPort(gateway, s.origin.Port))
	if err != nil {
		return nil, fmt.Errorf("listening for containers: %w", err)
	}
	return append(s.listeners, l), nil
}

// passThrough has listeners lead connections for API servers of clusters to these.
func (s *Server) passThrough(listeners []net.Listener) []net.Listener {
	out := make([]net.Listener, len(listeners))
	for i, l := range listeners {
		out[i] = passthrough.New(l, s.core.clusters.Reach)
	}
	return out
}

// announce waits until everything answers over its public surface, then writes the ready files.
func (s *Server) announce(ctx context.Context, version string, out io.Writer) error {
	if err := s.untilReady(ctx); err != nil {
		return err
	}
	value, revoke, err := s.admin.mint(ctx)
	if err != nil {
		return err
	}
	s.revoke = revoke
	ready := client.Ready{
		Version: version, PID: os.Getpid(), Domain: s.origin.Domain(), Port: s.origin.Port,
		ARM: s.origin.URL(resource.ARM), Login: s.origin.URL(resource.Login), Graph: s.origin.URL(resource.Graph),
		RegistrySuffix: s.origin.RegistrySuffix(), CAFile: AuthorityFile(s.cfg.Data),
		Tenant: s.stored.Tenant, Subscription: s.stored.Subscription,
		Admin: client.Credential{ClientID: s.admin.app.ClientID, ClientSecret: client.Secret(value.Reveal())},
	}
	for _, path := range s.readyFiles() {
		if err := writeReady(path, ready); err != nil {
			return fmt.Errorf("writing the ready file: %w", err)
		}
	}
	fmt.Fprintf(out, "Fairlead is ready: %s (data in %s)\n", s.origin.URL(resource.ARM), s.cfg.Data)
	if s.cfg.Data == DefaultData() {
		fmt.Fprintf(out, "On this machine, 'fairlead' commands find it by themselves.\n")
	} else {
		fmt.Fprintf(out, "On this machine, 'fairlead' commands find it with: export FAIRLEAD_READY_FILE=%s\n", ReadyFile(s.cfg.Data))
	}
	fmt.Fprintf(out, "From elsewhere, sign in with a service principal: fairlead sp create, then fairlead login.\n")
	return nil
}

// untilReady asks /readyz through the listener itself until it answers.
func (s *Server) untilReady(ctx context.Context) error {
	asker := newNodeClient(s.authority, s.listeners[0].Addr())
	defer asker.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := s.core.run.Statuses(ctx); err != nil {
		return fmt.Errorf("waiting until running containers are adopted: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.origin.URL(resource.ARM)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := asker.Do(r)
	if err != nil {
		return fmt.Errorf("asking the server whether it is ready: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return fmt.Errorf("the server says that it is not ready: %s", text)
	}
	return nil
}

// readyFiles are the places where the ready file stands.
func (s *Server) readyFiles() []string {
	paths := []string{ReadyFile(s.cfg.Data)}
	if s.cfg.ReadyFile != "" && s.cfg.ReadyFile != paths[0] {
		paths = append(paths, s.cfg.ReadyFile)
	}
	return paths
}

func (s *Server) removeReady() error {
	var errs []error
	for _, path := range s.readyFiles() {
		if err := unix.Unlink(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing the ready file %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// withdraw takes back what announce gave.
func (s *Server) withdraw() error {
	errs := []error{s.removeReady()}
	if s.revoke != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		errs = append(errs, s.revoke(ctx))
	}
	return errors.Join(errs...)
}
