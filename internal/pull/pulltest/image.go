// Package pulltest holds what tests of pulling need: pull.Node's contract as a suite that every driver runs, a node on
// plain files, and small images.
package pulltest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"strings"
	"testing"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// Blob is content with its description.
type Blob struct {
	content.Descriptor
	Body []byte
}

// NewBlob describes body.
func NewBlob(mediaType string, body []byte) Blob {
	return Blob{content.Descriptor{MediaType: mediaType, Digest: content.FromBytes(body), Size: int64(len(body))}, body}
}

// Image is a small image for one platform.
type Image struct {
	Manifest Blob
	Config   Blob
	Layers   []Blob
	DiffIDs  []content.Digest
}

// NewImage makes an image with one layer for each of files, each layer holding one file of that content.
func NewImage(t testing.TB, platform content.Platform, files ...string) Image {
	t.Helper()
	var im Image
	for _, file := range files {
		layer, diffID := NewLayer(t, file)
		im.Layers, im.DiffIDs = append(im.Layers, layer), append(im.DiffIDs, diffID)
	}
	im.Config = NewBlob(content.MediaTypeConfig, mustJSON(t, map[string]any{
		"os": platform.OS, "architecture": platform.Architecture, "variant": platform.Variant,
		"config": map[string]any{"Entrypoint": []string{"/bin/app"}, "Env": []string{"A=b"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": im.DiffIDs},
	}))
	im.Seal(t)
	return im
}

// Seal makes the manifest anew from config and layers.
func (im *Image) Seal(t testing.TB) {
	t.Helper()
	layers := []content.Descriptor{}
	for _, l := range im.Layers {
		layers = append(layers, l.Descriptor)
	}
	im.Manifest = NewBlob(content.MediaTypeManifest, mustJSON(t, map[string]any{
		"schemaVersion": 2, "mediaType": content.MediaTypeManifest, "config": im.Config.Descriptor, "layers": layers,
	}))
}

// PullLayers gives the layers as a Session unpacks them.
func (im *Image) PullLayers() []pull.Layer {
	var out []pull.Layer
	for i, l := range im.Layers {
		out = append(out, pull.Layer{Descriptor: l.Descriptor, DiffID: im.DiffIDs[i]})
	}
	return out
}

// NewIndex makes an index of images by platform ("linux/amd64").
func NewIndex(t testing.TB, images map[string]Image) Blob {
	t.Helper()
	manifests := []content.Descriptor{}
	for name, im := range images {
		d := im.Manifest.Descriptor
		os, architecture, _ := strings.Cut(name, "/")
		d.Platform = &content.Platform{OS: os, Architecture: architecture}
		manifests = append(manifests, d)
	}
	return NewBlob(content.MediaTypeIndex, mustJSON(t, map[string]any{
		"schemaVersion": 2, "mediaType": content.MediaTypeIndex, "manifests": manifests,
	}))
}

// NewLayer makes a compressed layer with one file.
func NewLayer(t testing.TB, file string) (Blob, content.Digest) {
	t.Helper()
	var plain, packed bytes.Buffer
	tw := tar.NewWriter(&plain)
	must(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644, Size: int64(len(file))}))
	_, err := tw.Write([]byte(file))
	must(t, err)
	must(t, tw.Close())
	zw := gzip.NewWriter(&packed)
	_, err = zw.Write(plain.Bytes())
	must(t, err)
	must(t, zw.Close())
	return NewBlob("application/vnd.oci.image.layer.v1.tar+gzip", packed.Bytes()), content.FromBytes(plain.Bytes())
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
