package client

import (
	"context"
	"encoding/json"
	"time"
)

// Report says why one container of a workload can or cannot pull its image.
type Report struct {
	Container string `json:"container"`
	Verdict   string `json:"verdict"` // "can-pull", "cannot-pull", "not-a-pull"
	Code      string `json:"code"`    // "ROLE_MISSING"; "" when all is well
	Stage     string `json:"stage"`   // the stage that failed
	Summary   string `json:"summary"`
	Image     struct {
		Given     string   `json:"given"`
		Resolved  string   `json:"resolved"`
		Digest    string   `json:"digest"`
		Defaulted []string `json:"defaulted"`
	} `json:"image"`
	Credential *struct {
		Source  string `json:"source"`
		From    string `json:"from"`
		Skipped []struct {
			Source string `json:"source"`
			From   string `json:"from"`
			Why    string `json:"why"`
		} `json:"skipped"`
	} `json:"credential"`
	Identity *struct {
		Kind        string `json:"kind"`
		Name        string `json:"name"`
		ResourceID  string `json:"resourceId"`
		ClientID    string `json:"clientId"`
		PrincipalID string `json:"principalId"`
	} `json:"identity"`
	Token *struct {
		Status    string `json:"status"`
		Audience  string `json:"audience"`
		ExpiresAt string `json:"expiresAt"`
	} `json:"token"`
	Authorization *struct {
		Needed     string       `json:"needed"`
		Mode       string       `json:"mode"`
		Considered []Considered `json:"considered"`
	} `json:"authorization"`
	Stages     []ReportStage `json:"stages"`
	Fix        []Fix         `json:"fix"` // steps, in order
	AlsoWrong  []Also        `json:"alsoWrong"`
	FirstError *Also         `json:"firstError"` // of the retries, when it was another than the last
	FirstSeen  time.Time     `json:"firstSeen"`
	LastSeen   time.Time     `json:"lastSeen"`
	NextRetry  time.Time     `json:"nextRetry"`
}

// CanPull reports whether the image could be pulled now.
func (r Report) CanPull() bool { return r.Verdict == "can-pull" }

// ReportStage is one step of the chain and how it is known.
type ReportStage struct {
	Name    string `json:"name"`
	Outcome string `json:"outcome"` // "ok", "failed", "skipped", "not reached", or "hidden: …"
	Known   string `json:"known"`   // "done": it was tried just now; "read": from configuration or a record
	Message string `json:"message"`
}

// Also is another failure.
type Also struct {
	Code    string `json:"code"`
	Summary string `json:"summary"`
}

// Considered is a role assignment that was looked at.
type Considered struct {
	Role        string `json:"role"`
	Scope       string `json:"scope"`
	PrincipalID string `json:"principalId"`
	Result      string `json:"result"` // "accepted", "rejected"
	Why         string `json:"why"`
}

// Fix is one step that repairs the fault, and its twin for the az CLI, "" where az has none.
type Fix struct {
	Why     string `json:"why"`
	Command string `json:"command"`
	Az      string `json:"az"`
}

// Why asks whether the workload with this resource id can pull, one report for each container.
func (c *Client) Why(ctx context.Context, workload string) ([]Report, error) {
	return List[Report](ctx, c, workload+"/why")
}

// PodsReport says why the pods of one workload in Kubernetes can or cannot pull.
type PodsReport struct {
	Kind      string      `json:"kind"`
	Namespace string      `json:"namespace"`
	Name      string      `json:"name"`
	Summary   string      `json:"summary"` // "3 of 3 replicas cannot pull, for one reason"
	Pods      int         `json:"pods"`    // looked at
	Unable    int         `json:"unable"`  // of them, those that cannot pull
	LeftOut   int         `json:"leftOut"`
	Reports   []PodReport `json:"reports"`
	Unread    []Unread    `json:"unread"`
}

// PodReport is the report about a container of the pods that it holds for alike.
type PodReport struct {
	Report
	Pods []string `json:"pods"`
}

// Unread is what could not be read of a cluster.
type Unread struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// WhyPods asks why pods cannot pull, by the evidence that was read of their cluster. cluster is the resource id of a managed
// cluster; "" for any other.
func (c *Client) WhyPods(ctx context.Context, cluster string, evidence json.RawMessage) (json.RawMessage, error) {
	at := cluster
	if at == "" {
		at = c.SubscriptionID() + "/providers/Microsoft.ContainerService"
	}
	var out json.RawMessage
	err := c.Post(ctx, at+"/why", evidence, &out)
	return out, err
}

// Attempts are the first pull of a container that failed as it still does, and the last one.
type Attempts struct {
	Container string   `json:"container"`
	First     *Attempt `json:"first"`
	Last      *Attempt `json:"last"`
}

// Attempt is the record of one pull and start.
type Attempt struct {
	ID      string    `json:"id"`
	Image   string    `json:"image"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	Stages  []Stage   `json:"stages"`
	Code    string    `json:"code"`    // of the failure; "" when there is none or it is hidden
	Summary string    `json:"summary"` // of the failure; "" when there is none
	Digest  string    `json:"digest"`
	Layers  []Layer   `json:"layers"`
}

// Stage is one step of an attempt: parse, find, credential, identity, token, role, manifest, platform, blobs, unpack,
// create, start, ready.
type Stage struct {
	Name    string    `json:"name"`
	Outcome string    `json:"outcome"` // ok, failed, skipped, running, or "hidden: …"
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
}

// Layer is how far one layer has come, in bytes.
type Layer struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Done   int64  `json:"done"`
	State  string `json:"state"`
}

// Failed reports whether it ended in a failure, which may be one that the caller is not told.
func (a Attempt) Failed() bool { return a.Summary != "" }

// Stage gives the stage called name.
func (a Attempt) Stage(name string) (Stage, bool) {
	for _, s := range a.Stages {
		if s.Name == name {
			return s, true
		}
	}
	return Stage{}, false
}

// Attempts reads the pull records of the workload with this resource id.
func (c *Client) Attempts(ctx context.Context, workload string) ([]Attempts, error) {
	return List[Attempts](ctx, c, workload+"/attempts")
}
