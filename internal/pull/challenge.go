package pull

import "strings"

// challenge is one entry of a WWW-Authenticate header (RFC 9110 section 11.6.1).
type challenge struct {
	scheme string            // lower case
	params map[string]string // names in lower case
}

// bearerChallenge gives the parameters of the first Bearer challenge in a response's WWW-Authenticate headers.
func bearerChallenge(headers []string) (map[string]string, bool) {
	for _, header := range headers {
		for _, c := range parseChallenges(header) {
			if c.scheme == "bearer" {
				return c.params, true
			}
		}
	}
	return nil, false
}

// parseChallenges reads one header. What it cannot read ends the list: a half-read challenge is not used.
func parseChallenges(header string) []challenge {
	var out []challenge
	rest := header
	for {
		rest = strings.TrimLeft(rest, " \t,")
		scheme, after := cutToken(rest)
		if scheme == "" {
			return out
		}
		c := challenge{scheme: strings.ToLower(scheme), params: map[string]string{}}
		var ok bool
		if rest, ok = c.readParams(after); !ok {
			return out
		}
		out = append(out, c)
	}
}

// readParams reads "name=value" pairs until the header ends or another scheme begins.
func (c challenge) readParams(rest string) (_ string, ok bool) {
	for {
		at := strings.TrimLeft(rest, " \t,")
		if at == "" {
			return "", true
		}
		name, after := cutToken(at)
		after = strings.TrimLeft(after, " \t")
		if name == "" {
			return "", false
		}
		if !strings.HasPrefix(after, "=") {
			return at, true // the next scheme
		}
		value, after, ok := cutValue(strings.TrimLeft(after[1:], " \t"))
		if !ok {
			return "", false
		}
		name = strings.ToLower(name)
		if _, twice := c.params[name]; twice {
			return "", false
		}
		c.params[name], rest = value, after
	}
}

// cutToken cuts a token (RFC 9110 section 5.6.2) off the front of s.
func cutToken(s string) (_, rest string) {
	i := 0
	for i < len(s) && isTokenByte(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// cutValue cuts a token or a quoted string off the front of s.
func cutValue(s string) (_, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		v, rest := cutToken(s)
		return v, rest, v != ""
	}
	var out strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return out.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		out.WriteByte(s[i])
	}
	return "", "", false
}
