package cli

import (
	"context"
	"maps"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/workload"
)

// siteOptions are the flags of `webapp create` and `webapp update`.
type siteOptions struct {
	group, location, plan, wait     string
	image, clientID, username       string
	server                          string
	identities, settings            []string
	system, useIdentity, credential bool
	port                            int
	create                          bool
}

func newWebapp(a *app) *cobra.Command {
	return family("webapp", "Web apps: create, update, list, show, delete, stop, start, restart, log",
		newWebappPut(a, true), newWebappPut(a, false),
		listCommand(a, "web apps", true), showCommand(a, "webapp"), deleteCommand(a, "webapp"),
		powerCommand(a, "webapp", "stop"), powerCommand(a, "webapp", "start"), powerCommand(a, "webapp", "restart"),
		newSiteLog(a),
	)
}

func newWebappPut(a *app, create bool) *cobra.Command {
	o := siteOptions{create: create}
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a web app, keeping what is not named, and wait until it runs", Args: exactly("NAME"),
		Example: "  fairlead webapp update shop -g demo --use-identity",
		RunE: a.action(patient, func(ctx context.Context, c *connection, args []string) error {
			return putWebapp(ctx, c, args[0], o)
		}),
	}
	if create {
		cmd.Use, cmd.Short = "create NAME --image IMAGE", "Create a web app and wait until it runs"
		cmd.Example = "  fairlead webapp create shop -g demo --image myacr.azurecr.io/web:v1 --identity web-id --use-identity"
	}
	f := cmd.Flags()
	f.StringVarP(&o.group, "resource-group", "g", "", "resource group (create: made when it does not exist; update: default any)")
	f.StringVarP(&o.location, "location", "l", defaultLocation, "region")
	f.StringVar(&o.plan, "plan", "", "plan (default: NAME-plan, created when it does not exist)")
	f.StringVar(&o.image, "image", "", "image to run")
	f.StringArrayVar(&o.identities, "identity", nil, "managed identity to attach: name, client id or resource id; may be repeated")
	f.BoolVar(&o.system, "system-identity", false, "give the web app an identity of its own")
	f.BoolVar(&o.useIdentity, "use-identity", false, "pull the image with a managed identity")
	f.StringVar(&o.clientID, "identity-client-id", "", "client id of the identity to pull with (default: the only one attached)")
	f.StringArrayVar(&o.settings, "setting", nil, "app setting NAME=VALUE, an environment variable; may be repeated")
	f.IntVar(&o.port, "port", 0, "port that the container answers on (default: the first of 80 and 8080 that answers)")
	f.StringVar(&o.username, "username", "", "user name at the registry")
	f.BoolVar(&o.credential, "credential-stdin", false, "read the password at the registry from stdin")
	f.StringVar(&o.server, "server", "", "registry that user name and password are for (default: the image's)")
	bindWait(cmd, &o.wait)
	return cmd
}

func putWebapp(ctx context.Context, c *connection, name string, o siteOptions) error {
	if err := checkWait(o.wait); err != nil {
		return err
	}
	if o.create && o.image == "" {
		return exit.Usagef("--image is missing")
	}
	target := lookup.Workload{ID: c.ResourceID(orDefault(o.group), client.TypeSite, name), Name: name, Site: true}
	if !o.create {
		var err error
		if target, err = lookup.FindWorkload(ctx, c.Client, "webapp/"+name, o.group); err != nil {
			return err
		}
	}
	site := workload.Site{
		Image: o.image, System: o.system, UseIdentity: o.useIdentity || o.clientID != "", ClientID: o.clientID,
		Settings: o.settings, Port: o.port, Username: o.username, Server: o.server,
	}
	for _, text := range o.identities {
		identity, err := lookup.Identity(ctx, c.Client, text)
		if err != nil {
			return err
		}
		site.Identities = append(site.Identities, identity.ID)
		if site.UseIdentity && len(o.identities) == 1 && !o.system && site.ClientID == "" {
			site.ClientID = identity.Properties.ClientID
		}
	}
	var err error
	if site.Password, err = readCredential(c.app, o.username, o.credential); err != nil {
		return err
	}
	if o.create {
		if err := ensureGroup(ctx, c.Client, client.GroupOf(target.ID), o.location); err != nil {
			return err
		}
	}
	return deploySite(ctx, c, target, site, o)
}

// readCredential reads a registry's password from stdin when it is asked for.
func readCredential(a *app, username string, asked bool) (string, error) {
	switch {
	case !asked && username != "":
		return "", exit.Usagef("--username needs a password: pipe it in with --credential-stdin")
	case asked && username == "":
		return "", exit.Usagef("--credential-stdin needs --username")
	case !asked:
		return "", nil
	}
	password, err := a.streams.ReadSecret("Password of " + username)
	if err == nil && password == "" {
		err = exit.Usagef("there is no password on stdin")
	}
	return password, err
}

// deploySite makes or changes a web app and waits until it runs.
func deploySite(ctx context.Context, c *connection, target lookup.Workload, site workload.Site, o siteOptions) error {
	var body workload.Object
	err := c.Get(ctx, target.ID, &body)
	fresh := client.NotFound(err)
	switch {
	case fresh && o.create:
		body = workload.NewSite(o.location)
	case err != nil:
		return err
	}
	if site.UseIdentity && site.ClientID == "" && !site.System {
		if site.ClientID, err = onlyIdentity(body, len(site.Identities)); err != nil {
			return err
		}
	}
	if fresh || o.plan != "" {
		if site.Plan, err = ensurePlan(ctx, c.Client, target, o); err != nil {
			return err
		}
	}
	workload.ForPut(body)
	site.Apply(body)
	settings, err := site.AppSettings(workload.ImageOf(body))
	if err != nil {
		return err
	}
	return c.deploy(ctx, deployment{target: target, wait: o.wait, change: func(ctx context.Context) (*client.Operation, error) {
		if fresh {
			workload.AddSettings(body, settings)
		} else if err := mergeSettings(ctx, c.Client, target.ID, settings); err != nil {
			return nil, err
		}
		return c.BeginPut(ctx, target.ID, body)
	}})
}

// onlyIdentity gives the client id of the identity that a web app can only mean: the only user-assigned one when it has
// no identity of its own. "" means its own. More says how many are about to be attached.
func onlyIdentity(site workload.Object, more int) (string, error) {
	attached := workload.IdentitiesOf(site)
	switch {
	case more > 0: // one alone would have been taken
	case attached.System:
		return "", nil
	case len(attached.ClientIDs) == 1:
		return attached.ClientIDs[0], nil
	case len(attached.ClientIDs) == 0:
		return "", exit.Errorf(exit.Usage, "attach one with --identity NAME, or give it one of its own with --system-identity", "the web app has no identity to pull with")
	}
	return "", exit.Usagef("the web app has several identities: say which with --identity-client-id")
}

// ensurePlan gives the id of the web app's plan, created unless it exists.
func ensurePlan(ctx context.Context, c *client.Client, target lookup.Workload, o siteOptions) (string, error) {
	if len(o.plan) > 0 && o.plan[0] == '/' {
		return o.plan, nil
	}
	name := o.plan
	if name == "" {
		name = target.Name + "-plan"
	}
	id := c.ResourceID(client.GroupOf(target.ID), client.TypePlan, name)
	err := c.Get(ctx, id, nil)
	if client.NotFound(err) {
		err = c.Put(ctx, id, workload.NewPlan(o.location), nil)
	}
	return id, err
}

// mergeSettings changes some app settings and keeps the others; the protocol replaces them whole.
func mergeSettings(ctx context.Context, c *client.Client, site string, settings map[string]string) error {
	if len(settings) == 0 {
		return nil
	}
	var have struct {
		Properties map[string]string `json:"properties"`
	}
	if err := c.Post(ctx, site+"/config/appsettings/list", nil, &have); err != nil {
		return err
	}
	if have.Properties == nil {
		have.Properties = map[string]string{}
	}
	maps.Copy(have.Properties, settings)
	return c.Put(ctx, site+"/config/appsettings", have, nil)
}

func newSiteLog(a *app) *cobra.Command {
	o := logsOptions{}
	cmd := &cobra.Command{
		Use: "log NAME", Short: "Show what a web app's container wrote", Args: exactly("NAME"),
		RunE: a.action(endless, func(ctx context.Context, c *connection, args []string) error {
			return logs(ctx, c, "webapp/"+args[0], o)
		}),
	}
	o.bind(cmd)
	return cmd
}
