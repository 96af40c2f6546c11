package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/content"
	"fairlead.dev/internal/driver/files"
	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

var (
	acme  = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/acme")
	other = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/other")
)

// world is two registries, acme and other, on real stores.
type world struct {
	*registry.Service
	dir       string
	blobs     *files.Store
	directory *identity.Directory
	engine    *access.Engine
	now       time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir, ctx := t.TempDir(), context.Background()
	db, err := sql.Open(ctx, filepath.Join(dir, "fairlead.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	blobs, err := files.Open(filepath.Join(dir, "content"))
	must(t, err)
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	must(t, err)
	w := &world{dir: dir, blobs: blobs, now: time.Now(), engine: access.NewEngine(sql.NewAccess(db, "t"), "t")}
	w.Service = registry.New(sql.NewRegistry(db, "t"), blobs, func() time.Time { return w.now })
	w.directory = identity.NewDirectory(sql.NewDirectory(db, "t"), sealer, "t", time.Now)
	for _, id := range []resource.ID{acme, other} {
		must(t, w.Create(ctx, id))
		must(t, w.directory.SetAdmin(ctx, id, true))
	}
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// grant gives the admin user's right to just these actions on a registry.
func (w *world) grant(t testing.TB, id resource.ID, actions ...access.Action) access.Grant {
	t.Helper()
	ctx := context.Background()
	passwords, err := w.directory.AdminPasswords(ctx, id)
	must(t, err)
	p, err := w.directory.Authenticate(ctx, identity.RegistryPassword{Registry: id, Username: id.Name(), Password: passwords[0]})
	must(t, err)
	g, err := w.engine.Grant(ctx, p, id, actions...)
	must(t, err)
	return g
}

// view opens a registry for just these actions.
func (w *world) view(t testing.TB, id resource.ID, actions ...access.Action) *registry.View {
	t.Helper()
	r, err := w.Lookup(context.Background(), id.Name())
	must(t, err)
	v, err := w.Open(w.grant(t, id, actions...), r)
	must(t, err)
	return v
}

func TestOpenNeedsAGrantOnThatRegistry(t *testing.T) {
	w := newWorld(t)
	r, err := w.Lookup(t.Context(), "ACME")
	must(t, err)
	for name, g := range map[string]access.Grant{"none": {}, "another registry's": w.grant(t, other, registry.AllActions()...)} {
		if v, err := w.Open(g, r); !errors.Is(err, registry.ErrDenied) {
			t.Errorf("%s: %v, %v, want ErrDenied", name, v, err)
		}
	}
	if v, err := w.Open(w.grant(t, acme, registry.ActionPull), registry.Registry{}); !errors.Is(err, registry.ErrDenied) {
		t.Errorf("no registry: %v, %v", v, err)
	}
}

// TestEveryMethodAsksTheGrant calls each method of View with every right but the one that it needs.
func TestEveryMethodAsksTheGrant(t *testing.T) {
	w := newWorld(t)
	d, ctx := content.FromBytes(nil), t.Context()
	for name, c := range map[string]struct {
		needs access.Action
		call  func(v *registry.View) error
	}{
		"Repositories":   {registry.ActionCatalog, func(v *registry.View) error { _, _, err := v.Repositories(ctx, "", 1); return err }},
		"Tags":           {registry.ActionMetadataRead, func(v *registry.View) error { _, _, err := v.Tags(ctx, "a", "", 1); return err }},
		"NewestTags":     {registry.ActionMetadataRead, func(v *registry.View) error { _, err := v.NewestTags(ctx, "a", 1); return err }},
		"DeleteTag":      {registry.ActionDelete, func(v *registry.View) error { return v.DeleteTag(ctx, "a", "v1") }},
		"Manifest":       {registry.ActionPull, func(v *registry.View) error { _, err := v.Manifest(ctx, "a", "v1"); return err }},
		"PutManifest":    {registry.ActionPush, func(v *registry.View) error { _, err := v.PutManifest(ctx, "a", "v1", "", []byte("{")); return err }},
		"DeleteManifest": {registry.ActionDelete, func(v *registry.View) error { return v.DeleteManifest(ctx, "a", d) }},
		"Referrers": {registry.ActionPull, func(v *registry.View) error {
			_, _, err := v.Referrers(ctx, "a", registry.ReferrerQuery{Subject: d, Limit: 1})
			return err
		}},
		"OpenBlob":       {registry.ActionPull, func(v *registry.View) error { _, _, err := v.OpenBlob(ctx, "a", d); return err }},
		"DeleteBlob":     {registry.ActionDelete, func(v *registry.View) error { return v.DeleteBlob(ctx, "a", d) }},
		"MountBlob from": {registry.ActionPull, func(v *registry.View) error { return v.MountBlob(ctx, "a", "b", d) }},
		"MountBlob to":   {registry.ActionPush, func(v *registry.View) error { return v.MountBlob(ctx, "a", "b", d) }},
		"MountAny from":  {registry.ActionPull, func(v *registry.View) error { return v.MountAnyBlob(ctx, nil, "b", d) }},
		"MountAny among": {registry.ActionPull, func(v *registry.View) error { return v.MountAnyBlob(ctx, []string{"a"}, "b", d) }},
		"PutBlob":        {registry.ActionPush, func(v *registry.View) error { return v.PutBlob(ctx, "a", d, strings.NewReader("")) }},
		"StartUpload":    {registry.ActionPush, func(v *registry.View) error { _, err := v.StartUpload(ctx, "a"); return err }},
		"UploadSize":     {registry.ActionPush, func(v *registry.View) error { _, err := v.UploadSize(ctx, "a", "x"); return err }},
		"AppendUpload":   {registry.ActionPush, func(v *registry.View) error { _, err := v.AppendUpload(ctx, "a", "x", registry.Chunk{}); return err }},
		"CommitUpload":   {registry.ActionPush, func(v *registry.View) error { return v.CommitUpload(ctx, "a", "x", registry.Chunk{}, d) }},
		"CancelUpload":   {registry.ActionPush, func(v *registry.View) error { return v.CancelUpload(ctx, "a", "x") }},
	} {
		rest := slices.DeleteFunc(registry.AllActions(), func(a access.Action) bool { return a == c.needs })
		if err := c.call(w.view(t, acme, rest...)); !errors.Is(err, registry.ErrDenied) {
			t.Errorf("%s: %v, want ErrDenied", name, err)
		}
		if err := c.call(w.view(t, acme, registry.AllActions()...)); errors.Is(err, registry.ErrDenied) || fault.KindOf(orInvalid(err)) == fault.Internal {
			t.Errorf("%s: %v with every right", name, err)
		}
	}
}

// orInvalid spares KindOf a nil.
func orInvalid(err error) error {
	if err == nil {
		return registry.ErrNameInvalid
	}
	return err
}

// push puts a blob and a manifest that names it, and gives the manifest's body.
func push(t testing.TB, v *registry.View, repository, tag, text string) []byte {
	t.Helper()
	d := content.FromBytes([]byte(text))
	must(t, v.PutBlob(context.Background(), repository, d, strings.NewReader(text)))
	body := imageOf(text)
	_, err := v.PutManifest(context.Background(), repository, tag, content.MediaTypeManifest, body)
	must(t, err)
	return body
}

// imageOf gives the manifest of an image whose config is text.
func imageOf(text string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		content.MediaTypeConfig, content.FromBytes([]byte(text)), len(text))
}

func read(t testing.TB, v *registry.View, repository, text string) error {
	t.Helper()
	r, size, err := v.OpenBlob(context.Background(), repository, content.FromBytes([]byte(text)))
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if must(t, errors.Join(err, r.Close())); string(got) != text || size != int64(len(text)) {
		t.Errorf("read %q (%d), want %q", got, size, text)
	}
	return nil
}

// TestABlobIsReadOnlyThroughItsRepository tells the attack first: knowing a digest must not open what another
// repository, or another registry, holds.
func TestABlobIsReadOnlyThroughItsRepository(t *testing.T) {
	w := newWorld(t)
	v, o := w.view(t, acme, registry.AllActions()...), w.view(t, other, registry.AllActions()...)
	push(t, v, "private", "v1", "secret layer")
	for name, err := range map[string]error{
		"another repository":        read(t, v, "public", "secret layer"),
		"another registry":          read(t, o, "private", "secret layer"),
		"a mount across registries": o.MountBlob(t.Context(), "private", "mine", content.FromBytes([]byte("secret layer"))),
	} {
		if !errors.Is(err, registry.ErrBlobUnknown) {
			t.Errorf("%s: %v, want ErrBlobUnknown", name, err)
		}
	}
	_, err := v.PutManifest(t.Context(), "public", "v1", content.MediaTypeManifest, imageOf("secret layer"))
	if !errors.Is(err, registry.ErrManifestBlobUnknown) {
		t.Errorf("a manifest that names it: %v, want ErrManifestBlobUnknown", err)
	}
	must(t, v.MountBlob(t.Context(), "private", "public", content.FromBytes([]byte("secret layer"))))
	must(t, read(t, v, "public", "secret layer"))
	must(t, v.DeleteBlob(t.Context(), "private", content.FromBytes([]byte("secret layer"))))
	must(t, read(t, v, "public", "secret layer"))
	if err := read(t, v, "private", "secret layer"); !errors.Is(err, registry.ErrBlobUnknown) {
		t.Errorf("deleted: %v", err)
	}
}

func TestAnUploadBelongsToItsRepository(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	u, err := v.StartUpload(t.Context(), "a")
	must(t, err)
	chunk := registry.Chunk{Start: registry.AtEnd, Size: -1, Body: strings.NewReader("x")}
	if _, err := v.AppendUpload(t.Context(), "b", u.ID, chunk); !errors.Is(err, registry.ErrUploadUnknown) {
		t.Errorf("from another repository: %v", err)
	}
	if err := w.view(t, other, registry.ActionPush).CommitUpload(t.Context(), "a", u.ID, chunk, content.FromBytes([]byte("x"))); !errors.Is(err, registry.ErrUploadUnknown) {
		t.Errorf("from another registry: %v", err)
	}
	must(t, v.CommitUpload(t.Context(), "a", u.ID, chunk, content.FromBytes([]byte("x"))))
	must(t, read(t, v, "a", "x"))
	if _, err := v.UploadSize(t.Context(), "a", u.ID); !errors.Is(err, registry.ErrUploadUnknown) {
		t.Errorf("after its end: %v", err)
	}
}

func TestUploadKeepsWhatArrived(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	u, err := v.StartUpload(t.Context(), "a")
	must(t, err)
	d := content.FromBytes([]byte("hello"))
	for _, c := range []struct {
		chunk registry.Chunk
		want  error
		size  int64
	}{
		{registry.Chunk{Start: 0, Size: 2, Body: strings.NewReader("he")}, nil, 2},
		{registry.Chunk{Start: 0, Size: 2, Body: strings.NewReader("he")}, registry.ErrRangeInvalid, 2},
		{registry.Chunk{Start: 2, Size: 2, Body: strings.NewReader("l")}, registry.ErrSizeInvalid, 3},
		{registry.Chunk{Start: 3, Size: 1, Body: strings.NewReader("lo")}, registry.ErrSizeInvalid, 4},
		{registry.Chunk{Start: 4, Size: 1, Body: iotest.ErrReader(io.ErrUnexpectedEOF)}, registry.ErrUploadCut, 4},
		{registry.Chunk{Start: registry.AtEnd, Size: -1, Body: strings.NewReader("o")}, nil, 5},
	} {
		_, err := v.AppendUpload(t.Context(), "a", u.ID, c.chunk)
		size, sizeErr := v.UploadSize(t.Context(), "a", u.ID)
		if must(t, sizeErr); size != c.size || !errors.Is(err, c.want) {
			t.Fatalf("%+v: size %d, %v, want %d, %v", c.chunk, size, err, c.size, c.want)
		}
	}
	must(t, v.CommitUpload(t.Context(), "a", u.ID, registry.Chunk{Start: 5, Body: strings.NewReader("")}, d))
	must(t, read(t, v, "a", "hello"))
}

func TestWrongDigestEndsTheUpload(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	d := content.FromBytes([]byte("other"))
	u, err := v.StartUpload(t.Context(), "a")
	must(t, err)
	chunk := registry.Chunk{Start: registry.AtEnd, Size: -1, Body: strings.NewReader("hello")}
	if err := v.CommitUpload(t.Context(), "a", u.ID, chunk, d); !errors.Is(err, registry.ErrDigestInvalid) {
		t.Errorf("%v, want ErrDigestInvalid", err)
	}
	if err := v.PutBlob(t.Context(), "a", d, strings.NewReader("hello")); !errors.Is(err, registry.ErrDigestInvalid) {
		t.Errorf("%v, want ErrDigestInvalid", err)
	}
	if _, err := v.UploadSize(t.Context(), "a", u.ID); !errors.Is(err, registry.ErrUploadUnknown) {
		t.Errorf("the upload goes on: %v", err)
	}
	for _, text := range []string{"hello", "other"} {
		if err := read(t, v, "a", text); !errors.Is(err, registry.ErrBlobUnknown) {
			t.Errorf("%q is there: %v", text, err)
		}
	}
}

func TestManifestReferences(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	body := push(t, v, "app", "v1", "config")
	d := content.FromBytes(body)
	for _, reference := range []string{"v1", d.String()} {
		m, err := v.Manifest(t.Context(), "app", reference)
		if err != nil || m.Digest != d || m.MediaType != content.MediaTypeManifest || string(m.Body) != string(body) {
			t.Errorf("%s: %+v, %v", reference, m, err)
		}
	}
	for reference, want := range map[string]error{
		"v2": registry.ErrManifestUnknown, "../v1": registry.ErrManifestUnknown, "sha256:..": content.ErrDigestInvalid,
		content.FromBytes(nil).String(): registry.ErrManifestUnknown,
	} {
		if _, err := v.Manifest(t.Context(), "app", reference); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", reference, err, want)
		}
	}
	if _, err := v.Manifest(t.Context(), "none", "v1"); !errors.Is(err, registry.ErrRepositoryUnknown) {
		t.Errorf("%v, want ErrRepositoryUnknown", err)
	}
	for reference, want := range map[string]error{
		"-v1": registry.ErrTagInvalid, content.FromBytes(nil).String(): registry.ErrDigestInvalid, "sha256:1": content.ErrDigestInvalid,
	} {
		if _, err := v.PutManifest(t.Context(), "app", reference, "", body); !errors.Is(err, want) {
			t.Errorf("put %s: %v, want %v", reference, err, want)
		}
	}
}

func TestDeleteAndCreateAgain(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	push(t, v, "app", "v1", "config")
	u, err := v.StartUpload(t.Context(), "app")
	must(t, err)
	_, err = v.AppendUpload(t.Context(), "app", u.ID, registry.Chunk{Start: registry.AtEnd, Size: -1, Body: strings.NewReader("x")})
	must(t, err)
	must(t, w.Delete(t.Context(), acme))
	must(t, w.Delete(t.Context(), acme))
	if _, err := w.Lookup(t.Context(), "acme"); !errors.Is(err, registry.ErrRegistryUnknown) {
		t.Errorf("%v, want ErrRegistryUnknown", err)
	}
	if size, err := w.blobs.Size(t.Context(), u.ID); err != nil || size != 0 {
		t.Errorf("the upload still has %d bytes, %v", size, err)
	}
	if err := v.PutBlob(t.Context(), "app", content.FromBytes(nil), strings.NewReader("")); !errors.Is(err, registry.ErrRegistryUnknown) {
		t.Errorf("pushing through an old view: %v", err)
	}
	must(t, w.Create(t.Context(), acme))
	if names, _, err := v.Repositories(t.Context(), "", 10); err != nil || len(names) != 0 {
		t.Errorf("%v, %v in a new registry", names, err)
	}
}

func TestChangedTellsOfRegistries(t *testing.T) {
	w := newWorld(t)
	told := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	before := w.Changed()
	if err := w.Create(t.Context(), resource.MustParseID(strings.Replace(acme.String(), "/g/", "/h/", 1))); !errors.Is(err, registry.ErrNameTaken) {
		t.Fatal(err)
	}
	if told(before) {
		t.Error("told of a registry that could not be created")
	}
	for what, change := range map[string]func(context.Context, resource.ID) error{"deleted": w.Delete, "created": w.Create} {
		changed := w.Changed()
		must(t, change(t.Context(), acme))
		if !told(changed) || told(w.Changed()) {
			t.Errorf("not told once that one was %s", what)
		}
	}
}

func TestSweepEndsOldUploads(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	start := func() string {
		u, err := v.StartUpload(t.Context(), "app")
		must(t, err)
		_, err = v.AppendUpload(t.Context(), "app", u.ID, registry.Chunk{Start: registry.AtEnd, Size: -1, Body: strings.NewReader("x")})
		must(t, err)
		return u.ID
	}
	old := start()
	w.now = w.now.Add(registry.UploadLife - time.Minute)
	young := start()
	must(t, w.Sweep(t.Context()))
	_, err := v.UploadSize(t.Context(), "app", old)
	must(t, err)
	w.now = w.now.Add(2 * time.Minute)
	must(t, w.Sweep(t.Context()))
	if _, err := v.UploadSize(t.Context(), "app", old); !errors.Is(err, registry.ErrUploadUnknown) {
		t.Errorf("old: %v", err)
	}
	if size, err := w.blobs.Size(t.Context(), old); err != nil || size != 0 {
		t.Errorf("old: %d bytes, %v", size, err)
	}
	_, err = v.UploadSize(t.Context(), "app", young)
	must(t, err)
}

func TestNearest(t *testing.T) {
	w := newWorld(t)
	for given, want := range map[string][]string{
		"acne": {"acme"}, "ACMEE": {"acme"}, "othre": {"other"}, "zzzzzzzz": nil, "acme": {"acme"}, "": nil,
		strings.Repeat("x", 100_000): nil,
	} {
		got, err := w.Nearest(t.Context(), given)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%.20q: %v, %v, want %v", given, got, err, want)
		}
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	for _, tag := range []string{"a", "b", "c"} {
		push(t, v, "repo/"+tag, tag, "config")
		push(t, v, "app", tag, "config")
	}
	for _, c := range []struct {
		limit int
		names string
		more  bool
	}{{0, "", false}, {1, "a", true}, {3, "a b c", false}, {99, "a b c", false}, {-1, "", false}} {
		names, more, err := v.Tags(t.Context(), "app", "", c.limit)
		if err != nil || strings.Join(names, " ") != c.names || more != c.more {
			t.Errorf("limit %d: %v, %v, %v", c.limit, names, more, err)
		}
	}
	names, more, err := v.Repositories(t.Context(), "app", 2)
	if err != nil || !slices.Equal(names, []string{"repo/a", "repo/b"}) || !more {
		t.Errorf("%v, %v, %v", names, more, err)
	}
}

// TestAStalledClientHoldsUpNobodyElse lets a client begin a chunk and send no more: what removes its upload must not
// wait for it.
func TestAStalledClientHoldsUpNobodyElse(t *testing.T) {
	for name, remove := range map[string]func(context.Context, *world, *registry.View, string) error{
		"the registry is deleted": func(ctx context.Context, w *world, _ *registry.View, _ string) error { return w.Delete(ctx, acme) },
		"the upload expires": func(ctx context.Context, w *world, _ *registry.View, _ string) error {
			w.now = w.now.Add(registry.UploadLife + time.Minute)
			return w.Sweep(ctx)
		},
		"the upload is cancelled": func(ctx context.Context, _ *world, v *registry.View, id string) error {
			return v.CancelUpload(ctx, "app", id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			v := w.view(t, acme, registry.AllActions()...)
			u, err := v.StartUpload(t.Context(), "app")
			must(t, err)
			body, client := io.Pipe()
			ended := make(chan error, 1)
			go func() {
				_, err := v.AppendUpload(context.WithoutCancel(t.Context()), "app", u.ID, registry.Chunk{Start: registry.AtEnd, Size: -1, Body: body})
				ended <- err
			}()
			_, err = client.Write([]byte("x")) // returns when the chunk is being read
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := remove(ctx, w, v, u.ID); err != nil {
				t.Errorf("removing: %v", err)
			}
			_ = client.Close()
			if err := <-ended; err != nil && !errors.Is(err, registry.ErrUploadUnknown) {
				t.Errorf("the chunk: %v", err)
			}
			if err := v.CommitUpload(t.Context(), "app", u.ID, registry.Chunk{Start: registry.AtEnd, Size: -1, Body: strings.NewReader("")}, content.FromBytes([]byte("x"))); !errors.Is(err, registry.ErrUploadUnknown) {
				t.Errorf("committing what is gone: %v", err)
			}
			if size, err := w.blobs.Size(t.Context(), u.ID); err != nil || size != 0 {
				t.Errorf("%d bytes are left, %v", size, err)
			}
		})
	}
}

// TestABlobThatCannotBeStoredLeavesNothing puts a file where the blob's directory has to be.
func TestABlobThatCannotBeStoredLeavesNothing(t *testing.T) {
	w := newWorld(t)
	v := w.view(t, acme, registry.AllActions()...)
	d := content.FromBytes([]byte("x"))
	must(t, os.WriteFile(filepath.Join(w.dir, "content", "blobs", "sha256", d.Hex()[:2]), nil, 0o600))
	if err := v.PutBlob(t.Context(), "app", d, strings.NewReader("x")); fault.KindOf(err) != fault.Internal || err == nil {
		t.Errorf("putting at once: %v", err)
	}
	u, err := v.StartUpload(t.Context(), "app")
	must(t, err)
	last := registry.Chunk{Start: registry.AtEnd, Size: -1, Body: strings.NewReader("x")}
	if err := v.CommitUpload(t.Context(), "app", u.ID, last, d); fault.KindOf(err) != fault.Internal || err == nil {
		t.Errorf("putting in chunks: %v", err)
	}
	if _, err := v.UploadSize(t.Context(), "app", u.ID); !errors.Is(err, registry.ErrUploadUnknown) {
		t.Errorf("the upload goes on: %v", err)
	}
	if err := read(t, v, "app", "x"); !errors.Is(err, registry.ErrBlobUnknown) {
		t.Errorf("the blob: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(w.dir, "content", "uploads")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// full is what a database on a full disk is: it can be read, and not written.
type full struct{ registry.Metadata }

func (full) ExpireUploads(context.Context, time.Time) ([]string, error) { return nil, registry.ErrFull }

func TestSweepMakesRoomOnAFullDisk(t *testing.T) {
	w := newWorld(t)
	id := "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	_, err := w.blobs.Append(t.Context(), id, 0, strings.NewReader("x"))
	must(t, err)
	s := registry.New(full{}, w.blobs, func() time.Time { return time.Now().Add(registry.UploadLife + time.Hour) })
	if err := s.Sweep(t.Context()); !errors.Is(err, registry.ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	if size, err := w.blobs.Size(t.Context(), id); err != nil || size != 0 {
		t.Errorf("%d bytes are left, %v", size, err)
	}
}
