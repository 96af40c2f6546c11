package lookup

import (
	"context"
	"regexp"
	"strings"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
)

// Principal is who a role is assigned to.
type Principal struct {
	ID   string // principal (object) id
	Name string
	Note string // what to tell of how it was found; "" when it was meant by its principal id or name
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// Identity finds a user-assigned managed identity by resource id, name, client id or principal id.
func Identity(ctx context.Context, c *client.Client, text string) (client.ManagedIdentity, error) {
	const hint = "list them with 'fairlead identity list', or create one with 'fairlead identity create NAME -g GROUP'"
	if !guid.MatchString(text) {
		return named[client.ManagedIdentityProperties](ctx, c, kind{client.TypeIdentity, "managed identity", hint}, text, "")
	}
	all, err := client.ListOfType[client.ManagedIdentity](ctx, c, "", client.TypeIdentity)
	if err != nil {
		return client.ManagedIdentity{}, err
	}
	for _, id := range all {
		if strings.EqualFold(id.Properties.ClientID, text) || strings.EqualFold(id.Properties.PrincipalID, text) {
			return id, nil
		}
	}
	return client.ManagedIdentity{}, exit.Errorf(exit.NotFound, hint, "no managed identity has the client id %s", text)
}

// FindPrincipal finds who is meant by a principal id, a client id, the name of an identity or service principal, or an
// identity's resource id. A client id is turned into the principal id that belongs to it, which Note tells: roles are
// assigned to principal ids. Who may assign roles but not read the directory is believed that a GUID is a principal id.
func FindPrincipal(ctx context.Context, c *client.Client, text string) (Principal, error) {
	if strings.HasPrefix(text, "/") {
		id, err := Identity(ctx, c, text)
		return ofIdentity(id, ""), err
	}
	if guid.MatchString(text) {
		return byGUID(ctx, c, text)
	}
	identities, err := client.ListOfType[client.ManagedIdentity](ctx, c, "", client.TypeIdentity)
	if err != nil {
		return Principal{}, err
	}
	var fits []Principal
	for _, id := range identities {
		if strings.EqualFold(id.Name, text) {
			fits = append(fits, ofIdentity(id, ""))
		}
	}
	sps, err := c.ServicePrincipalsBy(ctx, "displayName", text)
	if err != nil {
		return Principal{}, err
	}
	for _, sp := range sps {
		if !strings.EqualFold(sp.Type, "ManagedIdentity") {
			fits = append(fits, Principal{ID: sp.ID, Name: sp.DisplayName})
		}
	}
	return one(fits, "principal", text, "give a principal id, a client id, or the name of an identity (fairlead identity list, fairlead sp list)",
		func(p Principal) string { return p.ID + " " + p.Name })
}

func ofIdentity(id client.ManagedIdentity, note string) Principal {
	return Principal{ID: id.Properties.PrincipalID, Name: id.Name, Note: note}
}

func byGUID(ctx context.Context, c *client.Client, text string) (Principal, error) {
	sp, err := c.ServicePrincipal(ctx, text)
	if err == nil {
		return Principal{ID: sp.ID, Name: sp.DisplayName}, nil
	}
	if client.HasCode(err, "Authorization_RequestDenied") {
		return unchecked(ctx, c, text), nil
	}
	if !client.NotFound(err) {
		return Principal{}, err
	}
	sps, err := c.ServicePrincipalsBy(ctx, "appId", text)
	if err != nil {
		return Principal{}, err
	}
	if len(sps) > 0 {
		return Principal{sps[0].ID, sps[0].DisplayName, clientIDNote(text, sps[0].DisplayName, sps[0].ID)}, nil
	}
	id, err := Identity(ctx, c, text)
	if exit.CodeOf(err) == exit.NotFound {
		return Principal{}, exit.Errorf(exit.NotFound, "give --exact to assign to this id as it is", "no principal has the principal id or client id %s", text)
	}
	return ofIdentity(id, clientIDNote(text, id.Name, id.Properties.PrincipalID)), err
}

func clientIDNote(text, name, principalID string) string {
	return text + " is the client id of " + name + ": its principal id is " + principalID
}

// unchecked takes a GUID for a principal id unless it is the client id of an identity that the caller may see.
func unchecked(ctx context.Context, c *client.Client, text string) Principal {
	id, err := Identity(ctx, c, text)
	switch {
	case err != nil:
		return Principal{ID: text, Note: text + " is taken for a principal id: you may not read the directory to look it up"}
	case strings.EqualFold(id.Properties.PrincipalID, text):
		return ofIdentity(id, "")
	}
	return ofIdentity(id, clientIDNote(text, id.Name, id.Properties.PrincipalID))
}

// Scope finds the resource id that a role is assigned on: an id as it is, else a registry's name or login server, else
// a resource group's name.
func Scope(ctx context.Context, c *client.Client, text string) (string, error) {
	if strings.HasPrefix(text, "/") {
		return text, nil
	}
	registry, err := Registry(ctx, c, text)
	if err != nil && exit.CodeOf(err) != exit.NotFound {
		return "", err
	}
	groups, err := client.List[client.Resource[struct{}]](ctx, c, c.SubscriptionID()+"/resourceGroups")
	if err != nil {
		return "", err
	}
	var fits []string
	if registry.ID != "" {
		fits = append(fits, registry.ID)
	}
	for _, g := range groups {
		if strings.EqualFold(g.Name, text) {
			fits = append(fits, g.ID)
		}
	}
	return one(fits, "registry or resource group", text, "give a registry's name, a resource group's name, or a resource id", func(id string) string { return id })
}

// Role finds a role definition at a scope by its name, GUID or id.
func Role(ctx context.Context, c *client.Client, text, scope string) (client.RoleDefinition, error) {
	definitions := strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/roleDefinitions"
	if guid.MatchString(text) || strings.HasPrefix(text, "/") {
		var role client.RoleDefinition
		err := c.Get(ctx, definitions+"/"+client.NameOf(text), &role)
		return role, err
	}
	found, err := client.List[client.RoleDefinition](ctx, c, definitions, client.Query("$filter", "roleName eq '"+strings.ReplaceAll(text, "'", "''")+"'"))
	if err != nil {
		return client.RoleDefinition{}, err
	}
	return one(found, "role", text, "to pull images a workload needs AcrPull; to push, AcrPush", func(r client.RoleDefinition) string { return r.ID })
}
