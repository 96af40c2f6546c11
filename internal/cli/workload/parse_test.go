package workload_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairlead.dev/internal/cli/workload"
)

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"":                         nil,
		"  a  b\tc\n":              {"a", "b", "c"},
		`/bin/sh -c "sleep 10"`:    {"/bin/sh", "-c", "sleep 10"},
		`'a b' "c d"e`:             {"a b", "c de"},
		`a\ b "x\"y\z" 'no\esc'`:   {"a b", `x"y\z`, `no\esc`},
		`'' ""`:                    {"", ""},
		`sh -c "echo '$HOME' \$x"`: {"sh", "-c", "echo '$HOME' $x"},
	} {
		got, err := workload.Words(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{`"a`, `'a`, `a\`} {
		if got, err := workload.Words(text); err == nil {
			t.Errorf("%q gave %q", text, got)
		}
	}
}

// FuzzWords: words put in single quotes come out as they were.
func FuzzWords(f *testing.F) {
	f.Add("a b", `c"d`)
	f.Add("", `\`)
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = strings.ToValidUTF8(a, "?"), strings.ToValidUTF8(b, "?")
		quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
		got, err := workload.Words(quote(a) + " " + quote(b))
		if err != nil || len(got) != 2 || got[0] != a || got[1] != b {
			t.Fatalf("%q %q gave %q, %v", a, b, got, err)
		}
		_, _ = workload.Words(a) // must not panic
	})
}

func FuzzParseEnv(f *testing.F) {
	f.Add("A=1")
	f.Add("=")
	f.Add("A=b=c")
	f.Fuzz(func(t *testing.T, text string) {
		name, value, err := workload.ParseEnv(text)
		if err == nil && name+"="+value != text {
			t.Fatalf("%q gave %q and %q", text, name, value)
		}
		if err != nil && strings.Contains(text, "=") && value != "" {
			t.Fatal("a value came with an error")
		}
	})
}

// TestEnvErrorsHideValues: what cannot be read may be a secret all the same.
func TestEnvErrorsHideValues(t *testing.T) {
	if _, _, err := workload.ParseEnv("A B=hush"); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}

func FuzzParsePort(f *testing.F) {
	f.Add("8080")
	f.Add("53/udp")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := workload.ParsePort(text)
		if err == nil && (p.Number < 1 || p.Number > 65535 || p.Protocol != "TCP" && p.Protocol != "UDP") {
			t.Fatalf("%q gave %+v", text, p)
		}
	})
}

func TestAdded(t *testing.T) {
	for _, c := range []struct{ shown, text, want string }{
		{"", "a\n", "a\n"},
		{"a\n", "a\nb\n", "b\n"},
		{"a\nb\n", "b\nc\n", "c\n"}, // the window moved on
		{"a\nb\n", "x\ny\n", "x\ny\n"},
		{"a\n", "a\n", ""},
		{"ab", "", ""},
	} {
		if got := workload.Added(c.shown, c.text); got != c.want {
			t.Errorf("Added(%q, %q) = %q, want %q", c.shown, c.text, got, c.want)
		}
	}
}

// TestAddedFollowsAWindow: while a log of different lines grows and its window moves by less than its size, following
// shows every line once.
func TestAddedFollowsAWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log, shown, followed string
		size := rapid.IntRange(20, 60).Draw(t, "window")
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			log += strings.Repeat("x", i%7) + string(rune('A'+i%26)) + string(rune('a'+i/26)) + "\n"
			window := log[max(0, len(log)-size):]
			followed += workload.Added(shown, window)
			shown = window
		}
		if followed != log {
			t.Fatalf("followed %q, log %q", followed, log)
		}
	})
}
