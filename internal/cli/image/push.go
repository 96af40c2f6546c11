package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
)

// Destination is a tag in a registry and how to reach it.
type Destination struct {
	LoginServer, Repository, Tag string
	Username, Password           string
	Transport                    http.RoundTripper
}

// Observer is told about each layer as it goes. It is called from several goroutines.
type Observer interface {
	Set(key, label string, done, total int64)
	End(key, label, remark string)
}

// parallel is how many layers go at once.
const parallel = 4

// Push uploads what the registry does not have, then the manifests, and gives the digest that the tag now means.
func Push(ctx context.Context, s Source, to Destination, observer Observer) (string, error) {
	repository, err := name.NewRepository(to.LoginServer + "/" + to.Repository)
	if err != nil {
		return "", err
	}
	pusher, err := remote.NewPusher(
		remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: to.Username, Password: to.Password})),
		remote.WithTransport(httpsOnly{to.Transport}), remote.WithUserAgent("fairlead"), remote.WithContext(ctx),
	)
	if err != nil {
		return "", err
	}
	found := map[v1.Hash]v1.Layer{}
	if err := s.layers(found); err != nil {
		return "", err
	}
	group, uploading := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for digest, layer := range found {
		group.Go(func() error { return upload(uploading, pusher, repository, digest, layer, observer) })
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	if s.Index != nil {
		digest, err := s.Index.Digest()
		return digest.String(), errors.Join(err, pusher.Push(ctx, repository.Tag(to.Tag), s.Index))
	}
	digest, err := s.Image.Digest()
	return digest.String(), errors.Join(err, pusher.Push(ctx, repository.Tag(to.Tag), s.Image))
}

// httpsOnly refuses plain HTTP, to which the library would fall back for hosts under localhost.
type httpsOnly struct{ next http.RoundTripper }

func (h httpsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("refusing to speak %s to %s", r.URL.Scheme, r.URL.Host)
	}
	return h.next.RoundTrip(r)
}

// layers collects every layer once, also of the images in an index.
func (s Source) layers(found map[v1.Hash]v1.Layer) error {
	if s.Image != nil {
		return imageLayers(s.Image, found)
	}
	manifest, err := s.Index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		switch {
		case d.MediaType.IsIndex():
			child, err := s.Index.ImageIndex(d.Digest)
			if err != nil {
				return err
			}
			if err := (Source{Index: child}).layers(found); err != nil {
				return err
			}
		case d.MediaType.IsImage():
			child, err := s.Index.Image(d.Digest)
			if err != nil {
				return err
			}
			if err := imageLayers(child, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func imageLayers(img v1.Image, found map[v1.Hash]v1.Layer) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		found[digest] = layer
	}
	return nil
}

func upload(ctx context.Context, pusher *remote.Pusher, to name.Repository, digest v1.Hash, layer v1.Layer, observer Observer) error {
	total, err := layer.Size()
	if err != nil {
		return err
	}
	key, label := digest.String(), "layer "+digest.Hex[:12]
	counted := &countedLayer{Layer: layer, report: func(done int64) { observer.Set(key, label, done, total) }}
	if err := pusher.Upload(ctx, to, counted); err != nil {
		observer.End(key, label, "failed")
		return fmt.Errorf("layer %s: %w", digest, err)
	}
	if !counted.read.Load() {
		observer.End(key, label, "exists already")
		return nil
	}
	observer.Set(key, label, total, total)
	return nil
}

// countedLayer tells how many of its bytes have been read.
type countedLayer struct {
	v1.Layer
	report func(done int64)
	read   atomic.Bool
}

// Compressed gives the layer's bytes, from the start at every call: a retry counts anew.
func (l *countedLayer) Compressed() (io.ReadCloser, error) {
	body, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	l.read.Store(true)
	return &countedReader{ReadCloser: body, report: l.report}, nil
}

// Descriptor keeps what the layer knows of itself, which embedding hides.
func (l *countedLayer) Descriptor() (*v1.Descriptor, error) { return partial.Descriptor(l.Layer) }

type countedReader struct {
	io.ReadCloser
	done   int64
	report func(int64)
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.done += int64(n)
	if n > 0 {
		r.report(r.done)
	}
	return n, err
}
