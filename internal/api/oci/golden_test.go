package oci_test

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/content"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestErrorBodies compares status, headers and body of every error that the surface has with testdata.
func TestErrorBodies(t *testing.T) {
	w := newWorld(t)
	pusher, stranger := w.pusher(), w.client()
	nobody, wrong := &client{w: w}, w.pusher()
	wrong.password = "wrong"
	forged := &client{w: w, token: "eyJhbGciOiJub25lIn0.e30."}
	manifest := pusher.push("app", "v1", "config")
	h, _ := pusher.want(http.StatusAccepted, "POST", "/v2/app/blobs/uploads/", nil)
	upload, none := h.Get("Location"), digest("none")
	oci := header("Content-Type: " + content.MediaTypeManifest)

	for name, c := range map[string]struct {
		who            *client
		method, target string
		body           any
		headers        []header
	}{
		"challenge-base":             {nobody, "GET", "/v2/", nil, nil},
		"challenge-pull":             {nobody, "GET", "/v2/app%2Fhello/manifests/v1", nil, nil},
		"challenge-push":             {nobody, "PUT", "/v2/app/manifests/v1", "not looked at", nil},
		"challenge-upload":           {nobody, "POST", "/v2/app/blobs/uploads/", nil, nil},
		"challenge-mount":            {nobody, "POST", "/v2/app/blobs/uploads/?from=b&mount=" + none, nil, nil},
		"challenge-delete":           {nobody, "DELETE", "/v2/app/manifests/v1", nil, nil},
		"challenge-tags":             {nobody, "GET", "/v2/app/tags/list", nil, nil},
		"challenge-referrers":        {nobody, "GET", "/v2/app/referrers/" + none, nil, nil},
		"challenge-catalog":          {nobody, "GET", "/v2/_catalog", nil, nil},
		"challenge-forged-token":     {forged, "GET", "/v2/app/manifests/v1", nil, nil},
		"wrong-password":             {wrong, "GET", "/v2/", nil, nil},
		"no-role":                    {stranger, "GET", "/v2/app/manifests/v1", nil, nil},
		"no-role-base":               {stranger, "GET", "/v2/", nil, nil},
		"no-role-referrers":          {stranger, "GET", "/v2/app/referrers/" + none, nil, nil},
		"token-without-from":         {pusher.withToken("repository:app:pull,push"), "POST", "/v2/app/blobs/uploads/?from=b&mount=" + none, nil, nil},
		"token-without-scope":        {pusher.withToken("repository:app:pull"), "PUT", "/v2/app/manifests/v1", manifest, nil},
		"registry-unknown":           {pusher, "GET", "/v2/", nil, []header{"Host: none.azurecr.test"}},
		"path-unknown":               {pusher, "GET", "/v2/app", nil, nil},
		"method":                     {pusher, "POST", "/v2/app/manifests/v1", nil, nil},
		"name-invalid":               {pusher, "GET", "/v2/App/manifests/v1", nil, nil},
		"name-unknown":               {pusher, "GET", "/v2/none/manifests/v1", nil, nil},
		"name-unknown-tags":          {pusher, "GET", "/v2/none/tags/list", nil, nil},
		"page-number":                {pusher, "GET", "/v2/app/tags/list?n=-1", nil, nil},
		"tag-unknown":                {pusher, "GET", "/v2/app/manifests/v2", nil, nil},
		"tag-unknown-delete":         {pusher, "DELETE", "/v2/app/manifests/v2", nil, nil},
		"tag-invalid":                {pusher, "PUT", "/v2/app/manifests/-v2", manifest, nil},
		"manifest-unknown":           {pusher, "GET", "/v2/app/manifests/" + none, nil, nil},
		"manifest-not-json":          {pusher, "PUT", "/v2/app/manifests/v2", "{", []header{oci}},
		"manifest-other-type":        {pusher, "PUT", "/v2/app/manifests/v2", "{}", []header{"Content-Type: text/plain"}},
		"manifest-other-digest":      {pusher, "PUT", "/v2/app/manifests/" + none, manifest, []header{oci}},
		"manifest-bad-descriptor":    {pusher, "PUT", "/v2/app/manifests/v2", strings.Replace(manifest, `"sha256:`, `"sha257:`, 1), []header{oci}},
		"manifest-bad-subject":       {pusher, "PUT", "/v2/app/manifests/v2", strings.Replace(manifest, `"layers"`, `"subject":{"mediaType":"x/y","digest":"sha256:../x","size":1},"layers"`, 1), []header{oci}},
		"manifest-too-many-tags":     {pusher, "PUT", "/v2/app/manifests/" + digest(manifest) + "?" + strings.Repeat("tag=v2&", 65), manifest, []header{oci}},
		"manifest-bad-more-tag":      {pusher, "PUT", "/v2/app/manifests/" + digest(manifest) + "?tag=v2&tag=-v2", manifest, []header{oci}},
		"manifest-wrong-size":        {pusher, "PUT", "/v2/app/manifests/v2", strings.Replace(manifest, `"size":6`, `"size":7`, 1), []header{oci}},
		"manifest-blob-unknown":      {pusher, "PUT", "/v2/app/manifests/v2", imageOf("none"), []header{oci}},
		"manifest-too-large":         {pusher, "PUT", "/v2/app/manifests/v2", strings.Repeat(" ", content.MaxManifest+1), []header{oci}},
		"manifest-too-large-chunked": {pusher, "PUT", "/v2/app/manifests/v2", io.MultiReader(strings.NewReader(strings.Repeat(" ", content.MaxManifest+1))), []header{oci}},
		"referrers-digest-invalid":   {pusher, "GET", "/v2/app/referrers/sha256:1", nil, nil},
		"referrers-method":           {pusher, "DELETE", "/v2/app/referrers/" + none, nil, nil},
		"upload-algorithm-unknown":   {pusher, "POST", "/v2/app/blobs/uploads/?digest-algorithm=md5", nil, nil},
		"blob-unknown":               {pusher, "GET", "/v2/app/blobs/" + none, nil, nil},
		"blob-digest-invalid":        {pusher, "GET", "/v2/app/blobs/sha256:1", nil, nil},
		"blob-range":                 {pusher, "GET", "/v2/app/blobs/" + digest("config"), nil, []header{"Range: bytes=6-"}},
		"blob-other-digest":          {pusher, "POST", "/v2/app/blobs/uploads/?digest=" + none, "other", nil},
		"upload-unknown":             {pusher, "PATCH", "/v2/app/blobs/uploads/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "x", nil},
		"upload-of-another":          {pusher, "PATCH", strings.Replace(upload, "/app/", "/other/", 1), "x", nil},
		"upload-out-of-order":        {pusher, "PATCH", upload, "x", []header{"Content-Range: 5-5"}},
		"upload-size":                {pusher, "PATCH", upload, "x", []header{"Content-Range: 0-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.who.do(c.method, c.target, c.body, c.headers...)
			compare(t, name, strings.NewReplacer(w.host(), "HOST", upload, "UPLOAD", strings.TrimPrefix(upload, "/v2/app/blobs/uploads/"), "ID").Replace(written(t, r)))
		})
	}
}

// written gives status, headers of the protocol and body as they are kept in testdata.
func written(t *testing.T, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	must(t, err)
	_ = r.Body.Close()
	got := fmt.Sprintf("%d %s\n", r.StatusCode, http.StatusText(r.StatusCode))
	for _, h := range []string{
		"WWW-Authenticate", "Docker-Distribution-Api-Version", "Content-Type", "Allow", "Range", "Location",
		"Docker-Content-Digest", "OCI-Subject", "OCI-Tag", "OCI-Filters-Applied", "Link",
	} {
		for _, v := range r.Header.Values(h) {
			got += h + ": " + v + "\n"
		}
	}
	return got + "\n" + string(text)
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
