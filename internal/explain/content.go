package explain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/registry"
)

const (
	newestTags      = 5  // shown when a tag is unknown
	maxRegistries   = 50 // looked through for an image that names no registry
	maxRepositories = 1000
)

func (q *inquiry) badReference() *finding {
	f := q.asIs()
	if fixed, ok := content.CorrectReference(q.container.Image); ok {
		f.fix = q.kind.useImage(q, "write the image's name as it would be valid", fixed)
	}
	return f
}

// unknownHost says which registry was probably meant, of those that the caller may read.
func (q *inquiry) unknownHost(ctx context.Context) (*finding, error) {
	f := q.asIs()
	if slices.Contains(q.ref.Defaulted, content.DefaultedHost) {
		return q.defaultedHost(ctx, f)
	}
	label, _, _ := strings.Cut(q.ref.Host, ".")
	names, err := q.Registry.Nearest(ctx, label)
	if err != nil {
		return nil, err
	}
	var near []string
	for _, name := range names {
		r, err := q.Registry.Lookup(ctx, name)
		if errors.Is(err, registry.ErrRegistryUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if ok, err := q.may(ctx, q.caller, registryRead, r.ID); err != nil {
			return nil, err
		} else if ok {
			near = append(near, q.Origin.LoginServer(name))
		}
	}
	if len(near) > 0 {
		f.summary += "; the nearest are " + strings.Join(near, ", ")
		f.fix = q.kind.useImage(q, "take the image from the registry that was probably meant", q.named(near[0], q.ref.Repository, q.ref.Version()))
	}
	return f, nil
}

// defaultedHost is an image without a registry's name: docker.io is meant by it, and no cloud is asked from here.
func (q *inquiry) defaultedHost(ctx context.Context, f *finding) (*finding, error) {
	repository := q.ref.Repository
	if slices.Contains(q.ref.Defaulted, content.DefaultedLibrary) {
		repository = strings.TrimPrefix(repository, "library/")
	}
	f.code, f.summary = refHostDefaulted, fmt.Sprintf("%q names no registry, so docker.io is taken, which is not asked from here", q.container.Image)
	all, err := q.Registry.Registries(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range all[:min(len(all), maxRegistries)] {
		v, ok, err := q.open(ctx, r, q.caller)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if _, err := v.Manifest(ctx, repository, q.ref.Version()); err == nil {
			f.summary += "; " + r.Name + " has this image"
			f.fix = q.kind.useImage(q, "name the registry", q.named(q.Origin.LoginServer(r.Name), repository, q.ref.Version()))
			return f, nil
		}
	}
	return f, nil
}

// open gives a view of r for a caller who may read it, by the right to pull of the first of the principals that has it.
func (q *inquiry) open(ctx context.Context, r registry.Registry, by ...identity.Principal) (*registry.View, bool, error) {
	if ok, err := q.may(ctx, q.caller, registryRead, r.ID); err != nil || !ok {
		return nil, false, err
	}
	for _, p := range by {
		g, err := q.Access.Grant(ctx, p, r.ID, registry.ActionPull)
		if err != nil {
			return nil, false, err
		}
		if !g.IsZero() {
			v, err := q.Registry.Open(g, r)
			return v, err == nil, err
		}
	}
	return nil, false, nil
}

// content looks at what the reference names in our registry; nil when nothing is wrong with it, or when nobody who asks
// may look.
func (q *inquiry) content(ctx context.Context) (*finding, error) {
	r, err := q.Registry.Lookup(ctx, q.endpoint.Registry.Name())
	if err != nil {
		return nil, absent(err)
	}
	v, ok, err := q.open(ctx, r, q.principal, q.caller)
	if err != nil || !ok {
		return nil, err
	}
	m, err := v.Manifest(ctx, q.ref.Repository, q.ref.Version())
	switch {
	case errors.Is(err, registry.ErrRepositoryUnknown):
		return q.repositoryUnknown(ctx, v)
	case errors.Is(err, registry.ErrManifestUnknown):
		return q.manifestUnknown(ctx, v)
	case err != nil:
		return nil, err
	}
	return q.platform(m), nil
}

func (q *inquiry) repositoryUnknown(ctx context.Context, v *registry.View) (*finding, error) {
	name := q.endpoint.Registry.Name()
	f := &finding{
		code: pull.ErrRepositoryUnknown.Code, stage: pull.StageManifest,
		summary: fmt.Sprintf("%s has no repository %s", name, q.ref.Repository),
	}
	repositories, _, err := v.Repositories(ctx, "", maxRepositories)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(repositories, func(have string) bool { return alike(have, q.ref.Repository) })
	if i < 0 {
		f.summary += ": nothing was pushed there yet"
		return f, nil
	}
	f.summary += "; " + repositories[i] + " is there"
	if _, err := v.Manifest(ctx, repositories[i], q.ref.Version()); err == nil {
		f.fix = q.kind.useImage(q, "take the repository that was probably meant", q.named(q.ref.Host, repositories[i], q.ref.Version()))
	}
	return f, nil
}

// alike reports whether two names of repositories differ in separators only, or in what stands before the last part.
func alike(a, b string) bool {
	last := func(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }
	return plain(a) == plain(b) || plain(last(a)) == plain(last(b))
}

func plain(s string) string {
	return strings.NewReplacer("/", "", "-", "", "_", "", ".", "").Replace(s)
}

func (q *inquiry) manifestUnknown(ctx context.Context, v *registry.View) (*finding, error) {
	tags, err := v.NewestTags(ctx, q.ref.Repository, newestTags)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range tags {
		names = append(names, t.Name)
	}
	has := "it has no tag at all"
	if len(names) > 0 {
		has = "the newest are " + strings.Join(names, ", ")
	}
	where := q.endpoint.Registry.Name() + "/" + q.ref.Repository
	f := &finding{stage: pull.StageManifest}
	switch {
	case q.ref.Digest != "":
		f.code, f.summary = pull.ErrDigestUnknown.Code, fmt.Sprintf("%s has no manifest %s; of its tags %s", where, q.ref.Digest, has)
	case slices.Contains(q.ref.Defaulted, content.DefaultedTag):
		f.code, f.summary = pull.ErrTagUnknown.Code, fmt.Sprintf("no tag was given, and %s has no tag %q: %s", where, q.ref.Tag, has)
	default:
		f.code, f.summary = pull.ErrTagUnknown.Code, fmt.Sprintf("%s has no tag %q: %s", where, q.ref.Tag, has)
	}
	if len(tags) > 0 {
		version := tags[0].Name
		if q.ref.Digest != "" {
			version = string(tags[0].Digest)
		}
		f.fix = q.kind.useImage(q, "take the newest that is there", q.named(q.ref.Host, q.ref.Repository, version))
	}
	return f, nil
}

// platform tells whether an index lacks the node's platform; what a single manifest is for, only its config says.
func (q *inquiry) platform(m registry.Manifest) *finding {
	parsed, err := content.ParseManifest(m.MediaType, m.Body)
	if err != nil || !parsed.IsIndex() {
		return nil
	}
	if _, err := content.Select(parsed.Manifests, q.Platform); err != nil {
		return &finding{code: pull.ErrPlatformAbsent.Code, stage: pull.StagePlatform, summary: fault.From(err).Message}
	}
	return nil
}

// platformAbsent is an image that is not built for the node; another tag of it may be.
func (q *inquiry) platformAbsent(ctx context.Context) (*finding, error) {
	f := q.asIs()
	r, err := q.Registry.Lookup(ctx, q.endpoint.Registry.Name())
	if err != nil {
		return f, absent(err)
	}
	v, ok, err := q.open(ctx, r, q.principal, q.caller)
	if err != nil || !ok {
		return f, err
	}
	tags, err := v.NewestTags(ctx, q.ref.Repository, newestTags)
	if err != nil {
		return f, absent(err)
	}
	for _, t := range tags {
		m, err := v.Manifest(ctx, q.ref.Repository, t.Name)
		if err != nil {
			continue // it went meanwhile
		}
		if q.runs(ctx, v, m) {
			f.summary += "; the tag " + t.Name + " is"
			f.fix = q.kind.useImage(q, "take the newest that is built for this platform", q.named(q.ref.Host, q.ref.Repository, t.Name))
			break
		}
	}
	return f, nil
}

// runs reports whether an image is built for the node.
func (q *inquiry) runs(ctx context.Context, v *registry.View, m registry.Manifest) bool {
	parsed, err := content.ParseManifest(m.MediaType, m.Body)
	if err != nil {
		return false
	}
	if parsed.IsIndex() {
		_, err := content.Select(parsed.Manifests, q.Platform)
		return err == nil
	}
	if parsed.Config == nil {
		return false
	}
	blob, size, err := v.OpenBlob(ctx, q.ref.Repository, parsed.Config.Digest)
	if err != nil || size > content.MaxConfig {
		return false
	}
	defer blob.Close()
	body, err := io.ReadAll(blob)
	if err != nil {
		return false
	}
	config, err := content.ParseImageConfig(body)
	return err == nil && config.Platform.Architecture != "" && q.Platform.Runs(config.Platform)
}

// named puts a reference together; version is a tag or a digest.
func (q *inquiry) named(host, repository, version string) string {
	separator := ":"
	if strings.Contains(version, ":") {
		separator = "@"
	}
	return host + "/" + repository + separator + version
}
