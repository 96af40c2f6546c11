package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

type connectOptions struct {
	group, location, file, context string
	namespaces, accounts           []string
	registry, identity, secret     string
}

func newKubeConnect(a *app) *cobra.Command {
	var o connectOptions
	cmd := &cobra.Command{
		Use: "connect NAME --kubeconfig FILE", Short: "Connect a cluster that others run, and keep pull secrets in it", Args: exactly("NAME"),
		Long: `Connect a cluster that others run. With --registry, --identity and --namespace a pull secret is kept in
each of the namespaces: minted for the managed identity, renewed before it ends, taken away when the
identity has no right any more, and named by the service accounts. Repeated, it changes all of that.`,
		Example: "  fairlead kube connect edge --kubeconfig edge.yaml --registry myacr --identity puller -n shop --service-account default",
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			return connectCluster(ctx, c, args[0], o)
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&o.group, "resource-group", "g", defaultGroup, "resource group, created when it does not exist")
	f.StringVarP(&o.location, "location", "l", defaultLocation, "region")
	f.StringVar(&o.file, "kubeconfig", "", "how the cluster is reached; it must hold its credential itself")
	f.StringVar(&o.context, "context", "", "of the kubeconfig (default: its current one)")
	f.StringArrayVarP(&o.namespaces, "namespace", "n", nil, "namespace that gets a pull secret; may be repeated")
	f.StringArrayVar(&o.accounts, "service-account", nil, "service account in these namespaces that pulls with it; may be repeated")
	f.StringVar(&o.registry, "registry", "", "registry that the pull secrets are for")
	f.StringVar(&o.identity, "identity", "", "managed identity that they are minted for: name, client id or resource id")
	f.StringVar(&o.secret, "secret", "fairlead-pull", "name of the pull secrets")
	return cmd
}

func connectCluster(ctx context.Context, c *connection, name string, o connectOptions) error {
	profile := workload.Object{"context": o.context}
	if o.file != "" {
		raw, err := os.ReadFile(o.file)
		if err != nil {
			return err
		}
		profile["kubeconfig"] = string(raw)
	}
	if pulls := len(o.namespaces) > 0; pulls != (o.registry != "") || pulls != (o.identity != "") {
		return exit.Usagef("--namespace, --registry and --identity go together: where pull secrets are, what for, and for whom")
	} else if pulls {
		r, err := lookup.Registry(ctx, c.Client, o.registry)
		if err != nil {
			return err
		}
		identity, err := lookup.Identity(ctx, c.Client, o.identity)
		if err != nil {
			return err
		}
		var all []client.PullSecret
		for _, namespace := range o.namespaces {
			all = append(all, client.PullSecret{Namespace: namespace, Name: o.secret, Accounts: o.accounts, Registry: r.Properties.LoginServer, Identity: identity.ID})
		}
		profile["pullSecrets"] = all
	}
	if err := ensureGroup(ctx, c.Client, o.group, o.location); err != nil {
		return err
	}
	id := c.ResourceID(o.group, client.TypeConnected, name)
	if err := c.Put(ctx, id, workload.Object{"location": o.location, "properties": workload.Object{"fairleadProfile": profile}}, nil, client.Strict()); err != nil {
		return err
	}
	return refreshConnected(ctx, c, id)
}

func connectedTable(all []client.Connected) terminal.Table {
	t := terminal.Table{Header: []string{"NAME", "GROUP", "STATE", "VERSION", "PULL SECRETS", "FAILURE"}}
	for _, each := range all {
		p := each.Properties
		fresh, failure := 0, p.Fairlead.Failure
		for _, pull := range p.Fairlead.Pulls {
			if pull.Failure == "" {
				fresh++
			} else if failure == "" {
				failure = pull.Failure
			}
		}
		t.Add(each.Name, each.Group(), p.Connectivity, p.Version, fmt.Sprintf("%d of %d", fresh, len(p.Fairlead.Pulls)), terminal.Clean(failure))
	}
	return t
}

// onConnected makes a command that acts on one connected cluster.
func onConnected(a *app, use, short string, run func(ctx context.Context, c *connection, id string) error) *cobra.Command {
	var group string
	cmd := &cobra.Command{Use: use, Short: short, Args: exactly("NAME"), RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
		found, err := lookup.Connected(ctx, c.Client, args[0], group)
		if err != nil {
			return err
		}
		return run(ctx, c, found.ID)
	})}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	return cmd
}

func newKubeRefresh(a *app) *cobra.Command {
	return onConnected(a, "refresh-credentials NAME", "Mint the pull secrets of a connected cluster anew, now", refreshConnected)
}

func newKubeDisconnect(a *app) *cobra.Command {
	return onConnected(a, "disconnect NAME", "Forget a connected cluster, and take its pull secrets away", func(ctx context.Context, c *connection, id string) error {
		_, err := c.Delete(ctx, id)
		return err
	})
}

// refreshConnected has all pull secrets of a cluster minted anew, and shows what came of it.
func refreshConnected(ctx context.Context, c *connection, id string) error {
	var raw workload.Object
	var now client.ConnectedProperties
	into := any(&now)
	if c.output == formatJSON {
		into = &raw
	}
	if err := c.Post(ctx, id+"/refreshPullSecrets", nil, into); err != nil {
		return err
	}
	if c.output == formatJSON {
		return c.streams.JSON(raw)
	}
	c.tell("%s is %s, Kubernetes %s", client.NameOf(id), strings.ToLower(now.Connectivity), now.Version)
	t := terminal.Table{Header: []string{"NAMESPACE", "SECRET", "SERVICE ACCOUNTS", "REGISTRY", "ENDS", "FAILURE"}}
	failed := 0
	for _, p := range now.Fairlead.Pulls {
		ends := ""
		if !p.Expires.IsZero() {
			ends = p.Expires.UTC().Format(time.RFC3339)
		}
		if p.Failure != "" {
			failed++
		}
		t.Add(p.Namespace, p.Name, strings.Join(p.Accounts, ","), p.Registry, ends, p.Failure)
	}
	c.streams.Table(t)
	if failed > 0 {
		return exit.Errorf(exit.Failure, "it is tried again by itself when rights change", "%d pull secrets are not as wanted", failed)
	}
	return nil
}
