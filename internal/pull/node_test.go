package pull_test

import (
	"testing"

	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
)

func TestDisk(t *testing.T) {
	pulltest.Node(t, func(t *testing.T) pull.Node { return pulltest.NewDisk(t.TempDir()) })
}
