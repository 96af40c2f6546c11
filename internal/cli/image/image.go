// Package image owns images on this side of the wire: opening an OCI layout or a docker archive, making an image from a
// directory of files, and pushing it layer by layer with progress. Which registry, and as whom, is told to it.
package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"fairlead.dev/internal/cli/exit"
)

// Source is an image or an index of images; exactly one field is set.
type Source struct {
	Image v1.Image
	Index v1.ImageIndex
}

// Options say how a source is read.
type Options struct {
	Ref    string // which image of a layout or archive that holds several: its name there
	Config Config // for a directory of files
}

// Open reads a source: an OCI layout, a docker archive, or a directory of files, told apart by what is there.
func Open(path string, o Options) (Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Source{}, err
	}
	if !info.IsDir() {
		if !o.Config.isZero() {
			return Source{}, ownConfig(path, "an archive")
		}
		return openArchive(path, o.Ref)
	}
	if _, err := os.Stat(filepath.Join(path, "oci-layout")); errors.Is(err, os.ErrNotExist) {
		if o.Ref != "" {
			return Source{}, exit.Usagef("%s is a directory of files, which makes one image: --source-ref is for layouts and archives", path)
		}
		img, err := FromDirectory(path, o.Config)
		return Source{Image: img}, err
	}
	if !o.Config.isZero() {
		return Source{}, ownConfig(path, "an OCI layout")
	}
	return openLayout(path, o.Ref)
}

func ownConfig(path, what string) error {
	return exit.Usagef("%s is %s, whose images have their own configuration: --entrypoint, --cmd, --env, --workdir, --user and --platform are for directories of files", path, what)
}

// refName is the annotation by which layouts name their images.
const refName = "org.opencontainers.image.ref.name"

func openLayout(path, ref string) (Source, error) {
	root, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return Source{}, exit.Usagef("%s is not an OCI layout: %w", path, err)
	}
	index, err := root.IndexManifest()
	if err != nil {
		return Source{}, exit.Usagef("%s is not an OCI layout: %w", path, err)
	}
	var chosen []v1.Descriptor
	var names []string
	for _, d := range index.Manifests {
		names = append(names, d.Annotations[refName])
		if ref == "" || d.Annotations[refName] == ref || d.Digest.String() == ref {
			chosen = append(chosen, d)
		}
	}
	if len(chosen) != 1 {
		return Source{}, exit.Errorf(exit.Usage, "name one with --source-ref", "%s holds %d images that fit (of %s)", path, len(chosen), strings.Join(names, ", "))
	}
	if chosen[0].MediaType.IsIndex() {
		child, err := root.ImageIndex(chosen[0].Digest)
		return Source{Index: child}, err
	}
	img, err := root.Image(chosen[0].Digest)
	return Source{Image: img}, err
}

func openArchive(path, ref string) (Source, error) {
	if err := checkArchive(path); err != nil {
		return Source{}, err
	}
	var tag *name.Tag
	if ref != "" {
		t, err := name.NewTag(ref, name.WeakValidation)
		if err != nil {
			return Source{}, exit.Usagef("--source-ref: %w", err)
		}
		tag = &t
	}
	img, err := tarball.ImageFromPath(path, tag)
	if err != nil {
		return Source{}, exit.Errorf(exit.Usage, "an archive of several images needs --source-ref NAME:TAG", "%s is not the docker archive of one image: %w", path, err)
	}
	return Source{Image: img}, nil
}

// checkArchive tells a docker archive from other files in words of our own.
func checkArchive(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for archive := tar.NewReader(f); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return exit.Usagef("%s is a tar archive without manifest.json: not what 'docker save' writes", path)
		}
		if err != nil {
			return exit.Errorf(exit.Usage, "give an OCI layout, what 'docker save' wrote, or a directory of files", "%s is not a tar archive: %w", path, err)
		}
		if filepath.Clean(header.Name) == "manifest.json" {
			return nil
		}
	}
}
