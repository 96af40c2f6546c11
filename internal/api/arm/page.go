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
