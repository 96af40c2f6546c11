package explain

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What is pasted into a shell comes out as the words that were meant, whatever is in them.
func TestLine(t *testing.T) {
	for _, words := range [][]string{
		{"fairlead", "group", "update", "web", "-g", "rg(1)"},
		{"a b", "it's", `"quoted"`, "$HOME", "`id`", "$(id)", ";", "&&", "*", "~", "\\", "!"},
		{"", "#", "a=b", "x{y}", "<z>"},
	} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\n' `+line(words...)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"); !slices.Equal(got, words) {
			t.Errorf("%q became %q", words, got)
		}
	}
}
