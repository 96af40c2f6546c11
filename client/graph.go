package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Application is an application of the directory.
type Application struct {
	ID          string               `json:"id"` // object id
	AppID       string               `json:"appId"`
	DisplayName string               `json:"displayName"`
	Created     time.Time            `json:"createdDateTime,omitzero"`
	Passwords   []PasswordCredential `json:"passwordCredentials"`
}

// PasswordCredential is a client secret. Its text is there only in the answer that made it.
type PasswordCredential struct {
	KeyID       string    `json:"keyId"`
	DisplayName string    `json:"displayName"`
	Hint        string    `json:"hint"`
	Start       time.Time `json:"startDateTime,omitzero"`
	End         time.Time `json:"endDateTime,omitzero"`
	Text        Secret    `json:"secretText,omitempty"`
}

// ServicePrincipal is a principal of the directory: what roles are assigned to.
type ServicePrincipal struct {
	ID          string   `json:"id"` // principal (object) id
	AppID       string   `json:"appId"`
	DisplayName string   `json:"displayName"`
	Type        string   `json:"servicePrincipalType"` // Application, ManagedIdentity
	Enabled     bool     `json:"accountEnabled"`
	Names       []string `json:"alternativeNames"`
}

func (c *Client) graph(ctx context.Context, method, path string, body, v any) error {
	r := request{method: method, url: c.server.Graph + "/v1.0" + path, scope: c.graphScope(), header: http.Header{}}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r.body = text
		r.header.Set("Content-Type", "application/json")
	}
	a, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	return a.decode(v)
}

// graphList reads all pages of a directory list whose objects match an OData filter, which may be "".
func graphList[T any](ctx context.Context, c *Client, path, filter string) ([]T, error) {
	next := c.server.Graph + "/v1.0" + path
	if filter != "" {
		next += "?" + url.Values{"$filter": {filter}}.Encode()
	}
	all := []T{}
	for next != "" {
		if !strings.HasPrefix(next, c.server.Graph+"/") {
			return nil, fmt.Errorf("the next page of %s lies at another host: %s", path, next)
		}
		a, err := c.send(ctx, request{method: http.MethodGet, url: next, scope: c.graphScope()})
		if err != nil {
			return nil, err
		}
		var page struct {
			Value []T    `json:"value"`
			Next  string `json:"@odata.nextLink"`
		}
		if err := a.decode(&page); err != nil {
			return nil, err
		}
		all, next = append(all, page.Value...), page.Next
	}
	return all, nil
}

// quote writes an OData string literal.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// CreateApplication makes an application and its service principal.
func (c *Client) CreateApplication(ctx context.Context, name string) (Application, ServicePrincipal, error) {
	var app Application
	var sp ServicePrincipal
	if err := c.graph(ctx, http.MethodPost, "/applications", map[string]string{"displayName": name}, &app); err != nil {
		return app, sp, err
	}
	err := c.graph(ctx, http.MethodPost, "/servicePrincipals", map[string]any{"appId": app.AppID, "accountEnabled": true}, &sp)
	return app, sp, err
}

// Applications lists the applications of the directory.
func (c *Client) Applications(ctx context.Context) ([]Application, error) {
	return graphList[Application](ctx, c, "/applications", "")
}

// ApplicationByClientID finds an application by its client id; found is false when there is none.
func (c *Client) ApplicationByClientID(ctx context.Context, clientID string) (app Application, found bool, err error) {
	apps, err := graphList[Application](ctx, c, "/applications", "appId eq "+quote(clientID))
	if err != nil || len(apps) == 0 {
		return app, false, err
	}
	return apps[0], true, nil
}

// DeleteApplication removes an application, its service principal and its secrets.
func (c *Client) DeleteApplication(ctx context.Context, objectID string) error {
	return c.graph(ctx, http.MethodDelete, "/applications/"+url.PathEscape(objectID), nil, nil)
}

// AddPassword makes a client secret; a zero end leaves the end date to the server.
func (c *Client) AddPassword(ctx context.Context, objectID, name string, end time.Time) (PasswordCredential, error) {
	asked := map[string]any{"displayName": name}
	if !end.IsZero() {
		asked["endDateTime"] = end.UTC().Format(time.RFC3339)
	}
	var made PasswordCredential
	err := c.graph(ctx, http.MethodPost, "/applications/"+url.PathEscape(objectID)+"/addPassword", map[string]any{"passwordCredential": asked}, &made)
	return made, err
}

// RemovePassword removes a client secret.
func (c *Client) RemovePassword(ctx context.Context, objectID, keyID string) error {
	return c.graph(ctx, http.MethodPost, "/applications/"+url.PathEscape(objectID)+"/removePassword", map[string]string{"keyId": keyID}, nil)
}

// ServicePrincipal reads a principal by its object id.
func (c *Client) ServicePrincipal(ctx context.Context, id string) (ServicePrincipal, error) {
	var sp ServicePrincipal
	err := c.graph(ctx, http.MethodGet, "/servicePrincipals/"+url.PathEscape(id), nil, &sp)
	return sp, err
}

// ServicePrincipalsBy finds principals by one property: "appId" or "displayName".
func (c *Client) ServicePrincipalsBy(ctx context.Context, property, value string) ([]ServicePrincipal, error) {
	return graphList[ServicePrincipal](ctx, c, "/servicePrincipals", property+" eq "+quote(value))
}
