package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

func newIdentity(a *app) *cobra.Command {
	return family("identity", "Managed identities: create, list, show, delete",
		newIdentityCreate(a), newIdentityList(a),
		onIdentity(a, "show", "Show a managed identity", func(_ context.Context, _ *client.Client, id client.ManagedIdentity) error {
			return a.showIdentities(id, id)
		}),
		onIdentity(a, "delete", "Delete a managed identity", func(ctx context.Context, c *client.Client, id client.ManagedIdentity) error {
			_, err := c.Delete(ctx, id.ID)
			return err
		}))
}

// showIdentities shows v as JSON, or the identities as a table.
func (a *app) showIdentities(v any, all ...client.ManagedIdentity) error {
	return a.show(v, func(t *terminal.Table) {
		t.Header = []string{"NAME", "GROUP", "CLIENT ID", "PRINCIPAL ID"}
		for _, id := range all {
			t.Add(id.Name, id.Group(), id.Properties.ClientID, id.Properties.PrincipalID)
		}
	})
}

func newIdentityCreate(a *app) *cobra.Command {
	var group, location string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a managed identity, to be attached to workloads", Args: exactly("NAME"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			if err := ensureGroup(ctx, c.Client, group, location); err != nil {
				return err
			}
			var made client.ManagedIdentity
			if err := c.Put(ctx, c.ResourceID(group, client.TypeIdentity, args[0]), workload.Object{"location": location}, &made); err != nil {
				return err
			}
			return a.showIdentities(made, made)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", defaultGroup, "resource group, created when it does not exist")
	cmd.Flags().StringVarP(&location, "location", "l", defaultLocation, "region")
	return cmd
}

func newIdentityList(a *app) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "list", Short: "List managed identities", Args: exactly(),
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			all, err := client.ListOfType[client.ManagedIdentity](ctx, c.Client, group, client.TypeIdentity)
			if err != nil {
				return err
			}
			return a.showIdentities(all, all...)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "of this resource group only")
	return cmd
}

func onIdentity(a *app, verb, short string, do func(context.Context, *client.Client, client.ManagedIdentity) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: exactly("NAME"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			id, err := lookup.Identity(ctx, c.Client, args[0])
			if err != nil {
				return err
			}
			return do(ctx, c.Client, id)
		}),
	}
}
