package pull

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
)

// acceptManifests is what may answer for an image.
func acceptManifests() http.Header {
	return http.Header{"Accept": {strings.Join([]string{
		content.MediaTypeIndex, content.MediaTypeManifest, content.MediaTypeDockerIndex, content.MediaTypeDockerManifest,
	}, ", ")}}
}

// resolve asks the right to pull with one HEAD on the manifest and gives the digest that the answer names. The second
// result is the size in bytes, -1 when it is not told.
func (r *remote) resolve(ctx context.Context, ref content.Reference) (content.Digest, int64, error) {
	res, err := r.content(ctx, http.MethodHead, "/manifests/"+ref.Version(), acceptManifests())
	if err != nil {
		return "", 0, err
	}
	drop(res)
	switch status := res.StatusCode; {
	case refuses(status):
		return "", 0, r.refused()
	case status == http.StatusNotFound:
		return "", 0, r.absent(ctx, ref)
	case status != http.StatusOK:
		return "", 0, r.unexpected(status, "the request for the manifest")
	}
	if res.ContentLength > content.MaxManifest {
		return "", 0, tooBig("the manifest", res.ContentLength, content.MaxManifest)
	}
	d, err := content.ParseDigest(res.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return "", 0, ErrRegistryUnavailable.WithMessage("the registry %s does not say which digest the manifest has", r.service)
	}
	if ref.Digest != "" && d != ref.Digest {
		return "", 0, ErrMismatch.WithMessage("the registry %s gives another manifest (%s) than was asked for (%s)", r.service, d, ref.Digest)
	}
	return d, res.ContentLength, nil
}

// refused is the refusal of a manifest or blob: a stranger's for want of a credential, anyone else's for want of a role.
func (r *remote) refused() error {
	if r.stranger != nil {
		return r.stranger
	}
	return r.denied()
}

// absent finds out what is absent: the answer to HEAD has no body that would say so.
func (r *remote) absent(ctx context.Context, ref content.Reference) error {
	a, err := r.small(ctx, "/manifests/"+ref.Version(), acceptManifests(), maxRefusal)
	var refusal struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if err == nil && json.Unmarshal(a.body, &refusal) == nil && len(refusal.Errors) > 0 && refusal.Errors[0].Code == "NAME_UNKNOWN" {
		return ErrRepositoryUnknown.WithMessage("the registry %s has no repository %s", r.service, r.repository)
	}
	if ref.Digest != "" {
		return ErrDigestUnknown.WithMessage("the repository %s/%s has no manifest %s", r.service, r.repository, ref.Digest)
	}
	return ErrTagUnknown.WithMessage("the repository %s/%s has no tag %q", r.service, r.repository, ref.Tag)
}

// manifest fetches the manifest or index d. Size 0 of d is not known.
func (r *remote) manifest(ctx context.Context, d content.Descriptor) ([]byte, content.Manifest, error) {
	a, err := r.small(ctx, "/manifests/"+string(d.Digest), acceptManifests(), content.MaxManifest)
	switch {
	case errors.Is(err, errLong):
		return nil, content.Manifest{}, tooBig("the manifest", max(a.length, content.MaxManifest+1), content.MaxManifest)
	case err != nil:
		return nil, content.Manifest{}, err
	case a.refuses():
		return nil, content.Manifest{}, r.refused()
	case a.status == http.StatusNotFound:
		return nil, content.Manifest{}, ErrDigestUnknown.WithMessage("the repository %s/%s has no manifest %s", r.service, r.repository, d.Digest)
	case a.status != http.StatusOK:
		return nil, content.Manifest{}, r.unexpected(a.status, "the request for the manifest")
	case !d.Digest.Verify(a.body) || d.Size > 0 && d.Size != int64(len(a.body)):
		return nil, content.Manifest{}, mismatch("manifest", d, content.FromBytes(a.body), int64(len(a.body)))
	}
	mediaType := d.MediaType
	if mediaType == "" {
		mediaType, _, _ = mime.ParseMediaType(a.header.Get("Content-Type"))
	}
	m, err := parseManifest(mediaType, a.body)
	return a.body, m, err
}

// parseManifest reads a manifest that has the right digest: a bad one was pushed so.
func parseManifest(mediaType string, body []byte) (content.Manifest, error) {
	m, err := content.ParseManifest(mediaType, body)
	if err != nil {
		return m, ErrInvalid.WithMessage("%s", fault.From(err).Message).WithCause(err)
	}
	return m, nil
}

// mismatch says what was expected and what came.
func mismatch(what string, d content.Descriptor, got content.Digest, size int64) error {
	if d.Digest != got {
		return ErrMismatch.WithMessage("the %s should have digest %s, but what came has %s", what, d.Digest, got)
	}
	return ErrMismatch.WithMessage("the %s %s should have %d bytes, but what came has %d", what, d.Digest, d.Size, size)
}

func tooBig(what string, size, limit int64) error {
	return ErrTooBig.WithMessage("%s has %d bytes; the limit is %d", what, size, limit)
}
