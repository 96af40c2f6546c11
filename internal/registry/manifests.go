package registry

import (
	"context"
	"strings"

	"fairlead.dev/internal/content"
)

// Manifest gives the manifest that reference, a tag or a digest, names; ErrRepositoryUnknown, ErrManifestUnknown.
func (v *View) Manifest(ctx context.Context, repository, reference string) (Manifest, error) {
	repo, err := v.repository(ActionPull, repository)
	if err != nil {
		return Manifest{}, err
	}
	if isDigest(reference) {
		d, err := content.ParseDigest(reference)
		if err != nil {
			return Manifest{}, err
		}
		return v.service.meta.ManifestByDigest(ctx, repo, d)
	}
	if !content.ValidTag(reference) {
		return Manifest{}, ErrManifestUnknown
	}
	return v.service.meta.ManifestByTag(ctx, repo, reference)
}

func isDigest(reference string) bool { return strings.Contains(reference, ":") }

// PutManifest stores a manifest of the given media type (content.ParseManifest says what an empty one means) under
// reference, a tag or its digest. All that it names must be in the repository already, but for its subject and for
// layers that may not be distributed. Besides the errors of content.ParseManifest: ErrTagInvalid, ErrDigestInvalid,
// ErrManifestBlobUnknown.
func (v *View) PutManifest(ctx context.Context, repository, reference, mediaType string, body []byte) (Manifest, error) {
	repo, err := v.repository(ActionPush, repository)
	if err != nil {
		return Manifest{}, err
	}
	parsed, err := content.ParseManifest(mediaType, body)
	if err != nil {
		return Manifest{}, err
	}
	m := NewManifest{
		Manifest:     Manifest{MediaType: parsed.MediaType, Body: body},
		ArtifactType: parsed.ArtifactType,
		Time:         v.service.now(),
	}
	m.needs(parsed)
	if m.Digest, m.Tag, err = address(reference, body); err != nil {
		return Manifest{}, err
	}
	return m.Manifest, v.service.meta.PutManifest(ctx, repo, m)
}

// address gives the digest under which body is stored and the tag that is to point to it.
func address(reference string, body []byte) (d content.Digest, tag string, err error) {
	if !isDigest(reference) {
		if !content.ValidTag(reference) {
			return "", "", ErrTagInvalid
		}
		return content.FromBytes(body), reference, nil
	}
	if d, err = content.ParseDigest(reference); err != nil {
		return "", "", err
	}
	if !d.Verify(body) {
		return "", "", ErrDigestInvalid
	}
	return d, "", nil
}

// needs sorts what m names by where it must be. An index may name something that is no manifest; that is a blob.
func (m *NewManifest) needs(parsed content.Manifest) {
	if parsed.Config != nil {
		m.Blobs = append(m.Blobs, *parsed.Config)
	}
	for _, layer := range parsed.Layers {
		if layer.Distributable() {
			m.Blobs = append(m.Blobs, layer)
		} else {
			m.Optional = append(m.Optional, layer)
		}
	}
	for _, child := range parsed.Manifests {
		if child.MediaType == "" || content.IsManifestType(child.MediaType) {
			m.Children = append(m.Children, child)
		} else {
			m.Blobs = append(m.Blobs, child)
		}
	}
	if parsed.Subject != nil {
		m.Subject = parsed.Subject.Digest
	}
}

// DeleteManifest removes a manifest and the tags that point to it; ErrRepositoryUnknown, ErrManifestUnknown.
func (v *View) DeleteManifest(ctx context.Context, repository string, d content.Digest) error {
	repo, err := v.repository(ActionDelete, repository)
	if err != nil {
		return err
	}
	return v.service.meta.DeleteManifest(ctx, repo, d)
}
