package registry

import (
	"context"

	"fairlead.dev/internal/content"
)

// MaxReferrers is how many bytes a page of referrers takes at most, unless one alone takes more: what clients read of a
// manifest, as such a page is one (OCI distribution spec 1.1, "Pushing Manifests").
const MaxReferrers = content.MaxManifest

// Referrers gives a page of descriptors of the manifests in the repository that have a subject, with their artifact types
// and annotations, in order of digest; more tells whether there are others behind it. Neither the subject nor the
// repository need exist.
func (v *View) Referrers(ctx context.Context, repository string, q ReferrerQuery) (page []content.Descriptor, more bool, err error) {
	repo, err := v.repository(ActionPull, repository)
	if err != nil {
		return nil, false, err
	}
	if q.Limit = min(q.Limit, MaxPage); q.Limit <= 0 {
		return nil, false, nil
	}
	return v.service.meta.ListReferrers(ctx, repo, q)
}
