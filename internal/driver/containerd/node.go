//go:build linux

package containerd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	store "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// leasePrefix marks the leases of our sessions; those of an earlier process are dropped at the start.
const leasePrefix = "pull-"

// session implements pull.Session with a lease: what a lease names is not collected.
type session struct {
	d     *Driver
	lease leases.Lease
	waste atomic.Bool // something was written that is of no use
}

// Begin implements pull.Node.
func (d *Driver) Begin(ctx context.Context, name string) (pull.Session, error) {
	lease, err := d.client.LeasesService().Create(d.in(ctx), leases.WithID(leasePrefix+uuid.NewString()),
		leases.WithLabels(map[string]string{"fairlead.dev/pull": path.Base(name)}))
	if err != nil {
		return nil, fmt.Errorf("begin a session on the node: %w", err)
	}
	return &session{d: d, lease: lease}, nil
}

// in puts the namespace and the lease into ctx: what is made under it belongs to the lease.
func (s *session) in(ctx context.Context) context.Context {
	return leases.WithLease(s.d.in(ctx), s.lease.ID)
}

// hold adds something that is there already to the lease. It comes before the look whether it is there, for between a look
// and a hold it could be collected.
func (s *session) hold(ctx context.Context, kind, id string) error {
	err := s.d.client.LeasesService().AddResource(ctx, s.lease, leases.Resource{ID: id, Type: kind})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("hold %s: %w", id, err)
	}
	return nil
}

// Has implements pull.Session.
func (s *session) Has(ctx context.Context, d content.Descriptor) (bool, error) {
	ctx = s.in(ctx)
	if err := s.hold(ctx, "content", string(d.Digest)); err != nil {
		return false, err
	}
	info, err := s.d.client.ContentStore().Info(ctx, digest.Digest(d.Digest))
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", d.Digest, err)
	}
	return d.Size == 0 || info.Size == d.Size, nil
}

// Open implements pull.Session.
func (s *session) Open(ctx context.Context, d content.Descriptor) (io.ReadCloser, error) {
	r, err := s.d.client.ContentStore().ReaderAt(s.in(ctx), oci.Descriptor{Digest: digest.Digest(d.Digest), Size: d.Size})
	if errdefs.IsNotFound(err) {
		return nil, pull.ErrNotOnNode.WithCause(err)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.Digest, err)
	}
	if d.Size != 0 && r.Size() != d.Size {
		return nil, errors.Join(pull.ErrNotOnNode.WithMessage("%s is on the node with another size than %d", d.Digest, d.Size), r.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{store.NewReader(r), r}, nil
}

// writer implements pull.Writer. Each write over the socket is answered, so they are gathered into large ones.
type writer struct {
	*bufio.Writer
	s      *session
	ctx    context.Context //nolint:containedctx // of Write, for Close to drop what is not committed
	ref    string
	d      content.Descriptor
	remote store.Writer
	done   bool
}

const writeSize = 1 << 20 // bytes

// Write implements pull.Session.
func (s *session) Write(ctx context.Context, d content.Descriptor) (pull.Writer, error) {
	ref := s.lease.ID + "-" + uuid.NewString()
	remote, err := s.d.client.ContentStore().Writer(s.in(ctx), store.WithRef(ref))
	if err != nil {
		return nil, spaceFault(fmt.Errorf("write %s: %w", d.Digest, err))
	}
	w := &writer{s: s, ctx: context.WithoutCancel(ctx), ref: ref, d: d, remote: remote}
	w.Writer = bufio.NewWriterSize(errWriter{remote}, writeSize)
	return w, nil
}

// errWriter names the node being full.
type errWriter struct{ io.Writer }

func (w errWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	return n, spaceFault(err)
}

// Commit implements pull.Writer.
func (w *writer) Commit(ctx context.Context) error {
	if err := w.Flush(); err != nil {
		return err
	}
	err := w.remote.Commit(w.s.in(ctx), w.d.Size, digest.Digest(w.d.Digest))
	switch {
	case err == nil:
		w.done = true
		return nil
	case errdefs.IsAlreadyExists(err): // another session was faster; its content is verified as well
		w.done = true
		return w.s.hold(w.s.in(ctx), "content", string(w.d.Digest))
	case errdefs.IsFailedPrecondition(err):
		return pull.ErrMismatch.WithCause(err)
	}
	return spaceFault(fmt.Errorf("commit %s: %w", w.d.Digest, err))
}

// Close implements pull.Writer. The ingest is dropped before the stream is closed: at the close containerd notes the time
// in it, and would do so while it is being deleted.
func (w *writer) Close() error {
	if w.done {
		_ = w.remote.Close()
		return nil
	}
	w.s.waste.Store(true)
	err := w.s.d.client.ContentStore().Abort(w.s.in(w.ctx), w.ref)
	return errors.Join(ignoreMissing("drop what was written", err), w.remote.Close())
}

// spaceFault names a full disk, whose error containerd hands over as words.
func spaceFault(err error) error {
	if err != nil && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || strings.Contains(err.Error(), unix.ENOSPC.Error())) {
		return pull.ErrNoSpace.WithCause(err)
	}
	return err
}

// Pin implements pull.Session. containerd keeps what an image's record leads to by labels: from the manifest to its
// config and layers, from the config to the file system.
func (s *session) Pin(ctx context.Context, ref string, target content.Descriptor) error {
	ctx = s.in(ctx)
	manifest, err := s.read(ctx, target)
	if err != nil {
		return fmt.Errorf("pin %s: %w", ref, err)
	}
	var m oci.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return fmt.Errorf("pin %s: read manifest: %w", ref, err)
	}
	raw, err := s.read(ctx, content.Descriptor{Digest: content.Digest(m.Config.Digest)})
	if err != nil {
		return fmt.Errorf("pin %s: %w", ref, err)
	}
	config, err := content.ParseImageConfig(raw)
	if err != nil {
		return fmt.Errorf("pin %s: %w", ref, err)
	}
	labels := map[string]string{"containerd.io/gc.ref.content.config": string(m.Config.Digest)}
	for i, l := range m.Layers {
		labels["containerd.io/gc.ref.content.l."+strconv.Itoa(i)] = string(l.Digest)
	}
	if err := s.label(ctx, digest.Digest(target.Digest), labels); err != nil {
		return err
	}
	if chains := chainIDs(config.DiffIDs); len(chains) > 0 {
		label := map[string]string{"containerd.io/gc.ref.snapshot." + snapshotter: chains[len(chains)-1]}
		if err := s.label(ctx, m.Config.Digest, label); err != nil {
			return err
		}
	}
	return s.name(ctx, ref, target)
}

func (s *session) read(ctx context.Context, d content.Descriptor) ([]byte, error) {
	r, err := s.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, content.MaxConfig+1))
}

func (s *session) label(ctx context.Context, d digest.Digest, labels map[string]string) error {
	var fields []string
	for name := range labels {
		fields = append(fields, "labels."+name)
	}
	if _, err := s.d.client.ContentStore().Update(ctx, store.Info{Digest: d, Labels: labels}, fields...); err != nil {
		return fmt.Errorf("label %s: %w", d, err)
	}
	return nil
}

func (s *session) name(ctx context.Context, ref string, target content.Descriptor) error {
	image := images.Image{
		Name: ref, CreatedAt: time.Now(),
		Target: oci.Descriptor{MediaType: target.MediaType, Digest: digest.Digest(target.Digest), Size: target.Size},
	}
	_, err := s.d.client.ImageService().Create(ctx, image)
	if errdefs.IsAlreadyExists(err) {
		_, err = s.d.client.ImageService().Update(ctx, image, "target")
	}
	if err != nil {
		return fmt.Errorf("name image %s: %w", ref, err)
	}
	return nil
}

// End implements pull.Session. When something is to be thrown away it waits for that: the disk may be full of it.
func (s *session) End(ctx context.Context) error {
	var opts []leases.DeleteOpt
	if s.waste.Load() {
		opts = append(opts, leases.SynchronousDelete)
	}
	err := s.d.client.LeasesService().Delete(s.d.in(ctx), s.lease, opts...)
	return ignoreMissing("end a session on the node", err)
}

// RemoveImage takes an image's name from the node; what nothing else holds is collected soon after. It is no error when
// there is none.
func (d *Driver) RemoveImage(ctx context.Context, ref string) error {
	return ignoreMissing("remove image", d.client.ImageService().Delete(d.in(ctx), ref))
}

// dropStaleLeases ends the sessions of an earlier process that did not come to it.
func (d *Driver) dropStaleLeases(ctx context.Context) error {
	ctx = d.in(ctx)
	all, err := d.client.LeasesService().List(ctx)
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, l := range all {
		if !strings.HasPrefix(l.ID, leasePrefix) {
			continue
		}
		if err := ignoreMissing("drop lease", d.client.LeasesService().Delete(ctx, l)); err != nil {
			return err
		}
	}
	return nil
}
