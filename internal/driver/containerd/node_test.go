//go:build linux

package containerd

import (
	"testing"

	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
)

func TestNode(t *testing.T) {
	pulltest.Node(t, func(t *testing.T) pull.Node { return open(t, Config{}) })
}
