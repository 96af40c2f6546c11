package cli

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

type roleOptions struct {
	to, on string
	exact  bool
}

func newRole(a *app) *cobra.Command {
	return family("role", "Role assignments: assign, list, remove", newRoleAssign(a), newRoleList(a), newRoleRemove(a))
}

func (o *roleOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "who: a principal id, a client id, or the name of an identity or service principal")
	f.StringVar(&o.on, "on", "", "where: a registry's name, a resource group's name, or a resource id")
	f.BoolVar(&o.exact, "exact", false, "take --to as a principal id, whatever it is")
}

func (o roleOptions) check() error {
	if o.to == "" || o.on == "" {
		return exit.Usagef("--to and --on are needed: who, and where")
	}
	return nil
}

// principal resolves --to, and says how when that is not as it was given.
func (o roleOptions) principal(ctx context.Context, c *connection) (string, error) {
	if o.exact || o.to == "" {
		return o.to, nil
	}
	p, err := lookup.FindPrincipal(ctx, c.Client, o.to)
	if err == nil && p.Note != "" {
		c.streams.Notef("%s", p.Note)
	}
	return p.ID, err
}

func newRoleAssign(a *app) *cobra.Command {
	var o roleOptions
	cmd := &cobra.Command{
		Use: "assign ROLE --to PRINCIPAL --on SCOPE", Short: "Give a principal a role", Args: exactly("ROLE"),
		Example: "  fairlead role assign AcrPull --to web-id --on myacr",
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			return assignRole(ctx, c, args[0], o)
		}),
	}
	o.bind(cmd)
	return cmd
}

// find checks the flags and finds the scope and the role that are meant.
func (o roleOptions) find(ctx context.Context, c *connection, name string) (scope string, role client.RoleDefinition, err error) {
	if err = o.check(); err != nil {
		return "", role, err
	}
	if scope, err = lookup.Scope(ctx, c.Client, o.on); err != nil {
		return "", role, err
	}
	role, err = lookup.Role(ctx, c.Client, name, scope)
	return scope, role, err
}

func assignRole(ctx context.Context, c *connection, name string, o roleOptions) error {
	scope, role, err := o.find(ctx, c, name)
	if err != nil {
		return err
	}
	principal, err := o.principal(ctx, c)
	if err != nil {
		return err
	}
	made, err := assign(ctx, c.Client, role, principal, scope)
	if client.HasCode(err, "RoleAssignmentExists") {
		c.streams.Notef("the role was assigned already")
		made, err = existing(ctx, c.Client, role, principal, scope)
	}
	if err != nil {
		return err
	}
	return c.show(made, func(t *terminal.Table) {
		*t = assignmentTable([]client.RoleAssignment{made}, map[string]string{strings.ToLower(role.Name): role.Properties.RoleName})
	})
}

func assign(ctx context.Context, c *client.Client, role client.RoleDefinition, principal, scope string) (client.RoleAssignment, error) {
	var made client.RoleAssignment
	err := c.Put(ctx, strings.TrimSuffix(scope, "/")+assignments+"/"+uuid.NewString(), workload.Object{"properties": workload.Object{
		"roleDefinitionId": role.ID, "principalId": principal, "principalType": "ServicePrincipal",
	}}, &made)
	return made, err
}

// existing finds the assignment that stands in the way of an equal one.
func existing(ctx context.Context, c *client.Client, role client.RoleDefinition, principal, scope string) (client.RoleAssignment, error) {
	all, err := client.List[client.RoleAssignment](ctx, c, strings.TrimSuffix(scope, "/")+assignments, client.Query("$filter", "atScope()"))
	for _, ra := range all {
		p := ra.Properties
		if strings.EqualFold(p.PrincipalID, principal) && strings.EqualFold(p.Scope, scope) && strings.EqualFold(client.NameOf(p.RoleDefinitionID), role.Name) {
			return ra, nil
		}
	}
	return client.RoleAssignment{}, err
}

const assignments = "/providers/Microsoft.Authorization/roleAssignments"

func newRoleList(a *app) *cobra.Command {
	var o roleOptions
	cmd := &cobra.Command{
		Use: "list", Short: "List role assignments", Args: exactly(),
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			found, names, err := findAssignments(ctx, c, o)
			if err != nil {
				return err
			}
			return a.show(found, func(t *terminal.Table) { *t = assignmentTable(found, names) })
		}),
	}
	o.bind(cmd)
	return cmd
}

func assignmentTable(all []client.RoleAssignment, roles map[string]string) terminal.Table {
	t := terminal.Table{Header: []string{"ROLE", "PRINCIPAL ID", "SCOPE"}}
	for _, ra := range all {
		guid := client.NameOf(ra.Properties.RoleDefinitionID)
		name := roles[strings.ToLower(guid)]
		if name == "" {
			name = guid
		}
		t.Add(name, ra.Properties.PrincipalID, ra.Properties.Scope)
	}
	return t
}

// findAssignments lists the assignments that count at --on, or anywhere in the subscription, with the roles' names by
// their GUIDs.
func findAssignments(ctx context.Context, c *connection, o roleOptions) ([]client.RoleAssignment, map[string]string, error) {
	scope := c.SubscriptionID()
	var options []client.Option
	if o.on != "" {
		var err error
		if scope, err = lookup.Scope(ctx, c.Client, o.on); err != nil {
			return nil, nil, err
		}
		options = append(options, client.Query("$filter", "atScope()"))
	}
	principal, err := o.principal(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	all, err := client.List[client.RoleAssignment](ctx, c.Client, strings.TrimSuffix(scope, "/")+assignments, options...)
	if err != nil {
		return nil, nil, err
	}
	roles, err := client.List[client.RoleDefinition](ctx, c.Client, strings.TrimSuffix(scope, "/")+"/providers/Microsoft.Authorization/roleDefinitions")
	if err != nil {
		return nil, nil, err
	}
	names := map[string]string{}
	for _, r := range roles {
		names[strings.ToLower(r.Name)] = r.Properties.RoleName
	}
	found := []client.RoleAssignment{}
	for _, ra := range all {
		if principal == "" || strings.EqualFold(ra.Properties.PrincipalID, principal) {
			found = append(found, ra)
		}
	}
	return found, names, nil
}

func newRoleRemove(a *app) *cobra.Command {
	var o roleOptions
	cmd := &cobra.Command{
		Use: "remove ROLE --to PRINCIPAL --on SCOPE", Short: "Take a role away from a principal; it counts at once", Args: exactly("ROLE"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			return removeRole(ctx, c, args[0], o)
		}),
	}
	o.bind(cmd)
	return cmd
}

// removeRole takes away what is assigned on the scope itself; what is inherited from above stays, and is told.
func removeRole(ctx context.Context, c *connection, name string, o roleOptions) error {
	scope, role, err := o.find(ctx, c, name)
	if err != nil {
		return err
	}
	removed, above, err := unassign(ctx, c, role, scope, o)
	if err != nil {
		return err
	}
	switch {
	case removed == 0 && above != "":
		return exit.Errorf(exit.NotFound, "remove it there with --on "+above, "%s is not assigned on this scope; it is inherited from %s", name, above)
	case removed == 0:
		return exit.Errorf(exit.NotFound, "see 'fairlead role list --on "+o.on+"'", "%s is not assigned to %s on this scope", name, o.to)
	case above != "":
		c.streams.Notef("still inherited from %s", above)
	}
	return nil
}

// unassign takes a role away on a scope from whom o.to names; above is a scope from which it is still inherited, or "".
func unassign(ctx context.Context, c *connection, role client.RoleDefinition, scope string, o roleOptions) (removed int, above string, err error) {
	o.on = scope
	found, _, err := findAssignments(ctx, c, o)
	if err != nil {
		return 0, "", err
	}
	for _, ra := range found {
		switch {
		case !strings.EqualFold(client.NameOf(ra.Properties.RoleDefinitionID), role.Name):
		case !strings.EqualFold(ra.Properties.Scope, scope):
			above = ra.Properties.Scope
		default:
			if _, err := c.Delete(ctx, ra.ID); err != nil {
				return removed, above, err
			}
			removed++
		}
	}
	return removed, above, nil
}
