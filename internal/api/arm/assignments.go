package arm

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/api/arm/odata"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

const assignmentTypeName = authorization + "roleAssignments"

func (h *Handler) assignmentRoutes() []route {
	return []route{
		on(http.MethodGet, assignmentTypeName, anywhere, authorization+"roleAssignments/read", h.listAssignments),
		on(http.MethodGet, assignmentTypeName+"/*", anywhere, authorization+"roleAssignments/read", h.getAssignment),
		on(http.MethodPut, assignmentTypeName+"/*", anywhere, authorization+"roleAssignments/write", h.putAssignment),
		on(http.MethodDelete, assignmentTypeName+"/*", anywhere, authorization+"roleAssignments/delete", h.deleteAssignment),
	}
}

type assignmentBody struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Properties assignmentProperties `json:"properties"`
}

type assignmentProperties struct {
	RoleDefinitionID string     `json:"roleDefinitionId"`
	PrincipalID      string     `json:"principalId"`
	PrincipalType    string     `json:"principalType"`
	Scope            string     `json:"scope"`
	Description      string     `json:"description,omitempty"`
	Condition        *string    `json:"condition"`
	CreatedOn        *time.Time `json:"createdOn,omitempty"`
	UpdatedOn        *time.Time `json:"updatedOn,omitempty"`
}

func assignmentSchema() schema.Field {
	properties := schema.Obj("properties", schema.Texts("principalType", "scope", "description", "createdOn", "updatedOn", "createdBy", "updatedBy"),
		schema.Absents("condition", "conditionVersion", "delegatedManagedIdentityResourceId"), []schema.Field{
			schema.Must(schema.Field{Name: "roleDefinitionId", Kind: schema.String}), schema.Must(schema.Field{Name: "principalId", Kind: schema.String}),
		})
	return schema.Obj("", schema.Texts("id", "name", "type"), []schema.Field{schema.Must(properties)})
}

func encodeAssignment(a access.Assignment) assignmentBody {
	role := access.RoleID(a.RoleGUID)
	if s := a.Scope.Subscription(); s != "" {
		role = resource.SubscriptionID(s).Provider(roleTypeName, a.RoleGUID)
	}
	return assignmentBody{ID: a.ID.String(), Name: a.GUID, Type: assignmentTypeName, Properties: assignmentProperties{
		RoleDefinitionID: role.String(), PrincipalID: a.PrincipalID, PrincipalType: a.PrincipalType, Scope: a.Scope.String(),
		Description: a.Description, CreatedOn: &a.Created, UpdatedOn: &a.Created,
	}}
}

// listAssignments lists those at, above and beneath the scope; with atScope() not those beneath.
func (h *Handler) listAssignments(ctx context.Context, c *call) (*reply, error) {
	filter := access.AssignmentFilter{Scope: c.scope}
	terms, err := odata.Parse(c.query["$filter"])
	if err != nil {
		return nil, err
	}
	for _, t := range terms {
		switch {
		case t.Call && t.Is("atScope"):
			filter.AtScope = true
			continue
		case t.Call && t.Is("assignedTo") && len(t.Args) == 1:
			filter.PrincipalID = t.Args[0]
		case !t.Call && t.Is("principalId"):
			filter.PrincipalID = t.Value
		default:
			return nil, odata.ErrFilter.WithMessage("'%s' is not supported in this $filter.", t.Name)
		}
		if _, err := uuid.Parse(filter.PrincipalID); err != nil { // above all not empty: that would list everybody's
			return nil, odata.ErrFilter.WithMessage("'%.80s' is no principal id in this $filter: it must be a GUID.", filter.PrincipalID)
		}
	}
	limit, after, err := c.page()
	if err != nil {
		return nil, err
	}
	filter.After, filter.Limit = after, limit+1
	list, err := h.Access.Assignments(ctx, filter)
	if err != nil {
		return nil, err
	}
	var page value
	if len(list) > limit {
		list = list[:limit]
		page.NextLink = c.nextLink(list[limit-1].ID.Key())
	}
	out := make([]assignmentBody, 0, len(list))
	for _, a := range list {
		out = append(out, encodeAssignment(a))
	}
	page.Value = out
	return ok(page)
}

func (h *Handler) getAssignment(ctx context.Context, c *call) (*reply, error) {
	a, err := h.Access.Assignment(ctx, c.id)
	if err != nil {
		return nil, unknownAssignment(err, c)
	}
	return ok(encodeAssignment(a))
}

func unknownAssignment(err error, c *call) error {
	if errors.Is(err, access.ErrAssignmentUnknown) {
		return access.ErrAssignmentUnknown.WithMessage("The role assignment '%s' is not found.", c.id.Name())
	}
	return err
}

func (h *Handler) putAssignment(ctx context.Context, c *call) (*reply, error) {
	if err := h.checkBody(ctx, c, assignmentSchema(), c.body, false); err != nil {
		return nil, err
	}
	var body assignmentBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	p := body.Properties
	defer h.holdScope(c.scope)()
	if err := h.requireScope(ctx, c.scope); err != nil {
		return nil, err
	}
	role, err := h.roleToAssign(ctx, p.RoleDefinitionID)
	if err != nil {
		return nil, err
	}
	kind, err := h.principalType(ctx, p)
	if err != nil {
		return nil, err
	}
	_, missing := h.Access.Assignment(ctx, c.id)
	a, err := h.Access.Assign(ctx, access.Assignment{
		GUID: c.names[0], Scope: c.scope, PrincipalID: p.PrincipalID, PrincipalType: kind, RoleGUID: role.GUID, Description: p.Description, Created: h.Now(),
	})
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if errors.Is(missing, access.ErrAssignmentUnknown) {
		status = http.StatusCreated
	}
	return &reply{status: status, body: encodeAssignment(a)}, nil
}

// holdScope keeps the resource or group at a scope from being deleted until the function that it gives is called: an
// assignment made behind the deletion's back would count for what is made under that name next.
func (h *Handler) holdScope(scope resource.ID) func() {
	scope = storedScope(scope)
	switch group := scope.Group(); {
	case group.IsZero():
		return func() {}
	case group.Equal(scope):
		return h.locks.alone(scope.Key())
	default:
		return h.locks.enter(group, scope)
	}
}

// requireScope refuses an assignment at a scope that does not exist or is going: it would count when somebody makes one
// later.
func (h *Handler) requireScope(ctx context.Context, scope resource.ID) error {
	if scope.Is(clusterNamespace) && !namespaceName.MatchString(scope.Name()) { // it would never count
		return errName.WithMessage("The scope '%s' is invalid: '%.80s' cannot be the name of a namespace.", scope, scope.Name())
	}
	scope = storedScope(scope)
	switch {
	case scope == resource.Root, scope.Is("Microsoft.Resources/subscriptions"):
		return nil
	case scope.Is(groupTypeName):
		_, err := h.openGroup(ctx, scope)
		return err
	}
	_, err := h.load(ctx, scope)
	return err
}

// storedScope gives the resource that a scope stands and falls with: of a namespace in a managed cluster the cluster, which
// alone knows its namespaces; else the scope itself. Azure too takes assignments at namespaces that do not exist.
//
// Source: https://learn.microsoft.com/azure/aks/manage-azure-rbac
func storedScope(scope resource.ID) resource.ID {
	if scope.Is(clusterNamespace) {
		return scope.Parent()
	}
	return scope
}

const clusterNamespace = "Microsoft.ContainerService/managedClusters/namespaces"

// namespaceName is RFC 1123's label, in any letter case: scopes are compared without regard to it.
var namespaceName = regexp.MustCompile(`^(?i:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$`)

func (h *Handler) roleToAssign(ctx context.Context, id string) (access.RoleDefinition, error) {
	guid := id[strings.LastIndexByte(id, '/')+1:]
	unknown := fault.Newf(fault.Invalid, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%.80s' does not exist.", guid).WithTarget("properties.roleDefinitionId")
	role, err := h.Access.Role(ctx, guid)
	if errors.Is(err, access.ErrRoleUnknown) || err == nil && !strings.EqualFold(role.GUID, guid) { // a name is no id
		return role, unknown
	}
	return role, err
}

// principalType gives the kind of the principal that is named: as the caller says, or as the directory knows it. A
// caller who names it is believed, as in Azure: there the directory may not know a new principal everywhere yet.
func (h *Handler) principalType(ctx context.Context, p assignmentProperties) (string, error) {
	if p.PrincipalType != "" {
		for _, kind := range []string{"ServicePrincipal", "User", "Group", "ForeignGroup", "Device"} {
			if strings.EqualFold(kind, p.PrincipalType) {
				return kind, nil
			}
		}
		return "", fault.Newf(fault.Invalid, "UnsupportedPrincipalType", "The principal type '%.40s' is unknown.", p.PrincipalType).WithTarget("properties.principalType")
	}
	_, err := h.Directory.Principal(ctx, p.PrincipalID)
	switch {
	case errors.Is(err, identity.ErrPrincipalUnknown):
		return "", fault.Newf(fault.Invalid, "PrincipalNotFound", "Principal %.80s does not exist in the directory %s. Check that you have the correct principal ID. "+
			"If you are creating this principal and then immediately assigning a role, this error might be related to a replication delay. "+
			"In this case, set the role assignment principalType property to a value, such as ServicePrincipal, User, or Group.", p.PrincipalID, h.Tenant).WithTarget("properties.principalId")
	case err != nil && !errors.Is(err, identity.ErrPrincipalDisabled):
		return "", err
	}
	return "ServicePrincipal", nil
}

func (h *Handler) deleteAssignment(ctx context.Context, c *call) (*reply, error) {
	a, err := h.Access.Assignment(ctx, c.id)
	if errors.Is(err, access.ErrAssignmentUnknown) {
		return empty(http.StatusNoContent)
	}
	if err != nil {
		return nil, err
	}
	if err := h.Access.Unassign(ctx, a.ID); err != nil && !errors.Is(err, access.ErrAssignmentUnknown) {
		return nil, err
	}
	return ok(encodeAssignment(a))
}
