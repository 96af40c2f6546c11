package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/session"
	"fairlead.dev/internal/cli/terminal"
)

type loginOptions struct {
	arm, address, username, password, tenant, subscription, caFile string
	servicePrincipal                                               bool
}

// defaultARM is where a Fairlead with default names and port answers.
const defaultARM = "https://management.fairlead.localhost:8443"

func newLogin(a *app) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login --arm URL -u CLIENT_ID",
		Short: "Sign in to a Fairlead elsewhere and keep the login",
		Long: `Sign in to a Fairlead elsewhere as a service principal. The login is kept in a file of mode 0600
in your configuration directory, and used by every command that is given no ready file.

The secret is read from --password, $FAIRLEAD_CLIENT_SECRET or stdin, in this order.`,
		Example: "  fairlead login --arm https://management.fairlead.localhost:8443 --server 10.0.0.5:8443 --ca-file ca.pem -u CLIENT_ID --tenant TENANT < secret.txt",
		Args:    exactly(),
		RunE:    a.bounded(quick, func(ctx context.Context, _ []string) error { return login(ctx, a, o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.arm, "arm", defaultARM, "URL of the resource manager")
	f.StringVar(&o.address, "server", "", "address, host[:port], at which the server's host names are reached (default: as they resolve)")
	f.BoolVar(&o.servicePrincipal, "service-principal", true, "sign in as a service principal (the only way there is)")
	f.StringVarP(&o.username, "username", "u", "", "client id")
	f.StringVarP(&o.password, "password", "p", "", "client secret; safer in $FAIRLEAD_CLIENT_SECRET or on stdin")
	f.StringVar(&o.tenant, "tenant", "", "tenant id (default: the server's)")
	f.StringVar(&o.subscription, "subscription", "", "subscription id (default: the first)")
	f.StringVar(&o.caFile, "ca-file", "", "PEM file of the authority that signed the server's certificate (default: the system's)")
	return cmd
}

func login(ctx context.Context, a *app, o loginOptions) error {
	if o.username == "" {
		return exit.Usagef("--username is missing: the client id of a service principal")
	}
	secret, err := o.secret(a)
	if err != nil {
		return err
	}
	server, err := o.discover(ctx)
	if err != nil {
		return err
	}
	l := session.Login{Server: server, Credential: client.Credential{ClientID: o.username, ClientSecret: client.Secret(secret)}}
	if l.Server.Subscription, err = o.chooseSubscription(ctx, l); err != nil {
		return err
	}
	dir := session.NewFinder(a.streams.Env).ConfigDir
	if dir == "" {
		return exit.Errorf(exit.Failure, "set FAIRLEAD_CONFIG_DIR", "there is no configuration directory for this user")
	}
	if err := l.Write(dir); err != nil {
		return err
	}
	shown := map[string]string{"arm": server.ARM, "clientId": o.username, "tenantId": server.Tenant, "subscriptionId": l.Server.Subscription}
	return a.show(shown, func(t *terminal.Table) {
		t.Header = []string{"SERVER", "CLIENT ID", "TENANT", "SUBSCRIPTION"}
		t.Add(server.ARM, o.username, server.Tenant, l.Server.Subscription)
	})
}

func (o loginOptions) secret(a *app) (string, error) {
	if given := cmp.Or(o.password, a.streams.Env("FAIRLEAD_CLIENT_SECRET")); given != "" {
		return given, nil
	}
	secret, err := a.streams.ReadSecret("Client secret")
	if err == nil && secret == "" {
		err = exit.Usagef("there is no client secret on stdin")
	}
	return secret, err
}

func (o loginOptions) discover(ctx context.Context) (client.Server, error) {
	server := client.Server{ARM: o.arm, Tenant: o.tenant}
	if o.caFile != "" {
		pem, err := os.ReadFile(o.caFile)
		if err != nil {
			return server, err
		}
		server.CA = string(pem)
	}
	server.Address = session.Dial(server.ARM, o.address)
	server, err := client.Discover(ctx, server)
	if err != nil {
		return server, exit.WithHint(err, "check --arm, --server and --ca-file (the authority's certificate lies at caFile of the server's ready file)")
	}
	if server.Tenant == "" {
		return server, exit.Usagef("--tenant is missing")
	}
	return server, nil
}

// chooseSubscription signs in, which proves the secret, and gives the subscription to work in.
func (o loginOptions) chooseSubscription(ctx context.Context, l session.Login) (string, error) {
	c, err := client.New(l.Server, l.Credential)
	if err != nil {
		return "", err
	}
	defer c.Close()
	subscriptions, err := client.List[struct {
		ID string `json:"subscriptionId"`
	}](ctx, c, "/subscriptions")
	if err != nil {
		return "", fmt.Errorf("signing in: %w", err)
	}
	for _, s := range subscriptions {
		if o.subscription == "" || o.subscription == s.ID {
			return s.ID, nil
		}
	}
	if o.subscription != "" {
		return o.subscription, nil // one that this principal may use without seeing it listed
	}
	return "", exit.Errorf(exit.Denied, "ask for a role, or give --subscription", "%s sees no subscription", l.Credential.ClientID)
}

func newLogout(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Forget the stored login", Args: exactly(),
		RunE: a.bounded(quick, func(context.Context, []string) error {
			there, err := session.RemoveLogin(session.NewFinder(a.streams.Env).ConfigDir)
			if err == nil && !there {
				a.tell("there was no login")
			}
			return err
		}),
	}
}
