package graph

import "strings"

// maxFilter is the longest $filter that is read, in bytes.
const maxFilter = 4 << 10

// filter is one condition on a list; the zero filter lets all through.
type filter struct {
	property string // in lower case: "displayname", "appid", "id", "serviceprincipalnames"
	value    string
	prefix   bool // the property begins with value; else it is value
}

// parseFilter reads the conditions that tools send: "p eq 'v'", "startswith(p,'v')" and "p/any(x:x eq 'v')". Anything
// else is errFilter.
func parseFilter(s string) (filter, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return filter{}, nil
	case len(s) > maxFilter:
		return filter{}, errFilter.WithMessage("The $filter is over %d bytes long.", maxFilter)
	}
	f, ok := parseStartsWith(s)
	if !ok {
		f, ok = parseAny(s)
	}
	if !ok {
		f, ok = parseEqual(s)
	}
	if !ok || !f.known() {
		return filter{}, errFilter.WithMessage("Unsupported query: the $filter '%.200s' is not supported here.", s)
	}
	return f, nil
}

// known reports whether objects have the property. Comparing a list with one value makes no sense, nor does the start
// of an id.
func (f filter) known() bool {
	switch f.property {
	case "displayname":
		return true
	case "id", "appid", "serviceprincipalnames":
		return !f.prefix
	}
	return false
}

func parseStartsWith(s string) (filter, bool) {
	s, ok := cutPrefixFold(s, "startswith")
	s, open := strings.CutPrefix(strings.TrimSpace(s), "(")
	property, s, found := strings.Cut(s, ",")
	value, rest, closed := quoted(strings.TrimSpace(s))
	return filter{property: strings.ToLower(strings.TrimSpace(property)), value: value, prefix: true},
		ok && open && found && closed && strings.TrimSpace(rest) == ")"
}

func parseAny(s string) (filter, bool) {
	property, s, found := strings.Cut(s, "/")
	s, ok := cutPrefixFold(s, "any(")
	s, closed := strings.CutSuffix(s, ")")
	variable, condition, named := strings.Cut(s, ":")
	f, equal := parseEqual(strings.TrimSpace(condition))
	property = strings.ToLower(strings.TrimSpace(property))
	return filter{property: property, value: f.value}, found && ok && closed && named && equal &&
		f.property == strings.ToLower(strings.TrimSpace(variable)) && property == "serviceprincipalnames"
}

// cutPrefixFold is strings.CutPrefix without regard to the case of ASCII letters.
func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func parseEqual(s string) (filter, bool) {
	property, rest, found := strings.Cut(s, " ")
	rest, eq := cutPrefixFold(strings.TrimSpace(rest), "eq ")
	value, rest, ok := quoted(strings.TrimSpace(rest))
	return filter{property: strings.ToLower(property), value: value}, found && eq && ok && rest == ""
}

// matches reports whether an object passes. Names compare without regard to case, as in Azure.
func (f filter) matches(id, appID, displayName string) bool {
	switch f.property {
	case "":
		return true
	case "id":
		return strings.EqualFold(f.value, id)
	case "displayname":
		if f.prefix {
			return len(displayName) >= len(f.value) && strings.EqualFold(displayName[:len(f.value)], f.value)
		}
		return strings.EqualFold(f.value, displayName)
	}
	return strings.EqualFold(f.value, appID)
}
