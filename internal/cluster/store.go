package cluster

import (
	"context"
	"time"

	"fairlead.dev/internal/resource"
)

// Store keeps clusters. clustertest.Store is its contract as tests.
type Store interface {
	// Clusters gives all of them, in order of their id's Key.
	Clusters(ctx context.Context) ([]Stored, error)
	// PutCluster creates or replaces one.
	PutCluster(ctx context.Context, c Stored) error
	// DeleteCluster removes one; nil also when there is none.
	DeleteCluster(ctx context.Context, id resource.ID) error
}

// Stored is a cluster as it is stored.
type Stored struct {
	ID     resource.ID
	Record []byte // JSON, secrets in it sealed
}

// The values of Status.Provisioning, in Azure's words.
const (
	ProvisioningCreating  = "Creating"
	ProvisioningUpdating  = "Updating"
	ProvisioningStarting  = "Starting"
	ProvisioningStopping  = "Stopping"
	ProvisioningRotating  = "RotatingClusterCertificates"
	ProvisioningDeleting  = "Deleting"
	ProvisioningSucceeded = "Succeeded"
	ProvisioningFailed    = "Failed" // Failure says why; tried again until something else is wanted
)

// The values of Status.Power.
const (
	PowerRunning = "Running"
	PowerStopped = "Stopped"
)

// Status is how far a cluster is at one moment.
type Status struct {
	ID           resource.ID
	Generation   int64 // counts Puts that changed something, beginning with 1
	Provisioning string
	Power        string   // what is wanted, as in Azure
	Failure      *Failure // why Provisioning is Failed
	Progress     string   // what is waited for, in a few words for people; "" when nothing is
	Version      string   // release of Kubernetes: "1.37.2"
	Nodes        []string // names
}

// Failure is why a cluster is not as it is wanted.
type Failure struct {
	Code    string    `json:"code"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

// The values of record.Target.
const (
	wantRunning = "running"
	wantStopped = "stopped"
	wantDeleted = "deleted"
)

// record is what is kept of a cluster.
type record struct {
	Cluster      Cluster  `json:"cluster"`
	Generation   int64    `json:"generation"`
	Target       string   `json:"target"`
	Rotate       bool     `json:"rotate,omitempty"` // certificates are to be made anew before the next start
	Provisioning string   `json:"provisioning"`
	Failure      *Failure `json:"failure,omitempty"`
	Version      string   `json:"version"`
	Token        []byte   `json:"token"` // sealed: what the cluster's API server shows to Fairlead
}
