//go:build linux

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// attempt is what the pull record says about the stages of one start.
type attempt struct {
	Stages []struct {
		Name           string
		Started, Ended time.Time
	}
}

// measureApply takes a container group from its PUT to running: cold, with the image not on the node, then warm, with
// another group of the same image, and with one that may use little of a core, as its own start may not use more either.
func measureApply(ctx context.Context, program string, _ time.Duration, w io.Writer) (err error) {
	s, err := start(program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.prepareApply(ctx); err != nil {
		return err
	}
	var id struct{ ID string }
	if err := s.cliJSON(ctx, &id, "identity", "show", "bench"); err != nil {
		return err
	}
	fmt.Fprint(w, "\n## A small image (1.9 MB of busybox) from `fairlead group create` to running\n\n| | whole command | of it, by the pull record |\n|---|---|---|\n")
	for _, one := range []struct{ what, name, cpu string }{{"cold", "cold", "1"}, {"warm", "warm", "1"}, {"warm, with a tenth of a core", "tenth", "0.1"}} {
		begin := time.Now()
		if _, err := s.cli(ctx, "group", "create", one.name, "-g", "bench", "--image", "myacr.azurecr.io/app:v1", "--identity", id.ID, "--cpu", one.cpu, "--memory", "0.1"); err != nil {
			return err
		}
		took := time.Since(begin)
		stages, err := s.stages(ctx, one.name)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "| %s | %.2f s | %s |\n", one.what, took.Seconds(), stages)
	}
	fmt.Fprint(w, "\nThe aim for warm is 1 s.\n")
	return nil
}

func (s *server) prepareApply(ctx context.Context) error {
	if _, err := s.cli(ctx, "registry", "create", "myacr"); err != nil {
		return err
	}
	if err := s.pushSmall(ctx, "myacr/app:v1"); err != nil {
		return err
	}
	var made struct {
		Properties struct{ PrincipalID string }
	}
	if err := s.cliJSON(ctx, &made, "identity", "create", "bench", "-g", "bench"); err != nil {
		return err
	}
	_, err := s.cli(ctx, "role", "assign", "AcrPull", "--to", made.Properties.PrincipalID, "--on", "myacr")
	return err
}

// stages gives the milliseconds of each stage of the last attempt.
func (s *server) stages(ctx context.Context, group string) (string, error) {
	var answer struct {
		Value []struct{ Last *attempt }
	}
	if err := s.cliJSON(ctx, &answer, "attempts", group); err != nil {
		return "", err
	}
	if len(answer.Value) == 0 || answer.Value[0].Last == nil {
		return "", fmt.Errorf("group %s has no pull record", group)
	}
	var out strings.Builder
	for _, stage := range answer.Value[0].Last.Stages {
		if !stage.Ended.IsZero() {
			fmt.Fprintf(&out, "%s %d ms, ", stage.Name, stage.Ended.Sub(stage.Started).Milliseconds())
		}
	}
	return out.String()[:max(0, len(out.String())-2)], nil
}

func trust(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}
