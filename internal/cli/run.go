package cli

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
)

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
