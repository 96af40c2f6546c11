package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

type logsOptions struct {
	group, container string
	follow           bool
	tail             int
	result           bool // a container that ended with another exit code than 0 is an error
}

func newLogs(a *app) *cobra.Command {
	var o logsOptions
	cmd := &cobra.Command{
		Use: "logs WORKLOAD", Short: "Show what a container wrote", Args: exactly("WORKLOAD"),
		RunE: a.action(endless, func(ctx context.Context, c *connection, args []string) error {
			return logs(ctx, c, args[0], o)
		}),
	}
	o.bind(cmd)
	return cmd
}

func (o *logsOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.group, "resource-group", "g", "", "look in this resource group only")
	f.StringVarP(&o.container, "container", "c", "", "container, when there are several")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on until it ends")
	f.IntVar(&o.tail, "tail", 0, "only so many lines from the end (default: all that is kept)")
}

// followInterval is how often new output is asked for.
const followInterval = 500 * time.Millisecond

func logs(ctx context.Context, c *connection, name string, o logsOptions) error {
	if o.tail < 0 {
		return exit.Usagef("--tail %d is not a number of lines", o.tail)
	}
	target, err := lookup.FindWorkload(ctx, c.Client, name, o.group)
	if err != nil {
		return err
	}
	path, err := logPath(ctx, c.Client, target, o.container)
	if err != nil {
		return err
	}
	var shown string
	for first := true; ; first = false {
		condition, err := workload.Observe(ctx, c.Client, target, nil) // before reading, so that the last words are not missed
		if err != nil {
			return err
		}
		text, err := readLog(ctx, c.Client, path, o.tail)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(c.streams.Out, workload.Added(shown, text)); err != nil {
			return err
		}
		shown = text
		if first && text == "" && (condition.Pulling || condition.NoStart) {
			c.tell("%s has written nothing: %s; ask 'fairlead why %s'", target.Short(), terminal.Clean(condition.Why), target.Short())
		}
		if !o.follow || ended(target, condition) {
			return o.outcome(target, condition)
		}
		if err := workload.Sleep(ctx, followInterval); err != nil {
			return err
		}
	}
}

func (o logsOptions) outcome(target lookup.Workload, condition workload.Condition) error {
	if o.result && condition.Phase == workload.Failed {
		return exit.Errorf(exit.Failure, "", "%s: %s", target.Short(), condition.Why)
	}
	return nil
}

// ended reports whether nothing more will be written. A web app is started again whenever it ends.
func ended(target lookup.Workload, condition workload.Condition) bool {
	switch condition.Phase {
	case workload.Finished, workload.Stopped:
		return true
	case workload.Failed:
		return !target.Site && !condition.Pulling && condition.Restarts == 0
	}
	return false
}

func readLog(ctx context.Context, c *client.Client, path string, tail int) (string, error) {
	var reply struct {
		Content string `json:"content"`
	}
	var options []client.Option
	if tail > 0 {
		options = append(options, client.Query("tail", strconv.Itoa(tail)))
	}
	err := c.Get(ctx, path, &reply, options...)
	return reply.Content, err
}

// logPath gives where a container's log is read.
func logPath(ctx context.Context, c *client.Client, target lookup.Workload, container string) (string, error) {
	if target.Site {
		return target.ID + "/logs", nil
	}
	name, err := containerOf(ctx, c, target, container)
	return target.ID + "/containers/" + name + "/logs", err
}

// containerOf gives the container that is meant: the only one, or the one that is named.
func containerOf(ctx context.Context, c *client.Client, target lookup.Workload, name string) (string, error) {
	var group client.ContainerGroup
	if err := c.Get(ctx, target.ID, &group); err != nil {
		return "", err
	}
	var names strings.Builder
	for i, container := range group.Properties.Containers {
		if container.Name == name || name == "" && len(group.Properties.Containers) == 1 {
			return container.Name, nil
		}
		if i > 0 {
			names.WriteString(", ")
		}
		names.WriteString(container.Name)
	}
	if name == "" {
		return "", exit.Usagef("%s has the containers %s: say which with --container", target.Short(), names.String())
	}
	return "", exit.Errorf(exit.NotFound, fmt.Sprintf("it has %s", names.String()), "%s has no container %q", target.Short(), name)
}
