// Package terminal owns what a command shows and where: the three streams, tables and JSON, colour, progress bars and
// raw mode. On a terminal it shows aligned tables, colour and bars; in a pipe plain tab-separated lines without a
// header. What is shown is the commands' business.
package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Streams are where a command reads and writes. Results go to Out; progress, hints and errors to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	Env func(string) string // an environment variable's value
}

// System gives the streams of this process.
func System() Streams { return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv} }

// Watched is an output that remembers that something could not be written to it, whoever wrote it: results that went to a
// full disk are not there.
type Watched struct {
	io.Writer
	Failed error // the first failure
}

// Write implements io.Writer.
func (w *Watched) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if w.Failed == nil {
		w.Failed = err
	}
	return n, err
}

// fileOf gives the file behind one of the streams, if it is one.
func fileOf(stream any) (f *os.File, ok bool) {
	if w, watched := stream.(*Watched); watched {
		stream = w.Writer
	}
	f, ok = stream.(*os.File)
	return f, ok
}

// Unwatched gives the output that another program is to write to itself: the file or terminal behind w, if there is one.
func Unwatched(w io.Writer) io.Writer {
	if f, ok := fileOf(w); ok {
		return f
	}
	return w
}

// IsTerminal reports whether one of the streams is a terminal.
func IsTerminal(stream any) bool {
	f, ok := fileOf(stream)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Style is a way to set text off, on terminals only.
type Style string

// The styles in use.
const (
	Bold   Style = "\x1b[1m"
	Dim    Style = "\x1b[2m"
	Red    Style = "\x1b[31m"
	Green  Style = "\x1b[32m"
	Yellow Style = "\x1b[33m"

	reset = "\x1b[0m"
)

// Paint gives text in a style when w is a terminal and NO_COLOR is not set.
func (s Streams) Paint(w io.Writer, style Style, text string) string {
	if !IsTerminal(w) || s.Env("NO_COLOR") != "" || s.Env("TERM") == "dumb" || style == "" {
		return text
	}
	return string(style) + text + reset
}

// JSON writes v as one indented JSON document.
func (s Streams) JSON(v any) error {
	encoder := json.NewEncoder(s.Out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// Table is rows under a header.
type Table struct {
	Header []string
	Rows   [][]string
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Table writes t: aligned under its header on a terminal, else tab-separated without a header.
func (s Streams) Table(t Table) {
	if !IsTerminal(s.Out) {
		for _, row := range t.Rows {
			fmt.Fprintln(s.Out, strings.Join(clean(row), "\t"))
		}
		return
	}
	widths := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for i, cell := range clean(row) {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	fmt.Fprintln(s.Out, s.align(t.Header, widths, func(string) Style { return Bold }))
	for _, row := range t.Rows {
		fmt.Fprintln(s.Out, s.align(clean(row), widths, styleOf))
	}
}

// clean takes control characters out of cells, which may hold what a stranger named: a terminal must not obey them.
func clean(row []string) []string {
	out := make([]string, len(row))
	for i, cell := range row {
		out[i] = Clean(cell)
	}
	return out
}

// Clean takes control characters out of text that came from elsewhere and is shown on one line.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}

// align pads all cells but the last to their widths.
func (s Streams) align(cells []string, widths []int, style func(string) Style) string {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(s.Paint(s.Out, style(cell), cell))
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
	}
	return b.String()
}

// styleOf colours the states of workloads.
func styleOf(cell string) Style {
	switch cell {
	case "Running", "Succeeded", "Ready":
		return Green
	case "Failed", "CannotPull":
		return Red
	case "Pending", "Creating", "Waiting":
		return Yellow
	}
	return ""
}

// Notef writes one line for people to Err.
func (s Streams) Notef(format string, args ...any) { fmt.Fprintf(s.Err, format+"\n", args...) }

// ReadSecret reads a secret: typed unseen on a terminal, else the whole of stdin without its final line break.
func (s Streams) ReadSecret(prompt string) (string, error) {
	if f, ok := fileOf(s.In); ok && IsTerminal(f) {
		fmt.Fprint(s.Err, prompt+": ")
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.Err)
		return string(text), err
	}
	const limit = 64 << 10
	text, err := io.ReadAll(io.LimitReader(s.In, limit+1))
	if err != nil {
		return "", err
	}
	if len(text) > limit {
		return "", fmt.Errorf("stdin holds more than %d bytes: that is no secret", limit)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}
