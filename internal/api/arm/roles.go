package arm

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api/arm/odata"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

const (
	authorization = "Microsoft.Authorization/"
	roleTypeName  = authorization + "roleDefinitions"
)

func (h *Handler) roleRoutes() []route {
	return []route{
		on(http.MethodGet, roleTypeName, anywhere, authorization+"roleDefinitions/read", h.listRoles),
		on(http.MethodGet, roleTypeName+"/*", anywhere, authorization+"roleDefinitions/read", h.getRole),
		on(http.MethodPut, roleTypeName+"/*", anywhere, authorization+"roleDefinitions/write", h.putRole),
		on(http.MethodDelete, roleTypeName+"/*", anywhere, authorization+"roleDefinitions/delete", h.deleteRole),
	}
}

type roleBody struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Properties roleProperties `json:"properties"`
}

type roleProperties struct {
	RoleName         string           `json:"roleName"`
	Type             string           `json:"type"`
	Description      string           `json:"description"`
	AssignableScopes []string         `json:"assignableScopes"`
	Permissions      []rolePermission `json:"permissions"`
}

type rolePermission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

func roleSchema() schema.Field {
	permission := schema.Obj("", schema.Absents("condition", "conditionVersion"))
	for _, name := range []string{"actions", "notActions", "dataActions", "notDataActions"} {
		permission.Fields = append(permission.Fields, schema.ListOf(name, schema.Field{Kind: schema.String}))
	}
	properties := schema.Obj("properties", schema.Texts("description", "type", "createdOn", "updatedOn", "createdBy", "updatedBy"), []schema.Field{
		schema.Must(schema.Field{Name: "roleName", Kind: schema.String}), schema.ListOf("permissions", permission),
		schema.Must(schema.ListOf("assignableScopes", schema.Field{Kind: schema.String})),
	})
	return schema.Obj("", schema.Texts("id", "name", "type"), []schema.Field{schema.Must(properties)})
}

// encodeRole writes a role as seen from a scope: within a subscription its id carries that.
func encodeRole(r access.RoleDefinition, scope resource.ID) roleBody {
	id := r.ID
	if s := scope.Subscription(); s != "" {
		id = resource.SubscriptionID(s).Provider(roleTypeName, r.GUID)
	}
	out := roleBody{ID: id.String(), Name: r.GUID, Type: roleTypeName, Properties: roleProperties{
		RoleName: r.Name, Type: "CustomRole", Description: r.Description, Permissions: []rolePermission{}, AssignableScopes: []string{},
	}}
	if r.BuiltIn {
		out.Properties.Type = "BuiltInRole"
	}
	for _, p := range r.Permissions {
		list := func(l []string) []string { return append([]string{}, l...) }
		out.Properties.Permissions = append(out.Properties.Permissions, rolePermission{list(p.Actions), list(p.NotActions), list(p.DataActions), list(p.NotDataActions)})
	}
	for _, s := range r.AssignableScopes {
		out.Properties.AssignableScopes = append(out.Properties.AssignableScopes, s.String())
	}
	return out
}

// shownAt reports whether a role is any business of a scope: it can be assigned there, or beneath.
func shownAt(r access.RoleDefinition, scope resource.ID) bool {
	return r.AssignableAt(scope) || slices.ContainsFunc(r.AssignableScopes, scope.Covers)
}

func (h *Handler) listRoles(ctx context.Context, c *call) (*reply, error) {
	terms, err := odata.Parse(c.query["$filter"])
	if err != nil {
		return nil, err
	}
	roles, err := h.Access.Roles(ctx)
	if err != nil {
		return nil, err
	}
	out := []roleBody{}
	for _, r := range roles {
		body := encodeRole(r, c.scope)
		keep, err := keepRole(body.Properties, terms)
		if err != nil {
			return nil, err
		}
		if keep && shownAt(r, c.scope) {
			out = append(out, body)
		}
	}
	return ok(value{Value: out})
}

func keepRole(r roleProperties, terms []odata.Term) (bool, error) {
	keep := true
	for _, t := range terms {
		switch {
		case t.Call && (t.Is("atScope") || t.Is("atScopeAndBelow")):
		case !t.Call && t.Is("roleName"):
			keep = keep && strings.EqualFold(r.RoleName, t.Value)
		case !t.Call && t.Is("type"):
			keep = keep && strings.EqualFold(r.Type, t.Value)
		default:
			return false, odata.ErrFilter.WithMessage("'%s' is not supported in this $filter.", t.Name)
		}
	}
	return keep, nil
}

// role gives the role that the path names by its GUID.
func (h *Handler) role(ctx context.Context, c *call) (access.RoleDefinition, error) {
	if _, err := uuid.Parse(c.names[0]); err != nil {
		return access.RoleDefinition{}, errName.WithMessage("The name '%.80s' of a role definition is no GUID.", c.names[0])
	}
	r, err := h.Access.Role(ctx, c.names[0])
	if errors.Is(err, access.ErrRoleUnknown) {
		err = noRole(c)
	}
	return r, err
}

func noRole(c *call) error {
	return access.ErrRoleUnknown.WithMessage("The specified role definition with ID '%s' does not exist.", c.names[0])
}

func (h *Handler) getRole(ctx context.Context, c *call) (*reply, error) {
	r, err := h.role(ctx, c)
	if err == nil && !shownAt(r, c.scope) { // the caller's right to read is one to read here
		err = noRole(c)
	}
	if err != nil {
		return nil, err
	}
	return ok(encodeRole(r, c.scope))
}

// putRole makes a custom role. Whoever makes it must be allowed to wherever it can be assigned.
func (h *Handler) putRole(ctx context.Context, c *call) (*reply, error) {
	if err := h.checkBody(ctx, c, roleSchema(), c.body, false); err != nil {
		return nil, err
	}
	var body roleBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	r := access.RoleDefinition{GUID: c.names[0], Name: body.Properties.RoleName, Description: body.Properties.Description}
	for _, p := range body.Properties.Permissions {
		r.Permissions = append(r.Permissions, access.Permission(p))
	}
	for _, text := range body.Properties.AssignableScopes {
		scope, err := resource.ParseID(text)
		if err != nil {
			return nil, fault.From(err).WithTarget("properties.assignableScopes")
		}
		if err := h.requireLinked(ctx, c, link{id: scope, need: authorization + "roleDefinitions/write", target: "properties.assignableScopes"}); err != nil {
			return nil, err
		}
		r.AssignableScopes = append(r.AssignableScopes, scope)
	}
	// A role that exists may be changed only by whoever may write it everywhere that it counts today.
	if old, err := h.role(ctx, c); err == nil {
		for _, scope := range old.AssignableScopes {
			if err := h.requireLinked(ctx, c, link{id: scope, need: authorization + "roleDefinitions/write"}); err != nil {
				return nil, err
			}
		}
	} else if !errors.Is(err, access.ErrRoleUnknown) {
		return nil, err
	}
	stored, err := h.Access.PutRole(ctx, r)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusCreated, body: encodeRole(stored, c.scope)}, nil
}

func (h *Handler) deleteRole(ctx context.Context, c *call) (*reply, error) {
	r, err := h.role(ctx, c)
	if errors.Is(err, access.ErrRoleUnknown) {
		return empty(http.StatusNoContent)
	}
	if err != nil {
		return nil, err
	}
	for _, scope := range r.AssignableScopes {
		if err := h.require(ctx, c.who, authorization+"roleDefinitions/delete", scope); err != nil {
			return nil, err
		}
	}
	if err := h.Access.DeleteRole(ctx, r.GUID); err != nil {
		return nil, err
	}
	return ok(encodeRole(r, c.scope))
}
