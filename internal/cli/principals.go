package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

// madeSP is what `sp create` and `sp reset` show. The secret is shown here and never again.
type madeSP struct {
	ClientID    string        `json:"clientId"`
	PrincipalID string        `json:"principalId,omitempty"`
	Name        string        `json:"name"`
	TenantID    string        `json:"tenantId"`
	Secret      client.Secret `json:"clientSecret"`
	Expires     time.Time     `json:"expires,omitzero"`
}

type spOptions struct {
	name, role, scope, end string
	append                 bool
}

func newSP(a *app) *cobra.Command {
	return family("sp", "Service principals: create, reset, list, delete", newSPCreate(a), newSPReset(a), newSPList(a), newSPDelete(a))
}

// makesSecret lets a command print nothing but the secret, for pipes.
func makesSecret(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{"formats": formatSecret}
	cmd.Long = cmd.Short + ".\n\nThe secret is shown once. --output secret prints only it, for pipes."
	return cmd
}

func newSPCreate(a *app) *cobra.Command {
	var o spOptions
	cmd := makesSecret(&cobra.Command{
		Use: "create [--name NAME] [--role ROLE --scope SCOPE]", Short: "Create a service principal with a secret, and give it a role", Args: exactly(),
		Example: "  fairlead sp create --name puller --role AcrPull --scope myacr",
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			return createSP(ctx, c, o)
		}),
	})
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "display name (default: fairlead-sp and the time)")
	f.StringVar(&o.role, "role", "", "role to assign, such as AcrPull")
	f.StringVar(&o.scope, "scope", "", "where: a registry's name, a resource group's name, or a resource id")
	f.StringVar(&o.end, "end-date", "", "end of the secret's life, as 2030-01-02T15:04:05Z (default: in two years)")
	return cmd
}

func createSP(ctx context.Context, c *connection, o spOptions) error {
	if (o.role == "") != (o.scope == "") {
		return exit.Usagef("--role and --scope belong together")
	}
	end, err := parseEnd(o.end)
	if err != nil {
		return err
	}
	var role client.RoleDefinition
	var scope string
	if o.role != "" { // looked up first: a misspelt name shall leave no principal behind
		if scope, err = lookup.Scope(ctx, c.Client, o.scope); err != nil {
			return err
		}
		if role, err = lookup.Role(ctx, c.Client, o.role, scope); err != nil {
			return err
		}
	}
	if o.name == "" {
		o.name = "fairlead-sp-" + time.Now().UTC().Format("20060102-150405")
	}
	app, sp, err := c.CreateApplication(ctx, o.name)
	if err != nil {
		return err
	}
	password, err := c.AddPassword(ctx, app.ID, "fairlead", end)
	if err != nil {
		return err
	}
	if o.role != "" {
		if _, err := assign(ctx, c.Client, role, sp.ID, scope); err != nil {
			return err
		}
	}
	return c.showSP(madeSP{app.AppID, sp.ID, app.DisplayName, c.Server().Tenant, password.Text, password.End})
}

func (a *app) showSP(made madeSP) error {
	if a.output == formatSecret {
		a.line(string(made.Secret))
		return nil
	}
	return a.show(made, func(t *terminal.Table) {
		t.Header = []string{"NAME", "CLIENT ID", "PRINCIPAL ID", "CLIENT SECRET", "EXPIRES"}
		t.Add(made.Name, made.ClientID, made.PrincipalID, string(made.Secret), made.Expires.Format(time.RFC3339))
	})
}

func parseEnd(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, exit.Usagef("--end-date %q is not a time such as 2030-01-02T15:04:05Z", text)
}

func newSPReset(a *app) *cobra.Command {
	var o spOptions
	cmd := makesSecret(&cobra.Command{
		Use: "reset CLIENT_ID", Short: "Make a new secret for a service principal and remove its others", Args: exactly("CLIENT_ID"),
		Example: "  fairlead sp reset CLIENT_ID --output secret | fairlead group update app -g demo --username CLIENT_ID --credential-stdin",
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			return resetSP(ctx, c, args[0], o)
		}),
	})
	cmd.Flags().StringVar(&o.end, "end-date", "", "end of the secret's life, as 2030-01-02T15:04:05Z (default: in two years)")
	cmd.Flags().BoolVar(&o.append, "append", false, "keep the other secrets")
	return cmd
}

func resetSP(ctx context.Context, c *connection, clientID string, o spOptions) error {
	end, err := parseEnd(o.end)
	if err != nil {
		return err
	}
	app, err := findApplication(ctx, c.Client, clientID)
	if err != nil {
		return err
	}
	sps, err := c.ServicePrincipalsBy(ctx, "appId", app.AppID)
	if err != nil {
		return err
	}
	password, err := c.AddPassword(ctx, app.ID, "fairlead", end)
	if err != nil {
		return err
	}
	for _, old := range app.Passwords {
		if o.append {
			break
		}
		if err := c.RemovePassword(ctx, app.ID, old.KeyID); err != nil && !client.NotFound(err) {
			return err
		}
	}
	made := madeSP{ClientID: app.AppID, Name: app.DisplayName, TenantID: c.Server().Tenant, Secret: password.Text, Expires: password.End}
	if len(sps) > 0 {
		made.PrincipalID = sps[0].ID
	}
	return c.showSP(made)
}

// findApplication finds an application by its client id or by its name.
func findApplication(ctx context.Context, c *client.Client, text string) (client.Application, error) {
	app, found, err := c.ApplicationByClientID(ctx, text)
	if err != nil || found {
		return app, err
	}
	all, err := c.Applications(ctx)
	if err != nil {
		return app, err
	}
	all = slices.DeleteFunc(all, func(a client.Application) bool { return a.DisplayName != text })
	switch len(all) {
	case 0:
		return app, exit.Errorf(exit.NotFound, "list them with 'fairlead sp list'", "there is no service principal with the client id or name %q", text)
	case 1:
		return all[0], nil
	}
	return app, exit.Errorf(exit.Usage, "name one by its client id: 'fairlead sp list'", "several service principals have the name %q", text)
}

func newSPList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List applications with a service principal", Args: exactly(),
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			all, err := c.Applications(ctx)
			if err != nil {
				return err
			}
			return a.show(all, func(t *terminal.Table) {
				t.Header = []string{"NAME", "CLIENT ID", "SECRETS END"}
				for _, app := range all {
					var ends []string
					for _, p := range app.Passwords {
						ends = append(ends, p.End.Format(time.DateOnly))
					}
					slices.Sort(ends)
					t.Add(app.DisplayName, app.AppID, cmp.Or(strings.Join(ends, " "), "-"))
				}
			})
		}),
	}
}

func newSPDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "delete CLIENT_ID", Short: "Delete a service principal, its application and its secrets", Args: exactly("CLIENT_ID"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			app, err := findApplication(ctx, c.Client, args[0])
			if err != nil {
				return err
			}
			return c.DeleteApplication(ctx, app.ID)
		}),
	}
}

func newIdentity(a *app) *cobra.Command {
	return family("identity", "Managed identities: create, list, show, delete, federate, federations, unfederate",
		newIdentityCreate(a), newIdentityList(a),
		onIdentity(a, "show", "Show a managed identity", func(_ context.Context, _ *client.Client, id client.ManagedIdentity) error {
			return a.showIdentities(id, id)
		}),
		onIdentity(a, "delete", "Delete a managed identity", func(ctx context.Context, c *client.Client, id client.ManagedIdentity) error {
			_, err := c.Delete(ctx, id.ID)
			return err
		}),
		newIdentityFederate(a),
		onIdentity(a, "federations", "List whose tokens a managed identity trusts", func(ctx context.Context, c *client.Client, id client.ManagedIdentity) error {
			all, err := client.List[client.Federation](ctx, c, id.ID+"/"+client.SubtypeFederation)
			if err != nil {
				return err
			}
			return a.showFederations(all, all...)
		}),
		newIdentityUnfederate(a))
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

// federateOptions are the flags of `identity federate`.
type federateOptions struct {
	name, issuer, subject, account, audience string
}

func newIdentityFederate(a *app) *cobra.Command {
	var o federateOptions
	cmd := &cobra.Command{
		Use: "federate NAME --issuer URL (--subject SUBJECT | --service-account NAMESPACE/NAME)", Args: exactly("NAME"),
		Short:   "Let whoever has a token of another issuer, such as a cluster's service account, be a managed identity",
		Example: "  fairlead identity federate web-id --issuer https://oidc.fairlead.localhost:8443/TENANT/CLUSTER/ --service-account shop/web",
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			properties, err := o.properties()
			if err != nil {
				return err
			}
			id, err := lookup.Identity(ctx, c.Client, args[0])
			if err != nil {
				return err
			}
			var made client.Federation
			if err := c.Put(ctx, id.ID+"/"+client.SubtypeFederation+"/"+o.nameFor(properties), workload.Object{"properties": properties}, &made); err != nil {
				return err
			}
			return a.showFederations(made, made)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.issuer, "issuer", "", "issuer of the tokens: an https URL, exactly as their 'iss' says")
	f.StringVar(&o.subject, "subject", "", "subject of the tokens, exactly as their 'sub' says")
	f.StringVar(&o.account, "service-account", "", "NAMESPACE/NAME of the service account of a cluster, in place of --subject")
	f.StringVar(&o.audience, "audience", "api://AzureADTokenExchange", "audience of the tokens")
	f.StringVar(&o.name, "name", "", "name of the federated credential (default: made of the subject and the issuer)")
	return cmd
}

func (o federateOptions) properties() (client.FederationProperties, error) {
	p := client.FederationProperties{Issuer: o.issuer, Subject: o.subject, Audiences: []string{o.audience}}
	if o.account != "" {
		namespace, name, ok := strings.Cut(o.account, "/")
		if !ok || namespace == "" || name == "" || strings.Contains(name, "/") || o.subject != "" {
			return p, exit.Usagef("--service-account is NAMESPACE/NAME, and stands in place of --subject")
		}
		p.Subject = "system:serviceaccount:" + namespace + ":" + name
	}
	switch {
	case p.Issuer == "":
		return p, exit.Usagef("--issuer is missing")
	case p.Subject == "":
		return p, exit.Usagef("--subject or --service-account is missing")
	}
	return p, nil
}

// nameFor gives the name asked for, or one that tells the subject to people and is another one for each issuer and
// subject, so that federating again changes nothing and federating with another issuer takes nothing away.
func (o federateOptions) nameFor(p client.FederationProperties) string {
	if o.name != "" {
		return o.name
	}
	words := regexp.MustCompile(`[A-Za-z0-9]+`).FindAllString(strings.TrimPrefix(p.Subject, "system:serviceaccount:"), -1)
	sum := sha256.Sum256([]byte(p.Issuer + "\x00" + p.Subject))
	name := strings.Join(append(words, ""), "-")
	return fmt.Sprintf("%.100s%x", name, sum[:4])
}

// showFederations shows v as JSON, or the federated credentials as a table.
func (a *app) showFederations(v any, all ...client.Federation) error {
	return a.show(v, func(t *terminal.Table) {
		t.Header = []string{"NAME", "SUBJECT", "AUDIENCE", "ISSUER"}
		for _, f := range all {
			t.Add(f.Name, f.Properties.Subject, strings.Join(f.Properties.Audiences, " "), f.Properties.Issuer)
		}
	})
}

func newIdentityUnfederate(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "unfederate NAME FEDERATION", Short: "Take a federated credential from a managed identity", Args: exactly("NAME", "FEDERATION"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			id, err := lookup.Identity(ctx, c.Client, args[0])
			if err != nil {
				return err
			}
			found, err := c.Delete(ctx, id.ID+"/"+client.SubtypeFederation+"/"+args[1])
			if err == nil && !found {
				err = exit.Errorf(exit.NotFound, "list them with 'fairlead identity federations "+id.Name+"'", "%s has no federated credential %s", id.Name, args[1])
			}
			return err
		}),
	}
}
