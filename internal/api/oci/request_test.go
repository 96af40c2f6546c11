package oci

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/registry"
)

const (
	sum    = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	long   = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
	upload = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]request{
		"GET /v2":                       {kind: kindBase},
		"HEAD /v2/":                     {kind: kindBase},
		"GET /v2/_catalog":              {kind: kindCatalog, limit: 1000},
		"GET /v2/_catalog?n=2&last=a/b": {kind: kindCatalog, limit: 2, last: "a/b"},
		"GET /v2/a/b/tags/list?n=99999999999999999999":         {kind: kindTags, repository: "a/b", limit: 1000},
		"GET /v2/a/tags/list?n=0":                              {kind: kindTags, repository: "a"},
		"GET /v2/app%2Fhello/manifests/v1":                     {kind: kindManifestGet, repository: "app/hello", reference: "v1"},
		"HEAD /v2/a/manifests/" + sum:                          {kind: kindManifestGet, repository: "a", reference: sum, digest: sum},
		"GET /v2/a/manifests/.INVALID":                         {kind: kindManifestGet, repository: "a", reference: ".INVALID"},
		"PUT /v2/a/manifests/v1":                               {kind: kindManifestPut, repository: "a", reference: "v1"},
		"PUT /v2/a/manifests/v1?tag=v2":                        {kind: kindManifestPut, repository: "a", reference: "v1"},
		"PUT /v2/a/manifests/" + sum + "?tag=v2&tag=v1&x=y":    {kind: kindManifestPut, repository: "a", reference: sum, digest: sum, tags: []string{"v2", "v1"}},
		"PUT /v2/a/manifests/" + long:                          {kind: kindManifestPut, repository: "a", reference: long, digest: long},
		"GET /v2/a/b/referrers/" + sum:                         {kind: kindReferrers, repository: "a/b", digest: sum, limit: 1000},
		"HEAD /v2/a/referrers/" + long + "?n=2&last=" + sum:    {kind: kindReferrers, repository: "a", digest: long, limit: 2, last: sum},
		"GET /v2/a/referrers/" + sum + "?artifactType=x%2Fy":   {kind: kindReferrers, repository: "a", digest: sum, limit: 1000, filter: "x/y"},
		"GET /v2/a/referrers/manifests/v1":                     {kind: kindManifestGet, repository: "a/referrers", reference: "v1"},
		"DELETE /v2/a/manifests/v1":                            {kind: kindTagDelete, repository: "a", reference: "v1"},
		"DELETE /v2/a/manifests/" + sum:                        {kind: kindManifestDelete, repository: "a", reference: sum, digest: sum},
		"GET /v2/manifests/blobs/manifests/tags":               {kind: kindManifestGet, repository: "manifests/blobs", reference: "tags"},
		"GET /v2/blobs/uploads/manifests/v1":                   {kind: kindManifestGet, repository: "blobs/uploads", reference: "v1"},
		"GET /v2/a/blobs/" + sum:                               {kind: kindBlobGet, repository: "a", digest: sum},
		"DELETE /v2/a/blobs/" + sum:                            {kind: kindBlobDelete, repository: "a", digest: sum},
		"POST /v2/a/blobs/uploads/":                            {kind: kindUploadStart, repository: "a"},
		"POST /v2/a/blobs/uploads":                             {kind: kindUploadStart, repository: "a"},
		"POST /v2/a/blobs/uploads/?digest=" + sum:              {kind: kindUploadStart, repository: "a", digest: sum},
		"POST /v2/a/blobs/uploads/?from=b/c&mount=" + sum:      {kind: kindUploadStart, repository: "a", mount: sum, from: "b/c"},
		"POST /v2/a/blobs/uploads/?from=../b&mount=" + sum:     {kind: kindUploadStart, repository: "a"},
		"POST /v2/a/blobs/uploads/?mount=" + sum:               {kind: kindUploadStart, repository: "a", mount: sum},
		"POST /v2/a/blobs/uploads/?digest-algorithm=sha512":    {kind: kindUploadStart, repository: "a"},
		"POST /v2/a/blobs/uploads/?from=b&mount=x":             {kind: kindUploadStart, repository: "a"},
		"GET /v2/a/blobs/uploads/" + upload:                    {kind: kindUploadStatus, repository: "a", upload: upload},
		"PATCH /v2/a/blobs/uploads/" + upload:                  {kind: kindUploadAppend, repository: "a", upload: upload},
		"PUT /v2/a/blobs/uploads/" + upload + "?digest=" + sum: {kind: kindUploadCommit, repository: "a", upload: upload, digest: sum},
		"DELETE /v2/a/blobs/uploads/" + upload:                 {kind: kindUploadCancel, repository: "a", upload: upload},
	} {
		got, err := parseLine(t, line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]error{
		"GET /":                                         errNoRoute,
		"GET /v1/a/tags/list":                           errNoRoute,
		"GET /v2/a":                                     errNoRoute,
		"GET /v2/a/tags":                                errNoRoute,
		"GET /v2/a/tags/list/":                          errNoRoute,
		"GET /v2/a/referrers/":                          content.ErrDigestInvalid,
		"GET /v2/a/referrers/v1":                        content.ErrDigestInvalid,
		"GET /v2/a/referrers/sha256:..":                 content.ErrDigestInvalid,
		"GET /v2/a/referrers/" + sum + "?n=-1":          errPage,
		"GET /v2/referrers/" + sum:                      registry.ErrNameInvalid,
		"PUT /v2/a/manifests/" + sum + "?tag=v1&tag=.x": registry.ErrTagInvalid,
		"PUT /v2/a/manifests/" + sum + "?tag=":          registry.ErrTagInvalid,
		"PUT /v2/a/manifests/" + sum + "?" + strings.Repeat("tag=v1&", maxTags+1): errTags,
		"POST /v2/a/blobs/uploads/?digest-algorithm=md5":                          errHash,
		"GET /v2/a/uploads/" + upload:                                             errNoRoute,
		"GET /v2//manifests/v1":                                                   registry.ErrNameInvalid,
		"GET /v2/manifests/v1":                                                    registry.ErrNameInvalid,
		"GET /v2/a//b/manifests/v1":                                               registry.ErrNameInvalid,
		"GET /v2/../../etc/manifests/passwd":                                      registry.ErrNameInvalid,
		"GET /v2/a/%2e%2e/b/manifests/v1":                                         registry.ErrNameInvalid,
		"GET /v2/a%00b/manifests/v1":                                              registry.ErrNameInvalid,
		"GET /v2/A/tags/list":                                                     registry.ErrNameInvalid,
		"GET /v2/" + strings.Repeat("a", 256) + "/tags/list":                      registry.ErrNameInvalid,
		"PUT /v2/a/manifests/.x":                                                  registry.ErrTagInvalid,
		"PUT /v2/a/manifests/" + strings.Repeat("t", 129):                         registry.ErrTagInvalid,
		"GET /v2/a/manifests/sha256:..":                                           content.ErrDigestInvalid,
		"GET /v2/a/blobs/sha256:%2e%2e%2f":                                        errNoRoute,
		"GET /v2/a/blobs/latest":                                                  content.ErrDigestInvalid,
		"PUT /v2/a/blobs/uploads/" + upload:                                       content.ErrDigestInvalid,
		"POST /v2/a/blobs/uploads/?digest=sha256:1":                               content.ErrDigestInvalid,
		"GET /v2/_catalog?n=-1":                                                   errPage,
		"GET /v2/a/tags/list?n=many":                                              errPage,
		"POST /v2/":                                                               errMethod,
		"DELETE /v2/_catalog":                                                     errMethod,
		"PUT /v2/a/tags/list":                                                     errMethod,
		"POST /v2/a/manifests/v1":                                                 errMethod,
		"PUT /v2/a/blobs/" + sum:                                                  errMethod,
		"GET /v2/a/blobs/uploads/":                                                errMethod,
		"DELETE /v2/a/referrers/" + sum:                                           errMethod,
		"OPTIONS /v2/a/blobs/uploads/" + upload:                                   errMethod,
	} {
		if got, err := parseLine(t, line); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v, want %v", line, got, err, want)
		}
	}
}

// parseLine parses "METHOD path?query", where the path may be percent-encoded, as net/http would.
func parseLine(t *testing.T, line string) (request, error) {
	t.Helper()
	method, target, _ := strings.Cut(line, " ")
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return parse(method, u.Path, u.Query())
}

// TestEveryKindDeclaresItsRight walks the table: no kind of request may be answered without a right that somebody can
// hold.
func TestEveryKindDeclaresItsRight(t *testing.T) {
	for k, op := range table {
		r := request{kind: kind(k), repository: "a"}
		scopeType, name := r.scope()
		switch {
		case op.handle == nil:
			t.Errorf("kind %d has no handler", k)
		case op.anyRight && kind(k) != kindBase:
			t.Errorf("kind %d is open to any right", k)
		case !op.anyRight && len(op.needs) == 0:
			t.Errorf("kind %d declares no right", k)
		}
		for _, need := range op.needs {
			if a, ok := registry.ActionOf(scopeType, name, need); !ok || a.Name == "" {
				t.Errorf("kind %d needs %q, which is no action", k, need)
			}
		}
		for ask := range strings.SplitSeq(op.asks, ",") {
			if _, ok := registry.ActionOf(scopeType, name, ask); !ok && !op.anyRight {
				t.Errorf("kind %d asks for %q, which is no action", k, ask)
			}
		}
		if len(op.needs) > 0 && !strings.Contains(op.asks, op.needs[0]) {
			t.Errorf("kind %d needs %q but asks for %q", k, op.needs[0], op.asks)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	if start, size, err := parseContentRange("5-9"); start != 5 || size != 5 || err != nil {
		t.Errorf("%d, %d, %v", start, size, err)
	}
	for _, s := range []string{"", "-", "5", "5-", "-5", "9-5", "bytes 0-1/2", "bytes=0-1", "0-9223372036854775807", "0-9223372036854775808", "+1-2", "0x1-2", "1-2-3", " 1-2"} {
		if start, size, err := parseContentRange(s); !errors.Is(err, registry.ErrRangeInvalid) {
			t.Errorf("%q: %d, %d, %v", s, start, size, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("GET", "/v2/a/manifests/v1", "n=1")
	f.Add("PUT", "/v2/a/blobs/uploads/"+upload, "digest="+sum)
	f.Add("POST", "/v2/a/../b/blobs/uploads/", "mount="+sum+"&from=x")
	f.Add("GET", "/v2/a/referrers/"+long, "artifactType=x&n=2&last="+sum)
	f.Add("PUT", "/v2/a/manifests/"+sum, "tag=v1&tag=v2")
	f.Fuzz(func(t *testing.T, method, path, rawQuery string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		r, err := parse(method, path, query)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.NotFound && k != fault.Unsupported {
				t.Fatalf("kind %s: %v", k, err)
			}
			return
		}
		named := r.kind != kindBase && r.kind != kindCatalog
		switch {
		case r.kind >= kinds, named != (r.repository != ""), named && !content.ValidRepository(r.repository):
			t.Fatalf("%s %q gives %+v", method, path, r)
		case r.from != "" && (!content.ValidRepository(r.from) || r.mount == ""):
			t.Fatalf("mounts from %q", r.from)
		case named && !strings.HasPrefix(path, "/v2/"+r.repository+"/"):
			t.Fatalf("%q names %q", path, r.repository)
		case len(r.tags) > maxTags, slices.ContainsFunc(r.tags, func(tag string) bool { return !content.ValidTag(tag) }):
			t.Fatalf("tags %q", r.tags)
		case r.limit < 0 || r.limit > registry.MaxPage:
			t.Fatalf("a page of %d", r.limit)
		}
		for _, d := range []content.Digest{r.digest, r.mount} {
			if _, err := content.ParseDigest(string(d)); d != "" && err != nil {
				t.Fatalf("digest %q", d)
			}
		}
		if _, err := parse(http.MethodGet, path, query); method == http.MethodHead && err != nil {
			t.Fatalf("HEAD where GET is refused: %v", err)
		}
	})
}

func FuzzParseContentRange(f *testing.F) {
	f.Add("0-99")
	f.Fuzz(func(t *testing.T, s string) {
		if start, size, err := parseContentRange(s); err == nil && (start < 0 || size < 1 || start+size < start) {
			t.Fatalf("%q gives %d, %d", s, start, size)
		}
	})
}
