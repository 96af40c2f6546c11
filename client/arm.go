package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Types of resources, as they stand in resource ids.
const (
	TypeRegistry       = "Microsoft.ContainerRegistry/registries"
	TypeContainerGroup = "Microsoft.ContainerInstance/containerGroups"
	TypeIdentity       = "Microsoft.ManagedIdentity/userAssignedIdentities"
	TypePlan           = "Microsoft.Web/serverfarms"
	TypeSite           = "Microsoft.Web/sites"
	TypeCluster        = "Microsoft.ContainerService/managedClusters"
	TypeConnected      = "Microsoft.Kubernetes/connectedClusters"
	typeAssignment     = "Microsoft.Authorization/roleAssignments"
	typeDefinition     = "Microsoft.Authorization/roleDefinitions"
)

// apiVersion gives the api-version for a path, by the last provider in it.
func apiVersion(path string) string {
	provider, found := afterLast(strings.ToLower(path), "/providers/")
	if !found {
		return "2021-04-01"
	}
	switch provider, _, _ = strings.Cut(provider, "/"); provider {
	case "microsoft.containerregistry":
		return "2023-07-01"
	case "microsoft.containerinstance":
		return "2023-05-01"
	case "microsoft.managedidentity":
		return "2023-01-31"
	case "microsoft.authorization":
		return "2022-04-01"
	case "microsoft.web":
		return "2023-12-01"
	case "microsoft.containerservice":
		return "2025-10-01"
	case "microsoft.kubernetes":
		return "2024-01-01"
	}
	return "2021-04-01"
}

func afterLast(s, sep string) (after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[i+len(sep):], true
	}
	return "", false
}

// Option changes one call to the resource manager.
type Option func(query url.Values, header http.Header)

// APIVersion asks for another api-version than the client's own.
func APIVersion(v string) Option {
	return func(query url.Values, _ http.Header) { query.Set("api-version", v) }
}

// Query adds a query parameter.
func Query(name, value string) Option {
	return func(query url.Values, _ http.Header) { query.Set(name, value) }
}

// Strict asks the server to refuse fields that it does not know.
func Strict() Option {
	return func(_ url.Values, header http.Header) { header.Set("x-fairlead-strict", "true") }
}

// SubscriptionID gives the id of the client's subscription.
func (c *Client) SubscriptionID() string { return "/subscriptions/" + c.server.Subscription }

// GroupID gives the id of a resource group in the client's subscription.
func (c *Client) GroupID(group string) string {
	return c.SubscriptionID() + "/resourceGroups/" + group
}

// ResourceID gives the id of a resource of one of the types above.
func (c *Client) ResourceID(group, resourceType, name string) string {
	return c.GroupID(group) + "/providers/" + resourceType + "/" + name
}

// arm makes one request to the resource manager; body is JSON, marshalled, or nil.
func (c *Client) arm(ctx context.Context, method, path string, body any, options []Option) (answer, error) {
	r := request{method: method, header: http.Header{}, scope: c.armScope()}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		r.body = text
		r.header.Set("Content-Type", "application/json")
	}
	query := url.Values{"api-version": {apiVersion(path)}}
	for _, o := range options {
		o(query, r.header)
	}
	r.url = c.server.ARM + escapePath(path) + "?" + query.Encode()
	return c.send(ctx, r)
}

func escapePath(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// Get reads a resource, or anything else under an id, into v.
func (c *Client) Get(ctx context.Context, id string, v any, options ...Option) error {
	a, err := c.arm(ctx, http.MethodGet, id, nil, options)
	if err != nil {
		return err
	}
	return a.decode(v)
}

// Post calls an action of a resource and waits until it is done. v may be nil.
func (c *Client) Post(ctx context.Context, id string, body, v any, options ...Option) error {
	a, err := c.arm(ctx, http.MethodPost, id, body, options)
	if err != nil {
		return err
	}
	if err := c.operation(id, a).Wait(ctx); err != nil {
		return err
	}
	return a.decode(v)
}

// Patch changes a resource and waits until that is done; v gets the answer.
func (c *Client) Patch(ctx context.Context, id string, body, v any, options ...Option) error {
	op, err := c.BeginPatch(ctx, id, body, options...)
	if err != nil {
		return err
	}
	if err := op.Wait(ctx); err != nil {
		return err
	}
	return op.first.decode(v)
}

// BeginPatch is Patch that returns as soon as the server has taken the request over.
func (c *Client) BeginPatch(ctx context.Context, id string, body any, options ...Option) (*Operation, error) {
	a, err := c.arm(ctx, http.MethodPatch, id, body, options)
	if err != nil {
		return nil, err
	}
	return c.operation(id, a), nil
}

// Delete removes a resource and waits until it is gone. It reports whether there was one.
func (c *Client) Delete(ctx context.Context, id string, options ...Option) (bool, error) {
	a, err := c.arm(ctx, http.MethodDelete, id, nil, options)
	if err != nil {
		return false, err
	}
	return a.status != http.StatusNoContent, c.operation(id, a).Wait(ctx)
}

// Put creates or replaces a resource, waits until that is done, and reads the result into v, which may be nil.
func (c *Client) Put(ctx context.Context, id string, body, v any, options ...Option) error {
	op, err := c.BeginPut(ctx, id, body, options...)
	if err != nil {
		return err
	}
	if err := op.Wait(ctx); err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	if op.done {
		return op.first.decode(v)
	}
	return c.Get(ctx, id, v, options...)
}

// BeginPut is Put that returns as soon as the server has taken the request over.
func (c *Client) BeginPut(ctx context.Context, id string, body any, options ...Option) (*Operation, error) {
	a, err := c.arm(ctx, http.MethodPut, id, body, options)
	if err != nil {
		return nil, err
	}
	return c.operation(id, a), nil
}

// BeginPost is Post that returns as soon as the server has taken the request over.
func (c *Client) BeginPost(ctx context.Context, id string, body any, options ...Option) (*Operation, error) {
	a, err := c.arm(ctx, http.MethodPost, id, body, options)
	if err != nil {
		return nil, err
	}
	return c.operation(id, a), nil
}

// List reads all pages of a list. A next page is asked for only at the resource manager itself.
func List[T any](ctx context.Context, c *Client, path string, options ...Option) ([]T, error) {
	all := []T{}
	a, err := c.arm(ctx, http.MethodGet, path, nil, options)
	for {
		if err != nil {
			return nil, err
		}
		var page struct {
			Value    []T    `json:"value"`
			NextLink string `json:"nextLink"`
		}
		if err := a.decode(&page); err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
		if page.NextLink == "" {
			return all, nil
		}
		if !strings.HasPrefix(page.NextLink, c.server.ARM+"/") {
			return nil, fmt.Errorf("the next page of %s lies at another host: %s", path, page.NextLink)
		}
		a, err = c.send(ctx, request{method: http.MethodGet, url: page.NextLink, scope: c.armScope()})
	}
}
