// Package explanation owns how a report of why something cannot pull looks to people: the verdict, the chain with what each
// stage found, and last the command that repairs it.
package explanation

import (
	"strconv"
	"strings"
	"time"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/terminal"
)

// Write writes a report.
func Write(s terminal.Streams, r client.Report) { explanation{s, r}.write() }

type explanation struct {
	streams terminal.Streams
	client.Report
}

// line writes one line of a result.
func (e explanation) line(parts ...string) {
	_, _ = e.streams.Out.Write([]byte(strings.Join(parts, "") + "\n"))
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
		case stage.Outcome == "waiting":
			mark = e.paint(terminal.Yellow, "…")
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
