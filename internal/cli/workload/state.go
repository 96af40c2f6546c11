// Package workload owns what the CLI knows of container groups and web apps: the bodies by which they are made and
// changed, what their state means, and waiting until they run. Which workload is meant is for package lookup to find.
package workload

import (
	"fmt"
	"strings"
	"time"

	"fairlead.dev/client"
)

// Phase is how far a workload is.
type Phase int

// The phases.
const (
	Pending  Phase = iota // on its way
	Running               // what should run runs
	Finished              // every container ended with exit code 0 and is not to run again
	Failed                // it will not run without somebody doing something
	Stopped               // somebody stopped it
)

// Condition is the state of a workload and why it is not better.
type Condition struct {
	Phase    Phase
	Word     string // "Running", "CannotPull", … for tables
	Why      string // of Failed
	Pulling  bool   // it is the pull that failed: `why` can tell more
	MayEnd   bool   // a container that ends is not always started again: running may be over soon
	Final    bool   // of Failed: nothing that the server does by itself will change it
	NoStart  bool   // of Failed: no process ever began, so there is no log to read
	Restarts int
	Started  time.Time // of the container that started last
}

// crashLoop is how many restarts make a container that does not stay up a failure for whoever waits for it.
const crashLoop = 3

// OfGroup reads the condition off a container group.
func OfGroup(g client.ContainerGroup) Condition {
	p := g.Properties
	c := Condition{Word: "Pending", MayEnd: p.RestartPolicy != "" && !strings.EqualFold(p.RestartPolicy, "Always")}
	if p.InstanceView != nil && p.InstanceView.State != "" {
		c.Word = p.InstanceView.State
	}
	if strings.EqualFold(c.Word, "Stopped") {
		c.Phase = Stopped
		return c
	}
	running, finished := 0, 0
	for _, container := range p.Containers {
		view := container.Properties.InstanceView
		if view == nil {
			continue
		}
		c.Restarts += view.RestartCount
		if view.CurrentState == nil {
			continue
		}
		if view.CurrentState.StartTime.After(c.Started) {
			c.Started = view.CurrentState.StartTime
		}
		switch up, why := judge(*view, p.RestartPolicy); {
		case why != "":
			c.Phase, c.Why = Failed, fmt.Sprintf("container %s %s", container.Name, why)
			c.NoStart = startFailure(*view) != ""
			c.Final = c.NoStart || strings.EqualFold(view.CurrentState.State, "Terminated")
		case up:
			running++
		case strings.EqualFold(view.CurrentState.State, "Terminated"):
			finished++
		}
	}
	return c.conclude(p.ProvisioningState, len(p.Containers), running, finished)
}

func (c Condition) conclude(provisioning string, containers, running, finished int) Condition {
	switch {
	case c.Phase == Failed:
	case containers > 0 && finished == containers:
		c.Phase = Finished
	case containers > 0 && running+finished == containers:
		c.Phase = Running
	case strings.EqualFold(provisioning, "Failed"):
		c.Phase, c.Pulling, c.Word, c.Why = Failed, true, "CannotPull", "it cannot pull its image"
	}
	return c
}

// judge tells whether a container is up, or why it will not be.
func judge(view client.ContainerView, policy string) (up bool, why string) {
	now := *view.CurrentState
	state := strings.ToLower(now.State)
	if state == "running" {
		return true, ""
	}
	if reason := startFailure(view); reason != "" {
		return false, "was not started: " + reason
	}
	switch state {
	case "terminated":
		if now.ExitCode != 0 && !strings.EqualFold(policy, "Always") {
			return false, ended(now)
		}
	case "waiting":
		if before := view.PreviousState; view.RestartCount >= crashLoop && before != nil {
			return false, fmt.Sprintf("does not stay up: it was started again %d times and last %s", view.RestartCount, ended(*before))
		}
	}
	return false, ""
}

// startFailure gives why a container's image or command could not be started the last time, or "". The event of that
// moment tells; the exit code alone may be the program's own.
func startFailure(view client.ContainerView) string {
	const exitNotStarted, prefix = 128, "Error: Failed to start container, Error response: "
	last := view.CurrentState
	if strings.EqualFold(last.State, "Waiting") {
		last = view.PreviousState
	}
	if last == nil || last.ExitCode != exitNotStarted {
		return ""
	}
	for _, e := range view.Events {
		if reason, ok := strings.CutPrefix(e.Message, prefix); ok && e.Last.Equal(last.FinishTime) {
			return reason
		}
	}
	return ""
}

func ended(s client.ContainerState) string {
	text := fmt.Sprintf("ended with exit code %d", s.ExitCode)
	if s.DetailStatus != "" && s.DetailStatus != "Error" && s.DetailStatus != "Completed" {
		text += " (" + s.DetailStatus + ")"
	}
	return text
}

// OfSite reads the condition of a web app off its resource and the record of its last pull and start.
func OfSite(s client.Site, attempts []client.Attempts) Condition {
	c := Condition{Word: "Pending"}
	if strings.EqualFold(s.Properties.State, "Stopped") {
		return Condition{Phase: Stopped, Word: "Stopped"}
	}
	last := lastOf(attempts)
	if last == nil {
		return c
	}
	c.Started = last.Started
	ready, _ := last.Stage("ready")
	started := failedStart(*last)
	switch {
	case started.Name != "":
		c.Phase, c.Word, c.Why = Failed, "Failed", started.Message
	case last.Failed():
		c.Phase, c.Word, c.Why, c.Pulling = Failed, "CannotPull", last.Summary, true
	case ready.Outcome == "ok":
		c.Phase, c.Word = Running, "Running"
	}
	return c
}

func lastOf(attempts []client.Attempts) *client.Attempt {
	for _, a := range attempts {
		if a.Last != nil {
			return a.Last
		}
	}
	return nil
}

// failedStart gives the stage after the pull that failed, if one did.
func failedStart(a client.Attempt) client.Stage {
	for _, name := range []string{"create", "start", "ready"} {
		if s, ok := a.Stage(name); ok && s.Outcome == "failed" {
			return s
		}
	}
	return client.Stage{}
}
