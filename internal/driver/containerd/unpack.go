//go:build linux

package containerd

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// What a layer may grow to when it is unpacked. The ratio counts from a megabyte on, for small layers compress to almost
// nothing.
const (
	maxUnpacked = 64 << 30  // bytes
	maxEntries  = 5_000_000 // files, directories and so on
	maxNames    = 512 << 20 // bytes of their names and of the records of directories: those stay in memory to the end
	maxRatio    = 1000      // bytes for each compressed one
	maxWindow   = 128 << 20 // bytes in memory while a layer in zstd is read
	ratioFrom   = 1 << 20
)

// Unpack implements pull.Session.
func (s *session) Unpack(ctx context.Context, layers []pull.Layer, progress func(layer int)) error {
	ctx = s.in(ctx)
	diffs := make([]content.Digest, len(layers))
	for i, l := range layers {
		diffs[i] = l.DiffID
	}
	parent := ""
	for i, chain := range chainIDs(diffs) {
		if err := s.unpackOnce(ctx, layers[i], parent, chain); err != nil {
			return spaceFault(err)
		}
		if parent = chain; progress != nil {
			progress(i)
		}
	}
	return nil
}

// chainIDs names each layer together with all beneath it (OCI image spec, config.md "Layer ChainID"): the names of the
// node's file systems.
func chainIDs(diffs []content.Digest) []string {
	digests := make([]digest.Digest, len(diffs))
	for i, d := range diffs {
		digests[i] = digest.Digest(d)
	}
	chains := make([]string, len(diffs))
	for i, c := range identity.ChainIDs(digests) {
		chains[i] = string(c)
	}
	return chains
}

// unpackOnce unpacks a layer that is not there yet; of several sessions that want it, one does the work.
func (s *session) unpackOnce(ctx context.Context, layer pull.Layer, parent, chain string) error {
	defer s.d.unpacking.lock(chain)()
	if err := s.hold(ctx, "snapshots/"+snapshotter, chain); err != nil {
		return err
	}
	sn := s.d.client.SnapshotService(snapshotter)
	if _, err := sn.Stat(ctx, chain); err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	key := "unpack-" + uuid.NewString()
	mounts, err := sn.Prepare(ctx, key, parent)
	if err != nil {
		return fmt.Errorf("prepare a file system: %w", err)
	}
	if err := s.extract(ctx, layer, mounts); err != nil {
		s.waste.Store(true)
		return errors.Join(err, discard(mounts), sn.Remove(context.WithoutCancel(ctx), key))
	}
	err = sn.Commit(ctx, chain, key, snapshots.WithLabels(map[string]string{"containerd.io/snapshot.ref": chain}))
	if errdefs.IsAlreadyExists(err) {
		return sn.Remove(ctx, key)
	}
	return err
}

// extract writes a layer's files and verifies that they are the ones that the image's config names.
func (s *session) extract(ctx context.Context, layer pull.Layer, mounts []mount.Mount) error {
	blob, err := s.Open(ctx, layer.Descriptor)
	if err != nil {
		return err
	}
	defer blob.Close()
	plain, err := decompress(blob)
	if err != nil {
		return fmt.Errorf("decompress %s: %w", layer.Digest, err)
	}
	defer plain.Close()
	sum := sha256.New()
	limit := unpackedLimit(layer.Size)
	limited := &limitedReader{r: io.TeeReader(plain, sum), limit: limit, layer: layer.Digest}
	if err := apply(ctx, mounts, limited, &toll{layer: layer.Digest, bytes: limit}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, limited); err != nil { // the hash covers what follows the archive's end, too
		return err
	}
	if got := content.FromHash("sha256", sum); got != layer.DiffID {
		return pull.ErrMismatch.WithMessage("layer %s unpacked is %s; the image's config names %s", layer.Digest, got, layer.DiffID)
	}
	return nil
}

// decompress gives what a layer's bytes stand for, by their own first ones. Of zstd, whose frames say how much memory it
// takes to read them, it is no more than what its strongest setting asks for.
func decompress(blob io.Reader) (io.ReadCloser, error) {
	const magic = 10 // bytes that tell the formats apart
	r := bufio.NewReaderSize(blob, writeSize)
	head, err := r.Peek(magic)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if compression.DetectCompression(head) != compression.Zstd {
		return compression.DecompressStream(r)
	}
	d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// unpackedLimit gives how many bytes a layer of size compressed ones may become.
func unpackedLimit(size int64) int64 {
	return min(maxUnpacked, max(ratioFrom, size)*maxRatio)
}

// limitedReader fails past a limit, before what is beyond it reaches the disk.
type limitedReader struct {
	r     io.Reader
	limit int64 // what is left of it
	layer content.Digest
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.limit -= int64(n); l.limit < 0 {
		return 0, unpacksTooBig(l.layer)
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return 0, pull.ErrTooBig.WithMessage("layer %s needs more memory to be unpacked than is allowed: at most %d bytes", l.layer, int64(maxWindow)).WithCause(err)
	}
	return n, err
}

func unpacksTooBig(layer content.Digest) error {
	return pull.ErrTooBig.WithMessage("layer %s unpacks to more than is allowed: at most %d bytes, and %d for each compressed one", layer, int64(maxUnpacked), maxRatio)
}

// toll counts what an archive's entries cost, of which its stream tells not all: a file's holes take no bytes in it, and
// are written out to the disk.
type toll struct {
	layer          content.Digest
	bytes          int64 // of files, that are left
	entries, names int
}

// admit is asked for each entry; false leaves it out.
func (t *toll) admit(h *tar.Header) (bool, error) {
	t.names += len(h.Name) + len(h.Linkname)
	if h.Typeflag == tar.TypeDir {
		for key, value := range h.PAXRecords {
			t.names += len(key) + len(value)
		}
	}
	t.entries++
	t.bytes -= h.Size
	switch {
	case t.entries > maxEntries:
		return false, pull.ErrTooBig.WithMessage("layer %s has more than %d entries", t.layer, maxEntries)
	case t.names > maxNames:
		return false, pull.ErrTooBig.WithMessage("layer %s has names and attributes of more than %d bytes", t.layer, maxNames)
	case t.bytes < 0:
		return false, unpacksTooBig(t.layer)
	}
	return h.Typeflag != tar.TypeBlock && h.Typeflag != tar.TypeChar, nil // devices are made by the runtime
}

// apply writes an archive into a file system that is being made; containerd's archive package keeps every name inside.
func apply(ctx context.Context, mounts []mount.Mount, r io.Reader, t *toll) error {
	opts := []archive.ApplyOpt{archive.WithFilter(t.admit)}
	dir, lower, err := directory(mounts)
	if err != nil {
		return err
	}
	if len(lower) > 0 {
		opts = append(opts, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithParents(lower))
	}
	if _, err := archive.Apply(ctx, dir, r, opts...); err != nil {
		return fmt.Errorf("unpack %s: %w", t.layer, err)
	}
	return nil
}

// directory gives where a file system that is being made takes its files, and the directories of those beneath it, the
// topmost first. Nothing need be mounted: overlayfs's upper directory is written to as it is, deletions in its own form.
func directory(mounts []mount.Mount) (dir string, lower []string, err error) {
	if len(mounts) != 1 {
		return "", nil, fmt.Errorf("a file system of %d mounts is not known here", len(mounts))
	}
	if mounts[0].Type == "bind" {
		return mounts[0].Source, nil, nil
	}
	for _, o := range mounts[0].Options {
		if value, ok := strings.CutPrefix(o, "upperdir="); ok {
			dir = value
		}
		if value, ok := strings.CutPrefix(o, "lowerdir="); ok {
			lower = strings.Split(value, ":")
		}
	}
	if dir == "" {
		return "", nil, fmt.Errorf("a file system of type %q is not known here", mounts[0].Type)
	}
	return dir, lower, nil
}

// discard frees what a failed layer has taken of the disk. containerd, which deletes the directory later, needs room
// for its own database to do so.
func discard(mounts []mount.Mount) error {
	dir, _, err := directory(mounts)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
