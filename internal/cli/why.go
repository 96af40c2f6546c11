package cli

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
)

func newWhy(a *app) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "why WORKLOAD", Short: "Why can't it pull? The whole chain, and the command that repairs it",
		Long: `Why can't it pull? Fairlead asks again, now, with the workload's own credential: a token for that
identity, a look at that manifest. It shows every stage, what was tried, and last the command that
repairs the fault. Stages marked (read) are known from configuration or from the record of the last
pull, all others from doing them now.

The exit code is 0 when every container can pull, and 5 when one cannot. With --output json there
is one object for each container.`,
		Example: "  fairlead why shop\n  fairlead why webapp/shop --output json",
		Args:    exactly("WORKLOAD"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			return why(ctx, c, args[0], group)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	return cmd
}

func why(ctx context.Context, c *connection, name, group string) error {
	target, err := lookup.FindWorkload(ctx, c.Client, name, group)
	if err != nil {
		return err
	}
	raw, err := client.List[json.RawMessage](ctx, c.Client, target.ID+"/why")
	if err != nil {
		return err
	}
	var code exit.Code
	for i, text := range raw {
		var report client.Report
		if err := json.Unmarshal(text, &report); err != nil {
			return err
		}
		if !report.CanPull() {
			code = exit.CannotStart
		}
		if c.output == formatJSON {
			if err := c.streams.JSON(text); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			c.line("")
		}
		explanation{c.app, report}.write()
	}
	if code != exit.OK {
		return exit.Quiet(code)
	}
	return nil
}

// line writes one line of a result.
func (a *app) line(parts ...string) {
	_, _ = a.streams.Out.Write([]byte(strings.Join(parts, "") + "\n"))
}

// explanation renders a report for people.
type explanation struct {
	*app
	client.Report
}

func (e explanation) write() {
	image := e.Image.Resolved
	if image == "" {
		image = e.Image.Given
	}
	e.line(e.verdict(), "  ", terminal.Clean(image))
	if e.Summary != "" {
		e.line(terminal.Clean(e.Summary))
	}
	e.line("")
	e.writeChain()
	e.writeTried()
	for _, also := range e.AlsoWrong {
		e.line(e.paint(terminal.Yellow, "also wrong"), "  ", also.Code, ": ", terminal.Clean(also.Summary))
	}
	if e.FirstError != nil {
		e.line(e.paint(terminal.Yellow, "at first"), "  ", e.FirstError.Code, ": ", terminal.Clean(e.FirstError.Summary))
	}
	e.writeTimes()
	e.writeFix()
}

func (e explanation) verdict() string {
	if e.CanPull() {
		return e.paint(terminal.Green, "can pull")
	}
	return e.paint(terminal.Red, strings.ReplaceAll(e.Verdict, "-", " ")) + "  " + e.paint(terminal.Bold, e.Code)
}

func (e explanation) paint(style terminal.Style, text string) string {
	return e.streams.Paint(e.streams.Out, style, text)
}

// found tells what a stage that went well found.
func (e explanation) found(stage string) string {
	switch {
	case stage == "parse":
		return e.Image.Given
	case stage == "find":
		return e.Image.Resolved
	case stage == "credential" && e.Credential != nil:
		return strings.TrimSpace(e.Credential.Source + " " + e.Credential.From)
	case stage == "identity" && e.Identity != nil:
		return e.Identity.Name + "  client id " + e.Identity.ClientID + "  principal id " + e.Identity.PrincipalID
	case stage == "token" && e.Token != nil:
		return e.Token.Status
	case stage == "role" && e.Authorization != nil:
		return "needs " + e.Authorization.Needed
	case stage == "manifest":
		return e.Image.Digest
	}
	return ""
}

// writeChain marks what went well, what failed and what is not for this caller, and leaves out what was not reached.
func (e explanation) writeChain() {
	for _, stage := range e.Stages {
		text := stage.Message
		if text == "" {
			text = e.found(stage.Name)
		}
		mark := ""
		switch {
		case stage.Outcome == "ok":
			mark = e.paint(terminal.Green, "✓")
		case stage.Outcome == "failed":
			mark = e.paint(terminal.Red, "✗")
		case strings.HasPrefix(stage.Outcome, "hidden"):
			mark, text = e.paint(terminal.Yellow, "?"), stage.Outcome
		default:
			continue
		}
		known := ""
		if stage.Known == "read" {
			known = e.paint(terminal.Dim, " (read)")
		}
		e.line("  ", mark, " ", pad(stage.Name, 12), terminal.Clean(text), known)
	}
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(1, width-len(text)))
}

// writeTried lists the credentials passed over and the assignments looked at.
func (e explanation) writeTried() {
	if e.Credential != nil {
		for _, s := range e.Credential.Skipped {
			e.line("  passed over: ", terminal.Clean(strings.TrimSpace(s.Source+" "+s.From)), ": ", terminal.Clean(s.Why))
		}
	}
	if e.Authorization == nil {
		return
	}
	if len(e.Authorization.Considered) > 0 {
		e.line("  assignments looked at:")
	}
	for _, c := range e.Authorization.Considered {
		mark, reason := e.paint(terminal.Green, "✓"), ""
		if c.Result != "accepted" {
			mark, reason = e.paint(terminal.Red, "✗"), ": "+c.Why
		}
		e.line("    ", mark, " ", terminal.Clean(c.Role+" on "+c.Scope+" for "+c.PrincipalID+reason))
	}
}

func (e explanation) writeTimes() {
	for _, t := range []struct {
		what string
		at   time.Time
	}{{"first seen", e.FirstSeen}, {"last seen", e.LastSeen}, {"next try", e.NextRetry}} {
		if !t.at.IsZero() && !e.CanPull() {
			e.line(e.paint(terminal.Dim, pad(t.what, 13)+t.at.Local().Format(time.DateTime)))
		}
	}
}

// writeFix comes last: it is what the reader looks for.
func (e explanation) writeFix() {
	for i, f := range e.Fix {
		step := ""
		if len(e.Fix) > 1 {
			step = strconv.Itoa(i+1) + ". "
		}
		e.line("")
		e.line(step, "To ", terminal.Clean(f.Why), ":")
		e.line("  ", e.paint(terminal.Bold, terminal.Clean(f.Command)))
		if f.Az != "" {
			e.line("or, with the az CLI:")
			e.line("  ", terminal.Clean(f.Az))
		}
	}
}

func newAttempts(a *app) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "attempts WORKLOAD", Short: "Show the record of a workload's pulls, stage by stage", Args: exactly("WORKLOAD"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			return showAttempts(ctx, c, args[0], group)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	return cmd
}

func showAttempts(ctx context.Context, c *connection, name, group string) error {
	target, err := lookup.FindWorkload(ctx, c.Client, name, group)
	if err != nil {
		return err
	}
	if c.output == formatJSON {
		var raw json.RawMessage
		if err := c.Get(ctx, target.ID+"/attempts", &raw); err != nil {
			return err
		}
		return c.streams.JSON(raw)
	}
	attempts, err := c.Attempts(ctx, target.ID)
	if err != nil {
		return err
	}
	t := terminal.Table{Header: []string{"CONTAINER", "STAGE", "OUTCOME", "TOOK", "MESSAGE"}}
	for _, of := range attempts {
		if of.Last == nil {
			continue
		}
		for _, s := range of.Last.Stages {
			took := "-"
			if !s.Ended.IsZero() {
				took = s.Ended.Sub(s.Started).Round(time.Millisecond).String()
			}
			t.Add(of.Container, s.Name, s.Outcome, took, strings.TrimSpace(s.Code+" "+s.Message))
		}
	}
	c.streams.Table(t)
	return nil
}
