package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

type registryOptions struct {
	group, location string
	admin           bool
}

func newRegistry(a *app) *cobra.Command {
	return family("registry", "Registries: create, list, show, delete, credential",
		newRegistryCreate(a), newRegistryList(a), newRegistryShow(a), newRegistryDelete(a), newRegistryCredential(a))
}

func newRegistryCreate(a *app) *cobra.Command {
	var o registryOptions
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a private registry", Args: exactly("NAME"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			return createRegistry(ctx, c, args[0], o)
		}),
	}
	cmd.Flags().StringVarP(&o.group, "resource-group", "g", defaultGroup, "resource group, created when it does not exist")
	cmd.Flags().StringVarP(&o.location, "location", "l", defaultLocation, "region")
	cmd.Flags().BoolVar(&o.admin, "admin-enabled", false, "switch the admin user on; identities with roles are safer")
	return cmd
}

func createRegistry(ctx context.Context, c *connection, name string, o registryOptions) error {
	if err := ensureGroup(ctx, c.Client, o.group, o.location); err != nil {
		return err
	}
	body := workload.Object{
		"location": o.location, "sku": workload.Object{"name": "Basic"},
		"properties": workload.Object{"adminUserEnabled": o.admin},
	}
	var made workload.Object
	id := c.ResourceID(o.group, client.TypeRegistry, name)
	if err := c.Put(ctx, id, body, &made); err != nil {
		return err
	}
	return c.showRegistry(ctx, id)
}

func (c *connection) showRegistry(ctx context.Context, id string) error {
	return showResource(ctx, c, id, registryTable)
}

func registryTable(all []client.Registry) terminal.Table {
	t := terminal.Table{Header: []string{"NAME", "GROUP", "LOGIN SERVER", "ADMIN USER"}}
	for _, r := range all {
		admin := "off"
		if r.Properties.AdminUserEnabled {
			admin = "on"
		}
		t.Add(r.Name, r.Group(), r.Properties.LoginServer, admin)
	}
	return t
}

func newRegistryList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List registries", Args: exactly(),
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			return listResources(ctx, c, "", client.TypeRegistry, registryTable)
		}),
	}
}

func newRegistryShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a registry", Args: exactly("NAME"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			r, err := lookup.Registry(ctx, c.Client, args[0])
			if err != nil {
				return err
			}
			return c.showRegistry(ctx, r.ID)
		}),
	}
}

func newRegistryDelete(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete NAME --yes", Short: "Delete a registry with all its images", Args: exactly("NAME"),
		RunE: a.action(patient, func(ctx context.Context, c *connection, args []string) error {
			if !yes {
				return exit.Errorf(exit.Usage, "repeat it with --yes", "deleting %s deletes all its images", args[0])
			}
			r, err := lookup.Registry(ctx, c.Client, args[0])
			if err != nil {
				return err
			}
			_, err = c.Delete(ctx, r.ID)
			return err
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do it")
	return cmd
}

func newRegistryCredential(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "credential NAME", Short: "Show the admin user's name and passwords; they are shown on the screen", Args: exactly("NAME"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			r, err := lookup.Registry(ctx, c.Client, args[0])
			if err != nil {
				return err
			}
			var credential struct {
				Username  string `json:"username"`
				Passwords []struct {
					Name  string `json:"name"`
					Value string `json:"value"`
				} `json:"passwords"`
			}
			if err := c.Post(ctx, r.ID+"/listCredentials", nil, &credential); err != nil {
				return err
			}
			return a.show(credential, func(t *terminal.Table) {
				t.Header = []string{"USERNAME", "NAME", "PASSWORD"}
				for _, p := range credential.Passwords {
					t.Add(credential.Username, p.Name, p.Value)
				}
			})
		}),
	}
}
