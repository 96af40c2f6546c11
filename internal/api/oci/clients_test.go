package oci_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// login gives crane the client's password.
func (c *client) login() authn.Authenticator {
	return authn.FromConfig(authn.AuthConfig{Username: c.id, Password: c.password})
}

func (c *client) crane() []crane.Option {
	return []crane.Option{crane.WithAuth(c.login()), crane.WithTransport(c.w.server.Client().Transport), crane.WithContext(context.Background())}
}

func (c *client) remote() []remote.Option {
	return []remote.Option{remote.WithAuth(c.login()), remote.WithTransport(c.w.server.Client().Transport)}
}

func TestCraneImage(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	image, err := random.Image(100_000, 3)
	must(t, err)
	want, err := image.Digest()
	must(t, err)
	app := w.host() + "/team/app"
	must(t, crane.Push(image, app+":v1", c.crane()...))

	got, err := crane.Digest(app+":v1", w.client("AcrPull").crane()...)
	if err != nil || got != want.String() {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	pulled, err := crane.Pull(app+"@"+want.String(), c.crane()...)
	must(t, err)
	must(t, validate.Image(pulled))
	must(t, crane.Copy(app+":v1", w.host()+"/copy:v1", c.crane()...))
	must(t, crane.Tag(app+":v1", "v2", c.crane()...))
	tags, err := crane.ListTags(app, c.crane()...)
	if err != nil || !slices.Equal(tags, []string{"v1", "v2"}) {
		t.Errorf("tags %v, %v", tags, err)
	}
	repositories, err := crane.Catalog(w.host(), c.crane()...)
	if err != nil || !slices.Equal(repositories, []string{"copy", "team/app"}) {
		t.Errorf("catalog %q, %v", repositories, err)
	}
	must(t, crane.Delete(app+"@"+want.String(), c.crane()...))
	var gone *transport.Error
	if _, err := crane.Manifest(app+":v2", c.crane()...); !errors.As(err, &gone) || gone.StatusCode != http.StatusNotFound {
		t.Errorf("deleted: %v, want 404", err)
	}
	if _, err := crane.Pull(w.host()+"/copy:v1", c.crane()...); err != nil {
		t.Errorf("the copy went with it: %v", err)
	}
}

func TestCraneIndex(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	index, err := random.Index(10_000, 2, 3)
	must(t, err)
	ref, err := name.ParseReference(w.host() + "/multi:v1")
	must(t, err)
	must(t, remote.WriteIndex(ref, index, c.remote()...))
	got, err := remote.Index(ref, c.remote()...)
	must(t, err)
	want, err := partial.Descriptor(index)
	must(t, err)
	have, err := partial.Descriptor(got)
	if must(t, err); have.Digest != want.Digest || have.MediaType != want.MediaType {
		t.Errorf("%+v, want %+v", have, want)
	}
}

// TestCraneReferrers attaches an artifact to an image and finds it by the image: through the API, without a tag in its place.
func TestCraneReferrers(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	image, err := random.Image(1000, 1)
	must(t, err)
	ref, err := name.ParseReference(w.host() + "/app:v1")
	must(t, err)
	must(t, remote.Write(ref, image, c.remote()...))
	subject, err := partial.Descriptor(image)
	must(t, err)
	config := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.example.sbom")
	annotated := mutate.Annotations(config, map[string]string{"org.example.tool": "scan"})
	artifact, ok := mutate.Subject(annotated, *subject).(v1.Image) // the last, as any other takes it away
	if !ok {
		t.Fatal("no image any more")
	}
	digest, err := artifact.Digest()
	must(t, err)
	must(t, remote.Write(ref.Context().Digest(digest.String()), artifact, c.remote()...))
	for artifactType, want := range map[string]int{"": 1, "application/vnd.example.sbom": 1, "application/vnd.example.none": 0} {
		options := c.remote()
		if artifactType != "" {
			options = append(options, remote.WithFilter("artifactType", artifactType))
		}
		index, err := remote.Referrers(ref.Context().Digest(subject.Digest.String()), options...)
		must(t, err)
		list, err := index.IndexManifest()
		must(t, err)
		if len(list.Manifests) != want || want == 1 && (list.Manifests[0].Digest != digest || list.Manifests[0].Annotations["org.example.tool"] != "scan") {
			t.Errorf("of type %q: %+v", artifactType, list.Manifests)
		}
	}
	tags, err := crane.ListTags(ref.Context().Name(), c.crane()...)
	if err != nil || !slices.Equal(tags, []string{"v1"}) {
		t.Errorf("tags %v, %v", tags, err)
	}
}

// TestCraneIsRefused pushes and pulls without the right.
func TestCraneIsRefused(t *testing.T) {
	w := newWorld(t)
	image, err := random.Image(1000, 1)
	must(t, err)
	app := w.host() + "/app:v1"
	must(t, crane.Push(image, app, w.pusher().crane()...))
	wrong := w.pusher()
	wrong.password += "x"
	for who, c := range map[string]*client{"nobody": {w: w}, "no role": w.client(), "wrong password": wrong} {
		if _, err := crane.Manifest(app, c.crane()...); !isUnauthorized(err) {
			t.Errorf("%s pulls: %v, want 401", who, err)
		}
	}
	other, err := random.Image(1000, 1)
	must(t, err)
	if err := crane.Push(other, app, w.client("AcrPull").crane()...); !isUnauthorized(err) {
		t.Errorf("a reader pushes: %v, want 401", err)
	}
	if err := crane.Delete(app, w.client("AcrPush").crane()...); !isUnauthorized(err) {
		t.Errorf("a writer deletes: %v, want 401", err)
	}
}

func isUnauthorized(err error) bool {
	var e *transport.Error
	return errors.As(err, &e) && e.StatusCode == http.StatusUnauthorized
}

// skopeo runs it against the world's server with the client's password.
func (c *client) skopeo(args ...string) (string, error) {
	c.w.t.Helper()
	program, err := exec.LookPath("skopeo")
	if err != nil {
		c.w.t.Fatal("skopeo is not installed: apt-get install skopeo")
	}
	certs := c.w.t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.w.server.Certificate().Raw})
	must(c.w.t, os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o600))
	for i, a := range args {
		args[i] = strings.NewReplacer("CERTS", certs, "CREDS", c.id+":"+c.password, "HOST", c.w.host()).Replace(a)
	}
	command := exec.Command(program, append([]string{"--insecure-policy"}, args...)...)
	command.Env = append(os.Environ(), "HOME="+certs, "XDG_RUNTIME_DIR="+certs)
	out, err := command.CombinedOutput()
	return string(out), err
}

func TestSkopeo(t *testing.T) {
	w := newWorld(t)
	c := w.pusher()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	layer, err := random.Layer(50_000, types.OCIUncompressedLayer)
	must(t, err)
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	must(t, err)
	path, err := layout.Write(from, empty.Index)
	must(t, err)
	must(t, path.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"})))
	for _, args := range [][]string{
		{"copy", "--preserve-digests", "--dest-creds=CREDS", "--dest-cert-dir=CERTS", "oci:" + from + ":v1", "docker://HOST/team/app:v1"},
		{"copy", "--preserve-digests", "--src-creds=CREDS", "--src-cert-dir=CERTS", "--dest-creds=CREDS", "--dest-cert-dir=CERTS", "docker://HOST/team/app:v1", "docker://HOST/other:v1"},
		{"copy", "--preserve-digests", "--src-creds=CREDS", "--src-cert-dir=CERTS", "docker://HOST/other:v1", "oci:" + to + ":v1"},
		{"delete", "--creds=CREDS", "--cert-dir=CERTS", "docker://HOST/other:v1"},
	} {
		if out, err := c.skopeo(args...); err != nil {
			t.Fatalf("skopeo %s: %v\n%s", args[0], err, out)
		}
	}
	want, err := image.Digest()
	must(t, err)
	back, err := layout.ImageIndexFromPath(to)
	must(t, err)
	manifest, err := back.IndexManifest()
	if must(t, err); len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest != want {
		t.Errorf("came back as %+v, want %s", manifest.Manifests, want)
	}
	if out, err := w.client().skopeo("inspect", "--creds=CREDS", "--cert-dir=CERTS", "docker://HOST/team/app:v1"); err == nil {
		t.Errorf("inspected without a role:\n%s", out)
	}
}
