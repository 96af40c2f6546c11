package cmdline_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/api/arm/cmdline"
)

func TestSplit(t *testing.T) {
	for in, want := range map[string][]string{
		"":                         nil,
		"/bin/sh":                  {"/bin/sh"},
		"  a  b\tc ":               {"a", "b", "c"},
		`sh -c 'echo "$HOME" a\b'`: {"sh", "-c", `echo "$HOME" a\b`},
		`a "b \" \\ \n" c\ d`:      {"a", `b " \ \n`, "c d"},
		`'' x""y`:                  {"", "xy"},
	} {
		got, err := cmdline.Split(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
	for _, in := range []string{`'a`, `"a`, `a\`} {
		if got, err := cmdline.Split(in); !errors.Is(err, cmdline.ErrUnclosed) {
			t.Errorf("%q gave %q, %v", in, got, err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("a 'b c' d", "x'y")
	f.Fuzz(func(t *testing.T, line, word string) {
		if _, err := cmdline.Split(line); err != nil && !errors.Is(err, cmdline.ErrUnclosed) {
			t.Fatal(err)
		}
		word = strings.ToValidUTF8(word, "")
		quoted := "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		if got, err := cmdline.Split(quoted); err != nil || len(got) != 1 || got[0] != word {
			t.Fatalf("%q, quoted, gave %q, %v", word, got, err)
		}
	})
}
