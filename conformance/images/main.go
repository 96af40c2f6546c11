// Command images makes the images that upstream's Conformance suite runs, as an OCI layout. They hold what upstream's hold, as
// far as a spec looks at it, but nothing that was downloaded as an image: programs built from source, and Debian's.
//
//	images PROGRAMS LAYOUT
//	images -key PROGRAMS
//	images -trusting CA LAYOUT NEW
//
// PROGRAMS is what scripts/conformance-build.sh made. The layout is made anew only when it is not there, and its name
// should therefore say what it was made of: -key prints that. With -trusting, the layout NEW gets the image of LAYOUT whose
// pods reach for the issuer of service accounts, so that it trusts the authority of the file CA: as with every private
// authority, what runs in a pod has to be told of it.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	upstream "k8s.io/kubernetes/test/utils/image"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "-trusting":
		return trusting(args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "-key":
		key, err := keyOf(args[1])
		if err == nil {
			fmt.Println(key)
		}
		return err
	case len(args) == 2:
		return write(args[0], args[1])
	}
	return fmt.Errorf("usage: images PROGRAMS LAYOUT | images -key PROGRAMS | images -trusting CA LAYOUT NEW")
}

// write makes the layout, and prints the name of each image, which is the one in the layout and in a registry.
func write(programs, path string) error {
	if err := os.RemoveAll(path + ".part"); err != nil {
		return err
	}
	out, err := layout.Write(path+".part", empty.Index)
	if err != nil {
		return err
	}
	images, err := suite(programs)
	if err != nil {
		return err
	}
	for _, each := range images {
		img, err := each.build()
		if err != nil {
			return fmt.Errorf("%s: %w", each.name, err)
		}
		if err := add(out, each.name, img); err != nil {
			return err
		}
	}
	return os.Rename(path+".part", path)
}

// refName annotates an image in a layout with its name.
const refName = "org.opencontainers.image.ref.name"

// add puts an image into a layout, and prints its name.
func add(to layout.Path, name string, img v1.Image) error {
	if err := to.AppendImage(img, layout.WithAnnotations(map[string]string{refName: name})); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Println(name)
	return nil
}

// trusting makes the layout at path with the one image of another that trusts the authority of a PEM file.
func trusting(authority, from, path string) error {
	name := nameOf(upstream.Agnhost)
	there, err := layout.ImageIndexFromPath(from)
	if err != nil {
		return err
	}
	found, err := partial.FindImages(there, match.Annotation(refName, name))
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("%s: %d images are named %s, not 1", from, len(found), name)
	}
	pem, err := os.ReadFile(authority)
	if err != nil {
		return err
	}
	roots, err := layer([]file{{path: "etc/ssl/certs/ca-certificates.crt", text: string(pem)}})
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(found[0], roots)
	if err != nil {
		return err
	}
	out, err := layout.Write(path, empty.Index)
	if err != nil {
		return err
	}
	return add(out, name, img)
}

// keyOf digests all that images are made of: the programs and files, Debian's programs with their libraries, and this
// program.
func keyOf(programs string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	paths := []string{self}
	for _, name := range []string{"busybox", "agnhost", "sample-apiserver", "nnp", "etcd", "pause", "files"} {
		err := filepath.WalkDir(filepath.Join(programs, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	debian, err := withLibraries(debianPrograms)
	if err != nil {
		return "", err
	}
	for _, f := range debian {
		paths = append(paths, f.from)
	}
	sum := sha256.New()
	for _, path := range paths {
		if err := digestFile(sum, path); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

func digestFile(into io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	_, err = into.Write(sum.Sum(nil))
	return err
}
