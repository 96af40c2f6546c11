package registry

import (
	"context"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/content"
)

// MaxPage is the most tags or repositories that one page holds.
const MaxPage = 1000

// View is one registry as one grant lets it be seen. Every method checks the grant and returns ErrDenied where it does
// not allow what is asked, before it looks whether that exists. A View is as short-lived as the request it was opened
// for: it does not notice that a right is taken away.
type View struct {
	service  *Service
	grant    access.Grant
	registry Registry
}

// Registry gives the registry that the view is of.
func (v *View) Registry() Registry { return v.registry }

// repository checks the right to do a on the repository called name, and the name.
func (v *View) repository(a access.Action, name string) (Repository, error) {
	if !v.grant.Allows(a) {
		return Repository{}, ErrDenied
	}
	if !content.ValidRepository(name) {
		return Repository{}, ErrNameInvalid
	}
	return Repository{Registry: v.registry.ID, Name: name}, nil
}

// Repositories gives a page of at most limit names of repositories in bytewise order, beginning behind after; more
// tells whether there are others behind it.
func (v *View) Repositories(ctx context.Context, after string, limit int) (names []string, more bool, err error) {
	if !v.grant.Allows(ActionCatalog) {
		return nil, false, ErrDenied
	}
	return page(limit, func(limit int) ([]string, error) {
		return v.service.meta.ListRepositories(ctx, v.registry.ID, after, limit)
	})
}

// Tags gives a page of at most limit names of tags in lexical order, beginning behind after; more tells whether there
// are others behind it. ErrRepositoryUnknown.
func (v *View) Tags(ctx context.Context, repository, after string, limit int) (names []string, more bool, err error) {
	repo, err := v.repository(ActionMetadataRead, repository)
	if err != nil {
		return nil, false, err
	}
	return page(limit, func(limit int) ([]string, error) { return v.service.meta.ListTags(ctx, repo, after, limit) })
}

// page asks for one more than limit, at most MaxPage, to tell whether there is more.
func page(limit int, list func(limit int) ([]string, error)) (names []string, more bool, err error) {
	limit = max(0, min(limit, MaxPage))
	names, err = list(limit + 1)
	if err != nil || len(names) <= limit {
		return names, false, err
	}
	return names[:limit], limit > 0, nil
}

// NewestTags gives at most n tags, the last written first; ErrRepositoryUnknown.
func (v *View) NewestTags(ctx context.Context, repository string, n int) ([]Tag, error) {
	repo, err := v.repository(ActionMetadataRead, repository)
	if err != nil {
		return nil, err
	}
	return v.service.meta.NewestTags(ctx, repo, max(0, min(n, MaxPage)))
}

// DeleteTag removes a tag and leaves its manifest; ErrRepositoryUnknown, ErrTagUnknown.
func (v *View) DeleteTag(ctx context.Context, repository, tag string) error {
	repo, err := v.repository(ActionDelete, repository)
	if err != nil {
		return err
	}
	return v.service.meta.DeleteTag(ctx, repo, tag)
}
