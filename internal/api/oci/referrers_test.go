package oci_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/internal/content"
)

const ociManifest = header("Content-Type: " + content.MediaTypeManifest)

// referrerOf gives a manifest that refers to subject; its config is text, more is further fields.
func referrerOf(text, subject, more string) string {
	return strings.Replace(imageOf(text), `"config"`, fmt.Sprintf(`"subject":{"mediaType":%q,"digest":%q,"size":1},%s"config"`, content.MediaTypeManifest, subject, more), 1)
}

// TestReferrerBodies compares what is written about referrers with testdata.
func TestReferrerBodies(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	image := digest(c.push("app", "v1", "config"))
	signature := referrerOf("config", image, `"artifactType":"application/vnd.example.signature+json",`)
	sbom := referrerOf("config", image, `"artifactType":"example/sbom","annotations":{"org.example.tool":"<scan> & co"},`)
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"subject":{"mediaType":%q,"digest":%q,"size":1}}`, content.MediaTypeIndex, content.MediaTypeManifest, image)
	plain, list := referrerOf("config", image, ""), "/v2/app/referrers/"+image

	for _, step := range []struct {
		name, method, target string
		body                 any
		headers              []header
	}{
		{"referrers-empty", "GET", list, nil, nil},
		{"referrers-of-no-repository", "GET", "/v2/none/referrers/" + image, nil, nil},
		{"manifest-with-subject", "PUT", "/v2/app/manifests/" + digest(signature), signature, []header{ociManifest}},
		{"manifest-with-subject-tag", "PUT", "/v2/app/manifests/sbom", sbom, []header{ociManifest}},
		{"manifest-with-tags", "PUT", "/v2/app/manifests/" + digest(plain) + "?tag=plain&tag=latest&tag=plain", plain, []header{ociManifest}},
		{"index-with-subject", "PUT", "/v2/app/manifests/index?tag=ignored", index, []header{"Content-Type: " + content.MediaTypeIndex}},
		{"referrers", "GET", list, nil, nil},
		{"referrers-head", "HEAD", list, nil, nil},
		{"referrers-filtered", "GET", list + "?artifactType=example%2Fsbom", nil, nil},
		{"referrers-filtered-plus", "GET", list + "?artifactType=application%2Fvnd.example.signature%2Bjson", nil, nil},
		{"referrers-filtered-none", "GET", list + "?artifactType=example/none", nil, nil},
		{"referrers-page", "GET", list + "?n=3", nil, nil},
		{"referrers-n-0", "GET", list + "?n=0", nil, nil},
	} {
		compare(t, step.name, strings.ReplaceAll(written(t, c.do(step.method, step.target, step.body, step.headers...)), w.host(), "HOST"))
	}
	for _, tag := range []string{"plain", "latest"} {
		if h, _ := c.want(http.StatusOK, "GET", "/v2/app/manifests/"+tag, nil); h.Get("Docker-Content-Digest") != digest(plain) {
			t.Errorf("%s leads to %s", tag, h.Get("Docker-Content-Digest"))
		}
	}
	c.want(http.StatusNotFound, "GET", "/v2/app/manifests/ignored", nil)
}

// digests walks the pages of a list of referrers.
func (c *client) digests(target string) (all []string, pages int) {
	c.w.t.Helper()
	for ; target != ""; pages++ {
		h, body := c.want(http.StatusOK, "GET", target, nil)
		var page struct{ Manifests []content.Descriptor }
		must(c.w.t, json.Unmarshal([]byte(body), &page))
		for _, d := range page.Manifests {
			all = append(all, d.Digest.String())
		}
		if len(body) > content.MaxManifest {
			c.w.t.Errorf("a page of %d bytes", len(body))
		}
		next, _, _ := strings.Cut(strings.TrimPrefix(h.Get("Link"), "<"), ">")
		target = next
	}
	return all, pages
}

func TestReferrerPages(t *testing.T) {
	c := newWorld(t).pusher()
	image := digest(c.push("app", "v1", "config"))
	var all, some []string
	for i := range 7 {
		text := referrerOf("config", image, fmt.Sprintf(`"artifactType":"example/a%%2B&%d","annotations":{"n":"%d"},`, i%2, i))
		c.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+digest(text), text, ociManifest)
		if all = append(all, digest(text)); i%2 == 0 {
			some = append(some, digest(text))
		}
	}
	slices.Sort(all)
	slices.Sort(some)
	list := "/v2/app/referrers/" + image
	for n := range 8 {
		if got, pages := c.digests(fmt.Sprintf("%s?n=%d", list, n+1)); !slices.Equal(got, all) || pages != (7+n)/(n+1) {
			t.Errorf("n=%d: %v in %d pages", n+1, got, pages)
		}
		if got, _ := c.digests(fmt.Sprintf("%s?artifactType=example/a%%252B%%260&n=%d", list, n+1)); !slices.Equal(got, some) {
			t.Errorf("of one type, n=%d: %v", n+1, got)
		}
	}
	c.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/"+all[3], nil)
	if got, _ := c.digests(list + "?n=2"); !slices.Equal(got, slices.Delete(slices.Clone(all), 3, 4)) {
		t.Errorf("after a deletion: %v", got)
	}
	c.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/"+image, nil)
	if got, _ := c.digests(list); len(got) != 6 {
		t.Errorf("without the subject: %v", got)
	}
}

// TestReferrersAreBounded tells the attack first: annotations of megabytes on each of many signatures, so that one small
// request is answered with all of them.
func TestReferrersAreBounded(t *testing.T) {
	c := newWorld(t).pusher()
	image := digest(c.push("app", "v1", "config"))
	const count, size = 9, 1 << 19
	for i := range count {
		text := referrerOf("config", image, fmt.Sprintf(`"annotations":{"n":"%d","<&>":"%s"},`, i, strings.Repeat("<", size)))
		c.want(http.StatusCreated, "PUT", fmt.Sprintf("/v2/app/manifests/v%d", i), text, ociManifest)
	}
	all, pages := c.digests("/v2/app/referrers/" + image)
	if slices.Sort(all); len(slices.Compact(all)) != count || pages != 2 {
		t.Errorf("%d referrers in %d pages", len(all), pages)
	}
}

// TestSHA512 pushes and pulls by sha512 alone, as a client does that trusts nothing else.
func TestSHA512(t *testing.T) {
	c := newWorld(t).pusher()
	long := func(text string) string {
		h := content.Digest("sha512:").NewHash()
		h.Write([]byte(text))
		return content.FromHash("sha512", h).String()
	}
	h, _ := c.want(http.StatusAccepted, "POST", "/v2/app/blobs/uploads/?digest-algorithm=sha512", nil)
	h, _ = c.want(http.StatusAccepted, "PATCH", h.Get("Location"), "con")
	h, _ = c.want(http.StatusCreated, "PUT", h.Get("Location")+"?digest="+long("config"), "fig")
	if h.Get("Docker-Content-Digest") != long("config") || h.Get("Location") != "/v2/app/blobs/"+long("config") {
		t.Errorf("created: %v", h)
	}
	if _, body := c.want(http.StatusOK, "GET", h.Get("Location"), nil); body != "config" {
		t.Errorf("got %q", body)
	}
	c.want(http.StatusNotFound, "GET", "/v2/app/blobs/"+digest("config"), nil)
	c.want(http.StatusBadRequest, "POST", "/v2/app/blobs/uploads/?digest="+long("config"), "other")
	c.want(http.StatusCreated, "POST", "/v2/other/blobs/uploads/?from=app&mount="+long("config"), nil)

	image := strings.ReplaceAll(imageOf("config"), digest("config"), long("config"))
	h, _ = c.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+long(image)+"?tag=v1&tag=v2", image, ociManifest)
	if h.Get("Docker-Content-Digest") != long(image) || !slices.Equal(h.Values("OCI-Tag"), []string{"v1", "v2"}) {
		t.Errorf("created: %v", h)
	}
	for _, reference := range []string{long(image), "v1", "v2"} {
		h, body := c.want(http.StatusOK, "GET", "/v2/app/manifests/"+reference, nil)
		if body != image || h.Get("Docker-Content-Digest") != long(image) || h.Get("Etag") != `"`+long(image)+`"` {
			t.Errorf("%s: %q, %v", reference, body, h)
		}
	}
	c.push("app", "v3", "plain")
	signature := referrerOf("plain", long(image), "")
	h, _ = c.want(http.StatusCreated, "PUT", "/v2/app/manifests/"+long(signature), signature, ociManifest)
	if h.Get("OCI-Subject") != long(image) {
		t.Errorf("created: %v", h)
	}
	if got, _ := c.digests("/v2/app/referrers/" + long(image)); !slices.Equal(got, []string{long(signature)}) {
		t.Errorf("referred to by %v", got)
	}
	c.want(http.StatusAccepted, "DELETE", "/v2/app/manifests/"+long(image), nil)
	c.want(http.StatusNotFound, "GET", "/v2/app/manifests/v1", nil)
	c.want(http.StatusAccepted, "DELETE", "/v2/app/blobs/"+long("config"), nil)
	c.want(http.StatusNotFound, "HEAD", "/v2/app/blobs/"+long("config"), nil)
}
