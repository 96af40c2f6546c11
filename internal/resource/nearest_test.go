package resource

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNearest(t *testing.T) {
	known := []string{"myacr", "myacr2", "otherregistry", "MyArc"}
	for name, want := range map[string][]string{
		"myacrr":         {"myacr", "myacr2"},
		"MYACR":          {"myacr", "myacr2"},
		"otherregistri":  {"otherregistry"},
		"nothingsimilar": nil,
		"":               nil,
	} {
		if diff := cmp.Diff(want, Nearest(name, known, 2)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
	if got := Nearest(strings.Repeat("x", 1<<20), known, 2); got != nil {
		t.Errorf("a name of a megabyte is near %v", got)
	}
}
