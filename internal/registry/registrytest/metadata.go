package registrytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
)

// Metadata checks a registry.Metadata; open gives an empty one.
func Metadata(t *testing.T, open func(t *testing.T) registry.Metadata) {
	for name, test := range map[string]func(*testing.T, registry.Metadata){
		"Registries":              testRegistries,
		"UnknownRegistry":         testUnknownRegistry,
		"DeleteRegistry":          testDeleteRegistry,
		"BlobsStayInRepositories": testBlobsStayInRepositories,
		"Mount":                   testMount,
		"FindBlob":                testFindBlob,
		"Manifests":               testManifests,
		"ManifestNeedsItsParts":   testManifestNeedsItsParts,
		"DeleteManifest":          testDeleteManifest,
		"TagPages":                testTagPages,
		"NewestTags":              testNewestTags,
		"RepositoryPages":         testRepositoryPages,
		"Uploads":                 testUploads,
		"ConcurrentPushes":        testConcurrentPushes,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	for name, test := range referrerTests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var (
	start = time.Date(2024, 1, 2, 3, 4, 5, 6000, time.UTC)
	acme  = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/Acme")
	other = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/other")
)

func put(t *testing.T, m registry.Metadata, ids ...resource.ID) {
	t.Helper()
	for _, id := range ids {
		if err := m.PutRegistry(t.Context(), registry.Registry{ID: id, Name: id.Name(), Created: start}); err != nil {
			t.Fatal(err)
		}
	}
}

func in(id resource.ID, name string) registry.Repository {
	return registry.Repository{Registry: id, Name: name}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// blobOf links a blob with this text and gives its descriptor.
func blobOf(t *testing.T, m registry.Metadata, repo registry.Repository, text string) content.Descriptor {
	t.Helper()
	d := content.Descriptor{Digest: content.FromBytes([]byte(text)), Size: int64(len(text))}
	noErr(t, m.LinkBlob(t.Context(), repo, d.Digest, d.Size, ""))
	return d
}

func manifestOf(body, tag string, at time.Time, blobs ...content.Descriptor) registry.NewManifest {
	m := registry.NewManifest{
		Manifest: registry.Manifest{Digest: content.FromBytes([]byte(body)), MediaType: content.MediaTypeManifest, Body: []byte(body)},
		Blobs:    blobs, Time: at,
	}
	if tag != "" {
		m.Tags = []string{tag}
	}
	return m
}

func testRegistries(t *testing.T, m registry.Metadata) {
	put(t, m, other, acme, acme)
	got, err := m.ListRegistries(t.Context())
	noErr(t, err)
	if len(got) != 2 || !got[0].ID.Equal(acme) || got[0].Name != "Acme" || !got[0].Created.Equal(start) || !got[1].ID.Equal(other) {
		t.Errorf("listed %+v", got)
	}
	r, err := m.RegistryByName(t.Context(), "aCME")
	if err != nil || !r.ID.Equal(acme) {
		t.Errorf("%+v, %v", r, err)
	}
	elsewhere := resource.MustParseID("/subscriptions/s/resourceGroups/h/providers/Microsoft.ContainerRegistry/registries/ACME")
	wantErr(t, m.PutRegistry(t.Context(), registry.Registry{ID: elsewhere, Name: "ACME", Created: start}), registry.ErrNameTaken)
}

func testUnknownRegistry(t *testing.T, m registry.Metadata) {
	repo, d := in(acme, "app"), content.FromBytes(nil)
	_, err := m.RegistryByName(t.Context(), "acme")
	wantErr(t, err, registry.ErrRegistryUnknown)
	wantErr(t, m.LinkBlob(t.Context(), repo, d, 0, ""), registry.ErrRegistryUnknown)
	wantErr(t, m.PutManifest(t.Context(), repo, manifestOf("{}", "v1", start)), registry.ErrRegistryUnknown)
	wantErr(t, m.StartUpload(t.Context(), registry.Upload{ID: uuid.NewString(), Repository: repo, Started: start}), registry.ErrRegistryUnknown)
	_, err = m.HoldsBlob(t.Context(), repo, d)
	wantErr(t, err, registry.ErrBlobUnknown)
	_, err = m.ManifestByTag(t.Context(), repo, "v1")
	wantErr(t, err, registry.ErrRepositoryUnknown)
	_, err = m.DeleteRegistry(t.Context(), acme)
	noErr(t, err)
}

func testDeleteRegistry(t *testing.T, m registry.Metadata) {
	put(t, m, acme, other)
	var uploads []string
	for _, id := range []resource.ID{acme, other} {
		repo := in(id, "app")
		d := blobOf(t, m, repo, "layer")
		noErr(t, m.PutManifest(t.Context(), repo, manifestOf("{}", "v1", start, d)))
		u := registry.Upload{ID: uuid.NewString(), Repository: repo, Started: start}
		noErr(t, m.StartUpload(t.Context(), u))
		uploads = append(uploads, u.ID)
	}
	ended, err := m.DeleteRegistry(t.Context(), acme)
	if err != nil || !slices.Equal(ended, uploads[:1]) {
		t.Errorf("ended %v, %v, want %v", ended, err, uploads[:1])
	}
	put(t, m, acme)
	_, err = m.ManifestByTag(t.Context(), in(acme, "app"), "v1")
	wantErr(t, err, registry.ErrRepositoryUnknown)
	_, err = m.HoldsBlob(t.Context(), in(acme, "app"), content.FromBytes([]byte("layer")))
	wantErr(t, err, registry.ErrBlobUnknown)
	_, err = m.Upload(t.Context(), in(acme, "app"), uploads[0])
	wantErr(t, err, registry.ErrUploadUnknown)
	_, err = m.ManifestByTag(t.Context(), in(other, "app"), "v1")
	noErr(t, err)
}

func testBlobsStayInRepositories(t *testing.T, m registry.Metadata) {
	put(t, m, acme, other)
	a := in(acme, "a")
	d := blobOf(t, m, a, "layer").Digest
	size, err := m.HoldsBlob(t.Context(), a, d)
	if err != nil || size != 5 {
		t.Errorf("%d, %v", size, err)
	}
	for _, repo := range []registry.Repository{in(acme, "b"), in(acme, "a/b"), in(other, "a")} {
		_, err := m.HoldsBlob(t.Context(), repo, d)
		wantErr(t, err, registry.ErrBlobUnknown)
		wantErr(t, m.UnlinkBlob(t.Context(), repo, d), registry.ErrBlobUnknown)
	}
	blobOf(t, m, in(acme, "b"), "layer")
	noErr(t, m.UnlinkBlob(t.Context(), a, d))
	_, err = m.HoldsBlob(t.Context(), a, d)
	wantErr(t, err, registry.ErrBlobUnknown)
	_, err = m.HoldsBlob(t.Context(), in(acme, "b"), d)
	noErr(t, err)
}

func testMount(t *testing.T, m registry.Metadata) {
	put(t, m, acme, other)
	d := blobOf(t, m, in(acme, "a"), "layer").Digest
	wantErr(t, m.MountBlob(t.Context(), in(acme, "none"), in(acme, "b"), d), registry.ErrBlobUnknown)
	wantErr(t, m.MountBlob(t.Context(), in(other, "a"), in(other, "b"), d), registry.ErrBlobUnknown)
	wantErr(t, m.MountBlob(t.Context(), in(acme, "a"), in(acme, "b"), content.FromBytes(nil)), registry.ErrBlobUnknown)
	noErr(t, m.MountBlob(t.Context(), in(acme, "a"), in(acme, "b"), d))
	noErr(t, m.UnlinkBlob(t.Context(), in(acme, "a"), d))
	size, err := m.HoldsBlob(t.Context(), in(acme, "b"), d)
	if err != nil || size != 5 {
		t.Errorf("%d, %v", size, err)
	}
}

func testFindBlob(t *testing.T, m registry.Metadata) {
	put(t, m, acme, other)
	d := blobOf(t, m, in(other, "elsewhere"), "layer").Digest
	_, err := m.FindBlob(t.Context(), acme, d)
	wantErr(t, err, registry.ErrBlobUnknown)
	blobOf(t, m, in(acme, "a"), "layer")
	blobOf(t, m, in(acme, "b"), "layer")
	noErr(t, m.UnlinkBlob(t.Context(), in(acme, "a"), d))
	if name, err := m.FindBlob(t.Context(), acme, d); err != nil || name != "b" {
		t.Errorf("found in %q, %v", name, err)
	}
}

func testManifests(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	config := blobOf(t, m, repo, "config")
	first, second := manifestOf(`{"n":1}`, "v1", start, config), manifestOf(`{"n":2}`, "v1", start, config, config)
	noErr(t, m.PutManifest(t.Context(), repo, first))
	noErr(t, m.PutManifest(t.Context(), repo, second))
	got, err := m.ManifestByTag(t.Context(), repo, "v1")
	noErr(t, err)
	if diff := cmp.Diff(second.Manifest, got); diff != "" {
		t.Error(diff)
	}
	got, err = m.ManifestByDigest(t.Context(), repo, first.Digest)
	noErr(t, err)
	if diff := cmp.Diff(first.Manifest, got); diff != "" {
		t.Error(diff)
	}
	first.Tags, first.MediaType = []string{"V1"}, content.MediaTypeDockerManifest
	noErr(t, m.PutManifest(t.Context(), repo, first))
	if got, err = m.ManifestByTag(t.Context(), repo, "V1"); err != nil || got.MediaType != content.MediaTypeDockerManifest || got.Digest != first.Digest {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = m.ManifestByTag(t.Context(), repo, "v1"); err != nil || got.Digest != second.Digest {
		t.Errorf("tags that differ in case only are one: %+v, %v", got, err)
	}
	_, err = m.ManifestByTag(t.Context(), repo, "v2")
	wantErr(t, err, registry.ErrManifestUnknown)
	_, err = m.ManifestByDigest(t.Context(), in(acme, "none"), first.Digest)
	wantErr(t, err, registry.ErrRepositoryUnknown)
}

func testManifestNeedsItsParts(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	elsewhere := blobOf(t, m, in(acme, "elsewhere"), "layer")
	here := blobOf(t, m, repo, "config")
	wantErr(t, m.PutManifest(t.Context(), repo, manifestOf("{}", "v1", start, here, elsewhere)), registry.ErrManifestBlobUnknown)
	wrong := here
	wrong.Size++
	wantErr(t, m.PutManifest(t.Context(), repo, manifestOf("{}", "v1", start, wrong)), content.ErrManifestInvalid)
	index := manifestOf(`{"index":true}`, "v1", start)
	index.Children = []content.Descriptor{{Digest: content.FromBytes([]byte("{}")), Size: 2}}
	wantErr(t, m.PutManifest(t.Context(), repo, index), registry.ErrManifestBlobUnknown)
	_, err := m.ManifestByTag(t.Context(), repo, "v1")
	wantErr(t, err, registry.ErrManifestUnknown)

	child := manifestOf("{}", "", start, here)
	child.Optional, child.Subject = []content.Descriptor{elsewhere}, content.FromBytes([]byte("nowhere"))
	noErr(t, m.PutManifest(t.Context(), repo, child))
	noErr(t, m.PutManifest(t.Context(), repo, index))
	got, err := m.ManifestByTag(t.Context(), repo, "v1")
	if err != nil || got.Digest != index.Digest {
		t.Errorf("%+v, %v", got, err)
	}
}

func testDeleteManifest(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	one, two := manifestOf(`{"n":1}`, "one", start), manifestOf(`{"n":2}`, "two", start)
	noErr(t, m.PutManifest(t.Context(), repo, one))
	noErr(t, m.PutManifest(t.Context(), repo, two))
	one.Tags = []string{"also-one", "one-more"}
	noErr(t, m.PutManifest(t.Context(), repo, one))
	for _, tag := range []string{"one", "also-one", "one-more"} {
		if got, err := m.ManifestByTag(t.Context(), repo, tag); err != nil || got.Digest != one.Digest {
			t.Errorf("%s: %+v, %v", tag, got, err)
		}
	}

	noErr(t, m.DeleteTag(t.Context(), repo, "two"))
	wantErr(t, m.DeleteTag(t.Context(), repo, "two"), registry.ErrTagUnknown)
	wantErr(t, m.DeleteTag(t.Context(), in(acme, "none"), "two"), registry.ErrRepositoryUnknown)
	_, err := m.ManifestByDigest(t.Context(), repo, two.Digest)
	noErr(t, err)

	noErr(t, m.DeleteManifest(t.Context(), repo, one.Digest))
	wantErr(t, m.DeleteManifest(t.Context(), repo, one.Digest), registry.ErrManifestUnknown)
	wantErr(t, m.DeleteManifest(t.Context(), in(acme, "none"), one.Digest), registry.ErrRepositoryUnknown)
	tags, err := m.ListTags(t.Context(), repo, "", 10)
	if err != nil || len(tags) != 0 {
		t.Errorf("%v, %v: tags of a deleted manifest", tags, err)
	}
}

func testTagPages(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	want := []string{"1.0", "A", "a", "B", "b2", "b_1", "C"}
	for _, tag := range []string{"b_1", "a", "C", "B", "1.0", "b2", "A"} {
		noErr(t, m.PutManifest(t.Context(), repo, manifestOf("{}", tag, start)))
	}
	for size := 1; size <= len(want)+1; size++ {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := m.ListTags(t.Context(), repo, after, size)
			noErr(t, err)
			if len(page) > size {
				t.Fatalf("%d tags on a page of %d", len(page), size)
			}
			if got = append(got, page...); len(page) == 0 {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d:\n%s", size, diff)
		}
	}
	if page, err := m.ListTags(t.Context(), repo, "b", 1); err != nil || len(page) != 1 || page[0] != "b2" {
		t.Errorf("behind a tag that is not there: %v, %v", page, err)
	}
	_, err := m.ListTags(t.Context(), in(acme, "none"), "", 1)
	wantErr(t, err, registry.ErrRepositoryUnknown)
}

func testNewestTags(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	for i, tag := range []string{"first", "second", "third", "first"} {
		noErr(t, m.PutManifest(t.Context(), repo, manifestOf("{}", tag, start.Add(time.Duration(i)*time.Second))))
	}
	got, err := m.NewestTags(t.Context(), repo, 2)
	noErr(t, err)
	d := content.FromBytes([]byte("{}"))
	want := []registry.Tag{{Name: "first", Digest: d, Updated: start.Add(3 * time.Second)}, {Name: "third", Digest: d, Updated: start.Add(2 * time.Second)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err = m.NewestTags(t.Context(), in(acme, "none"), 1)
	wantErr(t, err, registry.ErrRepositoryUnknown)
}

func testRepositoryPages(t *testing.T, m registry.Metadata) {
	put(t, m, acme, other)
	noErr(t, m.PutManifest(t.Context(), in(other, "elsewhere"), manifestOf("{}", "", start)))
	blobOf(t, m, in(acme, "only-blobs"), "layer")
	want := []string{"a", "a-b", "a/b", "b"} // bytewise: '-' before '/'
	for _, name := range []string{"b", "a/b", "a", "a-b"} {
		noErr(t, m.PutManifest(t.Context(), in(acme, name), manifestOf("{}", "", start)))
	}
	for size := 1; size <= len(want)+1; size++ {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := m.ListRepositories(t.Context(), acme, after, size)
			noErr(t, err)
			if got = append(got, page...); len(page) < size {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d:\n%s", size, diff)
		}
	}
}

func testUploads(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	old := registry.Upload{ID: uuid.NewString(), Repository: repo, Started: start}
	young := registry.Upload{ID: uuid.NewString(), Repository: repo, Started: start.Add(time.Hour)}
	noErr(t, m.StartUpload(t.Context(), old))
	noErr(t, m.StartUpload(t.Context(), young))
	got, err := m.Upload(t.Context(), repo, young.ID)
	noErr(t, err)
	if diff := cmp.Diff(young, got, cmp.Comparer(resource.ID.Equal)); diff != "" {
		t.Error(diff)
	}
	_, err = m.Upload(t.Context(), in(acme, "other"), young.ID)
	wantErr(t, err, registry.ErrUploadUnknown)
	wantErr(t, m.EndUpload(t.Context(), in(acme, "other"), young.ID), registry.ErrUploadUnknown)

	expired, err := m.ExpireUploads(t.Context(), start.Add(time.Minute))
	if err != nil || !slices.Equal(expired, []string{old.ID}) {
		t.Errorf("%v, %v", expired, err)
	}
	_, err = m.Upload(t.Context(), repo, old.ID)
	wantErr(t, err, registry.ErrUploadUnknown)
	noErr(t, m.LinkBlob(t.Context(), repo, content.FromBytes(nil), 0, young.ID))
	wantErr(t, m.EndUpload(t.Context(), repo, young.ID), registry.ErrUploadUnknown)
}

// testConcurrentPushes lets many clients push to one repository and to repositories of their own, re-pointing one tag
// all the while: nothing acknowledged may be missing at the end.
func testConcurrentPushes(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	const clients, pushes = 8, 10
	ctx, shared := context.WithoutCancel(t.Context()), in(acme, "shared")
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for p := range pushes {
				own, name := in(acme, fmt.Sprintf("own/%d", c)), fmt.Sprintf("%d-%d", c, p)
				d := content.FromBytes([]byte(name))
				err := errors.Join(
					m.LinkBlob(ctx, own, d, 1, ""),
					m.MountBlob(ctx, own, shared, d),
					m.PutManifest(ctx, shared, manifestOf(name, name, start, content.Descriptor{Digest: d, Size: 1})),
					m.PutManifest(ctx, shared, manifestOf("same", "latest", start, content.Descriptor{Digest: d, Size: 1})),
				)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	tags, err := m.ListTags(t.Context(), shared, "", 1000)
	if err != nil || len(tags) != clients*pushes+1 {
		t.Errorf("%d tags, %v, want %d", len(tags), err, clients*pushes+1)
	}
	for _, tag := range tags {
		got, err := m.ManifestByTag(t.Context(), shared, tag)
		if err != nil || tag != "latest" && string(got.Body) != tag {
			t.Errorf("%s is %q, %v", tag, got.Body, err)
		}
	}
}
