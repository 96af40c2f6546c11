package arm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/api/arm/site"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// The configuration of a site is a family of subresources, config/<name>. Those that hold secrets are read by POST
// config/<name>/list only, which takes an action of its own.
func (h *Handler) siteConfigRoutes(t *armType) []route {
	config := t.name + "/*/config"
	return []route{
		on(http.MethodGet, config, atGroup, siteTypeName+"/config/read", h.listConfigs),
		on(http.MethodGet, config+"/*", atGroup, siteTypeName+"/config/read", h.getConfig),
		on(http.MethodPut, config+"/*", atGroup, siteTypeName+"/config/write", h.putConfig),
		on(http.MethodPatch, config+"/*", atGroup, siteTypeName+"/config/write", h.putConfig),
		on(http.MethodPost, config+"/*/list", atGroup, siteTypeName+"/config/list/action", h.listConfig),
	}
}

// subresource is part of a resource, with an id of its own.
type subresource struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Location   string `json:"location,omitempty"`
	Properties any    `json:"properties"`
}

func part(id resource.ID, properties any) subresource {
	return subresource{ID: id.String(), Name: id.Name(), Type: id.Type(), Properties: properties}
}

func noConfig(name string) error {
	return fault.Newf(fault.NotFound, "ResourceNotFound", "There is no configuration '%.60s' to be read or written like this.", name)
}

// siteOf gives the site whose configuration a call names, and the configuration's name in lower case.
func (h *Handler) siteOf(ctx context.Context, c *call) (resource.Resource, site.Site, string, error) {
	id, name := c.id, ""
	if len(c.names) > 1 {
		id, name = c.id.Parent(), strings.ToLower(c.names[1])
	}
	r, err := h.load(ctx, id)
	if err != nil {
		return r, site.Site{}, name, err
	}
	s, err := h.readSite(r)
	return r, s, name, err
}

func (h *Handler) listConfigs(ctx context.Context, c *call) (*reply, error) {
	r, s, _, err := h.siteOf(ctx, c)
	if err != nil {
		return nil, err
	}
	return ok(value{Value: []subresource{part(r.ID.Child("config", "web"), s.EncodeConfig())}})
}

func (h *Handler) getConfig(ctx context.Context, c *call) (*reply, error) {
	_, s, name, err := h.siteOf(ctx, c)
	if err != nil {
		return nil, err
	}
	if name == "web" {
		return ok(part(c.id, s.EncodeConfig()))
	}
	if kept, set := s.Other[name]; set {
		return ok(part(c.id, kept))
	}
	if otherwise, known := site.Default(name); known {
		return ok(part(c.id, otherwise))
	}
	return nil, noConfig(name)
}

// listConfig answers with what is secret; the caller has an action of its own for that.
func (h *Handler) listConfig(ctx context.Context, c *call) (*reply, error) {
	r, s, name, err := h.siteOf(ctx, c)
	if err != nil {
		return nil, err
	}
	switch name {
	case "appsettings":
		return ok(part(c.id, s.EncodeSettings()))
	case "connectionstrings":
		return ok(part(c.id, s.EncodeConnections()))
	case "azurestorageaccounts", "metadata":
		return ok(part(c.id, map[string]string{}))
	case "authsettings":
		return ok(part(c.id, map[string]any{"enabled": false}))
	case "publishingcredentials":
		// Nobody publishes to a site here but by pushing an image: there is a user for clients to read, and no password.
		return ok(part(c.id, map[string]string{"publishingUserName": "$" + r.ID.Name(), "publishingPassword": "", "scmUri": ""}))
	}
	return nil, noConfig(name)
}

// putConfig changes one configuration: settings and connection strings are replaced whole, of config/web what is given.
func (h *Handler) putConfig(ctx context.Context, c *call) (*reply, error) {
	owner := c.id.Parent()
	defer h.locks.enter(owner.Group(), owner)()
	r, s, name, err := h.siteOf(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := c.precondition(&r); err != nil {
		return nil, err
	}
	if err := h.checkBody(ctx, c, configBody(name), c.body, false); err != nil {
		return nil, err
	}
	var body struct {
		Properties json.RawMessage `json:"properties"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	shown, err := changeConfig(&s, name, body.Properties)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // from here on a client that goes away must not leave half of it
	before := r
	if err := h.keepSite(&r, s); err != nil {
		return nil, err
	}
	stored, _, err := h.Store.PutResource(ctx, r, before.ETag)
	if err != nil {
		return nil, err
	}
	if err := h.runSite(ctx, stored, s); err != nil {
		_, _, undone := h.Store.PutResource(ctx, before, stored.ETag)
		return nil, errors.Join(err, undone)
	}
	return ok(part(c.id, shown()))
}

// configBody gives the fields of config/<name>.
func configBody(name string) schema.Field {
	properties := schema.Field{Name: "properties", Kind: schema.Object}
	switch name {
	case "web":
		properties = site.Config()
		properties.Name = "properties"
	case "appsettings":
		properties = schema.MapOf("properties", schema.Field{Kind: schema.String})
	case "connectionstrings":
		properties = schema.MapOf("properties", schema.Obj("", schema.Texts("value", "type")))
	case "azurestorageaccounts":
		properties = schema.Refused("properties")
	case "logs":
		properties = site.Logs()
	default:
		properties.Kind = schema.Any
	}
	return schema.Obj("", schema.Texts("id", "name", "type", "kind", "location"), []schema.Field{properties})
}

// changeConfig applies the properties of config/<name> and gives how the change is shown.
func changeConfig(s *site.Site, name string, properties json.RawMessage) (func() any, error) {
	if properties == nil {
		properties = json.RawMessage("{}")
	}
	switch name {
	case "web":
		return func() any { return s.EncodeConfig() }, s.UpdateConfig("properties", properties)
	case "appsettings":
		return func() any { return s.EncodeSettings() }, s.ReplaceSettings(properties)
	case "connectionstrings":
		return s.EncodeConnections, s.ReplaceConnections(properties)
	case "azurestorageaccounts":
		return func() any { return map[string]string{} }, nil
	}
	if _, known := site.Default(name); !known {
		return nil, noConfig(name)
	}
	s.SetOther(name, properties)
	return func() any { return properties }, nil
}
