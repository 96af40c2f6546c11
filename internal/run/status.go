package run

import (
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// The values of Status.Provisioning.
const (
	ProvisioningPending   = "Pending"   // stored, not begun
	ProvisioningCreating  = "Creating"  // pulling or starting
	ProvisioningSucceeded = "Succeeded" // everything was started; a web app's is Succeeded as soon as it is stored
	ProvisioningFailed    = "Failed"    // Failure says why; tried again at NextRetry
)

// The values of Status.State.
const (
	StatePending   = "Pending"   // nothing runs (yet): waiting for a pull, a start or the end of a back-off
	StateRunning   = "Running"   // a container runs; a web app also answers HTTP
	StateSucceeded = "Succeeded" // every container has exited with 0 and the policy leaves them so
	StateFailed    = "Failed"    // every container has exited, one not with 0, and the policy is Never
	StateStopped   = "Stopped"   // stopped by a person
)

// The values of State.State.
const (
	Waiting    = "Waiting"
	Running    = "Running"
	Terminated = "Terminated"
)

// The values of State.Detail.
const (
	DetailCompleted = "Completed"        // exit code 0
	DetailError     = "Error"            // another exit code
	DetailOOM       = "OOMKilled"        // over its memory limit: exit code 137
	DetailCrashLoop = "CrashLoopBackOff" // waiting to be started again
	DetailPulling   = "PullingImage"     // waiting for its image
	DetailPullRetry = "ImagePullBackOff" // waiting to ask for its image again
)

// Status is what became of a Group at one moment. It is a snapshot: nothing in it changes later.
type Status struct {
	ID           resource.ID
	Kind         Kind
	Generation   int64 // counts Puts of this workload, beginning with 1
	Provisioning string
	State        string
	Failure      *Failure  // why Provisioning is Failed, or why a web app is not up; nil when all is well
	NextRetry    time.Time // when a failed pull or start is tried again without being asked to; zero when it is not
	IP           string    // the sandbox's address; "" without one
	Backend      string    // "ip:port" of a web app that answers; "" until then
	Containers   []ContainerStatus
	Events       []Event // of the group itself; a web app's are the lines of its docker log
}

// Failure is why a workload is not as desired, in Azure's words.
type Failure struct {
	Code      string    `json:"code"` // "InaccessibleImage", "RegistryErrorResponse" …
	Message   string    `json:"message"`
	Container string    `json:"container,omitempty"` // whose pull or start it was
	At        time.Time `json:"at"`
}

// ContainerStatus is what became of one container.
type ContainerStatus struct {
	Name         string
	Image        string         // as it was written
	Digest       content.Digest // of what runs or ran last; "" before the first start
	RestartCount int            // restarts by policy since it was put, started or restarted by a person
	Current      *State
	Previous     *State // the state before the last restart by policy; nil before the first
	Events       []Event

	id          string // in the runtime
	first, last *pull.Attempt
}

// StartFailure gives why the image or the command could not be started the last time, or "".
func (c ContainerStatus) StartFailure() string {
	last := c.Current
	if last != nil && last.State == Waiting {
		last = c.Previous
	}
	if last == nil || last.ExitCode != exitNotStarted {
		return ""
	}
	for _, e := range c.Events {
		if e.Name == EventFailed && e.Last.Equal(last.Finished) {
			return e.Message
		}
	}
	return ""
}

// State is a container's state and what is known about it.
type State struct {
	State    string    `json:"state"` // Waiting, Running, Terminated
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	ExitCode int       `json:"exitCode,omitempty"`
	Detail   string    `json:"detail,omitempty"`
}

// The values of Event.Name and Event.Type.
const (
	EventPulling = "Pulling"
	EventPulled  = "Pulled"
	EventCreated = "Created"
	EventStarted = "Started"
	EventKilling = "Killing"
	EventFailed  = "Failed"
	EventBackOff = "BackOff"

	TypeNormal  = "Normal"
	TypeWarning = "Warning"
)

// Event is something that happened, once or Count times.
type Event struct {
	Name    string    `json:"name"`
	Message string    `json:"message"`
	Type    string    `json:"type"`
	Count   int       `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}
