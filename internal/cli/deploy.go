package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

// Until when commands that change a workload wait.
const (
	waitNone     = "none"
	waitRunning  = "running"
	waitFinished = "finished"
)

// deployment is a change to a workload that is waited for.
type deployment struct {
	target lookup.Workload
	change func(ctx context.Context) (*client.Operation, error) // asks for it
	wait   string
	// follow says that somebody reads along until the workload ends: how it ended is not judged here, and only its name is
	// told, to stderr.
	follow bool
}

// put is the change that most deployments are.
func put(c *client.Client, target lookup.Workload, body any, options ...client.Option) func(context.Context) (*client.Operation, error) {
	return func(ctx context.Context) (*client.Operation, error) {
		return c.BeginPut(ctx, target.ID, body, options...)
	}
}

func bindWait(cmd *cobra.Command, wait *string) {
	cmd.Flags().StringVar(wait, "wait", waitRunning, "until when to wait: running, finished or none")
}

func checkWait(wait string) error {
	if wait != waitNone && wait != waitRunning && wait != waitFinished {
		return exit.Usagef("--wait %q is not one of running, finished, none", wait)
	}
	return nil
}

// deploy makes the change, waits, and shows what came of it. When the workload cannot run, it shows the short form of
// why and ends with exit.CannotStart.
func (c *connection) deploy(ctx context.Context, d deployment) error {
	before, err := workload.Attempts(ctx, c.Client, d.target.ID)
	if err != nil {
		return err
	}
	progress := c.streams.NewProgress()
	waiter := &workload.Waiter{Client: c.Client, Progress: progress, Before: before, Finish: d.wait == waitFinished}
	condition, err := bring(ctx, d, waiter)
	progress.Close()
	if err != nil {
		return c.refused(ctx, d.target, condition, err)
	}
	if condition.Phase == workload.Failed && (condition.Pulling || !d.follow) {
		return c.cannotStart(ctx, d.target, condition)
	}
	if d.follow {
		c.streams.Notef("%s", d.target.Short())
		return nil
	}
	return c.showWorkload(ctx, d.target)
}

// bring makes the change, showing the pull while the request is still under way, and waits.
func bring(ctx context.Context, d deployment, waiter *workload.Waiter) (workload.Condition, error) {
	following, stop := context.WithCancel(ctx)
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		waiter.Follow(following, d.target.ID)
	}()
	op, err := d.change(ctx)
	if err == nil && d.wait != waitNone {
		err = op.Wait(ctx)
	}
	stop()
	<-joined
	if err != nil || d.wait == waitNone {
		return workload.Condition{}, err
	}
	return waiter.Until(ctx, d.target)
}

// pullRefusals are the codes with which a group's PUT or start fails because of its image.
func pullRefusals() []string {
	return []string{
		"InaccessibleImage", "RegistryErrorResponse", "InvalidImageRegistryIdentity", "ImageOsTypeNotMatchContainerGroup",
		"InvalidImageRegistryCredentialType",
	}
}

// refused tells a pull that failed from any other fault.
func (c *connection) refused(ctx context.Context, target lookup.Workload, last workload.Condition, err error) error {
	switch {
	case client.HasCode(err, pullRefusals()...):
		return c.cannotStart(ctx, target, workload.Condition{Why: "it cannot pull its image", Pulling: true})
	case errors.Is(err, context.DeadlineExceeded) && last.Phase == workload.Failed:
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
		defer cancel()
		return c.cannotStart(after, target, last)
	}
	return err
}

// cannotStart shows the short form of why.
func (c *connection) cannotStart(ctx context.Context, target lookup.Workload, condition workload.Condition) error {
	if condition.NoStart {
		return exit.Errorf(exit.CannotStart, "correct its command or its image", "%s: %s", target.Short(), terminal.Clean(condition.Why))
	}
	if !condition.Pulling {
		return exit.Errorf(exit.CannotStart, "see what it said with 'fairlead logs "+target.Short()+"'", "%s: %s", target.Short(), condition.Why)
	}
	reports, err := c.Why(ctx, target.ID)
	if err != nil {
		c.streams.Notef("the reason cannot be told: %v", err)
	}
	for _, r := range reports {
		if r.CanPull() {
			continue
		}
		code := ""
		if r.Code != "" { // "" when it is hidden
			code = c.streams.Paint(c.streams.Err, terminal.Bold, r.Code) + " "
		}
		c.streams.Notef("%s%s", code, terminal.Clean(r.Summary))
		for _, f := range r.Fix {
			c.streams.Notef("  fix: %s", terminal.Clean(f.Command))
		}
	}
	return exit.Errorf(exit.CannotStart, "the whole reason: fairlead why "+target.Short(), "%s: %s", target.Short(), condition.Why)
}

// showWorkload shows one workload as `ps` does.
func (c *connection) showWorkload(ctx context.Context, target lookup.Workload) error {
	if c.output == formatJSON {
		var resource workload.Object
		if err := c.Get(ctx, target.ID, &resource); err != nil {
			return err
		}
		return c.streams.JSON(resource)
	}
	line, err := describe(ctx, c.Client, target)
	if err != nil {
		return err
	}
	c.streams.Table(psTable([]psLine{line}))
	return nil
}

func newWait(a *app) *cobra.Command {
	var group string
	var finished bool
	cmd := &cobra.Command{
		Use: "wait WORKLOAD", Short: "Wait until a workload runs, or has ended with exit code 0",
		Long: `Wait until a workload runs, or has ended with exit code 0 and is not started again.

A pull that failed is tried again by the server, at once when a role or credential changes, so wait
goes on waiting until the time given with --timeout (2m) is over. It then tells why. A container that
has ended with another exit code and is not started again ends the waiting.`,
		Args: exactly("WORKLOAD"),
		RunE: a.action(2*time.Minute, func(ctx context.Context, c *connection, args []string) error {
			return wait(ctx, c, args[0], group, finished)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	cmd.Flags().BoolVar(&finished, "finished", false, "wait until every container has ended")
	return cmd
}

func wait(ctx context.Context, c *connection, name, group string, finished bool) error {
	target, err := lookup.FindWorkload(ctx, c.Client, name, group)
	if err != nil {
		return err
	}
	progress := c.streams.NewProgress()
	waiter := &workload.Waiter{Client: c.Client, Progress: progress, Patient: true, Finish: finished}
	condition, err := waiter.Until(ctx, target)
	progress.Close()
	switch {
	case err != nil:
		return c.refused(ctx, target, condition, err)
	case condition.Phase == workload.Failed:
		return c.cannotStart(ctx, target, condition)
	case condition.Phase == workload.Stopped:
		return exit.Errorf(exit.CannotStart, "start it with 'fairlead "+target.Kind()+" start "+target.Name+"'", "%s is stopped", target.Short())
	}
	return c.showWorkload(ctx, target)
}
