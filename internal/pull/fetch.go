package pull

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
)

// download has every layer on the node, then the config and the manifest that name them.
func (j *job) download(ctx context.Context) error {
	if node, ok := j.session.(Elsewhere); ok {
		return j.elsewhere(ctx, node)
	}
	j.rec.layers(j.manifest.Layers)
	missing, err := j.missing(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan content.Descriptor, len(missing))
	for _, d := range missing {
		next <- d
	}
	close(next)
	var workers sync.WaitGroup
	for range min(atOnce, len(missing)) {
		workers.Go(func() {
			for d := range next {
				if err := j.layer(ctx, d); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nodeFault(err)
	}
	if err := j.keep(ctx, *j.manifest.Config, j.configBody); err != nil {
		return err
	}
	return j.keep(ctx, j.target(), j.manifestBody)
}

// missing gives the layers that the node lacks, each once, the largest first.
func (j *job) missing(ctx context.Context) ([]content.Descriptor, error) {
	once := map[content.Digest]content.Descriptor{}
	for _, l := range j.manifest.Layers {
		once[l.Digest] = l
	}
	var missing []content.Descriptor
	for _, d := range slices.SortedFunc(maps.Values(once), func(a, b content.Descriptor) int { return cmp.Compare(b.Size, a.Size) }) {
		has, err := j.session.Has(ctx, d)
		switch {
		case err != nil:
			return nil, nodeFault(err)
		case has:
			j.rec.layer(d.Digest, LayerPresent)
		default:
			j.rec.need(d.Size)
			missing = append(missing, d)
		}
	}
	j.rec.fact("layers", strconv.Itoa(len(once)))
	j.rec.fact("present", strconv.Itoa(len(once)-len(missing)))
	return missing, nil
}

// layer downloads one layer, unless another pull from the same registry brings it meanwhile.
func (j *job) layer(ctx context.Context, d content.Descriptor) error {
	leave, err := j.puller.flights.enter(ctx, flight{j.endpoint.Service, d.Digest}, func() { j.rec.layer(d.Digest, LayerWaiting) })
	if err != nil {
		return nodeFault(err)
	}
	defer leave()
	switch has, err := j.session.Has(ctx, d); {
	case err != nil:
		return nodeFault(err)
	case has:
		j.rec.need(-d.Size)
		j.rec.layer(d.Digest, LayerPresent)
		return nil
	}
	err = j.twice(ctx, func() error {
		j.rec.layer(d.Digest, LayerDownloading)
		return j.store(ctx, d, func(w io.Writer) error {
			return j.remote.blob(ctx, d, w, func(n int) { j.rec.bytes(d.Digest, n) })
		})
	})
	if err == nil {
		j.rec.layer(d.Digest, LayerDownloaded)
	}
	return err
}

// keep stores content that is in memory and verified.
func (j *job) keep(ctx context.Context, d content.Descriptor, body []byte) error {
	if has, err := j.session.Has(ctx, d); err != nil || has {
		return nodeFault(err)
	}
	return j.store(ctx, d, func(w io.Writer) error {
		_, err := w.Write(body)
		return nodeFault(err)
	})
}

// store gives fill a writer and commits what it wrote; nothing stays when it fails.
func (j *job) store(ctx context.Context, d content.Descriptor, fill func(io.Writer) error) error {
	w, err := j.session.Write(ctx, d)
	if err != nil {
		return nodeFault(err)
	}
	if err = fill(w); err == nil {
		err = nodeFault(w.Commit(ctx))
	}
	if closed := w.Close(); err == nil {
		err = nodeFault(closed)
	}
	return err
}

// target describes the manifest for the node's platform.
func (j *job) target() content.Descriptor {
	return content.Descriptor{MediaType: j.manifest.MediaType, Digest: j.digest, Size: int64(len(j.manifestBody))}
}

// unpack makes files of the layers and lets the node keep the image.
func (j *job) unpack(ctx context.Context) error {
	if _, ok := j.session.(Elsewhere); ok {
		return errSkip
	}
	if err := j.session.Unpack(ctx, j.layers, j.rec.unpacked); err != nil {
		return nodeFault(err)
	}
	return nodeFault(j.session.Pin(ctx, j.endpoint.Service+"/"+j.ref.Repository+"@"+string(j.digest), j.target()))
}

// reopen reads an image that is on the node already.
func (j *job) reopen(ctx context.Context, d content.Digest) (err error) {
	body, ok := j.local(ctx, content.Descriptor{Digest: d}, content.MaxManifest)
	if !ok {
		return ErrNotOnNode
	}
	if j.manifest, err = parseManifest("", body); err != nil || j.manifest.IsIndex() {
		return ErrNotOnNode.WithCause(err)
	}
	if _, ok := j.local(ctx, *j.manifest.Config, content.MaxConfig); !ok {
		return ErrNotOnNode
	}
	if err := j.readConfig(ctx); err != nil {
		return ErrNotOnNode.WithCause(err)
	}
	j.index, j.digest = d, d
	if err := j.session.Unpack(ctx, j.layers, func(int) {}); err != nil {
		return nodeFault(err)
	}
	return nil
}

// nodeFault gives an error of the node its public face; what has one keeps it, and nil stays nil.
func nodeFault(err error) error {
	_, known := errors.AsType[*fault.Error](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC):
		return ErrNoSpace.WithCause(err)
	case known:
		return err
	case errors.Is(err, context.Canceled):
		return ErrCancelled.WithCause(err)
	case errors.Is(err, context.DeadlineExceeded):
		return ErrUnreachable.WithMessage("the pull was not done in time").WithCause(err)
	}
	return ErrNode.WithCause(err)
}
