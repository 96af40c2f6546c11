package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/terminal"
)

func newResourceGroup(a *app) *cobra.Command {
	return family("resource-group", "Resource groups: list, delete", newResourceGroupList(a), newResourceGroupDelete(a))
}

func newResourceGroupList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List resource groups", Args: exactly(),
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			all, err := client.List[client.Resource[struct{}]](ctx, c.Client, c.SubscriptionID()+"/resourceGroups")
			if err != nil {
				return err
			}
			return a.show(all, func(t *terminal.Table) {
				t.Header = []string{"NAME", "LOCATION"}
				for _, g := range all {
					t.Add(g.Name, g.Location)
				}
			})
		}),
	}
}

func newResourceGroupDelete(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete NAME --yes", Short: "Delete a resource group with everything in it", Args: exactly("NAME"),
		RunE: a.action(patient, func(ctx context.Context, c *connection, args []string) error {
			if !yes {
				return exit.Errorf(exit.Usage, "repeat it with --yes", "deleting %s deletes everything in it", args[0])
			}
			there, err := c.Delete(ctx, c.GroupID(args[0]))
			if err == nil && !there {
				return exit.Errorf(exit.NotFound, "list them with 'fairlead resource-group list'", "there is no resource group called %q", args[0])
			}
			return err
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do it")
	return cmd
}
