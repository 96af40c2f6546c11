package registrytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

// referrerTests are the parts of Metadata's suite about manifests that refer to others.
var referrerTests = map[string]func(*testing.T, registry.Metadata){
	"Referrers":                    testReferrers,
	"ReferrersStayInRepositories":  testReferrersStayInRepositories,
	"ReferrersGoWithTheirManifest": testReferrersGoWithTheirManifest,
	"ReferrerPages":                testReferrerPages,
	"ReferrerPagesAreBounded":      testReferrerPagesAreBounded,
	"ConcurrentReferrers":          testConcurrentReferrers,
}

var subject = content.FromBytes([]byte("subject"))

// referrerOf gives a manifest that refers to subject.
func referrerOf(body, artifactType string) registry.NewManifest {
	m := manifestOf(body, "", start)
	m.Subject, m.ArtifactType, m.Annotations = subject, artifactType, map[string]string{"of": body}
	return m
}

// shown gives how a list shows a manifest.
func shown(m registry.NewManifest) content.Descriptor {
	return content.Descriptor{
		MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Body)), Annotations: m.Annotations, ArtifactType: m.ArtifactType,
	}
}

func byDigest(list ...content.Descriptor) []content.Descriptor {
	slices.SortFunc(list, func(a, b content.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return list
}

// wantReferrers asks for all that q asks for.
func wantReferrers(t *testing.T, m registry.Metadata, repo registry.Repository, artifactType string, want ...content.Descriptor) {
	t.Helper()
	got, more, err := m.ListReferrers(t.Context(), repo, registry.ReferrerQuery{Subject: subject, ArtifactType: artifactType, Limit: 100})
	noErr(t, err)
	if diff := cmp.Diff(byDigest(want...), got); diff != "" || more {
		t.Errorf("referrers of type %q, more %v (-want +got):\n%s", artifactType, more, diff)
	}
}

func testReferrers(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	wantReferrers(t, m, repo, "")
	signature, sbom, plain := referrerOf("signature", "example/signature"), referrerOf("sbom", "example/sbom"), referrerOf("plain", "")
	plain.Annotations = nil
	for _, r := range []registry.NewManifest{signature, sbom, plain, sbom} {
		noErr(t, m.PutManifest(t.Context(), repo, r))
	}
	noErr(t, m.PutManifest(t.Context(), repo, manifestOf("subject", "v1", start))) // after them
	other := referrerOf("of another", "example/sbom")
	other.Subject = sbom.Digest
	noErr(t, m.PutManifest(t.Context(), repo, other))
	wantReferrers(t, m, repo, "", shown(signature), shown(sbom), shown(plain))
	wantReferrers(t, m, repo, "example/sbom", shown(sbom))
	wantReferrers(t, m, repo, "example/SBOM")
	wantReferrers(t, m, repo, "example/")

	plain.MediaType = content.MediaTypeDockerManifest
	noErr(t, m.PutManifest(t.Context(), repo, plain))
	wantReferrers(t, m, repo, "", shown(signature), shown(sbom), shown(plain))
}

func testReferrersStayInRepositories(t *testing.T, m registry.Metadata) {
	put(t, m, acme, other)
	r := referrerOf("signature", "example/signature")
	noErr(t, m.PutManifest(t.Context(), in(acme, "a"), r))
	for _, repo := range []registry.Repository{in(acme, "b"), in(acme, "a/b"), in(other, "a"), in(other, "none")} {
		blobOf(t, m, in(repo.Registry, "b"), "layer") // so that some of them exist
		wantReferrers(t, m, repo, "")
		wantReferrers(t, m, repo, "example/signature")
	}
	wantReferrers(t, m, in(acme, "a"), "", shown(r))
}

func testReferrersGoWithTheirManifest(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	one, two := referrerOf("one", "example/one"), referrerOf("two", "example/two")
	noErr(t, m.PutManifest(t.Context(), repo, manifestOf("subject", "v1", start)))
	noErr(t, m.PutManifest(t.Context(), repo, one))
	noErr(t, m.PutManifest(t.Context(), repo, two))
	noErr(t, m.DeleteManifest(t.Context(), repo, one.Digest))
	wantReferrers(t, m, repo, "", shown(two))
	wantReferrers(t, m, repo, "example/one")
	noErr(t, m.DeleteManifest(t.Context(), repo, subject))
	wantReferrers(t, m, repo, "", shown(two))
	refused := one
	refused.Blobs = []content.Descriptor{{Digest: content.FromBytes([]byte("missing"))}}
	wantErr(t, m.PutManifest(t.Context(), repo, refused), registry.ErrManifestBlobUnknown)
	wantReferrers(t, m, repo, "", shown(two))
	_, err := m.DeleteRegistry(t.Context(), acme)
	noErr(t, err)
	put(t, m, acme)
	wantReferrers(t, m, repo, "")
}

func testReferrerPages(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	want := map[string][]content.Descriptor{}
	for i := range 7 {
		r := referrerOf(fmt.Sprint(i), fmt.Sprintf("example/%d", i%2))
		noErr(t, m.PutManifest(t.Context(), repo, r))
		for _, of := range []string{"", r.ArtifactType} {
			want[of] = byDigest(append(want[of], shown(r))...)
		}
	}
	for of, all := range want {
		for size := 1; size <= len(all)+1; size++ {
			got, pages := walk(t, m, repo, registry.ReferrerQuery{Subject: subject, ArtifactType: of, Limit: size})
			if diff := cmp.Diff(all, got); diff != "" || pages != (len(all)+size-1)/size {
				t.Errorf("type %q in %d pages of %d (-want +got):\n%s", of, pages, size, diff)
			}
		}
	}
}

// walk reads all pages.
func walk(t *testing.T, m registry.Metadata, repo registry.Repository, q registry.ReferrerQuery) (all []content.Descriptor, pages int) {
	t.Helper()
	for more := true; more; pages++ {
		var page []content.Descriptor
		var err error
		page, more, err = m.ListReferrers(t.Context(), repo, q)
		noErr(t, err)
		if len(page) == 0 || len(page) > q.Limit {
			t.Fatalf("%d referrers on page %d of %d", len(page), pages, q.Limit)
		}
		all, q.After = append(all, page...), string(page[len(page)-1].Digest)
	}
	return all, pages
}

// testReferrerPagesAreBounded: a page of large annotations must not become gigabytes.
func testReferrerPagesAreBounded(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	repo := in(acme, "app")
	var want []content.Descriptor
	for i, size := range []int{registry.MaxReferrers / 3, registry.MaxReferrers / 3, 2 * registry.MaxReferrers, registry.MaxReferrers / 3, 1} {
		r := referrerOf(fmt.Sprint(i), "example/large")
		r.Annotations = map[string]string{"large": strings.Repeat("x", size)}
		noErr(t, m.PutManifest(t.Context(), repo, r))
		want = byDigest(append(want, shown(r))...)
	}
	got, pages := walk(t, m, repo, registry.ReferrerQuery{Subject: subject, Limit: 100})
	if !slices.EqualFunc(want, got, func(a, b content.Descriptor) bool { return a.Digest == b.Digest }) || pages < 2 {
		t.Errorf("%d of %d referrers in %d pages", len(got), len(want), pages)
	}
}

// testConcurrentReferrers signs one image from many clients at once, each of which takes every second signature away.
func testConcurrentReferrers(t *testing.T, m registry.Metadata) {
	put(t, m, acme)
	const clients, signatures = 8, 6
	repo := in(acme, "app")
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range signatures {
				r := referrerOf(fmt.Sprintf("%d-%d", c, i), "example/signature")
				err := m.PutManifest(t.Context(), repo, r)
				if i%2 == 1 {
					err = errors.Join(err, m.DeleteManifest(t.Context(), repo, r.Digest))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if all, _ := walk(t, m, repo, registry.ReferrerQuery{Subject: subject, ArtifactType: "example/signature", Limit: 5}); len(all) != clients*signatures/2 {
		t.Errorf("%d referrers, want %d", len(all), clients*signatures/2)
	}
}
