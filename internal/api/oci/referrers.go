package oci

import (
	"encoding/json"
	"net/http"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

// referrers answers with an index of the manifests that have a subject (spec, "Listing Referrers"). An index without
// manifests says that there are none, also in a repository that does not exist: whoever asks before the first push learns
// by it that the registry keeps referrers.
func (h *handler) referrers(x exchange) error {
	page, more, err := x.view.Referrers(x.r.Context(), x.req.repository, registry.ReferrerQuery{
		Subject: x.req.digest, ArtifactType: x.req.filter, After: x.req.last, Limit: x.req.limit,
	})
	if err != nil {
		return err
	}
	if more {
		x.linkNext("/v2/"+x.req.repository+"/referrers/"+x.req.digest.String(), page[len(page)-1].Digest.String())
	}
	header := x.w.Header()
	if x.req.filter != "" {
		header.Set("OCI-Filters-Applied", "artifactType")
	}
	header.Set("Content-Type", content.MediaTypeIndex)
	x.w.WriteHeader(http.StatusOK)
	enc := json.NewEncoder(x.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(struct { // a client that went away needs no answer
		SchemaVersion int                  `json:"schemaVersion"`
		MediaType     string               `json:"mediaType"`
		Manifests     []content.Descriptor `json:"manifests"`
	}{2, content.MediaTypeIndex, append([]content.Descriptor{}, page...)})
	return nil
}
