package graph

import (
	"context"
	"net/http"
	"strconv"

	"fairlead.dev/internal/resource"
)

// Bounds of a page, in objects.
const (
	defaultPage = 100
	maxPage     = 999
)

// page is what a list request asks for.
type page struct {
	filter filter
	top    int
	after  string // object id
}

func readPage(r *http.Request) (page, error) {
	q := r.URL.Query()
	p := page{top: defaultPage, after: q.Get("$skiptoken")}
	if top := q.Get("$top"); top != "" {
		n, err := strconv.Atoi(top)
		if err != nil || n < 1 || n > maxPage {
			return page{}, errBadRequest.WithMessage("Invalid page size specified: '%.20s'. Must be between 1 and %d inclusive.", top, maxPage)
		}
		p.top = n
	}
	var err error
	p.filter, err = parseFilter(q.Get("$filter"))
	return p, err
}

// collection is what can be listed: read gives objects in order of id, at most limit, beginning behind after; encode
// gives an object's ids and name, for the filter, and its JSON.
type collection[T any] struct {
	name   string
	read   func(ctx context.Context, after string, limit int) ([]T, error)
	encode func(T) (id, appID, name string, body any)
}

// list answers a list request.
func list[T any](h *handler, c call, of collection[T]) (answer, error) {
	p, err := readPage(c.r)
	if err != nil {
		return answer{}, err
	}
	values, after := []any{}, p.after
	for {
		objects, err := of.read(c.r.Context(), after, maxPage)
		if err != nil {
			return answer{}, err
		}
		for _, o := range objects {
			id, appID, name, body := of.encode(o)
			if !p.filter.matches(id, appID, name) {
				continue
			}
			if len(values) == p.top {
				return h.page(c, of.name, values, after), nil
			}
			values, after = append(values, body), id
		}
		if len(objects) < maxPage {
			return h.page(c, of.name, values, ""), nil
		}
		after, _, _, _ = of.encode(objects[len(objects)-1])
	}
}

// page writes a page; next is the id of its last object when there are more.
func (h *handler) page(c call, name string, values []any, next string) answer {
	base := h.Origin.URL(resource.Graph) + "/v1.0/"
	body := map[string]any{"@odata.context": base + "$metadata#" + name, "value": values}
	if next != "" {
		q := c.r.URL.Query()
		q.Set("$skiptoken", next)
		body["@odata.nextLink"] = base + name + "?" + q.Encode()
	}
	return answer{http.StatusOK, body}
}
