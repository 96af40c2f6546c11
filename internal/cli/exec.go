package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
)

type execOptions struct {
	group, container string
	stdin, terminal  bool
}

func newExec(a *app) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use: "exec WORKLOAD [-it] -- COMMAND [ARG…]", Short: "Run a command in a running container and exit with its code",
		Example: "  fairlead exec web -- cat /etc/hostname\n  fairlead exec web -it -- /bin/sh",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return exit.Usagef("exec needs a workload and, after --, a command")
			}
			return nil
		},
		RunE: a.action(endless, func(ctx context.Context, c *connection, args []string) error {
			return execute(ctx, c, args[0], args[1:], o)
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&o.group, "resource-group", "g", "", "look in this resource group only")
	f.StringVarP(&o.container, "container", "c", "", "container, when there are several")
	f.BoolVarP(&o.stdin, "stdin", "i", false, "feed it this command's stdin")
	f.BoolVarP(&o.terminal, "tty", "t", false, "give it a terminal")
	return cmd
}

func execute(ctx context.Context, c *connection, name string, command []string, o execOptions) error {
	target, err := lookup.FindWorkload(ctx, c.Client, name, o.group)
	if err != nil {
		return err
	}
	request := client.ExecRequest{Command: command, Terminal: o.terminal}
	if !target.Site {
		if request.Container, err = containerOf(ctx, c.Client, target, o.container); err != nil {
			return err
		}
	}
	var stdin io.Reader
	if o.stdin {
		stdin = c.streams.In
	}
	restore := func() {}
	if o.terminal {
		request.Rows, request.Cols = c.streams.Size()
		if o.stdin && terminal.IsTerminal(c.streams.In) {
			if restore, err = c.streams.Raw(); err != nil {
				return err
			}
		}
	}
	code, err := c.Exec(ctx, target.ID, request, stdin, c.streams.Out)
	restore()
	if err != nil || code == 0 {
		return err
	}
	return commandExit(code)
}
