package oci

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/content"
)

// base answers GET /v2/: the protocol is spoken here.
func (h *handler) base(x exchange) error {
	api.WriteJSON(x.w, http.StatusOK, struct{}{})
	return nil
}

func (h *handler) catalog(x exchange) error {
	names, more, err := x.view.Repositories(x.r.Context(), x.req.last, x.req.limit)
	if err != nil {
		return err
	}
	if more {
		x.linkNext("/v2/_catalog", names[len(names)-1])
	}
	api.WriteJSON(x.w, http.StatusOK, struct {
		Repositories []string `json:"repositories"`
	}{append([]string{}, names...)})
	return nil
}

func (h *handler) tags(x exchange) error {
	names, more, err := x.view.Tags(x.r.Context(), x.req.repository, x.req.last, x.req.limit)
	if err != nil {
		return err
	}
	if more {
		x.linkNext("/v2/"+x.req.repository+"/tags/list", names[len(names)-1])
	}
	api.WriteJSON(x.w, http.StatusOK, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{x.req.repository, append([]string{}, names...)})
	return nil
}

// linkNext points to the page behind last (RFC 8288).
func (x exchange) linkNext(path, last string) {
	query := url.Values{"last": {last}, "n": {strconv.Itoa(x.req.limit)}}
	if x.req.filter != "" {
		query.Set("artifactType", x.req.filter)
	}
	x.w.Header().Set("Link", "<"+path+"?"+query.Encode()+`>; rel="next"`)
}

// getManifest answers GET and HEAD with what is stored, whatever Accept says: another form would have another digest.
func (h *handler) getManifest(x exchange) error {
	m, err := x.view.Manifest(x.r.Context(), x.req.repository, x.req.reference)
	if err != nil {
		return err
	}
	x.w.Header().Set("Content-Type", m.MediaType)
	return x.serve(m.Digest, bytes.NewReader(m.Body))
}

// serve answers with content of a digest: whole, or the one range that is asked for, or not at all when the client has it.
func (x exchange) serve(d content.Digest, body io.ReadSeeker) error {
	x.w.Header().Set("Docker-Content-Digest", d.String())
	x.w.Header().Set("Etag", `"`+d.String()+`"`)
	if x.r.Method != http.MethodGet || strings.Contains(x.r.Header.Get("Range"), ",") {
		x.r.Header.Del("Range") // of GET only, and of several ranges at once the whole may be sent (RFC 9110 section 14.2)
	}
	w := &rangeWriter{ResponseWriter: x.w}
	http.ServeContent(w, x.r, "", time.Time{}, body)
	if w.refused {
		return errRange
	}
	return nil
}

// rangeWriter keeps back net/http's own answer to a range that the content does not have.
type rangeWriter struct {
	http.ResponseWriter
	refused bool
}

// WriteHeader implements http.ResponseWriter.
func (w *rangeWriter) WriteHeader(status int) {
	if w.refused = status == http.StatusRequestedRangeNotSatisfiable; !w.refused {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (w *rangeWriter) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

func (h *handler) putManifest(x exchange) error {
	body, err := readManifest(x.r)
	if err != nil {
		return err
	}
	m, err := x.view.PutManifest(x.r.Context(), x.req.repository, x.req.reference, api.MediaType(x.r), body, x.req.tags...)
	if err != nil {
		return err
	}
	if m.Subject != "" {
		x.w.Header().Set("OCI-Subject", m.Subject.String())
	}
	if len(x.req.tags) > 0 {
		x.w.Header()["Oci-Tag"] = m.Tags
	}
	x.created("/v2/"+x.req.repository+"/manifests/"+m.Digest.String(), m.Digest)
	return nil
}

func readManifest(r *http.Request) ([]byte, error) {
	body, err := api.ReadBody(r, content.MaxManifest)
	switch {
	case errors.Is(err, api.ErrBodyTooLarge):
		return nil, content.ManifestTooLarge(max(0, r.ContentLength))
	case err != nil:
		return nil, content.ErrManifestInvalid.WithMessage("manifest invalid: the request's body ended early").WithCause(err)
	}
	return body, nil
}

// created answers that content with a digest is now at location.
func (x exchange) created(location string, d content.Digest) {
	x.w.Header().Set("Location", location)
	x.w.Header().Set("Docker-Content-Digest", d.String())
	x.empty(http.StatusCreated)
}

func (x exchange) empty(status int) {
	if status != http.StatusNoContent {
		x.w.Header().Set("Content-Length", "0")
	}
	x.w.WriteHeader(status)
}

func (h *handler) deleteManifest(x exchange) error {
	return x.deleted(x.view.DeleteManifest(x.r.Context(), x.req.repository, x.req.digest))
}

func (h *handler) deleteTag(x exchange) error {
	return x.deleted(x.view.DeleteTag(x.r.Context(), x.req.repository, x.req.reference))
}

func (x exchange) deleted(err error) error {
	if err == nil {
		x.empty(http.StatusAccepted)
	}
	return err
}
