package oci_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

func TestPushAndPull(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	manifest := c.push("team/app", "v1", "config")
	for _, target := range []string{"/v2/team/app/manifests/v1", "/v2/team/app/manifests/" + digest(manifest), "/v2/team%2Fapp/manifests/v1"} {
		h, body := c.want(http.StatusOK, "GET", target, nil)
		if body != manifest || h.Get("Content-Type") != content.MediaTypeManifest || h.Get("Docker-Content-Digest") != digest(manifest) ||
			h.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
			t.Errorf("%s: %q, %v", target, body, h)
		}
		h, body = c.want(http.StatusOK, "HEAD", target, nil)
		if body != "" || h.Get("Content-Length") != fmt.Sprint(len(manifest)) || h.Get("Docker-Content-Digest") != digest(manifest) {
			t.Errorf("HEAD %s: %q, %v", target, body, h)
		}
	}
	c.want(http.StatusNotModified, "GET", "/v2/team/app/manifests/v1", nil, header(`If-None-Match: "`+digest(manifest)+`"`))
	c.want(http.StatusAccepted, "DELETE", "/v2/team/app/manifests/v1", nil)
	c.want(http.StatusNotFound, "GET", "/v2/team/app/manifests/v1", nil)
	c.want(http.StatusAccepted, "DELETE", "/v2/team/app/manifests/"+digest(manifest), nil)
	c.want(http.StatusNotFound, "GET", "/v2/team/app/manifests/"+digest(manifest), nil)
	c.want(http.StatusAccepted, "DELETE", "/v2/team/app/blobs/"+digest("config"), nil)
	c.want(http.StatusNotFound, "HEAD", "/v2/team/app/blobs/"+digest("config"), nil)
}

func TestBlobRanges(t *testing.T) {
	c := newWorld(t).pusher()
	const text = "0123456789"
	target := "/v2/app/blobs/" + digest(text)
	c.push("app", "v1", text)
	for _, r := range []struct {
		asked  header
		status int
		body   string
		is     string
	}{
		{"X-None: 1", http.StatusOK, text, ""},
		{"Range: bytes=2-4", http.StatusPartialContent, "234", "bytes 2-4/10"},
		{"Range: bytes=7-", http.StatusPartialContent, "789", "bytes 7-9/10"},
		{"Range: bytes=-3", http.StatusPartialContent, "789", "bytes 7-9/10"},
		{"Range: bytes=5-99", http.StatusPartialContent, "56789", "bytes 5-9/10"},
		{"Range: bytes=0-1,3-4", http.StatusOK, text, ""},
		{header(`If-None-Match: "` + digest(text) + `"`), http.StatusNotModified, "", ""},
		{"Range: bytes=10-", http.StatusRequestedRangeNotSatisfiable, "", "bytes */10"},
		{"Range: bytes=4-2", http.StatusRequestedRangeNotSatisfiable, "", ""},
	} {
		h, body := c.want(r.status, "GET", target, nil, r.asked)
		if h.Get("Content-Range") != r.is || r.status < 300 && body != r.body {
			t.Errorf("%s: %q, %q, want %q, %q", r.asked, body, h.Get("Content-Range"), r.body, r.is)
		}
	}
	h, _ := c.want(http.StatusOK, "HEAD", target, nil, "Range: bytes=2-4")
	if h.Get("Content-Length") != "10" || h.Get("Accept-Ranges") != "bytes" || h.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("HEAD: %v", h)
	}
}

func TestChunkedUpload(t *testing.T) {
	c := newWorld(t).pusher()
	h, _ := c.want(http.StatusAccepted, "POST", "/v2/app/blobs/uploads/", nil)
	location := h.Get("Location")
	if strings.Contains(location, "?") || h.Get("Range") != "0-0" {
		t.Errorf("state of the upload is not in the path: %q, %v", location, h)
	}
	for _, chunk := range []struct {
		body, at string
		status   int
		have     string
	}{
		{"hello", "0-4", http.StatusAccepted, "0-4"},
		{"hello", "0-4", http.StatusRequestedRangeNotSatisfiable, "0-4"},
		{"world", "7-11", http.StatusRequestedRangeNotSatisfiable, "0-4"},
		{"world", "five", http.StatusRequestedRangeNotSatisfiable, "0-4"},
		{", wo", "5-6", http.StatusBadRequest, "0-4"},
		{", ", "5-6", http.StatusAccepted, "0-6"},
	} {
		h, _ := c.want(chunk.status, "PATCH", location, chunk.body, header("Content-Range: "+chunk.at))
		if h.Get("Range") != chunk.have || h.Get("Location") != location {
			t.Errorf("%q at %s: %v", chunk.body, chunk.at, h)
		}
	}
	h, _ = c.want(http.StatusNoContent, "GET", location, nil)
	if h.Get("Range") != "0-6" {
		t.Errorf("status: %v", h)
	}
	c.want(http.StatusRequestedRangeNotSatisfiable, "PUT", location+"?digest="+digest("hello, world"), "world", "Content-Range: 6-10")
	h, _ = c.want(http.StatusCreated, "PUT", location+"?digest="+digest("hello, world"), "world", "Content-Range: 7-11")
	if h.Get("Docker-Content-Digest") != digest("hello, world") {
		t.Errorf("created: %v", h)
	}
	if _, body := c.want(http.StatusOK, "GET", h.Get("Location"), nil); body != "hello, world" {
		t.Errorf("got %q", body)
	}
	c.want(http.StatusNotFound, "GET", location, nil)

	h, _ = c.want(http.StatusAccepted, "POST", "/v2/app/blobs/uploads/", nil)
	c.want(http.StatusNoContent, "DELETE", h.Get("Location"), nil)
	c.want(http.StatusNotFound, "PATCH", h.Get("Location"), "x")
}

func TestMount(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	c.push("source", "v1", "layer")
	mount := func(from string) string {
		return "/v2/target/blobs/uploads/?mount=" + digest("layer") + "&from=" + from
	}
	c.want(http.StatusAccepted, "POST", mount("elsewhere"), nil)
	c.want(http.StatusAccepted, "POST", mount("../source"), nil)
	c.want(http.StatusNotFound, "HEAD", "/v2/target/blobs/"+digest("layer"), nil)

	// A token that opens only the target must not read the source, though its principal might: it is told which would. Whether
	// there is such a blob, or such a repository, changes nothing.
	narrow := c.withToken("repository:target:pull,push")
	for _, from := range []string{"source", "elsewhere"} {
		h, _ := narrow.want(http.StatusUnauthorized, "POST", mount(from), nil)
		if want := `scope="repository:target:pull,push repository:` + from + `:pull",error="insufficient_scope"`; !strings.HasSuffix(h.Get("WWW-Authenticate"), want) {
			t.Errorf("challenge %q, want %q", h.Get("WWW-Authenticate"), want)
		}
	}
	// Nor where it leaves open from where.
	narrow.want(http.StatusAccepted, "POST", mount(""), nil)
	narrow.want(http.StatusNotFound, "HEAD", "/v2/target/blobs/"+digest("layer"), nil)
	// A principal that may not read at all goes on with an upload, as no other token would help it.
	blind := w.client()
	blind.allow(registry.ActionPush)
	for _, from := range []string{"source", "elsewhere", ""} {
		blind.withToken("repository:target:pull,push").want(http.StatusAccepted, "POST", mount(from), nil)
		blind.want(http.StatusAccepted, "POST", mount(from), nil)
	}
	narrow.want(http.StatusNotFound, "HEAD", "/v2/target/blobs/"+digest("layer"), nil)

	wide := c.withToken("repository:target:pull,push repository:source:pull")
	for name, mounted := range map[string]func(){
		"from the source":                   func() { wide.want(http.StatusCreated, "POST", mount("source"), nil) },
		"from wherever the token opens":     func() { wide.want(http.StatusCreated, "POST", mount(""), nil) },
		"from wherever the principal reads": func() { c.want(http.StatusCreated, "POST", mount(""), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			mounted()
			c.want(http.StatusOK, "HEAD", "/v2/target/blobs/"+digest("layer"), nil)
			c.want(http.StatusAccepted, "DELETE", "/v2/target/blobs/"+digest("layer"), nil)
			c.want(http.StatusNotFound, "HEAD", "/v2/target/blobs/"+digest("layer"), nil)
			c.want(http.StatusOK, "HEAD", "/v2/source/blobs/"+digest("layer"), nil)
		})
	}
}

func TestPages(t *testing.T) {
	c := newWorld(t).pusher()
	var tags, repositories []string
	for i := range 7 {
		tags, repositories = append(tags, fmt.Sprintf("v%d", i)), append(repositories, fmt.Sprintf("r/%d", i))
		c.push("app", tags[i], "config")
		c.push(repositories[i], "v1", "config")
	}
	repositories = append([]string{"app"}, repositories...)
	walk := func(target string) (all []string) {
		for target != "" {
			h, body := c.want(http.StatusOK, "GET", target, nil)
			var page struct{ Tags, Repositories []string }
			must(t, json.Unmarshal([]byte(body), &page))
			all = append(append(all, page.Tags...), page.Repositories...)
			next, _, _ := strings.Cut(strings.TrimPrefix(h.Get("Link"), "<"), ">")
			target = next
		}
		return all
	}
	for _, n := range []string{"?n=1", "?n=3", "?n=7", "?n=5000", ""} {
		if got := walk("/v2/app/tags/list" + n); !slices.Equal(got, tags) {
			t.Errorf("tags%s: %v", n, got)
		}
		if got := walk("/v2/_catalog" + n); !slices.Equal(got, repositories) {
			t.Errorf("catalog%s: %v", n, got)
		}
	}
	h, body := c.want(http.StatusOK, "GET", "/v2/app/tags/list?n=0", nil)
	if strings.TrimSpace(body) != `{"name":"app","tags":[]}` || h.Get("Link") != "" {
		t.Errorf("n=0: %s, %v", body, h)
	}
}

// TestRightsAreAskedAtEveryRequest takes a role away and gives it back: the same token stops working at once and works
// again at once.
func TestRightsAreAskedAtEveryRequest(t *testing.T) {
	w := newWorld(t)
	w.pusher().push("app", "v1", "config")
	c := w.client()
	granted := c.assign("AcrPull")
	reader := c.withToken("repository:app:pull,push,delete,metadata_read")
	for range 2 {
		reader.want(http.StatusOK, "GET", "/v2/app/manifests/v1", nil)
		reader.want(http.StatusOK, "GET", "/v2/app/tags/list", nil)
		reader.want(http.StatusOK, "GET", "/v2/app/referrers/"+digest("config"), nil)
		reader.want(http.StatusUnauthorized, "POST", "/v2/app/blobs/uploads/", nil)
		reader.want(http.StatusUnauthorized, "DELETE", "/v2/app/manifests/v1", nil)
		must(t, w.engine.Unassign(t.Context(), granted.ID))
		for _, target := range []string{"/v2/", "/v2/app/manifests/v1", "/v2/app/tags/list", "/v2/app/referrers/" + digest("config"), "/v2/app/blobs/" + digest("config")} {
			reader.want(http.StatusUnauthorized, "GET", target, nil)
		}
		granted = c.assign("AcrPull")
	}
}

// TestTokenBoundsThePrincipal: whatever the principal may do, a token opens only what it names.
func TestTokenBoundsThePrincipal(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	c.push("app", "v1", "config")
	for scopes, refused := range map[string][]string{
		"":                               {"GET /v2/app/manifests/v1", "GET /v2/app/tags/list", "GET /v2/_catalog"},
		"repository:app:pull":            {"PUT /v2/app/manifests/v1", "POST /v2/app/blobs/uploads/", "DELETE /v2/app/manifests/v1", "GET /v2/_catalog"},
		"repository:app:push":            {"GET /v2/app/manifests/v1", "GET /v2/app/referrers/" + digest("config"), "DELETE /v2/app/manifests/v1", "GET /v2/app/tags/list"},
		"repository:app:delete":          {"GET /v2/app/manifests/v1", "PUT /v2/app/manifests/v1"},
		"repository:app/other:pull":      {"GET /v2/app/manifests/v1", "GET /v2/app/referrers/" + digest("config")},
		"repository:app:metadata_read":   {"GET /v2/app/manifests/v1", "GET /v2/app/referrers/" + digest("config")},
		"repository:ap:pull,push,delete": {"GET /v2/app/manifests/v1", "DELETE /v2/app/manifests/v1"},
		"registry:catalog:*":             {"GET /v2/app/manifests/v1"},
		"repository:app:*":               {"GET /v2/app/manifests/v1"},
		"repository:catalog:*":           {"GET /v2/_catalog"},
		"registry:app:pull":              {"GET /v2/app/manifests/v1"},
	} {
		for _, line := range refused {
			method, target, _ := strings.Cut(line, " ")
			c.withToken(scopes).want(http.StatusUnauthorized, method, target, nil)
		}
	}
	c.withToken("repository:app:metadata_read").want(http.StatusOK, "GET", "/v2/app/tags/list", nil)
	c.withToken("repository:app:pull").want(http.StatusOK, "GET", "/v2/app/tags/list", nil)
	c.withToken("registry:catalog:*").want(http.StatusOK, "GET", "/v2/_catalog", nil)
	c.withToken("").want(http.StatusOK, "GET", "/v2/", nil)
}

// TestClientGoesAway cuts the connection in the middle of a chunk. What arrived is kept, the upload goes on from there,
// and nothing stays open.
func TestClientGoesAway(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	h, _ := c.want(http.StatusAccepted, "POST", "/v2/app/blobs/uploads/", nil)
	location := h.Get("Location")
	auth := http.Header{}
	c.authorize(auth)
	conn := w.dial()
	_, err := fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", location, w.host(), auth.Get("Authorization"))
	must(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n') // now the handler is reading the body
	if err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	_, err = conn.Write([]byte(strings.Repeat("a", 100)))
	must(t, errors.Join(err, conn.Close()))

	// The next chunk waits until the first has ended.
	h, _ = c.want(http.StatusAccepted, "PATCH", location, strings.Repeat("b", 10), "Content-Range: 100-109")
	if h.Get("Range") != "0-109" {
		t.Errorf("range %q", h.Get("Range"))
	}
	want := strings.Repeat("a", 100) + strings.Repeat("b", 10)
	h, _ = c.want(http.StatusCreated, "PUT", location+"?digest="+digest(want), nil)
	if _, body := c.want(http.StatusOK, "GET", h.Get("Location"), nil); body != want {
		t.Errorf("got %q", body)
	}
	w.noUploadsLeft()
}

func (w *world) noUploadsLeft() {
	w.t.Helper()
	left, err := os.ReadDir(filepath.Join(w.dir, "content", "uploads"))
	must(w.t, err)
	if len(left) > 0 {
		w.t.Errorf("left %v", left)
	}
}

// TestMonolithicUploadCutOff leaves nothing behind.
func TestMonolithicUploadCutOff(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	auth := http.Header{}
	c.authorize(auth)
	conn := w.dial()
	_, err := fmt.Fprintf(conn, "POST /v2/app/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: 1000\r\n\r\nabc", digest("abc"), w.host(), auth.Get("Authorization"))
	must(t, errors.Join(err, conn.CloseWrite()))
	answer, err := io.ReadAll(conn) // until the handler has ended
	if must(t, errors.Join(err, conn.Close())); strings.Contains(string(answer), " 201 ") {
		t.Errorf("answered %q", answer)
	}
	c.want(http.StatusNotFound, "HEAD", "/v2/app/blobs/"+digest("abc"), nil)
	w.noUploadsLeft()
}

func TestUploadGoesOnAfterARestart(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	h, _ := c.want(http.StatusAccepted, "POST", "/v2/app/blobs/uploads/", nil)
	location := h.Get("Location")
	c.want(http.StatusAccepted, "PATCH", location, "hello, ")
	w.stop()
	w.start()
	h, _ = c.want(http.StatusNoContent, "GET", location, nil)
	if h.Get("Range") != "0-6" {
		t.Errorf("range %q", h.Get("Range"))
	}
	c.want(http.StatusCreated, "PUT", location+"?digest="+digest("hello, world"), "world")
}

// TestTheSameBlobFromManyClients lets clients push one blob and their own tags at once.
func TestTheSameBlobFromManyClients(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	layer := strings.Repeat("layer", 20_000)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			repository := fmt.Sprintf("app/%d", i%3)
			status := func(method, target, body string, headers ...header) int {
				r := c.do(method, target, body, headers...)
				_, err := io.Copy(io.Discard, r.Body)
				if err = errors.Join(err, r.Body.Close()); err != nil {
					t.Error(err)
				}
				return r.StatusCode
			}
			if got := status("POST", "/v2/"+repository+"/blobs/uploads/?digest="+digest(layer), layer); got != http.StatusCreated {
				t.Errorf("blob: %d", got)
			}
			if got := status("PUT", fmt.Sprintf("/v2/%s/manifests/v%d", repository, i), imageOf(layer), header("Content-Type: "+content.MediaTypeManifest)); got != http.StatusCreated {
				t.Errorf("manifest: %d", got)
			}
		})
	}
	wg.Wait()
	for i := range 8 {
		c.want(http.StatusOK, "GET", fmt.Sprintf("/v2/app/%d/manifests/v%d", i%3, i), nil)
	}
	w.noUploadsLeft()
}

// TestPathsDoNotEscape sends names that are paths; none may reach a file, and none may be redirected.
func TestPathsDoNotEscape(t *testing.T) {
	c := newWorld(t).pusher()
	for _, target := range []string{
		"/v2/..%2f..%2fetc/manifests/passwd", "/v2/app/blobs/sha256:..%2f..%2fx", "/v2/app/manifests/..%2f..%2fx",
		"/v2/app/blobs/uploads/..%2f..%2fx", "/v2//app/manifests/v1", "/v2/app/./manifests/v1", "/v2/app%00/manifests/v1",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "PATCH"} {
			r := c.do(method, target, "x")
			_ = r.Body.Close()
			if r.StatusCode < 400 || r.StatusCode > 405 {
				t.Errorf("%s %s: %d", method, target, r.StatusCode)
			}
		}
	}
}

// BenchmarkManifestByTag counts manifests a second with authentication, over HTTPS from as many clients as there are
// processors.
func BenchmarkManifestByTag(b *testing.B) {
	w := newWorld(b)
	w.pusher().push("app", "v1", "config")
	reader := w.client("AcrPull").withToken("repository:app:pull")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			reader.want(http.StatusOK, "GET", "/v2/app/manifests/v1", nil)
		}
	})
}
