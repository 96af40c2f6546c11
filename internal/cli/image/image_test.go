package image_test

import (
	"archive/tar"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/cli/image"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]image.Target{
		"myacr/app:v1":                 {Registry: "myacr", Repository: "app", Tag: "v1"},
		"myacr/app":                    {Registry: "myacr", Repository: "app", Tag: "latest"},
		"MyAcr.azurecr.io/team/app:v1": {Registry: "myacr", Repository: "team/app", Tag: "v1"},
		"myacr.azurecr.fairlead.localhost:8443/app:v1": {Registry: "myacr", Repository: "app", Tag: "v1"},
	} {
		if got, err := image.ParseTarget(text); err != nil || got != want {
			t.Errorf("%q gave %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "app", "app:v1", "docker.io/app", "myacr/App", "myacr/app:", "myacr/app:a b", "myacr/../x", "myacr//x", "myacr/app@sha256:ab", "localhost:5000/app",
		"myacr/" + strings.Repeat("a", 256), "myacr/a:" + strings.Repeat("t", 129), "x/app", "https://myacr.azurecr.io/app",
	} {
		if got, err := image.ParseTarget(text); err == nil {
			t.Errorf("%q gave %+v", text, got)
		}
	}
}

// FuzzParseTarget: what is accepted can be written down again and means the same.
func FuzzParseTarget(f *testing.F) {
	f.Add("myacr.azurecr.io/team/app:v1")
	f.Add("a/b")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := image.ParseTarget(text)
		if err != nil {
			return
		}
		again, err := image.ParseTarget(got.Registry + "/" + got.Repository + ":" + got.Tag)
		if err != nil || again != got {
			t.Fatalf("%q gave %+v, then %+v, %v", text, got, again, err)
		}
	})
}

func TestHostOf(t *testing.T) {
	for text, want := range map[string]string{
		"myacr.azurecr.io/app:v1": "myacr.azurecr.io", "localhost:5000/app": "localhost:5000", "localhost/app": "localhost", "library/app": "", "app:v1": "",
	} {
		if got := image.HostOf(text); got != want {
			t.Errorf("%q has the host %q, want %q", text, got, want)
		}
	}
}

// TestFromDirectory: an image holds the files with their modes and links, root's, at the epoch, and nothing of this machine.
func TestFromDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/app": 0o755, "etc/conf": 0o640} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/bin/app", filepath.Join(dir, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	img, err := image.FromDirectory(dir, image.Config{Entrypoint: []string{"/bin/app"}, Cmd: []string{"-v"}, Env: []string{"A=1"}, Platform: "linux/arm/v7", WorkingDir: "/etc"})
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS+"/"+config.Architecture+"/"+config.Variant != "linux/arm/v7" || config.Config.Entrypoint[0] != "/bin/app" || config.Config.Env[0] != "A=1" || len(config.RootFS.DiffIDs) != 1 {
		t.Errorf("config %+v", config)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	body, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var got []string
	for r := tar.NewReader(body); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s tells of this machine: %+v", h.Name, h)
		}
		got = append(got, strings.TrimSpace(h.Name+" "+h.FileInfo().Mode().String()+" "+h.Linkname))
	}
	want := "bin/ drwxr-xr-x, bin/app -rwxr-xr-x, bin/sh Lrwxrwxrwx /bin/app, etc/ drwxr-xr-x, etc/conf -rw-r-----"
	if strings.Join(got, ", ") != want {
		t.Errorf("the layer holds %s, want %s", strings.Join(got, ", "), want)
	}
}

func TestFromDirectoryRefusesSockets(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := image.FromDirectory(dir, image.Config{}); err == nil || !strings.Contains(err.Error(), "sock") {
		t.Errorf("got %v", err)
	}
}
