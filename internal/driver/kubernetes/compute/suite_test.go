//go:build linux

package compute_test

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/internal/run/runtest"
)

// TestClusterContract runs the suite that every runtime has to pass, on a cluster.
func TestClusterContract(t *testing.T) {
	b := openBench(t)
	runtest.Runtime(t, func(t *testing.T) runtest.Machine {
		d := open(t, b.config(t))
		return runtest.Machine{Runtime: d, Execer: d, Image: b.registry.image(t, t.TempDir(), v1.Config{})}
	})
}
