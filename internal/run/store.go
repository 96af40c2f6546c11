package run

import (
	"context"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// Store keeps workloads. runtest.Store is its contract as tests.
type Store interface {
	// Workloads gives all of them, in order of their id's Key.
	Workloads(ctx context.Context) ([]Stored, error)
	// PutWorkload creates or replaces one, with both its parts.
	PutWorkload(ctx context.Context, w Stored) error
	// SaveState replaces the observed part of one; ErrNotFound.
	SaveState(ctx context.Context, id resource.ID, state []byte) error
	// DeleteWorkload removes one; nil also when there is none.
	DeleteWorkload(ctx context.Context, id resource.ID) error
}

// Stored is a workload as it is stored.
type Stored struct {
	ID    resource.ID
	Spec  []byte // the Group, sealed
	State []byte // what was observed: JSON without secrets
}

// Named errors of this package.
var (
	// ErrNotFound: there is no such workload.
	ErrNotFound = fault.New(fault.NotFound, "ResourceNotFound", "there is no such workload")
	// ErrContainerUnknown: the workload has no container of this name.
	ErrContainerUnknown = fault.New(fault.NotFound, "ContainerNotFound", "the workload has no such container")
	// ErrTransitioning: another change of the workload is under way.
	ErrTransitioning = fault.New(fault.Conflict, "ContainerGroupTransitioning", "the workload is still transitioning, please retry later")
	// ErrNotRunning: the container does not run, so nothing can be executed in it.
	ErrNotRunning = fault.New(fault.Conflict, "ContainerNotRunning", "the container does not run")
	// ErrClosed: Fairlead is going down.
	ErrClosed = fault.New(fault.Unavailable, "ServiceUnavailable", "the server is stopping, please retry later")
)
