package registry

import (
	"context"
	"slices"
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
// reference, a tag or its digest, and points more tags to it. All that it names must be in the repository already, but for
// its subject and for layers that may not be distributed. It gives what was stored. Besides the errors of
// content.ParseManifest: ErrTagInvalid, ErrDigestInvalid, ErrManifestBlobUnknown.
func (v *View) PutManifest(ctx context.Context, repository, reference, mediaType string, body []byte, tags ...string) (NewManifest, error) {
	repo, err := v.repository(ActionPush, repository)
	if err != nil {
		return NewManifest{}, err
	}
	parsed, err := content.ParseManifest(mediaType, body)
	if err != nil {
		return NewManifest{}, err
	}
	m := NewManifest{
		Manifest:     Manifest{MediaType: parsed.MediaType, Body: body},
		ArtifactType: parsed.ArtifactTypeAsReferrer(),
		Annotations:  parsed.Annotations,
		Time:         v.service.now(),
	}
	m.needs(parsed)
	if err := m.address(reference, tags); err != nil {
		return NewManifest{}, err
	}
	return m, v.service.meta.PutManifest(ctx, repo, m)
}

// address sets the digest under which m is stored, sha256 unless reference is another, and the tags that are to point to it.
func (m *NewManifest) address(reference string, tags []string) (err error) {
	if isDigest(reference) {
		if m.Digest, err = content.ParseDigest(reference); err != nil {
			return err
		}
		if !m.Digest.Verify(m.Body) {
			return ErrDigestInvalid
		}
	} else {
		m.Digest, tags = content.FromBytes(m.Body), append([]string{reference}, tags...)
	}
	for _, tag := range tags {
		if !content.ValidTag(tag) {
			return ErrTagInvalid
		}
		if !slices.Contains(m.Tags, tag) {
			m.Tags = append(m.Tags, tag)
		}
	}
	return nil
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

// DeleteManifest removes a manifest and the tags that point to it, and leaves those that refer to it;
// ErrRepositoryUnknown, ErrManifestUnknown.
func (v *View) DeleteManifest(ctx context.Context, repository string, d content.Digest) error {
	repo, err := v.repository(ActionDelete, repository)
	if err != nil {
		return err
	}
	return v.service.meta.DeleteManifest(ctx, repo, d)
}
