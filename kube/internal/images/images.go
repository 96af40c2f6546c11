// Package images owns the container images that a cluster itself needs. They are made here, of programs that are built
// from this module, and carried in the program: nothing is ever fetched for a cluster to start.
package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"
)

// programs holds what 'make kube' builds before this program.
//
//go:embed programs
var programs embed.FS

// image is an image of one program.
type image struct {
	name    string // reference
	program string // file in programs
}

// all are the images. fairlead's room nodes knows the first by its name.
var all = []image{{"fairlead.dev/pause:1", "pause"}}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Write writes all images as one tar archive of an OCI image layout (image-spec, image-layout.md).
func Write(w io.Writer) error {
	a := &archive{Writer: tar.NewWriter(w)}
	var manifests []descriptor
	for _, i := range all {
		m, err := a.add(i)
		if err != nil {
			return fmt.Errorf("image %s: %w", i.name, err)
		}
		manifests = append(manifests, m)
	}
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		return err
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests})
	if err != nil {
		return err
	}
	if err := a.file("index.json", index, 0o644); err != nil {
		return err
	}
	return a.Close()
}

type archive struct{ *tar.Writer }

// add writes an image's blobs and gives its manifest's descriptor.
func (a *archive) add(i image) (descriptor, error) {
	program, err := programs.ReadFile("programs/" + i.program)
	if err != nil {
		return descriptor{}, err
	}
	var layer bytes.Buffer
	inner := &archive{tar.NewWriter(&layer)}
	if err := inner.file(i.program, program, 0o755); err != nil {
		return descriptor{}, err
	}
	if err := inner.Close(); err != nil {
		return descriptor{}, err
	}
	content, err := a.blob("application/vnd.oci.image.layer.v1.tar", layer.Bytes())
	if err != nil {
		return descriptor{}, err
	}
	config, err := a.json("application/vnd.oci.image.config.v1+json", map[string]any{
		"os": "linux", "architecture": runtime.GOARCH, "config": map[string]any{"Entrypoint": []string{"/" + i.program}, "User": "65535:65535"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{content.Digest}},
	})
	if err != nil {
		return descriptor{}, err
	}
	manifest, err := a.json("application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []descriptor{content},
	})
	manifest.Annotations = map[string]string{"io.containerd.image.name": i.name}
	return manifest, err
}

func (a *archive) json(mediaType string, v any) (descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return a.blob(mediaType, text)
}

func (a *archive) blob(mediaType string, content []byte) (descriptor, error) {
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:])
	return descriptor{MediaType: mediaType, Digest: "sha256:" + hash, Size: len(content)}, a.file("blobs/sha256/"+hash, content, 0o644)
}

func (a *archive) file(name string, content []byte, mode int64) error {
	// The time is fixed: the same program makes the same image.
	if err := a.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := a.Write(content)
	return err
}
