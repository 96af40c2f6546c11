package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// file is one entry of a layer: a directory when its path ends with a slash, else a link, a file of this machine, or text.
type file struct {
	path string
	mode int64  // 0644, or 0755 for a directory or a file of this machine
	link string // what a symbolic link leads to
	from string // the file of this machine
	text string
}

// layer makes a layer of files, and of the directories above them. The same files give the same digest.
func layer(files []file) (v1.Layer, error) {
	all := map[string]file{}
	for _, f := range files {
		for dir := path.Dir(strings.TrimSuffix(f.path, "/")); dir != "."; dir = path.Dir(dir) {
			if _, there := all[dir+"/"]; !there {
				all[dir+"/"] = file{path: dir + "/"}
			}
		}
		all[f.path] = f
	}
	var paths []string
	for p := range all {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, p := range paths {
		if err := all[p].write(archive); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
}

func (f file) write(archive *tar.Writer) error {
	header := tar.Header{Name: f.path, Mode: 0o644, Typeflag: tar.TypeReg}
	content := []byte(f.text)
	switch {
	case strings.HasSuffix(f.path, "/"):
		header.Typeflag, header.Mode = tar.TypeDir, 0o755
	case f.link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.link, 0o777
	case f.from != "":
		read, err := os.ReadFile(f.from)
		if err != nil {
			return err
		}
		content, header.Mode = read, 0o755
	}
	if f.mode != 0 {
		header.Mode = f.mode
	}
	header.Size = int64(len(content))
	if err := archive.WriteHeader(&header); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}
