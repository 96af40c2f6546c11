package run

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// target is what a person wants of a workload.
type target string

const (
	wantRunning target = "running"
	wantStopped target = "stopped"
	wantDeleted target = "deleted"
)

// Times of the policies (design section 5, and the kubelet's for crash loops).
const (
	backOffFirst = 10 * time.Second
	backOffMost  = 300 * time.Second
	crashForgive = 10 * time.Minute // a container that ran this long has left its crash loop
	stopGrace    = 10 * time.Second // from SIGTERM to SIGKILL
)

// Exit codes for what has none of its own.
const (
	exitNotStarted = 128 // the image or command could not be started
	exitOOM        = 137 // 128 + SIGKILL
	exitUnknown    = 255 // ended while nobody looked, with the machine
)

// record is all that is stored about a workload beside its Group. A decision is written here, and stored, before it is
// acted upon; acting is idempotent, so whatever was begun is finished after a crash.
type record struct {
	Generation int64  `json:"generation"` // counts Puts
	Target     target `json:"target"`

	// Ask counts the times that the right to pull has to be asked: a Put, a start or a restart by a person. Answered is
	// the last one that was granted and acted upon.
	Ask      int64 `json:"ask"`
	Answered int64 `json:"answered"`
	Replace  bool  `json:"replace,omitempty"` // a person's restart: replace containers that are as they should be

	// Spec changes with every Put that changes what containers are made of; Applied is the one they are made of.
	Spec    int64 `json:"spec"`
	Applied int64 `json:"applied"`

	Provisioning string    `json:"provisioning"`
	Failure      *Failure  `json:"failure,omitempty"`
	Retries      int       `json:"retries,omitempty"` // pulls refused in a row
	NextRetry    time.Time `json:"nextRetry,omitzero"`

	Sandbox bool   `json:"sandbox,omitempty"` // one may exist
	Stale   bool   `json:"stale,omitempty"`   // it goes before anything starts
	IP      string `json:"ip,omitempty"`
	Backend string `json:"backend,omitempty"` // of a web app that answers

	Containers []*containerRecord `json:"containers"`
	Leaving    []string           `json:"leaving,omitempty"` // runtime ids that become garbage when Spec is applied
	Garbage    []string           `json:"garbage,omitempty"` // runtime ids to be ended before anything starts
	Events     []Event            `json:"events,omitempty"`
}

// containerRecord is what is stored about one container.
type containerRecord struct {
	Name         string         `json:"name"`
	Image        string         `json:"image"`
	Digest       content.Digest `json:"digest,omitempty"`
	Life         string         `json:"life,omitempty"` // tells it from an earlier one of this name, whose exits may come late
	Incarnation  int            `json:"incarnation"`    // the last one begun: part of the runtime id, never used twice in a life
	Made         bool           `json:"made,omitempty"` // that one may exist in the runtime
	RestartCount int            `json:"restartCount"`
	Crashes      int            `json:"crashes,omitempty"` // exits in a row that count for the back-off
	NextStart    time.Time      `json:"nextStart,omitzero"`
	Done         bool           `json:"done,omitempty"` // ended, and the policy leaves it so
	Current      State          `json:"current"`
	Previous     *State         `json:"previous,omitempty"`
	Events       []Event        `json:"events,omitempty"`
	First        *pull.Attempt  `json:"first,omitempty"` // the first that was refused since the last Put or start
	Last         *pull.Attempt  `json:"last,omitempty"`
}

func (r *record) container(name string) *containerRecord {
	i := slices.IndexFunc(r.Containers, func(c *containerRecord) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return r.Containers[i]
}

// reshape gives the record the containers of g: those that it knows stay as they are, others leave once g is applied.
func (r *record) reshape(key string, g Group) {
	old := r.Containers
	r.Containers = nil
	for _, c := range g.Containers {
		have := &containerRecord{Name: c.Name, Life: uuid.NewString()[:8], Current: State{State: Waiting}}
		if i := slices.IndexFunc(old, func(o *containerRecord) bool { return o.Name == c.Name }); i >= 0 {
			have = old[i]
			old = slices.Delete(old, i, i+1)
		}
		have.Image = c.Image
		r.Containers = append(r.Containers, have)
	}
	for _, c := range old {
		if c.Made {
			r.Leaving = append(r.Leaving, c.id(key))
		}
	}
}

// discard marks the container's present incarnation to be ended.
func (r *record) discard(key string, c *containerRecord) {
	if c.Made {
		r.Garbage = append(r.Garbage, c.id(key))
		c.Made = false
	}
}

// ask has the right to pull asked anew, at once.
func (r *record) ask() {
	r.Ask++
	r.Retries, r.NextRetry = 0, time.Time{}
	for _, c := range r.Containers {
		c.First = nil
	}
}

// done reports whether every container has ended for good.
func (r *record) done() bool {
	return len(r.Leaving) == 0 && !slices.ContainsFunc(r.Containers, func(c *containerRecord) bool { return !c.Done })
}

// state gives Status.State.
func (r *record) state(kind Kind) string {
	running := slices.ContainsFunc(r.Containers, func(c *containerRecord) bool { return c.Current.State == Running })
	switch {
	case r.Target == wantStopped && len(r.Garbage) == 0:
		return StateStopped
	case kind == KindWebApp && r.Backend == "":
		return StatePending
	case running:
		return StateRunning
	case r.done() && slices.ContainsFunc(r.Containers, func(c *containerRecord) bool { return c.Current.ExitCode != 0 }):
		return StateFailed
	case r.done():
		return StateSucceeded
	}
	return StatePending
}

// restarts reports whether the policy starts a container again that exited with code.
func (p RestartPolicy) restarts(code int) bool {
	return p != Never && (p != OnFailure || code != 0)
}

// exited takes in that the present incarnation has ended and decides by policy when it is started again: the first time
// at once, then after a back-off.
func (c *containerRecord) exited(code int, oom bool, at time.Time, policy RestartPolicy) {
	ended := c.ended(code, oom, at)
	if at.Sub(c.Current.Started) >= crashForgive {
		c.Crashes = 0
	}
	if !policy.restarts(ended.ExitCode) {
		c.Current, c.Done = ended, true
		return
	}
	c.Previous, c.Current = &ended, State{State: Waiting, Detail: DetailCrashLoop}
	c.NextStart = at
	if c.Crashes > 0 {
		c.NextStart = at.Add(backOff(c.Crashes - 1))
	}
	c.Crashes++
}

// started takes in that the present incarnation runs.
func (c *containerRecord) started(at time.Time) {
	c.Current = State{State: Running, Started: at}
	if c.Crashes > 0 {
		c.RestartCount++
	}
}

// ended gives the state of a container that ran until now.
func (c *containerRecord) ended(code int, oom bool, at time.Time) State {
	s := State{State: Terminated, Started: c.Current.Started, Finished: at, ExitCode: code, Detail: DetailCompleted}
	switch {
	case oom:
		s.ExitCode, s.Detail = exitOOM, DetailOOM
	case code != 0:
		s.Detail = DetailError
	}
	return s
}

// renew forgets what became of earlier incarnations: a person put, started or restarted the workload.
func (c *containerRecord) renew() {
	c.RestartCount, c.Crashes, c.NextStart, c.Done, c.Previous = 0, 0, time.Time{}, false, nil
	c.Current = State{State: Waiting}
}

// backOff gives how long to wait after n waits before: 10 s doubling to 300 s.
func backOff(n int) time.Duration {
	return min(backOffFirst<<min(n, 10), backOffMost)
}

// note adds an event, counting it when it is there already.
func note(events []Event, now time.Time, name, kind, message string) []Event {
	const most = 50 // of one container; the oldest go
	i := slices.IndexFunc(events, func(e Event) bool { return e.Name == name && e.Message == message })
	if i >= 0 {
		events[i].Count++
		events[i].Last = now
		return events
	}
	events = append(events, Event{Name: name, Message: message, Type: kind, Count: 1, First: now, Last: now})
	return events[max(0, len(events)-most):]
}

func (c *containerRecord) note(now time.Time, name, kind, message string) {
	c.Events = note(c.Events, now, name, kind, message)
}

const hashLength = 16

// groupHash gives what all runtime ids of the workload with this key begin with.
func groupHash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:hashLength/2])
}

// hashOf gives the part of a runtime id that names the workload.
func hashOf(id string) string { return id[:min(len(id), hashLength)] }

// id gives the runtime id of the container's present incarnation: at most 76 characters, which is what runtimes allow.
func (c *containerRecord) id(key string) string {
	const most = 40
	name := c.Name
	if len(name) > most {
		sum := sha256.Sum256([]byte(name))
		name = name[:most-9] + "-" + hex.EncodeToString(sum[:4])
	}
	return groupHash(key) + c.Life + "-" + name + "-" + strconv.Itoa(c.Incarnation)
}

// sandboxID gives the runtime id of a workload's sandbox.
func sandboxID(key string) string { return groupHash(key) }
