package registry

import (
	"context"
	"io"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/resource"
)

// Repository is the address of a repository: it need not exist.
type Repository struct {
	Registry resource.ID
	Name     string
}

// Manifest is a stored manifest or index.
type Manifest struct {
	Digest    content.Digest
	MediaType string
	Body      []byte
}

// NewManifest is a manifest on its way into a repository.
type NewManifest struct {
	Manifest
	Tags         []string             // that are to point to it, each once
	Blobs        []content.Descriptor // that the repository must hold
	Children     []content.Descriptor // manifests that the repository must hold
	Optional     []content.Descriptor // blobs that it names but that may lie elsewhere
	Subject      content.Digest       // "" for none; need not exist
	ArtifactType string               // as a referrer
	Annotations  map[string]string    // as a referrer
	Time         time.Time
}

// ReferrerQuery asks for a page of the manifests that have a subject.
type ReferrerQuery struct {
	Subject      content.Digest
	ArtifactType string // "" for any
	After        string // the digest that the page begins behind; "" for the first page
	Limit        int    // of the page
}

// Tag is a name for a manifest.
type Tag struct {
	Name    string
	Digest  content.Digest
	Updated time.Time
}

// Upload is a blob on its way into a repository.
type Upload struct {
	ID         string // a GUID
	Repository Repository
	Started    time.Time
}

// Metadata keeps everything but the bytes of blobs. Each method is one transaction, durable when it returns; any number
// of callers may use it at once. A repository comes into being with its first blob, upload or manifest.
type Metadata interface {
	RegistryStore
	ManifestStore
	ReferrerStore
	TagStore
	BlobStore
	UploadStore
}

// RegistryStore keeps the registries.
type RegistryStore interface {
	// PutRegistry adds a registry, or leaves the one of the same id as it is; ErrNameTaken when another id has the name.
	PutRegistry(ctx context.Context, r Registry) error
	// DeleteRegistry removes a registry with all beneath it and gives the ids of the uploads among that. Removing one
	// that does not exist is no error.
	DeleteRegistry(ctx context.Context, id resource.ID) (uploads []string, err error)
	// RegistryByName finds one without regard to case; ErrRegistryUnknown.
	RegistryByName(ctx context.Context, name string) (Registry, error)
	// ListRegistries gives all in order of name, without regard to case.
	ListRegistries(ctx context.Context) ([]Registry, error)
	// ListRepositories gives the names of the repositories that hold a manifest, in bytewise order, at most limit of them,
	// beginning behind after.
	ListRepositories(ctx context.Context, registry resource.ID, after string, limit int) ([]string, error)
}

// ManifestStore keeps manifests.
type ManifestStore interface {
	// PutManifest adds a manifest, points its tags to it and notes to what it refers, when the repository holds all that it
	// names, in the sizes that it names: else ErrManifestBlobUnknown or content.ErrManifestInvalid. ErrRegistryUnknown.
	PutManifest(ctx context.Context, repo Repository, m NewManifest) error
	// ManifestByDigest gives one; ErrRepositoryUnknown, ErrManifestUnknown.
	ManifestByDigest(ctx context.Context, repo Repository, d content.Digest) (Manifest, error)
	// ManifestByTag gives the one that a tag points to; ErrRepositoryUnknown, ErrManifestUnknown.
	ManifestByTag(ctx context.Context, repo Repository, tag string) (Manifest, error)
	// DeleteManifest removes one with the tags that point to it, and with it what it refers to. Those that refer to it stay.
	// ErrRepositoryUnknown, ErrManifestUnknown.
	DeleteManifest(ctx context.Context, repo Repository, d content.Digest) error
}

// ReferrerStore keeps which manifest refers to which, which PutManifest and DeleteManifest write.
type ReferrerStore interface {
	// ListReferrers gives descriptors of the manifests of repo that q asks for, in order of digest: at most q.Limit of
	// them, and fewer when they would take more than MaxReferrers bytes, but one if there is one. more tells whether there
	// are others behind them. It costs what it gives, however many there are. A repository that does not exist has none.
	ListReferrers(ctx context.Context, repo Repository, q ReferrerQuery) (page []content.Descriptor, more bool, err error)
}

// TagStore keeps tags, which PutManifest writes.
type TagStore interface {
	// ListTags gives the names of a repository's tags in lexical order without regard to case (then bytewise), at most
	// limit of them, beginning behind after; ErrRepositoryUnknown.
	ListTags(ctx context.Context, repo Repository, after string, limit int) ([]string, error)
	// NewestTags gives at most limit tags, the last written first; ErrRepositoryUnknown.
	NewestTags(ctx context.Context, repo Repository, limit int) ([]Tag, error)
	// DeleteTag removes a tag and leaves its manifest; ErrRepositoryUnknown, ErrTagUnknown.
	DeleteTag(ctx context.Context, repo Repository, tag string) error
}

// BlobStore keeps which repository holds which blob.
type BlobStore interface {
	// LinkBlob notes that a repository holds a blob of size bytes, and ends the upload that brought it when upload is not
	// "". ErrRegistryUnknown.
	LinkBlob(ctx context.Context, repo Repository, d content.Digest, size int64, upload string) error
	// MountBlob notes that to holds a blob which from holds; ErrBlobUnknown when from does not.
	MountBlob(ctx context.Context, from, to Repository, d content.Digest) error
	// FindBlob gives the name of one of the registry's repositories that hold a blob; ErrBlobUnknown.
	FindBlob(ctx context.Context, registry resource.ID, d content.Digest) (repository string, err error)
	// HoldsBlob gives the size of a blob that repo holds; ErrBlobUnknown.
	HoldsBlob(ctx context.Context, repo Repository, d content.Digest) (size int64, err error)
	// UnlinkBlob notes that repo holds a blob no longer; ErrBlobUnknown.
	UnlinkBlob(ctx context.Context, repo Repository, d content.Digest) error
}

// UploadStore keeps which uploads there are.
type UploadStore interface {
	// StartUpload adds an upload; ErrRegistryUnknown.
	StartUpload(ctx context.Context, u Upload) error
	// Upload finds the upload of an id in repo; ErrUploadUnknown.
	Upload(ctx context.Context, repo Repository, id string) (Upload, error)
	// EndUpload removes it; ErrUploadUnknown.
	EndUpload(ctx context.Context, repo Repository, id string) error
	// ExpireUploads removes those that began before a time and gives their ids.
	ExpireUploads(ctx context.Context, before time.Time) ([]string, error)
}

// AtEnd as the offset of an append means wherever the upload ends.
const AtEnd = -1

// Blobs keeps the bytes of blobs, each once, and of uploads that are to become blobs. Any number of callers may use it
// at once; those that append to or commit the same upload take turns, and end with ErrUploadUnknown once it is dropped.
type Blobs interface {
	// Open gives a blob's content and size; ErrBlobUnknown.
	Open(ctx context.Context, d content.Digest) (io.ReadSeekCloser, int64, error)
	// Append writes what body holds behind the upload's end, which must be at (or at is AtEnd), and gives the new size. An
	// upload that has no bytes yet need not be announced. When body fails, what it gave first stays, the size tells how
	// much that is, and the error is ErrUploadCut. ErrRangeInvalid (with the size); ErrFull, after which nothing of body is
	// kept.
	Append(ctx context.Context, upload string, at int64, body io.Reader) (size int64, err error)
	// Size gives how many bytes an upload has.
	Size(ctx context.Context, upload string) (int64, error)
	// Commit makes an upload the blob d, durably, and gives its size. When it fails the upload is discarded: ErrDigestInvalid
	// when the bytes are not those of d, ErrFull.
	Commit(ctx context.Context, upload string, d content.Digest) (size int64, err error)
	// Discard drops an upload and waits for nobody who works on it; dropping one that has no bytes is no error.
	Discard(ctx context.Context, upload string) error
	// Sweep drops uploads whose last byte came before a time.
	Sweep(ctx context.Context, before time.Time) error
}
