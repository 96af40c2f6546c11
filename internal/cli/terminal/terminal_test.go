package terminal_test

import (
	"bytes"
	"strings"
	"testing"

	"fairlead.dev/internal/cli/terminal"
)

func pipe(in string) (terminal.Streams, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return terminal.Streams{In: strings.NewReader(in), Out: &out, Err: &err, Env: func(string) string { return "" }}, &out, &err
}

func TestTableInAPipe(t *testing.T) {
	s, out, _ := pipe("")
	table := terminal.Table{Header: []string{"A", "B"}}
	table.Add("x", "two words")
	table.Add("\x1b[31mred\x1b[0m", "line\nbreak\ttab")
	s.Table(table)
	if want := "x\ttwo words\n[31mred[0m\tlinebreaktab\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestReadSecret(t *testing.T) {
	for in, want := range map[string]string{"s\n": "s", "s\r\n": "s", " s s ": " s s ", "": ""} {
		s, _, _ := pipe(in)
		if got, err := s.ReadSecret("Secret"); err != nil || got != want {
			t.Errorf("%q gave %q, %v", in, got, err)
		}
	}
	s, _, _ := pipe(strings.Repeat("x", 65<<10))
	if _, err := s.ReadSecret("Secret"); err == nil {
		t.Error("65 KiB passed for a secret")
	}
}

// TestProgressInAPipe: one line at the end of each transfer, whatever is told in between and after.
func TestProgressInAPipe(t *testing.T) {
	s, _, err := pipe("")
	p := s.NewProgress()
	for _, done := range []int64{0, 512, 2048, 2048} {
		p.Set("a", "layer a", done, 2048)
	}
	p.End("a", "layer a", "failed")
	p.End("b", "layer b", "exists already")
	p.Notef("note %d", 1)
	p.Close()
	if want := "layer a\t2.0 KiB\nlayer b\texists already\nnote 1\n"; err.String() != want {
		t.Errorf("got %q, want %q", err.String(), want)
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 3 << 30: "3.0 GiB"} {
		if got := terminal.Bytes(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
}
