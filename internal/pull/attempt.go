package pull

import (
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/resource"
)

// StageName names a step of a pull and of the start that follows it.
type StageName string

// The stages in their order. The last three are package run's to record.
const (
	StageParse      StageName = "parse"
	StageFind       StageName = "find"
	StageCredential StageName = "credential"
	StageIdentity   StageName = "identity"
	StageToken      StageName = "token"
	StageRole       StageName = "role"
	StageManifest   StageName = "manifest"
	StagePlatform   StageName = "platform"
	StageBlobs      StageName = "blobs"
	StageUnpack     StageName = "unpack"
	StageCreate     StageName = "create"
	StageStart      StageName = "start"
	StageReady      StageName = "ready"
)

// Outcome is how a stage went.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped" // not needed here
	Running Outcome = "running"
)

// Stage is the record of one step. Facts are for people and for explain; no secret and no token stands in them.
type Stage struct {
	Name    StageName         `json:"name"`
	Outcome Outcome           `json:"outcome"`
	Started time.Time         `json:"started"`
	Ended   time.Time         `json:"ended,omitzero"`
	Code    string            `json:"code,omitempty"`
	Message string            `json:"message,omitempty"`
	Facts   map[string]string `json:"facts,omitempty"`
}

// LayerState is how far a layer is.
type LayerState string

// The states of a layer.
const (
	LayerWaiting     LayerState = "waiting"
	LayerDownloading LayerState = "downloading"
	LayerPresent     LayerState = "present" // was on the node before
	LayerDownloaded  LayerState = "downloaded"
	LayerUnpacked    LayerState = "unpacked"
)

// LayerProgress is how far one layer is.
type LayerProgress struct {
	Digest content.Digest `json:"digest"`
	Size   int64          `json:"size"` // bytes to transfer
	Done   int64          `json:"done"` // bytes transferred and hashed
	State  LayerState     `json:"state"`
}

// Attempt is the record of one pull. It is stored with the workload, streamed to whoever watches, and read by explain.
type Attempt struct {
	ID          string          `json:"id"`
	Workload    resource.ID     `json:"workload"`
	Container   string          `json:"container"`
	Image       string          `json:"image"` // as it was written
	Correlation string          `json:"correlation"`
	Started     time.Time       `json:"started"`
	Ended       time.Time       `json:"ended,omitzero"`
	Stages      []Stage         `json:"stages"`
	Code        string          `json:"code,omitempty"`    // of the failure; "" when there is none
	Summary     string          `json:"summary,omitempty"` // of the failure, for people
	Digest      content.Digest  `json:"digest,omitempty"`  // that the reference was resolved to
	Bytes       int64           `json:"bytes,omitempty"`   // that have to be transferred
	Done        int64           `json:"done,omitempty"`    // that were
	Layers      []LayerProgress `json:"layers,omitempty"`
}

// Stage gives the stage called name.
func (a Attempt) Stage(name StageName) (Stage, bool) {
	for _, s := range a.Stages {
		if s.Name == name {
			return s, true
		}
	}
	return Stage{}, false
}

// Observer is given a snapshot of the record at each change, of bytes at most ten times a second. It must not block.
type Observer func(Attempt)
