// Command images makes the images that upstream's Conformance suite runs, as an OCI layout. They hold what upstream's hold, as
// far as a spec looks at it, but nothing that was downloaded as an image: programs built from source, and Debian's.
//
//	images PROGRAMS LAYOUT
//
// PROGRAMS is what scripts/conformance-build.sh made. The layout is made anew only when it is not there, and its name
// should therefore say what it was made of: `images -key PROGRAMS` prints that.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: images PROGRAMS LAYOUT | images -key PROGRAMS")
	}
	if args[0] == "-key" {
		key, err := keyOf(args[1])
		if err == nil {
			fmt.Println(key)
		}
		return err
	}
	return write(args[0], args[1])
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
		if err := out.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": each.name})); err != nil {
			return fmt.Errorf("%s: %w", each.name, err)
		}
		fmt.Println(each.name)
	}
	return os.Rename(path+".part", path)
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
