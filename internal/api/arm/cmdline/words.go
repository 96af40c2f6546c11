// Package cmdline owns how a command line that travels as one text is split into words, as a shell would, but with
// nothing expanded.
package cmdline

import (
	"strings"

	"fairlead.dev/internal/fault"
)

// ErrUnclosed is returned by Split for a text that ends within quotes or behind a backslash.
var ErrUnclosed = fault.New(fault.Invalid, "InvalidCommand", "the command ends within quotes")

// Split splits at blanks outside quotes. Within '…' everything stands for itself, within "…" a backslash protects a
// quote or a backslash, outside it protects any character (POSIX shell, section 2.2). It returns ErrUnclosed.
func Split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote == 0 && strings.ContainsRune(" \t\n\r", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
			continue
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote != 0 && r == quote:
			quote = 0
		case r == '\\' && quote != '\'':
			i++
			if i == len(runes) {
				return nil, ErrUnclosed
			}
			if quote == '"' && runes[i] != '"' && runes[i] != '\\' {
				word.WriteRune('\\')
			}
			word.WriteRune(runes[i])
		default:
			word.WriteRune(r)
		}
		inWord = true
	}
	if quote != 0 {
		return nil, ErrUnclosed
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
