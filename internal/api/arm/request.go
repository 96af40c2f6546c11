package arm

import (
	"context"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"

	"fairlead.dev/internal/api/arm/odata"
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

// maxPage is the number of resources in one page of a list.
const maxPage = 1000

// listing is a list of stored resources.
type listing struct {
	typeName string // "" is all types but resource groups
	keep     func(resource.Resource) bool
	view     func(resource.Resource) (any, error)
}

// list answers with the page of a listing beneath the call's scope that the call asks for; a caller without a right on
// the whole list gets what it may read of it.
func (h *Handler) list(ctx context.Context, c *call, l listing) (*reply, error) {
	limit, after, err := c.page()
	if err != nil {
		return nil, err
	}
	page := value{Value: []any{}}
	views := []any{}
	for {
		batch, err := h.Store.ListResources(ctx, c.scope, l.typeName, after, maxPage)
		if err != nil {
			return nil, err
		}
		for _, r := range batch {
			if len(views) == limit {
				page.Value, page.NextLink = views, c.nextLink(after)
				return ok(page)
			}
			after = r.ID.Key()
			if views, err = h.appendView(ctx, c, l, views, r); err != nil {
				return nil, err
			}
		}
		if len(batch) < maxPage {
			page.Value = views
			return ok(page)
		}
	}
}

func (h *Handler) appendView(ctx context.Context, c *call, l listing, views []any, r resource.Resource) ([]any, error) {
	if l.typeName == "" && r.ID.Is(groupTypeName) || l.keep != nil && !l.keep(r) {
		return views, nil
	}
	if c.partial {
		if readable, err := h.may(ctx, c.who, h.readNeed(r.ID), r.ID); err != nil || !readable {
			return views, err
		}
	}
	view, err := l.view(r)
	return append(views, view), err
}

// readNeed is the action that reading a resource takes.
func (h *Handler) readNeed(id resource.ID) need {
	if id.Is(groupTypeName) {
		return groupActions + "/read"
	}
	return need(h.typeName(id) + "/read")
}

var errPage = fault.New(fault.Invalid, "InvalidQueryParameterValue", "the query asks for no page that there could be")

// page reads $top and $skiptoken.
func (c *call) page() (limit int, after string, err error) {
	limit = maxPage
	if top := c.query["$top"]; top != "" {
		n, err := strconv.Atoi(top)
		if err != nil || n < 1 {
			return 0, "", errPage.WithMessage("The value '%.40s' of $top is invalid: it is a number from 1 on.", top).WithTarget("$top")
		}
		limit = min(n, maxPage)
	}
	token, err := base64.RawURLEncoding.DecodeString(c.query["$skiptoken"])
	if err != nil {
		return 0, "", errPage.WithMessage("The $skipToken is not one that a nextLink carried.").WithTarget("$skipToken")
	}
	return limit, string(token), nil
}

// nextLink gives the URL of the page behind a key.
func (c *call) nextLink(after string) string {
	query := url.Values{"api-version": {c.version}, "$skipToken": {base64.RawURLEncoding.EncodeToString([]byte(after))}}
	for _, name := range []string{"$filter", "$top", "$expand"} {
		if v := c.query[name]; v != "" {
			query.Set(name, v)
		}
	}
	return c.origin() + c.http.URL.EscapedPath() + "?" + query.Encode()
}

// keeper gives what a $filter on resources keeps.
func (c *call) keeper() (func(resource.Resource) bool, error) {
	terms, err := odata.Parse(c.query["$filter"])
	if err != nil {
		return nil, err
	}
	tag, hasTag := "", false
	var tests []func(resource.Resource) bool
	add := func(test func(resource.Resource) bool) { tests = append(tests, test) }
	for _, t := range terms {
		fold := func(get func(resource.Resource) string) {
			add(func(r resource.Resource) bool { return strings.EqualFold(get(r), t.Value) })
		}
		switch {
		case t.Call && t.Is("substringof") && len(t.Args) == 2 && strings.EqualFold(t.Args[1], "name"):
			add(func(r resource.Resource) bool {
				return strings.Contains(strings.ToLower(r.ID.Name()), strings.ToLower(t.Args[0]))
			})
		case t.Call:
			return nil, odata.ErrFilter.WithMessage("The function '%s' is not supported in this $filter.", t.Name)
		case t.Is("resourceType"):
			fold(func(r resource.Resource) string { return r.ID.Type() })
		case t.Is("resourceGroup"):
			fold(func(r resource.Resource) string { return r.ID.ResourceGroup() })
		case t.Is("name"):
			fold(func(r resource.Resource) string { return r.ID.Name() })
		case t.Is("location"):
			add(func(r resource.Resource) bool { return r.Location == location(t.Value) })
		case t.Is("tagName"):
			tag, hasTag = t.Value, true
			add(func(r resource.Resource) bool { _, has := tagOf(r, tag); return has })
		case t.Is("tagValue") && hasTag:
			add(func(r resource.Resource) bool { v, _ := tagOf(r, tag); return v == t.Value })
		default:
			return nil, odata.ErrFilter.WithMessage("The property '%s' is not supported in this $filter.", t.Name)
		}
	}
	return func(r resource.Resource) bool {
		for _, test := range tests {
			if !test(r) {
				return false
			}
		}
		return true
	}, nil
}

// tagOf finds a tag; names of tags compare without regard to case.
func tagOf(r resource.Resource, name string) (string, bool) {
	for have, v := range r.Tags {
		if strings.EqualFold(have, name) {
			return v, true
		}
	}
	return "", false
}
