// Package registry owns what is stored: which registries there are, and in each the repositories with their manifests,
// tags, blobs and uploads. Content is reachable only through a View, and a View needs an access.Grant:
//
//	Service.Open(Grant, Registry) -> View -> manifests, tags, blobs, uploads
//
// A blob is kept once, however many repositories hold it, and is readable only through one that does. Where rows and
// bytes lie is the business of the drivers behind Metadata and Blobs; how requests look is api/oci's; whether a
// registry may be created, and by whom, is for its owner in api/arm to say.
package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// Registry is one registry. Its name is unique throughout the tenant, without regard to case.
type Registry struct {
	ID      resource.ID
	Name    string
	Created time.Time
}

// Service is the way to all registries.
type Service struct {
	meta  Metadata
	blobs Blobs
	now   func() time.Time

	mu   sync.Mutex
	next chan struct{} // closed at the next change of which registries there are
}

// New makes the service over its two stores.
func New(meta Metadata, blobs Blobs, now func() time.Time) *Service {
	return &Service{meta: meta, blobs: blobs, now: now, next: make(chan struct{})}
}

// Create makes the registry named by id; it is there already when the same id was created before. ErrNameTaken.
func (s *Service) Create(ctx context.Context, id resource.ID) error {
	if err := s.meta.PutRegistry(ctx, Registry{ID: id, Name: id.Name(), Created: s.now()}); err != nil {
		return err
	}
	s.changed()
	return nil
}

// Delete removes a registry and all that it holds; nothing happens when there is none. The files of blobs that no
// other registry holds are left to collection.
func (s *Service) Delete(ctx context.Context, id resource.ID) error {
	uploads, err := s.meta.DeleteRegistry(ctx, id)
	if err != nil {
		return fmt.Errorf("deleting registry %s: %w", id, err)
	}
	s.changed()
	return s.discard(ctx, uploads)
}

// Lookup gives the registry called name; ErrRegistryUnknown.
func (s *Service) Lookup(ctx context.Context, name string) (Registry, error) {
	return s.meta.RegistryByName(ctx, name)
}

// Registries gives all registries in order of name.
func (s *Service) Registries(ctx context.Context) ([]Registry, error) {
	return s.meta.ListRegistries(ctx)
}

// Changed gives a channel that is closed when next a registry is created or deleted by this Service.
func (s *Service) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

func (s *Service) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.next)
	s.next = make(chan struct{})
}

// Open gives a view of what r holds, within the bounds of g. ErrDenied when g is no grant on r.
func (s *Service) Open(g access.Grant, r Registry) (*View, error) {
	if g.IsZero() || r.ID.IsZero() || !g.Scope().Equal(r.ID) {
		return nil, ErrDenied
	}
	return &View{service: s, grant: g, registry: r}, nil
}

// Nearest gives the names of up to three registries that name may have meant, the likeliest first.
func (s *Service) Nearest(ctx context.Context, name string) ([]string, error) {
	registries, err := s.meta.ListRegistries(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(registries))
	for i, r := range registries {
		names[i] = r.Name
	}
	return resource.Nearest(name, names, 3), nil
}

// UploadLife is how long an upload may take from its start before Sweep ends it.
const UploadLife = 24 * time.Hour

// Sweep ends the uploads that began more than UploadLife ago, and removes what broken ones left behind. The server calls
// it at start and from time to time.
func (s *Service) Sweep(ctx context.Context) error {
	before := s.now().Add(-UploadLife)
	swept := s.blobs.Sweep(ctx, before) // first: on a full disk no row can go before there is room
	expired, err := s.meta.ExpireUploads(ctx, before)
	if err != nil {
		return errors.Join(swept, fmt.Errorf("ending expired uploads: %w", err))
	}
	return errors.Join(swept, s.discard(ctx, expired))
}

func (s *Service) discard(ctx context.Context, uploads []string) error {
	var failed []error
	for _, id := range uploads {
		if err := s.blobs.Discard(ctx, id); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// Errors that the methods of Service and View return. Their codes are those of the OCI distribution spec, section
// "Error Codes", where it has one.
var (
	ErrRegistryUnknown     = fault.New(fault.NotFound, "REGISTRY_UNKNOWN", "there is no such registry")
	ErrNameTaken           = fault.New(fault.Conflict, "AlreadyInUse", "the registry name is already in use")
	ErrDenied              = fault.New(fault.Denied, "DENIED", "requested access to the resource is denied")
	ErrNameInvalid         = fault.New(fault.Invalid, "NAME_INVALID", "invalid repository name")
	ErrTagInvalid          = fault.New(fault.Invalid, "TAG_INVALID", "a tag is 1 to 128 letters, digits, '_', '.' and '-', the first none of the last two")
	ErrRepositoryUnknown   = fault.New(fault.NotFound, "NAME_UNKNOWN", "repository name not known to registry")
	ErrManifestUnknown     = fault.New(fault.NotFound, "MANIFEST_UNKNOWN", "manifest unknown to registry")
	ErrTagUnknown          = fault.New(fault.NotFound, "TAG_UNKNOWN", "the specified tag does not exist")
	ErrManifestBlobUnknown = fault.New(fault.NotFound, "MANIFEST_BLOB_UNKNOWN", "manifest references a blob unknown to registry")
	ErrBlobUnknown         = fault.New(fault.NotFound, "BLOB_UNKNOWN", "blob unknown to registry")
	ErrUploadUnknown       = fault.New(fault.NotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
	ErrRangeInvalid        = fault.New(fault.Invalid, "RANGE_INVALID", "the chunk does not begin where the upload ends")
	ErrSizeInvalid         = fault.New(fault.Invalid, "SIZE_INVALID", "provided length did not match content length")
	ErrDigestInvalid       = fault.New(fault.Invalid, "DIGEST_INVALID", "provided digest did not match uploaded content")
	ErrUploadCut           = fault.New(fault.Invalid, "BLOB_UPLOAD_INVALID", "the upload's body ended early")
	ErrFull                = fault.New(fault.Unavailable, "UNAVAILABLE", "the registry's storage is full: nothing can be pushed until there is room")
)
