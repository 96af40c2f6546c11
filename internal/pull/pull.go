// Package pull owns what is fetched: it turns a reference into a pinned Image on a node, over HTTPS with a registry token
// for the workload's own credential, and keeps the record of how it went.
//
//	parse ─► find ─► credential ─► identity ─► token ─► role ─► manifest ─► platform ─► blobs ─► unpack
//
// The right to pull is asked of the registry each time, also when every byte is on the node already; exactly the digest
// that the answer names is used, and every byte is hashed before it counts. Where the registry of a host is, what a
// managed identity's token is and how a node stores content is said by whoever implements Registries, Identities and
// Node. What the registry stores is package registry's, which this package meets on the wire only; why a pull was
// refused, beyond what the node itself can see, is package explain's.
package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Request asks for one image for one container of a workload.
type Request struct {
	Workload    resource.ID
	Container   string
	Image       string           // as it was written
	Platform    content.Platform // of the node
	Candidates  []Candidate      // in order of precedence, unusable ones too
	Correlation string           // sent with every request; "" takes the attempt's id
}

// Candidate is a credential that the workload names, usable or not.
type Candidate struct {
	Source   string // one of the Source constants
	From     string // path of the field that names it
	Server   string // the registry that it is for, as written; "" for any
	Username string
	Password secret.Text
	Identity *Identity // set when it is a managed identity instead of a name and a password
	Skip     string    // one of the Skip constants; "" when it can be used
}

// Where a candidate stands: the values of Candidate.Source.
const (
	SourceCredentials = "imageRegistryCredentials"
	SourceIdentity    = "managedIdentity"
	SourceSettings    = "appSettings"
)

// Why a candidate cannot be used: the values of Candidate.Skip.
const (
	SkipNotAttached   = "identity not attached"
	SkipNotEnabled    = "managed identity is not enabled for pulling"
	SkipWrongClientID = "no attached identity has this client id"
	SkipOtherHost     = "for another registry"
)

// Identity is a managed identity attached to a workload.
type Identity struct {
	Resource    resource.ID // its own, or for a system-assigned one the workload's
	ClientID    string
	PrincipalID string
	System      bool
}

// Layer is one layer of an image.
type Layer struct {
	content.Descriptor
	DiffID content.Digest // of the layer unpacked
}

// Image is content that was pulled, verified and pinned on the node. Only a Puller makes one.
type Image struct {
	reference     content.Reference
	index, digest content.Digest
	config        content.ImageConfig
	layers        []Layer
}

// Given is the reference as it was written.
func (i Image) Given() string { return i.reference.Given }

// Reference is what the image was asked for by.
func (i Image) Reference() content.Reference { return i.reference }

// Index is the digest that the reference was resolved to: an index's, or the manifest's own.
func (i Image) Index() content.Digest { return i.index }

// Digest is the digest of the manifest for the node's platform.
func (i Image) Digest() content.Digest { return i.digest }

// Config is what the image says about running it.
func (i Image) Config() content.ImageConfig { return i.config }

// Layers gives the layers, bottom first.
func (i Image) Layers() []Layer { return slices.Clone(i.layers) }

// ChainID names all layers unpacked one upon the other (OCI image spec, config.md "Layer ChainID"); "" without layers.
func (i Image) ChainID() content.Digest {
	var chain content.Digest
	for n, layer := range i.layers {
		if n == 0 {
			chain = layer.DiffID
			continue
		}
		sum := sha256.Sum256([]byte(chain + " " + layer.DiffID))
		chain = content.Digest("sha256:" + hex.EncodeToString(sum[:]))
	}
	return chain
}

// Limits bound what a pull takes in. A zero field stands for its default.
type Limits struct {
	Layers     int           // of one image; 500, as many as the kernel's overlayfs stacks
	LayerBytes int64         // of one layer as it is transferred; 64 GiB
	Tries      int           // of one request that meets 429, a 5xx or a broken connection; 4
	BackOff    time.Duration // before the second try, then doubling; 250 ms
	Stall      time.Duration // without a byte until a connection counts as broken; 20 s
	Ask        time.Duration // for all stages before the first layer; 45 s
}

func (l Limits) orDefault() Limits {
	set(&l.Layers, 500)
	set(&l.LayerBytes, 64<<30)
	set(&l.Tries, 4)
	set(&l.BackOff, 250*time.Millisecond)
	set(&l.Stall, 20*time.Second)
	set(&l.Ask, 45*time.Second)
	return l
}

func set[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Puller pulls for any number of workloads at once. They share the bytes that one of them fetches, never the right to
// them: each asks for itself first.
type Puller struct {
	registries Registries
	identities Identities
	node       Node
	limits     Limits
	now        func() time.Time
	log        *slog.Logger
	flights    flights
}

// New makes a Puller that fetches onto node.
func New(registries Registries, identities Identities, node Node, limits Limits, now func() time.Time, log *slog.Logger) *Puller {
	return &Puller{registries: registries, identities: identities, node: node, limits: limits.orDefault(), now: now, log: log}
}

// Pull asks the right to pull and fetches what the node lacks. The Attempt is the whole record, also beside an error,
// which is an *Error; the observer, which may be nil, sees it grow.
func (p *Puller) Pull(ctx context.Context, r Request, o Observer) (Image, Attempt, error) {
	j := p.newJob(r, o)
	session, err := p.node.Begin(ctx, j.rec.attempt.ID)
	if err != nil {
		j.rec.begin(StageUnpack)
		err = j.failed(StageUnpack, nodeFault(err))
		return Image{}, j.rec.close(), err
	}
	defer p.end(ctx, session)
	j.session = session
	err = j.authorize(ctx)
	if err == nil {
		err = j.fetch(ctx)
	}
	attempt := j.rec.close()
	if err != nil {
		return Image{}, attempt, err
	}
	return j.image(), attempt, nil
}

func (p *Puller) end(ctx context.Context, session Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := session.End(ctx); err != nil {
		p.log.WarnContext(ctx, "a pull's hold on the node was not let go", "error", err)
	}
}

// Authorize goes as far as it takes to know that the image could be pulled, fetching nothing onto the node. It gives the
// digest that Pull would resolve the reference to; the error is an *Error.
func (p *Puller) Authorize(ctx context.Context, r Request) (content.Digest, Attempt, error) {
	j := p.newJob(r, nil)
	err := j.authorize(ctx)
	return j.index, j.rec.close(), err
}

// Reopen gives back an image that was pulled before, by Image.Given and Image.Digest, asking no registry: for restarts
// by policy. ErrNotOnNode when the node does not have all of it.
func (p *Puller) Reopen(ctx context.Context, image string, digest content.Digest) (Image, error) {
	j := p.newJob(Request{Image: image}, nil)
	session, err := p.node.Begin(ctx, j.rec.attempt.ID)
	if err != nil {
		return Image{}, nodeFault(err)
	}
	defer p.end(ctx, session)
	j.session = session
	if j.ref, err = content.ParseReference(image); err != nil {
		return Image{}, err
	}
	if err := j.reopen(ctx, digest); err != nil {
		return Image{}, fmt.Errorf("opening %s again: %w", digest, err)
	}
	return j.image(), nil
}
