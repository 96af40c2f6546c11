// Package cli owns the commands of the program `fairlead`: a file for each command or few, each an options struct, a constructor
// that binds flags and a run function. It speaks to the server through package client only, so that whatever it can do
// any client can. The commands that act on this machine (up, down, doctor, trust, hosts) are functions that it is handed.
package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/credentialprovider"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/session"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

// Streams are where commands read and write.
type Streams = terminal.Streams

// System gives the streams of this process.
func System() Streams { return terminal.System() }

// Main runs the command line and gives the exit code. When ctx is cancelled, as by Ctrl-C, commands end soon and
// cleanly with code 130.
func Main(ctx context.Context, args []string, streams Streams, local Local) int {
	out := &terminal.Watched{Writer: streams.Out}
	streams.Out = out
	a := &app{streams: streams, local: local}
	root := a.root()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil && out.Failed != nil {
		err = fmt.Errorf("writing the result: %w", out.Failed)
	}
	if err == nil {
		return int(exit.OK)
	}
	code := exit.CodeOf(err)
	var other commandExit
	switch {
	case errors.As(err, &other):
		return int(other)
	case !a.started && code == exit.Failure:
		code = exit.Usage
	case ctx.Err() != nil:
		code = exit.Interrupted
	}
	if code == exit.Usage {
		err = exit.WithHint(err, "see '"+command.CommandPath()+" --help'")
	}
	a.report(err, code)
	return int(code)
}

// report writes what went wrong and, last, what to do next.
func (a *app) report(err error, code exit.Code) {
	if exit.IsQuiet(err) {
		return
	}
	if code == exit.Interrupted {
		a.streams.Notef("fairlead: interrupted")
		return
	}
	message := err.Error()
	if code == exit.TimedOut {
		message = "the time ran out (" + message + ")"
	}
	a.streams.Notef("%s %s", a.streams.Paint(a.streams.Err, terminal.Red, "fairlead:"), message)
	var refusal *client.Error
	if errors.As(err, &refusal) && refusal.Status >= 500 && refusal.RequestID != "" {
		a.streams.Notef("request id: %s", refusal.RequestID)
	}
	if hint := exit.HintOf(err); hint != "" {
		a.streams.Notef("hint: %s", hint)
	}
}

// app is what all commands share: the global flags and the streams.
type app struct {
	streams   Streams
	local     Local
	readyFile string
	output    string
	timeout   time.Duration
	started   bool // a command's run function was reached: errors are no longer of usage
}

// connection is what a command has that speaks to a server.
type connection struct {
	*app
	*client.Client
}

// Formats of --output.
const (
	formatTable  = "table"
	formatJSON   = "json"
	formatSecret = "secret" // of commands that make one
)

// Times that commands may take unless --timeout says otherwise; 0 is without end.
const (
	quick   = time.Minute
	patient = 5 * time.Minute
	endless = 0
)

const (
	defaultGroup    = "default" // the resource group when -g is not given
	defaultLocation = "westus2"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "fairlead",
		Short: "A private registry, identities and compute that speak Azure's protocols, on your own machine",
		Long: `Fairlead is a private registry, identities with roles, and compute that pulls and runs
images with them, on your own machine and over Azure's protocols.

Start with:
  fairlead up                              the server, in the foreground
  fairlead registry create myacr           a private registry
  fairlead push ./files myacr/app:v1       an image made of a directory
  fairlead run myacr.azurecr.io/app:v1     a container group of one container
  fairlead why NAME                        why can't it pull?`,
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args: noSubcommand,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.readyFile, "ready-file", "", "ready file of the server to speak to (default: $FAIRLEAD_READY_FILE, a login, the default data directory)")
	flags.StringVarP(&a.output, "output", "o", formatTable, "how to show results: table or json")
	flags.DurationVar(&a.timeout, "timeout", 0, "give up after this time, such as 90s (default: depends on the command)")
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	root.SetIn(a.streams.In)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(a.commands()...)
	root.SetHelpCommand(newHelp())
	return root
}

func (a *app) commands() []*cobra.Command {
	return slices.Concat(
		[]*cobra.Command{
			newApply(a), newRun(a), newPS(a), newLogs(a), newExec(a), newWhy(a), newAttempts(a), newWait(a), newRemove(a),
			newRegistry(a), newPush(a), newImages(a), newTags(a), newUntag(a),
			newSP(a), newIdentity(a), newRole(a),
			newGroup(a), newWebapp(a), newResourceGroup(a),
			newLogin(a), newLogout(a), newEnv(a), credentialprovider.NewCommand(a.streams, a.bounded),
			newKube(a),
		},
		localCommands(a),
		topics(),
	)
}

// topics are pages of help that are no commands.
func topics() []*cobra.Command {
	var codes strings.Builder
	codes.WriteString("Every command exits with one of these codes:\n")
	for _, row := range exit.Table() {
		fmt.Fprintf(&codes, "\n  %-4s %s", row[0], row[1])
	}
	return []*cobra.Command{
		{Use: "exit-codes", Short: "What commands exit with", Long: codes.String()},
		{Use: "finding-the-server", Short: "Which Fairlead a command speaks to", Long: `A command looks for its server in this order and takes the first that it finds:

  1. --ready-file PATH
  2. $FAIRLEAD_READY_FILE
  3. a login ('fairlead login')
  4. ready.json in the default data directory: /var/lib/fairlead, or
     $XDG_DATA_HOME/fairlead

Host names under the server's domain need not resolve: a ready file's server is
reached on the loopback address, a login's at the address given with --server.`},
	}
}

// action makes a command's run function: it checks --output, connects, and bounds the time.
func (a *app) action(limit time.Duration, run func(ctx context.Context, c *connection, args []string) error) func(*cobra.Command, []string) error {
	return a.bounded(limit, func(ctx context.Context, args []string) error {
		found, err := a.find()
		if err != nil {
			return err
		}
		c, err := client.New(found.Server, found.Credential)
		if err != nil {
			return err
		}
		defer c.Close()
		return run(ctx, &connection{a, c}, args)
	})
}

// bounded is action for commands that need no server.
func (a *app) bounded(limit time.Duration, run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		formats := append([]string{formatTable, formatJSON}, strings.Fields(cmd.Annotations["formats"])...)
		if !slices.Contains(formats, a.output) {
			return exit.Usagef("--output %q is not one of %s", a.output, strings.Join(formats, ", "))
		}
		a.started = true
		ctx := cmd.Context()
		if a.timeout > 0 {
			limit = a.timeout
		}
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		return run(ctx, args)
	}
}

// find finds the server.
func (a *app) find() (session.Found, error) {
	finder := session.NewFinder(a.streams.Env)
	finder.ReadyFile = a.readyFile
	return finder.Find()
}

// show writes a result as --output asks.
func (a *app) show(v any, table func(*terminal.Table)) error {
	if a.output == formatJSON {
		return a.streams.JSON(v)
	}
	var t terminal.Table
	table(&t)
	a.streams.Table(t)
	return nil
}

// showResource shows one resource: as the server has it, or in a table of one line.
func showResource[T any](ctx context.Context, c *connection, id string, table func([]T) terminal.Table) error {
	if c.output == formatJSON {
		var raw workload.Object
		if err := c.Get(ctx, id, &raw); err != nil {
			return err
		}
		return c.streams.JSON(raw)
	}
	var one T
	if err := c.Get(ctx, id, &one); err != nil {
		return err
	}
	c.streams.Table(table([]T{one}))
	return nil
}

// listResources shows all resources of a type, in one group unless that is "", as showResource shows one.
func listResources[T any](ctx context.Context, c *connection, group, resourceType string, table func([]T) terminal.Table) error {
	if c.output == formatJSON {
		all, err := client.ListOfType[workload.Object](ctx, c.Client, group, resourceType)
		if err != nil {
			return err
		}
		return c.streams.JSON(all)
	}
	all, err := client.ListOfType[T](ctx, c.Client, group, resourceType)
	if err != nil {
		return err
	}
	c.streams.Table(table(all))
	return nil
}

// tell writes a remark for people; it is left out where output is for programs.
func (a *app) tell(format string, args ...any) {
	if a.output == formatTable {
		a.streams.Notef(format, args...)
	}
}

// exactly demands these arguments and no more.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return exit.Usagef("%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return exit.Usagef("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

// noSubcommand refuses words that are no command, with the nearest ones.
func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see '" + cmd.CommandPath() + " --help'"
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean '" + cmd.CommandPath() + " " + strings.Join(near, "' or '"+cmd.CommandPath()+" ") + "'?"
	}
	return exit.Errorf(exit.Usage, hint, "there is no command %q", strings.TrimSpace(cmd.CommandPath()+" "+args[0]))
}

// newHelp makes the command that cobra would make, but for words that are no command: cobra passes over them.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command or topic",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if err := noSubcommand(about, rest); err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// family makes a command that only holds others.
func family(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: noSubcommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(children...)
	return cmd
}

// commandExit is the exit code of a command that ran in a container.
type commandExit int

func (c commandExit) Error() string { return fmt.Sprintf("exit code %d", int(c)) }
