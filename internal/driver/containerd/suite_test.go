//go:build linux

package containerd

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/internal/run/runtest"
)

// TestContract runs the suite that every runtime has to pass.
func TestContract(t *testing.T) {
	runtest.Runtime(t, func(t *testing.T) runtest.Machine {
		d := open(t, Config{})
		return runtest.Machine{Runtime: d, Execer: d, Image: load(t, d.Driver, imageOf(t, v1.Config{}, layerOf(t, busybox(t))))}
	})
}
