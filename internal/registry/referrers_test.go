package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

// signatureOf gives a manifest that refers to subject.
func signatureOf(text string, subject content.Digest) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"artifactType":"example/signature","config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":1}}`,
		content.MediaTypeConfig, content.FromBytes([]byte(text)), len(text), content.MediaTypeManifest, subject)
}

// sha512Of gives the sha512 digest of b.
func sha512Of(b []byte) content.Digest {
	h := content.Digest("sha512:").NewHash()
	h.Write(b)
	return content.FromHash("sha512", h)
}

func referrers(t testing.TB, v *registry.View, repository string, subject content.Digest) (digests []content.Digest) {
	t.Helper()
	page, more, err := v.Referrers(context.Background(), repository, registry.ReferrerQuery{Subject: subject, Limit: 100})
	if must(t, err); more {
		t.Error("there are more than were put")
	}
	for _, d := range page {
		digests = append(digests, d.Digest)
	}
	return digests
}

// TestReferrersOpenNoOtherRepository tells the attack first: what refers to an image of one repository must not be seen
// through another, and whoever refers to an image in another repository does not attach anything to it.
func TestReferrersOpenNoOtherRepository(t *testing.T) {
	w := newWorld(t)
	v, o := w.view(t, acme, registry.AllActions()...), w.view(t, other, registry.AllActions()...)
	image := content.FromBytes(push(t, v, "private", "v1", "config"))
	push(t, v, "mine", "v1", "config")
	push(t, o, "private", "v1", "config")
	forged := signatureOf("config", image)
	_, err := v.PutManifest(t.Context(), "mine", content.FromBytes(forged).String(), "", forged)
	must(t, err)
	if got := referrers(t, v, "private", image); len(got) > 0 {
		t.Errorf("a signature of another repository is attached: %v", got)
	}
	if got := referrers(t, o, "private", image); len(got) > 0 {
		t.Errorf("another registry shows %v", got)
	}
	if got := referrers(t, v, "mine", image); len(got) != 1 || got[0] != content.FromBytes(forged) {
		t.Errorf("its own repository shows %v", got)
	}
}

// TestMalformedSubjectsAreRefused: a subject's digest ends up in lists, headers and paths of clients.
func TestMalformedSubjectsAreRefused(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	push(t, v, "app", "v1", "config")
	for _, subject := range []content.Digest{
		"", "latest", "sha256:", "sha256:../../../etc/passwd", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha512:" + content.FromBytes(nil)[7:],
		content.Digest(strings.ToUpper(string(content.FromBytes(nil)))), content.FromBytes(nil) + "\r\nx: y",
	} {
		if _, err := v.PutManifest(t.Context(), "app", "v2", "", signatureOf("config", subject)); !errors.Is(err, content.ErrManifestInvalid) {
			t.Errorf("subject %q: %v, want ErrManifestInvalid", subject, err)
		}
	}
	if _, err := v.Manifest(t.Context(), "app", "v2"); !errors.Is(err, registry.ErrManifestUnknown) {
		t.Errorf("something was stored: %v", err)
	}
}

// TestSHA512 keeps content by the digest that it came with: blobs, a manifest that names them, a tag, what refers to it.
func TestSHA512(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	text := strings.Repeat("layer", 1000)
	d := sha512Of([]byte(text))
	u, err := v.StartUpload(t.Context(), "app")
	must(t, err)
	_, err = v.AppendUpload(t.Context(), "app", u.ID, registry.Chunk{Start: 0, Size: 100, Body: strings.NewReader(text[:100])})
	must(t, err)
	must(t, v.CommitUpload(t.Context(), "app", u.ID, registry.Chunk{Start: 100, Size: -1, Body: strings.NewReader(text[100:])}, d))
	if err := v.PutBlob(t.Context(), "app", d, strings.NewReader("other")); !errors.Is(err, registry.ErrDigestInvalid) {
		t.Errorf("another content: %v, want ErrDigestInvalid", err)
	}
	if err := read(t, v, "app", text); !errors.Is(err, registry.ErrBlobUnknown) {
		t.Errorf("by a digest that it was not pushed with: %v, want ErrBlobUnknown", err)
	}
	body := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`, content.MediaTypeConfig, d, len(text))
	for _, tag := range []string{"", "v1", "v2", "../v3"} {
		want := error(nil)
		if strings.Contains(tag, "/") {
			want = registry.ErrTagInvalid
		}
		var tags []string
		if tag != "" {
			tags = []string{tag, tag}
		}
		m, err := v.PutManifest(t.Context(), "app", sha512Of(body).String(), "", body, tags...)
		if !errors.Is(err, want) || err == nil && (m.Digest != sha512Of(body) || len(m.Tags) != len(tags)/2) {
			t.Errorf("tag %q: %s with tags %v, %v", tag, m.Digest, m.Tags, err)
		}
	}
	if _, err := v.PutManifest(t.Context(), "app", sha512Of(nil).String(), "", body); !errors.Is(err, registry.ErrDigestInvalid) {
		t.Errorf("by another digest: %v, want ErrDigestInvalid", err)
	}
	for _, reference := range []string{"v1", "v2", sha512Of(body).String()} {
		if m, err := v.Manifest(t.Context(), "app", reference); err != nil || m.Digest != sha512Of(body) || string(m.Body) != string(body) {
			t.Errorf("%s: %s, %v", reference, m.Digest, err)
		}
	}
	must(t, v.MountBlob(t.Context(), "app", "copy", d))
	must(t, v.PutBlob(t.Context(), "app", content.FromBytes([]byte("config")), strings.NewReader("config")))
	signature := signatureOf("config", sha512Of(body))
	_, err = v.PutManifest(t.Context(), "app", "signed", "", signature)
	must(t, err)
	if got := referrers(t, v, "app", sha512Of(body)); len(got) != 1 || got[0] != content.FromBytes(signature) {
		t.Errorf("it is referred to by %v", got)
	}
	if got := referrers(t, v, "app", content.FromBytes(body)); len(got) > 0 {
		t.Errorf("by its other digest it is referred to by %v", got)
	}
	must(t, v.DeleteManifest(t.Context(), "app", sha512Of(body)))
	if tags, _, err := v.Tags(t.Context(), "app", "", 10); err != nil || len(tags) != 1 {
		t.Errorf("tags of what was deleted: %v, %v", tags, err)
	}
	must(t, v.DeleteBlob(t.Context(), "app", d))
}

// TestMountAnyBlob: where to mount from may be left open, and then means only what is named, or this registry.
func TestMountAnyBlob(t *testing.T) {
	w := newWorld(t)
	v, o := w.view(t, acme, registry.AllActions()...), w.view(t, other, registry.AllActions()...)
	push(t, v, "private", "v1", "layer")
	d := content.FromBytes([]byte("layer"))
	for name, err := range map[string]error{
		"another registry":              o.MountAnyBlob(t.Context(), nil, "mine", d),
		"none named":                    v.MountAnyBlob(t.Context(), []string{}, "mine", d),
		"others named":                  v.MountAnyBlob(t.Context(), []string{"mine", "none"}, "mine", d),
		"a blob that is not there":      v.MountAnyBlob(t.Context(), nil, "mine", content.FromBytes(nil)),
		"a blob that the named has not": v.MountAnyBlob(t.Context(), []string{"private"}, "mine", content.FromBytes(nil)),
	} {
		if !errors.Is(err, registry.ErrBlobUnknown) {
			t.Errorf("%s: %v, want ErrBlobUnknown", name, err)
		}
	}
	if err := read(t, v, "mine", "layer"); !errors.Is(err, registry.ErrBlobUnknown) {
		t.Errorf("it was mounted: %v", err)
	}
	must(t, v.MountAnyBlob(t.Context(), []string{"none", "private"}, "one", d))
	must(t, read(t, v, "one", "layer"))
	must(t, v.MountAnyBlob(t.Context(), nil, "two", d))
	must(t, read(t, v, "two", "layer"))
}

func TestReferrersLimits(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	image := content.FromBytes(push(t, v, "app", "v1", "config"))
	signature := signatureOf("config", image)
	_, err := v.PutManifest(t.Context(), "app", "signature", "", signature)
	must(t, err)
	for limit, want := range map[int]int{-1: 0, 0: 0, 1: 1, 1 << 62: 1} {
		page, more, err := v.Referrers(t.Context(), "app", registry.ReferrerQuery{Subject: image, Limit: limit})
		if err != nil || len(page) != want || more {
			t.Errorf("limit %d: %v, %v, %v", limit, page, more, err)
		}
	}
	if _, _, err := v.Referrers(t.Context(), "../app", registry.ReferrerQuery{Subject: image, Limit: 1}); !errors.Is(err, registry.ErrNameInvalid) {
		t.Errorf("%v, want ErrNameInvalid", err)
	}
}
