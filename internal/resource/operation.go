package resource

import (
	"context"
	"time"
)

// OperationKind says what a long-running operation does.
type OperationKind string

// The kinds of operations. A put ends when the owner of the resource says that it is provisioned, a delete when nothing
// of the resource is left.
const (
	OperationPut    OperationKind = "put"
	OperationDelete OperationKind = "delete"
)

// OperationStatus is how far an operation is, in ARM's words.
type OperationStatus string

// The states of an operation; the last two are final.
const (
	InProgress OperationStatus = "InProgress"
	Succeeded  OperationStatus = "Succeeded"
	Failed     OperationStatus = "Failed"
)

// Operation is a long-running operation that clients poll. It is stored, so that an answer given before a restart can
// still be followed after it.
type Operation struct {
	ID       string // a GUID
	Kind     OperationKind
	Resource ID
	Location string // the region in the polling URL
	Caller   string // object id of the principal that began it: it may always poll
	Status   OperationStatus
	Code     string // of the failure; "" unless Failed
	Message  string // of the failure, safe to show
	Created  time.Time
	Ended    time.Time // zero while InProgress
}

// Operations keeps operations.
type Operations interface {
	// BeginOperation stores a new operation in progress.
	BeginOperation(ctx context.Context, o Operation) error
	// EndOperation stores the end of one: status, failure and time of end. The first end stays; a later one is ignored.
	EndOperation(ctx context.Context, o Operation) error
	// Operation gives one; ErrNotFound.
	Operation(ctx context.Context, id string) (Operation, error)
	// OpenOperations gives those of a kind that are in progress, oldest first.
	OpenOperations(ctx context.Context, kind OperationKind) ([]Operation, error)
	// ForgetOperations removes those that ended before t.
	ForgetOperations(ctx context.Context, t time.Time) error
}
