package arm

import (
	"net/url"
	"strings"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// request is what a method and a URL ask for. A path is a scope (the root, a subscription, a resource group, or any
// resource that an extension resource hangs on) and, relative to it, a shape.
type request struct {
	method string
	// shape is the path behind the scope in lower case, with a * for each name: "resourcegroups/*",
	// "microsoft.web/sites/*/config/*/list", "providers/*/register".
	shape string
	scope resource.ID
	// id is the resource asked for; of an action or a collection, the resource that it belongs to; zero for those that
	// belong to the scope alone.
	id      resource.ID
	names   []string // what the stars of shape stand for, as spelled in the URL
	version string   // of the api, "" when absent
	query   map[string]string
}

var (
	errBadURL         = fault.New(fault.Invalid, "InvalidRequestUri", "the request URI is malformed")
	errVersionMissing = fault.New(fault.Invalid, "MissingApiVersionParameter",
		"The api-version query parameter (?api-version=) is required for all requests.")
	errVersionInvalid = fault.New(fault.Invalid, "InvalidApiVersionParameter", "the api-version is invalid")
)

// parse reads a request without any I/O: letter case of literals does not matter, doubled slashes collapse, and an
// encoded slash never becomes a separator.
func parse(method string, u *url.URL) (request, error) {
	segments, err := decodePath(u.EscapedPath())
	if err != nil {
		return request{}, err
	}
	query, err := parseQuery(u.RawQuery)
	if err != nil {
		return request{}, err
	}
	req := request{method: method, query: query, version: query["api-version"]}
	scope, rest := splitScope(segments)
	if req.scope, err = resource.ParseID("/" + strings.Join(scope, "/")); err != nil {
		return request{}, err
	}
	req.shape, req.names = shapeOf(rest)
	if len(req.names) > 0 && !strings.HasPrefix(req.shape, "providers/") {
		owner := append(scope, rest[:len(rest)-len(rest)%2]...) // an odd last segment is a collection or an action
		if req.id, err = resource.ParseID("/" + strings.Join(owner, "/")); err != nil {
			return request{}, err
		}
	}
	return req, nil
}

func decodePath(escaped string) ([]string, error) {
	var segments []string
	for part := range strings.SplitSeq(escaped, "/") {
		if part == "" {
			continue
		}
		segment, err := url.PathUnescape(part)
		if err != nil || strings.Contains(segment, "/") {
			return nil, errBadURL.WithMessage("the request URI has the segment '%.100s', which is no name", part)
		}
		segments = append(segments, segment)
	}
	return segments, nil
}

// parseQuery folds the names of parameters and keeps the first value of each.
func parseQuery(raw string) (map[string]string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errBadURL.WithMessage("the query of the request URI is malformed")
	}
	query := make(map[string]string, len(values))
	for name, v := range values {
		query[strings.ToLower(name)] = v[0]
	}
	return query, nil
}

// splitScope cuts the segments in front of the last provider block, or of what stands directly under the root, a
// subscription or a group.
func splitScope(segments []string) (scope, rest []string) {
	base := 0
	if len(segments) > 2 && strings.EqualFold(segments[0], "subscriptions") {
		base = 2
		if len(segments) > 4 && strings.EqualFold(segments[2], "resourceGroups") {
			base = 4
		}
	}
	at := base
	for i := base + 1; i < len(segments)-1; i++ {
		// A further block begins where a type would stand in the present one.
		if strings.EqualFold(segments[i], "providers") && strings.EqualFold(segments[at], "providers") && (i-at)%2 == 0 && i-at >= 4 {
			at = i
		}
	}
	return segments[:at:at], segments[at:]
}

// shapeOf gives the shape and the names of what stands behind the scope.
func shapeOf(rest []string) (string, []string) {
	if len(rest) == 0 {
		return "", nil
	}
	var names []string
	var out []string
	isBlock := strings.EqualFold(rest[0], "providers") && len(rest) > 2 && !isRegistration(rest)
	if isBlock {
		rest = rest[1:]
		out, rest = append(out, strings.ToLower(rest[0])), rest[1:]
	}
	for i, segment := range rest {
		if i%2 == 1 {
			names, segment = append(names, segment), "*"
		}
		out = append(out, strings.ToLower(segment))
	}
	return strings.Join(out, "/"), names
}

// isRegistration tells "providers/Namespace/register" from a provider block.
func isRegistration(rest []string) bool {
	return len(rest) == 3 && (strings.EqualFold(rest[2], "register") || strings.EqualFold(rest[2], "unregister"))
}

// subscription gives the subscription that the request is about, or "".
func (r request) subscription() string {
	if s := r.scope.Subscription(); s != "" {
		return s
	}
	return r.id.Subscription()
}

// checkVersion refuses a version that is missing, is no date from 2014 on, or is older than oldest.
func checkVersion(version, oldest string) error {
	if version == "" {
		return errVersionMissing
	}
	date, suffix, _ := strings.Cut(version, "-preview")
	if !isDate(date) || len(suffix) > 20 || date < "2014-01-01" {
		return errVersionInvalid.WithMessage("The api-version '%.40s' is invalid: it is a date, 'YYYY-MM-DD', optionally followed by '-preview'.", version)
	}
	if date < oldest {
		return fault.Newf(fault.Invalid, "InvalidResourceType", "The api-version '%s' is older than '%s', the oldest that this resource type answers to.", version, oldest)
	}
	return nil
}

func isDate(s string) bool {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' || s[5:7] > "12" || s[8:] > "31" {
		return false
	}
	return strings.Trim(s[:4]+s[5:7]+s[8:], "0123456789") == ""
}
