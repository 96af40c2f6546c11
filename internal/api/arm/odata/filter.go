// Package odata owns the part of OData's $filter that clients of the resource manager send: comparisons with eq, and
// functions, joined by and. Which names mean something is for the lists to say.
package odata

import (
	"strings"

	"fairlead.dev/internal/fault"
)

// Term is one condition: a comparison "Name eq 'Value'", or a call "Name(Args…)".
type Term struct {
	Name  string // as written; a path keeps its slashes
	Call  bool
	Value string   // of a comparison, without quotes
	Args  []string // of a call, without quotes
}

// Is reports whether the term is the comparison or call of name, without regard to case.
func (t Term) Is(name string) bool { return strings.EqualFold(t.Name, name) }

// ErrFilter is returned for a filter that cannot be read or is not supported.
var ErrFilter = fault.New(fault.Invalid, "InvalidFilterInQueryString", "the $filter is invalid").WithTarget("$filter")

const maxFilter = 4096

// Parse reads a filter; the empty one has no terms. It returns ErrFilter for what it does not understand.
func Parse(s string) ([]Term, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	if len(s) > maxFilter {
		return nil, ErrFilter.WithMessage("The $filter is over %d characters.", maxFilter)
	}
	p := &parser{rest: s}
	var terms []Term
	for {
		t, err := p.term()
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
		switch word := p.word(); {
		case word == "" && p.rest == "":
			return terms, nil
		case !strings.EqualFold(word, "and"):
			return nil, p.bad("'and'", word)
		}
	}
}

type parser struct{ rest string }

func (p *parser) bad(want, got string) error {
	if got == "" {
		got = p.rest
	}
	return ErrFilter.WithMessage("The $filter is invalid or not supported: %s is expected before '%.60s'.", want, got)
}

func (p *parser) blanks() { p.rest = strings.TrimLeft(p.rest, " \t") }

// word takes a name: letters, digits and what paths are made of.
func (p *parser) word() string {
	p.blanks()
	n := strings.IndexFunc(p.rest, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-./", r)
	})
	if n < 0 {
		n = len(p.rest)
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	return word
}

func (p *parser) take(s string) bool {
	p.blanks()
	rest, ok := strings.CutPrefix(p.rest, s)
	p.rest = rest
	return ok
}

func (p *parser) term() (Term, error) {
	name := p.word()
	if name == "" {
		return Term{}, p.bad("a name", "")
	}
	if p.take("(") {
		args, err := p.args()
		return Term{Name: name, Call: true, Args: args}, err
	}
	if op := p.word(); !strings.EqualFold(op, "eq") {
		return Term{}, p.bad("'eq' or '('", op)
	}
	v, err := p.value()
	return Term{Name: name, Value: v}, err
}

func (p *parser) args() ([]string, error) {
	if p.take(")") {
		return nil, nil
	}
	var args []string
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		args = append(args, v)
		if p.take(")") {
			return args, nil
		}
		if !p.take(",") {
			return nil, p.bad("',' or ')'", "")
		}
	}
}

// value takes a quoted text, in which ” is one quote, or a bare word.
func (p *parser) value() (string, error) {
	if !p.take("'") {
		if word := p.word(); word != "" {
			return word, nil
		}
		return "", p.bad("a value", "")
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(p.rest, "'")
		if !found {
			return "", p.bad("a closing quote", "")
		}
		out.WriteString(before)
		if p.rest = after; !strings.HasPrefix(after, "'") {
			return out.String(), nil
		}
		out.WriteByte('\'')
		p.rest = after[1:]
	}
}
