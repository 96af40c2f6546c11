package oci

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/registry"
)

// kind is what a request asks for.
type kind uint8

const (
	kindBase kind = iota
	kindCatalog
	kindTags
	kindManifestGet
	kindManifestPut
	kindManifestDelete
	kindTagDelete
	kindReferrers
	kindBlobGet
	kindBlobDelete
	kindUploadStart
	kindUploadStatus
	kindUploadAppend
	kindUploadCommit
	kindUploadCancel
	kinds // how many there are
)

// request is what method, path and query say. Names in it are valid, and so are digests.
type request struct {
	kind       kind
	repository string
	reference  string         // of a manifest: a tag or a digest
	tags       []string       // more tags for a manifest that is put by digest
	digest     content.Digest // of a blob; of a subject; of an upload to commit; of an upload to start and commit in one, else ""
	mount      content.Digest // that an upload to start may be spared with, else ""
	from       string         // the repository to mount from; "" for any
	upload     string         // its id, as the client has it
	last       string         // the entry that a page begins behind
	limit      int            // of a page
	filter     string         // the artifact type that referrers must have, else ""
}

// maxTags is how many tags may come with a manifest; the specification asks for 10 at least.
const maxTags = 64

// Errors of requests, besides registry's.
var (
	errNoRoute = fault.New(fault.NotFound, "NOT_FOUND", "the path is none of the registry protocol")
	errMethod  = fault.New(fault.Unsupported, "UNSUPPORTED", "the method is not supported for this path")
	errRange   = fault.New(fault.Invalid, "RANGE_NOT_SATISFIABLE", "the content does not have the range that is asked for")
	errTags    = fault.New(fault.Invalid, "TAGS_INVALID", "too many tags at once")
	errHash    = fault.New(fault.Invalid, "DIGEST_INVALID", "digest-algorithm must be sha256 or sha512")
	errPage    = fault.New(fault.Invalid, "PAGINATION_NUMBER_INVALID", "the number of entries a page (n) must be 0 or more")
)

// parse turns method, decoded path and query into a request. It reads the path from its end, as a repository's name may
// itself hold words like "manifests", and changes nothing in it: a path with empty, "." or ".." segments names no
// repository.
func parse(method, path string, query url.Values) (request, error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case path == "/v2", path == "/v2/":
		return only(method, http.MethodGet, request{kind: kindBase})
	case !ok:
		return request{}, errNoRoute
	case rest == "_catalog":
		return parsePage(method, query, request{kind: kindCatalog})
	}
	rest, end := cutLast(rest)
	name, what := cutLast(rest)
	switch {
	case what == "tags" && end == "list":
		return parsePage(method, query, request{kind: kindTags, repository: name})
	case what == "manifests":
		return parseManifest(method, name, end, query)
	case what == "referrers":
		return parseReferrers(method, name, end, query)
	case what == "blobs" && end == "uploads":
		return parseStart(method, name, query)
	case what == "blobs":
		return parseBlob(method, name, end)
	case what == "uploads":
		name, what := cutLast(name)
		if what == "blobs" && end == "" {
			return parseStart(method, name, query)
		}
		if what == "blobs" {
			return parseUpload(method, name, end, query)
		}
	}
	return request{}, errNoRoute
}

// cutLast gives what stands before and behind the last slash.
func cutLast(s string) (before, last string) {
	i := strings.LastIndexByte(s, '/')
	return s[:max(i, 0)], s[i+1:]
}

func only(method, want string, r request) (request, error) {
	if method != want {
		return request{}, errMethod
	}
	return r.named()
}

// named checks the repository's name.
func (r request) named() (request, error) {
	if r.kind != kindBase && r.kind != kindCatalog && !content.ValidRepository(r.repository) {
		return request{}, registry.ErrNameInvalid
	}
	return r, nil
}

func parsePage(method string, query url.Values, r request) (request, error) {
	r.last, r.limit = query.Get("last"), registry.MaxPage
	if n := query.Get("n"); n != "" {
		given, err := strconv.Atoi(n)
		if err != nil && !errors.Is(err, strconv.ErrRange) || given < 0 {
			return request{}, errPage
		}
		r.limit = min(given, registry.MaxPage)
	}
	return only(method, http.MethodGet, r)
}

func parseManifest(method, name, reference string, query url.Values) (request, error) {
	r := request{repository: name, reference: reference}
	byDigest := strings.Contains(reference, ":")
	if byDigest {
		d, err := content.ParseDigest(reference)
		if err != nil {
			return request{}, err
		}
		r.digest = d
	}
	switch {
	case method == http.MethodGet:
		r.kind = kindManifestGet
	case method == http.MethodPut:
		r.kind = kindManifestPut
		if !byDigest && !content.ValidTag(reference) {
			return request{}, registry.ErrTagInvalid
		}
		if byDigest {
			var err error
			if r.tags, err = tagsOf(query); err != nil {
				return request{}, err
			}
		}
	case method == http.MethodDelete && byDigest:
		r.kind = kindManifestDelete
	case method == http.MethodDelete:
		r.kind = kindTagDelete
	default:
		return request{}, errMethod
	}
	return r.named()
}

// tagsOf reads the tags that a manifest is to get besides (spec after 1.1.1, "Pushing Manifests").
func tagsOf(query url.Values) ([]string, error) {
	tags := query["tag"]
	if len(tags) > maxTags {
		return nil, errTags.WithMessage("%d tags at once are too many: at most %d are taken", len(tags), maxTags)
	}
	for _, tag := range tags {
		if !content.ValidTag(tag) {
			return nil, registry.ErrTagInvalid
		}
	}
	return tags, nil
}

func parseReferrers(method, name, subject string, query url.Values) (r request, err error) {
	r = request{kind: kindReferrers, repository: name, filter: query.Get("artifactType")}
	if r.digest, err = content.ParseDigest(subject); err != nil {
		return request{}, err
	}
	return parsePage(method, query, r)
}

func parseBlob(method, name, digest string) (r request, err error) {
	r.repository = name
	if r.digest, err = content.ParseDigest(digest); err != nil {
		return request{}, err
	}
	if r.kind = kindBlobGet; method == http.MethodDelete {
		r.kind = kindBlobDelete
	} else if method != http.MethodGet {
		return request{}, errMethod
	}
	return r.named()
}

func parseStart(method, name string, query url.Values) (r request, err error) {
	r.kind, r.repository = kindUploadStart, name
	if d := query.Get("digest"); d != "" {
		if r.digest, err = content.ParseDigest(d); err != nil {
			return request{}, err
		}
	}
	// Which one an upload will be is told at its end, too; here a client learns early that there is no such algorithm.
	if a := query.Get("digest-algorithm"); a != "" && a != "sha256" && a != "sha512" {
		return request{}, errHash
	}
	// What cannot be mounted is uploaded: the answer is an upload, not an error (spec, "Mounting a blob from another
	// repository").
	from := query.Get("from")
	if d, err := content.ParseDigest(query.Get("mount")); err == nil && (from == "" || content.ValidRepository(from)) {
		r.mount, r.from = d, from
	}
	return only(method, http.MethodPost, r)
}

func parseUpload(method, name, id string, query url.Values) (r request, err error) {
	r.repository, r.upload = name, id
	switch method {
	case http.MethodGet:
		r.kind = kindUploadStatus
	case http.MethodPatch:
		r.kind = kindUploadAppend
	case http.MethodDelete:
		r.kind = kindUploadCancel
	case http.MethodPut:
		r.kind = kindUploadCommit
		if r.digest, err = content.ParseDigest(query.Get("digest")); err != nil {
			return request{}, err
		}
	default:
		return request{}, errMethod
	}
	return r.named()
}

// parseContentRange reads a chunk's Content-Range, "<first byte>-<last byte>" (spec, "Pushing a blob in chunks"), which is
// not that of HTTP; registry.ErrRangeInvalid.
func parseContentRange(s string) (start, size int64, err error) {
	first, last, ok := strings.Cut(s, "-")
	bad := registry.ErrRangeInvalid.WithMessage("the Content-Range of a chunk is its first byte, '-', and its last byte")
	if !ok || first == "" || last == "" || strings.Trim(first+last, "0123456789") != "" {
		return 0, 0, bad
	}
	start, err = strconv.ParseInt(first, 10, 64)
	end, endErr := strconv.ParseInt(last, 10, 64)
	if err != nil || endErr != nil || end < start || end-start+1 < 1 {
		return 0, 0, bad
	}
	return start, end - start + 1, nil
}
