package workload

import (
	"strconv"
	"strings"

	"fairlead.dev/internal/cli/exit"
)

// Port is a port of a container.
type Port struct {
	Number   int
	Protocol string // TCP or UDP
}

// ParsePort reads "8080", "8080/tcp" or "53/udp".
func ParsePort(text string) (Port, error) {
	number, protocol, given := strings.Cut(text, "/")
	p := Port{Protocol: "TCP"}
	if given {
		p.Protocol = strings.ToUpper(protocol)
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || p.Protocol != "TCP" && p.Protocol != "UDP" {
		return Port{}, exit.Usagef("%q is not a port such as 8080 or 53/udp", text)
	}
	p.Number = int(n)
	return p, nil
}

// ParseEnv reads NAME=VALUE.
func ParseEnv(text string) (name, value string, err error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n\x00") || strings.Contains(value, "\x00") {
		return "", "", exit.Usagef("%q is not NAME=VALUE", name)
	}
	return name, value, nil
}

// Words splits a command line as a POSIX shell would, without expanding anything: blanks divide words, single quotes
// keep everything, double quotes keep all but \" \\ \$ \`, a backslash keeps the next character.
func Words(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	quote := rune(0)
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`\n", r) {
				word.WriteByte('\\')
			}
			if r != '\n' {
				word.WriteRune(r)
			}
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, exit.Usagef("the command %q ends inside a quotation", text)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// Added gives what text has beyond what was shown before. Both are the end of one log, of which the server keeps only
// so much: text may begin later than shown did.
func Added(shown, text string) string {
	if strings.HasPrefix(text, shown) {
		return text[len(shown):]
	}
	return text[overlap(shown, text):]
}

// overlap gives the length of the longest end of a that b begins with (Knuth, Morris and Pratt's failure function of b,
// run over a), so that a log of many equal lines costs no more than one of different ones.
func overlap(a, b string) int {
	if len(a) > len(b) {
		a = a[len(a)-len(b):]
	}
	failure := make([]int, len(b)+1)
	k := 0
	for i := 1; i < len(b); i++ {
		for k > 0 && b[i] != b[k] {
			k = failure[k]
		}
		if b[i] == b[k] {
			k++
		}
		failure[i+1] = k
	}
	k = 0
	for i := range len(a) {
		for k > 0 && (k == len(b) || a[i] != b[k]) {
			k = failure[k]
		}
		if k < len(b) && a[i] == b[k] {
			k++
		}
	}
	return k
}
