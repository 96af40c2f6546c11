//go:build linux

package containerd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// file is a file of an image under test.
type file struct {
	name string
	mode int64
	body []byte
	kind byte
	link string
}

// busybox gives the files of a small system.
func busybox(t *testing.T) []file {
	t.Helper()
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs busybox-static")
	}
	files := []file{{name: "bin/", mode: 0o755, kind: tar.TypeDir}, {name: "bin/busybox", mode: 0o755, body: binary}, {name: "tmp/", mode: 0o1777, kind: tar.TypeDir}}
	for _, applet := range []string{"sh", "sleep", "cat", "id", "env", "httpd", "wget", "nslookup", "ps", "ls", "pwd", "dd", "tail", "stty", "kill", "hostname", "ip", "head", "touch", "tar"} {
		files = append(files, file{name: "bin/" + applet, kind: tar.TypeSymlink, link: "busybox"})
	}
	return append(files,
		file{name: "etc/passwd", mode: 0o644, body: []byte("root:x:0:0::/:/bin/sh\nweb:x:1234:4321::/:/bin/sh\n")},
		file{name: "etc/group", mode: 0o644, body: []byte("root:x:0:\nweb:x:4321:\nextra:x:77:web\n")})
}

func layerOf(t *testing.T, files []file) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		kind := f.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.body)), Typeflag: kind, Linkname: f.link}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	raw := buf.Bytes()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }, tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func imageOf(t *testing.T, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Config = "linux", runtime.GOARCH, config
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
}

// load puts an image on the node as a pull does, without a registry.
func load(t *testing.T, d *Driver, img v1.Image) pull.Image {
	t.Helper()
	layers, err := img.Layers()
	must(t, err)
	s, err := d.Begin(t.Context(), "test")
	must(t, err)
	defer func() { must(t, s.End(t.Context())) }()
	var all []pull.Layer
	for _, l := range layers {
		layer := describe(t, l)
		r, err := l.Compressed()
		must(t, err)
		body, err := io.ReadAll(r)
		must(t, err)
		must(t, write(t.Context(), s, layer.Descriptor, body))
		all = append(all, layer)
	}
	config, err := img.RawConfigFile()
	must(t, err)
	must(t, write(t.Context(), s, content.Descriptor{Digest: content.FromBytes(config), Size: int64(len(config))}, config))
	manifest, err := img.RawManifest()
	must(t, err)
	target := content.Descriptor{MediaType: content.MediaTypeManifest, Digest: content.FromBytes(manifest), Size: int64(len(manifest))}
	must(t, write(t.Context(), s, target, manifest))
	must(t, s.Unpack(t.Context(), all, nil))
	ref := "registry.example/app@" + string(target.Digest)
	must(t, s.Pin(t.Context(), ref, target))
	image, err := pull.New(nil, nil, d, pull.Limits{}, time.Now, slog.Default()).Reopen(t.Context(), ref, target.Digest)
	must(t, err)
	return image
}

func describe(t *testing.T, l v1.Layer) pull.Layer {
	t.Helper()
	digest, err := l.Digest()
	must(t, err)
	diff, err := l.DiffID()
	must(t, err)
	size, err := l.Size()
	must(t, err)
	return pull.Layer{Descriptor: content.Descriptor{Digest: content.Digest(digest.String()), Size: size}, DiffID: content.Digest(diff.String())}
}

func write(ctx context.Context, s pull.Session, d content.Descriptor, body []byte) error {
	w, err := s.Write(ctx, d)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Write(body); err != nil {
		return err
	}
	return w.Commit(ctx)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
