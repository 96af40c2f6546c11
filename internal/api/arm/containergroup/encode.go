package containergroup

import (
	"encoding/json"
	"fmt"
	"time"

	"fairlead.dev/internal/run"
)

type instanceView struct {
	State  string  `json:"state"`
	Events []event `json:"events"`
}

type containerInstanceView struct {
	RestartCount int     `json:"restartCount"`
	Current      *state  `json:"currentState,omitempty"`
	Previous     *state  `json:"previousState,omitempty"`
	Events       []event `json:"events"`
}

type state struct {
	State    string     `json:"state"`
	Start    *time.Time `json:"startTime,omitempty"`
	Finish   *time.Time `json:"finishTime,omitempty"`
	ExitCode *int       `json:"exitCode,omitempty"`
	Detail   string     `json:"detailStatus"`
}

type event struct {
	Count   int       `json:"count"`
	First   time.Time `json:"firstTimestamp"`
	Last    time.Time `json:"lastTimestamp"`
	Name    string    `json:"name"`
	Message string    `json:"message"`
	Type    string    `json:"type"`
}

// Encode gives the properties of a group for a client: what Decode gave to be stored, with what became of it. fqdn is
// the full name for the group's DNS name label, when it has one.
func Encode(public json.RawMessage, s run.Status, fqdn func(label string) string) (any, error) {
	var p properties
	if err := json.Unmarshal(public, &p); err != nil {
		return nil, fmt.Errorf("reading the stored properties of %s: %w", s.ID, err)
	}
	p.ProvisioningState = s.Provisioning
	p.InstanceView = &instanceView{State: s.State, Events: events(s.Events)}
	if p.IPAddress != nil {
		p.IPAddress.IP = s.IP
		if p.IPAddress.DNSNameLabel != "" {
			p.IPAddress.FQDN = fqdn(p.IPAddress.DNSNameLabel)
		}
	}
	for i := range p.Containers {
		for _, c := range s.Containers {
			if c.Name == p.Containers[i].Name {
				p.Containers[i].Properties.InstanceView = view(c)
			}
		}
	}
	return p, nil
}

// DNSNameLabel gives the label in stored properties, or "".
func DNSNameLabel(public json.RawMessage) string {
	var p properties
	if json.Unmarshal(public, &p) != nil || p.IPAddress == nil {
		return ""
	}
	return p.IPAddress.DNSNameLabel
}

func view(c run.ContainerStatus) *containerInstanceView {
	return &containerInstanceView{RestartCount: c.RestartCount, Current: stateOf(c.Current), Previous: stateOf(c.Previous), Events: events(c.Events)}
}

func stateOf(s *run.State) *state {
	if s == nil {
		return nil
	}
	out := &state{State: s.State, Detail: s.Detail, Start: moment(s.Started), Finish: moment(s.Finished)}
	if s.State == run.Terminated {
		out.ExitCode = &s.ExitCode
	}
	return out
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func events(in []run.Event) []event {
	out := make([]event, 0, len(in))
	for _, e := range in {
		out = append(out, event{Count: e.Count, First: e.First, Last: e.Last, Name: e.Name, Message: e.Message, Type: e.Type})
	}
	return out
}
