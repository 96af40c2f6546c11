package image

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"fairlead.dev/internal/cli/exit"
)

// Config is what an image made from a directory runs.
type Config struct {
	Entrypoint []string
	Cmd        []string
	Env        []string // NAME=VALUE
	WorkingDir string
	User       string
	Platform   string // os/arch[/variant]; default linux and this machine's architecture
}

func (c Config) isZero() bool {
	return len(c.Entrypoint)+len(c.Cmd)+len(c.Env) == 0 && c.WorkingDir+c.User+c.Platform == ""
}

// FromDirectory makes an image of one layer from the files under dir. The same files give the same digest: owners are
// root, times are the epoch, the order is that of names. Files that no image can hold (sockets, devices, pipes) are
// refused by name.
func FromDirectory(dir string, c Config) (v1.Image, error) {
	platform, err := ParsePlatform(cmp.Or(c.Platform, "linux/"+runtime.GOARCH))
	if err != nil {
		return nil, err
	}
	for _, variable := range c.Env {
		if name, _, ok := strings.Cut(variable, "="); !ok || name == "" {
			return nil, exit.Usagef("--env %q is not NAME=VALUE", name)
		}
	}
	if err := checkTree(dir); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return archive(dir), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "fairlead push"}})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Variant = platform.OS, platform.Architecture, platform.Variant
	file.Config.Entrypoint, file.Config.Cmd, file.Config.Env = c.Entrypoint, c.Cmd, c.Env
	file.Config.WorkingDir, file.Config.User = c.WorkingDir, c.User
	return mutate.ConfigFile(img, file)
}

// ParsePlatform reads "os/arch" or "os/arch/variant".
func ParsePlatform(text string) (v1.Platform, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return v1.Platform{}, exit.Usagef("%q is not a platform such as linux/amd64 or linux/arm/v7", text)
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// checkTree refuses what cannot be archived before anything is sent.
func checkTree(dir string) error {
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if t := d.Type(); t&^(fs.ModeDir|fs.ModeSymlink) != 0 {
			return exit.Usagef("%s is neither a file, a directory nor a link (%s): an image cannot hold it", path, t)
		}
		if !d.IsDir() {
			files++
		}
		return nil
	})
	if err == nil && files == 0 {
		return exit.Usagef("%s holds no files", dir)
	}
	return err
}

// archive streams the directory as a tar. A reader that closes early ends the writer.
func archive(dir string) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == dir {
				return err
			}
			return add(t, dir, path, d)
		})
		_ = w.CloseWithError(errors.Join(err, t.Close()))
	}()
	return r
}

func add(t *tar.Writer, dir, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, filepath.ToSlash(link))
	if err != nil {
		return err
	}
	relative, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	header.Name = filepath.ToSlash(relative)
	if d.IsDir() {
		header.Name += "/"
	}
	header.ModTime, header.AccessTime, header.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	header.Format = tar.FormatPAX
	if runtime.GOOS == "windows" && info.Mode().IsRegular() {
		header.Mode |= 0o111 // that system knows no executable bit
	}
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(t, f); err != nil {
		return fmt.Errorf("%s changed while it was read: %w", path, err)
	}
	return nil
}
