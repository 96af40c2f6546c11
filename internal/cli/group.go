package cli

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/workload"
)

// groupOptions are the flags by which a container group of one container is made: of `group create` and `run`.
type groupOptions struct {
	group, location, wait        string
	image, command, restart, dns string
	identity, username, server   string
	env, secureEnv, ports        []string
	cpu, memory                  float64
	credential, follow           bool
}

func newGroup(a *app) *cobra.Command {
	return family("group", "Container groups: create, update, list, show, delete, stop, start, restart",
		newGroupCreate(a), newGroupUpdate(a),
		listCommand(a, "container groups", false), showCommand(a, "group"), deleteCommand(a, "group"),
		powerCommand(a, "group", "stop"), powerCommand(a, "group", "start"), powerCommand(a, "group", "restart"),
	)
}

func (o *groupOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.group, "resource-group", "g", "", "resource group, created when it does not exist (default "+defaultGroup+")")
	f.StringVarP(&o.location, "location", "l", defaultLocation, "region")
	f.Float64Var(&o.cpu, "cpu", 1, "most cores that it may use")
	f.Float64Var(&o.memory, "memory", 1.5, "most memory that it may use, in GB")
	f.StringArrayVarP(&o.env, "env", "e", nil, "environment variable NAME=VALUE; may be repeated")
	f.StringArrayVar(&o.secureEnv, "secure-env", nil, "environment variable whose value is never shown again; may be repeated")
	f.StringArrayVarP(&o.ports, "port", "p", nil, "port that it serves, such as 8080 or 53/udp; may be repeated")
	f.StringVar(&o.dns, "dns-label", "", "first label of its host name")
	o.bindCredential(cmd)
}

func (o *groupOptions) bindCredential(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.identity, "identity", "", "managed identity to attach and to pull with: name, client id or resource id")
	f.StringVar(&o.username, "username", "", "user name at the registry, such as a service principal's client id")
	f.BoolVar(&o.credential, "credential-stdin", false, "read the password at the registry from stdin")
	f.StringVar(&o.server, "server", "", "registry that identity or user name are for (default: the image's)")
	bindWait(cmd, &o.wait)
}

func newGroupCreate(a *app) *cobra.Command {
	var o groupOptions
	cmd := &cobra.Command{
		Use: "create NAME --image IMAGE", Short: "Create a container group of one container and wait until it runs", Args: exactly("NAME"),
		Example: "  fairlead group create web -g demo --image myacr.azurecr.io/web:v1 --identity puller --port 8080",
		RunE: a.action(patient, func(ctx context.Context, c *connection, args []string) error {
			words, err := workload.Words(o.command)
			if err != nil {
				return err
			}
			return createGroup(ctx, c, args[0], words, o)
		}),
	}
	cmd.Flags().StringVar(&o.image, "image", "", "image to run")
	cmd.Flags().StringVar(&o.command, "command", "", "command to run in place of the image's, in one text: '/bin/sh -c \"sleep 10\"'")
	cmd.Flags().StringVar(&o.restart, "restart-policy", "Always", "Always, OnFailure or Never")
	o.bind(cmd)
	return cmd
}

// createGroup makes a container group of one container and waits for it.
func createGroup(ctx context.Context, c *connection, name string, command []string, o groupOptions) error {
	if err := checkWait(o.wait); err != nil {
		return err
	}
	if o.image == "" {
		return exit.Usagef("--image is missing")
	}
	pull, err := o.pullCredential(ctx, c)
	if err != nil {
		return err
	}
	g := workload.Group{
		Image: o.image, Location: o.location, CPU: o.cpu, Memory: o.memory, Command: command, Env: o.env, SecureEnv: o.secureEnv,
		RestartPolicy: o.restart, DNSLabel: o.dns, Pull: pull,
	}
	for _, text := range o.ports {
		port, err := workload.ParsePort(text)
		if err != nil {
			return err
		}
		g.Ports = append(g.Ports, port)
	}
	body, err := g.Body(name)
	if err != nil {
		return err
	}
	group := orDefault(o.group)
	if err := ensureGroup(ctx, c.Client, group, o.location); err != nil {
		return err
	}
	target := lookup.Workload{ID: c.ResourceID(group, client.TypeContainerGroup, name), Name: name}
	return c.deploy(ctx, deployment{target: target, change: put(c.Client, target, body), wait: o.wait, follow: o.follow})
}

func (o groupOptions) pullCredential(ctx context.Context, c *connection) (workload.Credential, error) {
	pull := workload.Credential{Server: o.server, Username: o.username}
	if o.identity != "" && o.username != "" {
		return pull, exit.Usagef("--identity and --username exclude each other")
	}
	if o.identity != "" {
		identity, err := lookup.Identity(ctx, c.Client, o.identity)
		pull.Identity = identity.ID
		return pull, err
	}
	var err error
	pull.Password, err = readCredential(c.app, o.username, o.credential)
	return pull, err
}

func newGroupUpdate(a *app) *cobra.Command {
	var o groupOptions
	var container string
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a container group's image or pull credential, keeping the rest, and wait until it runs", Args: exactly("NAME"),
		Example: `  fairlead group update web -g demo --image myacr.azurecr.io/web:v2
  fairlead group update web -g demo --identity puller
  fairlead sp reset CLIENT_ID --output secret |
    fairlead group update web -g demo --server myacr.azurecr.io --username CLIENT_ID --credential-stdin`,
		RunE: a.action(patient, func(ctx context.Context, c *connection, args []string) error {
			return updateGroup(ctx, c, args[0], container, o)
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&o.group, "resource-group", "g", "", "look in this resource group only")
	f.StringVar(&o.image, "image", "", "image to run")
	f.StringVarP(&container, "container", "c", "", "container that --image is for, when there are several")
	o.bindCredential(cmd)
	return cmd
}

func updateGroup(ctx context.Context, c *connection, name, container string, o groupOptions) error {
	if err := checkWait(o.wait); err != nil {
		return err
	}
	if o.image == "" && o.identity == "" && o.username == "" && !o.credential {
		return exit.Usagef("nothing to change: give --image, --identity, or --username and --credential-stdin")
	}
	pull, err := o.pullCredential(ctx, c)
	if err != nil {
		return err
	}
	target, err := lookup.FindWorkload(ctx, c.Client, "group/"+name, o.group)
	if err != nil {
		return err
	}
	var body workload.Object
	if err := c.Get(ctx, target.ID, &body); err != nil {
		return err
	}
	workload.ForPut(body)
	if o.image != "" {
		if err := workload.SetImage(body, container, o.image); err != nil {
			return err
		}
	}
	if !pull.IsZero() {
		if err := workload.SetCredential(body, pull); err != nil {
			return err
		}
	}
	return c.deploy(ctx, deployment{target: target, change: put(c.Client, target, body), wait: o.wait})
}

type runOptions struct {
	groupOptions
	name   string
	remove bool
}

func newRun(a *app) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use: "run IMAGE [-- COMMAND ARG…]", Short: "Run an image: a container group of one container",
		Example: `  fairlead run myacr.azurecr.io/app:v1 --identity puller
  fairlead run myacr.azurecr.io/app:v1 --identity puller -f --rm -- /bin/echo hello`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				args = args[:dash]
			}
			return exactly("IMAGE")(cmd, args)
		},
		RunE: a.action(endless, func(ctx context.Context, c *connection, args []string) error {
			o.image = args[0]
			return run(ctx, c, args[1:], o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "name of the container group (default: made of the image's)")
	f.BoolVarP(&o.follow, "follow", "f", false, "show what it writes until it ends")
	f.BoolVar(&o.remove, "rm", false, "remove it when it has ended; needs --follow")
	f.StringVar(&o.restart, "restart-policy", "Never", "Always, OnFailure or Never")
	o.bind(cmd)
	return cmd
}

func run(ctx context.Context, c *connection, command []string, o runOptions) error {
	if o.remove && !o.follow {
		return exit.Usagef("--rm needs --follow")
	}
	if o.name == "" {
		o.name = nameOf(o.image)
	}
	bounded, cancel := context.WithTimeout(ctx, patient)
	err := createGroup(bounded, c, o.name, command, o.groupOptions)
	cancel()
	if err != nil || !o.follow {
		return err
	}
	group := orDefault(o.group)
	short := "group/" + o.name
	err = logs(ctx, c, short, logsOptions{group: group, follow: true, result: true})
	switch {
	case ctx.Err() != nil:
		c.streams.Notef("%s goes on: read along with 'fairlead logs -f %s -g %s', or remove it with 'fairlead rm %s -g %s'", short, short, group, short, group)
	case o.remove:
		if _, removeErr := c.Delete(ctx, c.ResourceID(group, client.TypeContainerGroup, o.name)); err == nil {
			err = removeErr
		}
	}
	return err
}

// nameOf makes a container group's name of an image's: its last word and five letters by chance.
func nameOf(image string) string {
	_, rest, _ := strings.Cut("/"+image, "/")
	base := rest[strings.LastIndexByte(rest, '/')+1:]
	base, _, _ = strings.Cut(base, "@")
	base, _, _ = strings.Cut(base, ":")
	base = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(base)), "-")
	if base == "" {
		base = "run"
	}
	return base[:min(len(base), 40)] + "-" + strings.ToLower(rand.Text()[:5])
}
