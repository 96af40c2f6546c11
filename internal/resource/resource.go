package resource

import (
	"context"
	"encoding/json"
	"time"

	"fairlead.dev/internal/fault"
)

// Resource is the envelope that every ARM resource shares. Properties is the type's own public part, without secrets;
// Sealed is its secret part, sealed by the type's owner.
type Resource struct {
	ID         ID
	Location   string
	Kind       string            // "linux", "app,linux,container"; empty when the type has none
	Tags       map[string]string // nil when there are none
	SKU        json.RawMessage   // nil when the type has none
	Identity   *Identity         // nil when the type or the resource has none
	Properties json.RawMessage   // a JSON object
	Sealed     []byte            // nil when there is nothing secret
	Unique     bool              // no other resource of the type may have the name, in whatever group
	ETag       string            // changes at every write; set by the store
	Created    time.Time
	Changed    time.Time
}

// Identity is the managed identity block of a resource, as ARM writes it.
type Identity struct {
	System   bool // has a system-assigned identity
	Attached []ID // user-assigned identities, in the order given, each once
}

// Errors that Store methods return.
var (
	// ErrNotFound: no resource has this id.
	ErrNotFound = fault.New(fault.NotFound, "ResourceNotFound", "the resource was not found")
	// ErrChanged: the resource's ETag is not the one expected.
	ErrChanged = fault.New(fault.Conflict, "PreconditionFailed", "the resource was changed in between; read it again and repeat the change")
	// ErrTaken: another resource has the name, which must be unique beyond its group (see Resource.Unique).
	ErrTaken = fault.New(fault.Conflict, "AlreadyInUse", "the name is already in use")
)

// Store keeps resources. Groups and all types that have no table of their own live here.
type Store interface {
	// Resource gives one resource; ErrNotFound.
	Resource(ctx context.Context, id ID) (Resource, error)
	// PutResource creates or replaces one and gives it back as stored, with ETag and times. ifMatch is the ETag that the
	// stored one must have: "" for any, "*" for any existing; ErrChanged, ErrTaken. created tells whether it is new.
	PutResource(ctx context.Context, r Resource, ifMatch string) (stored Resource, created bool, err error)
	// DeleteResource removes one; ErrNotFound.
	DeleteResource(ctx context.Context, id ID) error
	// ListResources gives those beneath scope, of the given full type when it is not empty, in order of Key, at most
	// limit of them (0: all), beginning behind the key after.
	ListResources(ctx context.Context, scope ID, resourceType string, after string, limit int) ([]Resource, error)
	// FindByName gives the resource of a type whose name is unique throughout (a registry, a web app), whatever its
	// group, without regard to case; ErrNotFound.
	FindByName(ctx context.Context, resourceType, name string) (Resource, error)
}
