package registry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
)

// oracle is what a registry must hold, kept the simplest way: for each repository the texts of its blobs, its manifests,
// and the manifest that each tag leads to.
type oracle struct {
	blobs     map[string]map[string]bool
	manifests map[string]map[content.Digest]pushed
	tags      map[string]map[string]content.Digest
}

// pushed is a manifest that a registry must hold.
type pushed struct {
	body         string
	subject      content.Digest
	artifactType string
}

func newOracle() oracle {
	o := oracle{map[string]map[string]bool{}, map[string]map[content.Digest]pushed{}, map[string]map[string]content.Digest{}}
	for _, r := range propertyRepositories {
		o.blobs[r], o.manifests[r], o.tags[r] = map[string]bool{}, map[content.Digest]pushed{}, map[string]content.Digest{}
	}
	return o
}

// referrers gives what refers to a subject, in the order of lists.
func (o oracle) referrers(repository string, subject content.Digest, artifactType string) (digests []content.Digest) {
	for d, m := range o.manifests[repository] {
		if m.subject == subject && (artifactType == "" || m.artifactType == artifactType) {
			digests = append(digests, d)
		}
	}
	slices.Sort(digests)
	return digests
}

// Few of each, so that random steps meet.
var (
	propertyRepositories = []string{"a", "a/b"}
	propertyTexts        = []string{"", "one", "two"}
	propertyTags         = []string{"v1", "V1"}
	propertyTypes        = []string{"", "example/signature", "example/sbom"}

	someRepository = rapid.SampledFrom(propertyRepositories)
	someText       = rapid.SampledFrom(propertyTexts)
	someTag        = rapid.SampledFrom(propertyTags)
	someType       = rapid.SampledFrom(propertyTypes)
)

// wantOK compares whether an operation worked with whether it had to, and its error with the one it must give.
func wantOK(t *rapid.T, err error, ok bool, otherwise ...error) {
	t.Helper()
	switch {
	case ok && err != nil:
		t.Fatalf("%v, want success", err)
	case !ok && !slices.ContainsFunc(otherwise, func(want error) bool { return errors.Is(err, want) }):
		t.Fatalf("%v, want one of %v", err, otherwise)
	}
}

// someManifest draws the manifest of an image whose config is text, which may refer to the image of another text, and its
// digest by one of the algorithms.
func someManifest(t *rapid.T) (text string, d content.Digest, m pushed) {
	text = someText.Draw(t, "text")
	m.body, m.artifactType = string(imageOf(text)), content.MediaTypeConfig
	if rapid.Bool().Draw(t, "refers") {
		m.subject = content.FromBytes(imageOf(someText.Draw(t, "subject")))
		own := ""
		if a := someType.Draw(t, "type"); a != "" {
			own, m.artifactType = fmt.Sprintf(`"artifactType":%q,`, a), a
		}
		m.body = strings.Replace(m.body, `"config"`, fmt.Sprintf(`%s"subject":{"mediaType":"x/y","digest":%q,"size":1},"config"`, own, m.subject), 1)
	}
	d = content.FromBytes([]byte(m.body))
	if rapid.IntRange(0, 3).Draw(t, "algorithm") == 3 {
		d = sha512Of([]byte(m.body))
	}
	return text, d, m
}

// TestRegistryKeepsItsWord drives one registry with random pushes, mounts, tags and deletions. Whatever was acknowledged
// and not deleted must be there, and nothing else.
func TestRegistryKeepsItsWord(t *testing.T) {
	w, n, ctx := newWorld(t), 0, context.Background()
	rapid.Check(t, func(rt *rapid.T) {
		n++
		id := resource.MustParseID(fmt.Sprintf("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/p%d", n))
		must(t, w.Create(ctx, id))
		must(t, w.directory.SetAdmin(ctx, id, true))
		m := machine{ctx: ctx, view: w.view(t, id, registry.AllActions()...), oracle: newOracle()}
		step := rapid.SampledFrom([]func(*rapid.T){m.putBlob, m.upload, m.mount, m.putManifest, m.deleteTag, m.deleteManifest, m.deleteBlob})
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			step.Draw(rt, "step")(rt)
		}
		m.check(rt)
	})
}

type machine struct {
	ctx  context.Context //nolint:containedctx // of one run of the property
	view *registry.View
	oracle
}

func digestOf(text string) content.Digest { return content.FromBytes([]byte(text)) }

func (m machine) putBlob(t *rapid.T) {
	r, text := someRepository.Draw(t, "repository"), someText.Draw(t, "text")
	said := text
	if rapid.IntRange(0, 7).Draw(t, "lie") == 7 {
		said = someText.Draw(t, "said")
	}
	err := m.view.PutBlob(m.ctx, r, digestOf(said), strings.NewReader(text))
	wantOK(t, err, text == said, registry.ErrDigestInvalid)
	if err == nil {
		m.blobs[r][text] = true
	}
}

func (m machine) upload(t *rapid.T) {
	r, text := someRepository.Draw(t, "repository"), someText.Draw(t, "text")
	u, err := m.view.StartUpload(m.ctx, r)
	wantOK(t, err, true)
	cut := rapid.IntRange(0, len(text)).Draw(t, "cut")
	size, err := m.view.AppendUpload(m.ctx, r, u.ID, registry.Chunk{Start: 0, Size: int64(cut), Body: strings.NewReader(text[:cut])})
	wantOK(t, err, size == int64(cut))
	if rapid.Bool().Draw(t, "cancel") {
		wantOK(t, m.view.CancelUpload(m.ctx, r, u.ID), true)
		return
	}
	rest := registry.Chunk{Start: registry.AtEnd, Size: -1, Body: strings.NewReader(text[cut:])}
	wantOK(t, m.view.CommitUpload(m.ctx, r, u.ID, rest, digestOf(text)), true)
	m.blobs[r][text] = true
}

func (m machine) mount(t *rapid.T) {
	from, to, text := someRepository.Draw(t, "from"), someRepository.Draw(t, "to"), someText.Draw(t, "text")
	err := m.view.MountBlob(m.ctx, from, to, digestOf(text))
	wantOK(t, err, m.blobs[from][text], registry.ErrBlobUnknown)
	if err == nil {
		m.blobs[to][text] = true
	}
}

func (m machine) putManifest(t *rapid.T) {
	r, tags := someRepository.Draw(t, "repository"), rapid.SliceOfN(someTag, 0, 3).Draw(t, "tags")
	text, d, manifest := someManifest(t)
	reference, more := d.String(), tags
	if len(tags) > 0 && d.Algorithm() == "sha256" {
		reference, more = tags[0], tags[1:]
	}
	_, err := m.view.PutManifest(m.ctx, r, reference, content.MediaTypeManifest, []byte(manifest.body), more...)
	wantOK(t, err, m.blobs[r][text], registry.ErrManifestBlobUnknown)
	if err != nil {
		return
	}
	m.manifests[r][d] = manifest
	for _, tag := range tags {
		m.tags[r][tag] = d
	}
}

func (m machine) deleteTag(t *rapid.T) {
	r, tag := someRepository.Draw(t, "repository"), someTag.Draw(t, "tag")
	_, there := m.tags[r][tag]
	wantOK(t, m.view.DeleteTag(m.ctx, r, tag), there, registry.ErrTagUnknown, registry.ErrRepositoryUnknown)
	delete(m.tags[r], tag)
}

func (m machine) deleteManifest(t *rapid.T) {
	r := someRepository.Draw(t, "repository")
	_, d, _ := someManifest(t)
	_, there := m.manifests[r][d]
	err := m.view.DeleteManifest(m.ctx, r, d)
	wantOK(t, err, there, registry.ErrManifestUnknown, registry.ErrRepositoryUnknown)
	delete(m.manifests[r], d)
	maps.DeleteFunc(m.tags[r], func(_ string, to content.Digest) bool { return to == d })
}

func (m machine) deleteBlob(t *rapid.T) {
	r, text := someRepository.Draw(t, "repository"), someText.Draw(t, "text")
	wantOK(t, m.view.DeleteBlob(m.ctx, r, digestOf(text)), m.blobs[r][text], registry.ErrBlobUnknown)
	delete(m.blobs[r], text)
}

// check reads everything back.
func (m machine) check(t *rapid.T) {
	var repositories []string
	for _, r := range propertyRepositories {
		if len(m.manifests[r]) > 0 {
			repositories = append(repositories, r)
		}
		for _, text := range propertyTexts {
			body, _, err := m.view.OpenBlob(m.ctx, r, digestOf(text))
			wantOK(t, err, m.blobs[r][text], registry.ErrBlobUnknown)
			if err == nil {
				_ = body.Close()
			}
			m.checkManifest(t, r, content.FromBytes(imageOf(text)))
			m.checkManifest(t, r, sha512Of(imageOf(text)))
			m.checkReferrers(t, r, content.FromBytes(imageOf(text)))
		}
		for d := range m.manifests[r] {
			m.checkManifest(t, r, d)
		}
		names, _, err := m.view.Tags(m.ctx, r, "", 10)
		if wantOK(t, err, err == nil, registry.ErrRepositoryUnknown); len(names) != len(m.tags[r]) {
			t.Fatalf("%s has the tags %v, want %v", r, names, m.tags[r])
		}
		for _, tag := range propertyTags {
			d, there := m.tags[r][tag]
			got, err := m.view.Manifest(m.ctx, r, tag)
			wantOK(t, err, there, registry.ErrManifestUnknown, registry.ErrRepositoryUnknown)
			if there && got.Digest != d {
				t.Fatalf("%s:%s leads to %s, want %s", r, tag, got.Digest, d)
			}
		}
	}
	got, _, err := m.view.Repositories(m.ctx, "", 10)
	wantOK(t, err, true)
	if diff := cmp.Diff(repositories, got); diff != "" {
		t.Fatalf("repositories (-want +got):\n%s", diff)
	}
}

func (m machine) checkManifest(t *rapid.T, r string, d content.Digest) {
	want, there := m.manifests[r][d]
	got, err := m.view.Manifest(m.ctx, r, d.String())
	wantOK(t, err, there, registry.ErrManifestUnknown, registry.ErrRepositoryUnknown)
	if there && string(got.Body) != want.body {
		t.Fatalf("%s@%s is %s, want %s", r, d, got.Body, want.body)
	}
}

// checkReferrers reads every list of what refers to a subject, in pages.
func (m machine) checkReferrers(t *rapid.T, r string, subject content.Digest) {
	for _, artifactType := range append(propertyTypes, content.MediaTypeConfig) {
		var got []content.Digest
		q := registry.ReferrerQuery{Subject: subject, ArtifactType: artifactType, Limit: 2}
		for more := true; more; {
			var page []content.Descriptor
			var err error
			page, more, err = m.view.Referrers(m.ctx, r, q)
			wantOK(t, err, true)
			for _, d := range page {
				got, q.After = append(got, d.Digest), d.Digest.String()
			}
		}
		if diff := cmp.Diff(m.referrers(r, subject, artifactType), got); diff != "" {
			t.Fatalf("%s: referrers of %s of type %q (-want +got):\n%s", r, subject, artifactType, diff)
		}
	}
}
