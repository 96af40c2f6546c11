//go:build linux

package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// TestLayersStack looks at several layers, with deletions, from inside.
func TestLayersStack(t *testing.T) {
	b := newBox(t, Config{})
	lower := append(busybox(t),
		file{name: "data/", mode: 0o755, kind: tar.TypeDir}, file{name: "data/kept", mode: 0o644, body: []byte("kept")},
		file{name: "data/gone", mode: 0o644, body: []byte("gone")}, file{name: "data/changed", mode: 0o644, body: []byte("old")},
		file{name: "opaque/", mode: 0o755, kind: tar.TypeDir}, file{name: "opaque/hidden", mode: 0o644},
		file{name: "data/device", mode: 0o666, kind: tar.TypeChar})
	upper := []file{
		{name: "data/.wh.gone"},
		{name: "data/changed", mode: 0o600, body: []byte("new")},
		{name: "data/linked", kind: tar.TypeLink, link: "data/changed"},
		{name: "opaque/", mode: 0o755, kind: tar.TypeDir},
		{name: "opaque/.wh..wh..opq"},
		{name: "opaque/shown", mode: 0o644},
	}
	b.image = load(t, b.d.Driver, imageOf(t, v1.Config{}, layerOf(t, lower), layerOf(t, upper)))
	got := b.output("c", "cd /data; ls; cat kept changed linked; echo; ls /opaque", nil)
	if diff := cmp.Diff("changed\nkept\nlinked\nkeptnewnew\nshown\n", got); diff != "" {
		t.Error(diff)
	}
}

// TestLayersStayInside unpacks layers that try to write outside of their file system.
func TestLayersStayInside(t *testing.T) {
	d := open(t, Config{})
	victim := filepath.Join(t.TempDir(), "victim")
	up := strings.Repeat("../", 30)
	for name, hostile := range map[string][]file{
		"dots":             {{name: up + victim, mode: 0o644, body: []byte("x")}},
		"absolute":         {{name: victim, mode: 0o644, body: []byte("x")}},
		"symbolic link":    {{name: "l", kind: tar.TypeSymlink, link: filepath.Dir(victim)}, {name: "l/victim", mode: 0o644, body: []byte("x")}},
		"link by dots":     {{name: "l", kind: tar.TypeSymlink, link: up + filepath.Dir(victim)}, {name: "l/victim", mode: 0o644, body: []byte("x")}},
		"hard link":        {{name: "l", kind: tar.TypeLink, link: "/etc/hostname"}},
		"whiteout of dots": {{name: up + filepath.Dir(victim) + "/.wh.keep"}},
	} {
		keep := filepath.Join(filepath.Dir(victim), "keep")
		must(t, os.WriteFile(keep, nil, 0o600))
		t.Logf("%s: %v", name, unpack(t, d.Driver, layerOf(t, hostile)))
		if _, err := os.Lstat(victim); err == nil {
			t.Errorf("%s: wrote outside", name)
		}
		if _, err := os.Lstat(keep); err != nil {
			t.Errorf("%s: deleted outside", name)
		}
	}
}

func unpack(t *testing.T, d *Driver, l v1.Layer) error {
	t.Helper()
	s, err := d.Begin(t.Context(), "test")
	must(t, err)
	defer func() { must(t, s.End(context.Background())) }()
	layer := describe(t, l)
	r, err := l.Compressed()
	must(t, err)
	body, err := io.ReadAll(r)
	must(t, err)
	if err := write(t.Context(), s, layer.Descriptor, body); err != nil {
		return err
	}
	return s.Unpack(t.Context(), []pull.Layer{layer}, nil)
}

// TestDiskFull fills a small file system, by writing content and by unpacking it, and goes on when there is room again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "small"), 0o700))
	small := filepath.Join(dir, "small")
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("needs the right to mount:", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(small, unix.MNT_DETACH)) })
	d := open(t, Config{DataDir: small})
	noise := make([]byte, 16<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	for name, body := range map[string][]byte{"content": noise, "unpacked": make([]byte, 64<<20)} {
		if err := unpack(t, d.Driver, layerOf(t, []file{{name: "big", mode: 0o644, body: body}})); !errors.Is(err, pull.ErrNoSpace) {
			t.Errorf("%s beyond the disk: %v", name, err)
		}
	}
	must(t, unpack(t, d.Driver, layerOf(t, []file{{name: "small", mode: 0o644, body: noise[:1<<20]}})))
}

func TestUnpackedLimit(t *testing.T) {
	for size, want := range map[int64]int64{0: 1000 << 20, 1000: 1000 << 20, 2 << 20: 2000 << 20, 1 << 40: 64 << 30} {
		if got := unpackedLimit(size); got != want {
			t.Errorf("%d bytes may become %d, want %d", size, got, want)
		}
	}
	r := &limitedReader{r: bytes.NewReader(make([]byte, 100)), limit: 99}
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, pull.ErrTooBig) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	r = &limitedReader{r: bytes.NewReader(make([]byte, 100)), limit: 100}
	if n, err := io.Copy(io.Discard, r); err != nil || n != 100 {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// TestHolesCount unpacks a file that is all hole: a few bytes of the archive's stream, and as many as one likes on the disk.
func TestHolesCount(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m")) // for the case that they do not count
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	to := []mount.Mount{{Type: "bind", Source: dir}}
	hole := func(size int64) error {
		return apply(t.Context(), to, bytes.NewReader(sparse(t, size)), &toll{layer: "sha256:0", bytes: 4 << 20})
	}
	if err := hole(4<<20 + 1); !errors.Is(err, pull.ErrTooBig) {
		t.Errorf("a hole beyond the limit: %v", err)
	}
	must(t, hole(4<<20))
	if info, err := os.Stat(filepath.Join(dir, "hole")); err != nil || info.Size() != 4<<20 {
		t.Errorf("a hole within the limit: %v, %v", info, err)
	}
}

// sparse gives an archive with a file that has a hole of size-1 bytes and a byte behind it, in GNU tar's format 1.0. Go
// reads it and does not write it, so the records' names are put right afterwards; no checksum covers them.
func sparse(t *testing.T, size int64) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	regions := fmt.Sprintf("1\n%d\n1\n", size-1)
	body := regions + strings.Repeat("\x00", 512-len(regions)) + "x"
	must(t, w.WriteHeader(&tar.Header{
		Name: "GNUSparseFile.0/hole", Mode: 0o644, Size: int64(len(body)), Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		PAXRecords: map[string]string{
			"XNU.sparse.major": "1", "XNU.sparse.minor": "0", "XNU.sparse.name": "hole", "XNU.sparse.realsize": strconv.FormatInt(size, 10),
		},
	}))
	_, err := w.Write([]byte(body))
	must(t, errors.Join(err, w.Close()))
	return bytes.ReplaceAll(buf.Bytes(), []byte("XNU.sparse."), []byte("GNU.sparse."))
}

// TestZstdWindow unpacks layers in zstd: one that says that reading it takes more memory than is allowed, and one that
// takes just as much.
func TestZstdWindow(t *testing.T) {
	d := open(t, Config{})
	r, err := layerOf(t, []file{{name: "f", mode: 0o644, body: []byte("x")}}).Uncompressed()
	must(t, err)
	plain, err := io.ReadAll(r)
	must(t, err)
	for log, want := range map[byte]error{27: nil, 28: pull.ErrTooBig} { // of the window's size
		packed := frame(log, plain)
		layer := pull.Layer{
			Descriptor: content.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+zstd", Digest: content.FromBytes(packed), Size: int64(len(packed))},
			DiffID:     content.FromBytes(plain),
		}
		s, err := d.Begin(t.Context(), "test")
		must(t, err)
		must(t, write(t.Context(), s, layer.Descriptor, packed))
		if err := s.Unpack(t.Context(), []pull.Layer{layer}, nil); !errors.Is(err, want) {
			t.Errorf("a window of %d bytes: %v, want %v", 1<<log, err, want)
		}
		must(t, s.End(context.Background()))
	}
}

// frame gives plain as a frame of one block that is not compressed, whose header asks for a window (RFC 8878 section 3.1.1).
func frame(windowLog byte, plain []byte) []byte {
	block := len(plain)<<3 | 1 // the last one, raw
	head := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (windowLog - 10) << 3, byte(block), byte(block >> 8), byte(block >> 16)}
	return append(head, plain...)
}

// TestTollOfNames checks that what is kept in memory of an archive is bounded.
func TestTollOfNames(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for name, h := range map[string]*tar.Header{
		"names":   {Name: big, Typeflag: tar.TypeReg},
		"records": {Name: "d/", Typeflag: tar.TypeDir, PAXRecords: map[string]string{"comment": big}},
	} {
		to := &toll{layer: "sha256:0", bytes: maxUnpacked}
		var err error
		entries := 0
		for ; err == nil && entries <= maxNames>>20; entries++ {
			_, err = to.admit(h)
		}
		if !errors.Is(err, pull.ErrTooBig) {
			t.Errorf("%s: after %d entries of a megabyte: %v", name, entries, err)
		}
	}
}

// TestRemovedImageIsCollected checks that an image is kept by its name and by nothing else.
func TestRemovedImageIsCollected(t *testing.T) {
	b := newBox(t, Config{})
	img := imageOf(t, v1.Config{}, layerOf(t, busybox(t)), layerOf(t, []file{{name: "own", mode: 0o644}}))
	b.image = load(t, b.d.Driver, img)
	layer := b.image.Layers()[1]
	there := func() bool {
		s, err := b.d.Begin(t.Context(), "look")
		must(t, err)
		defer s.End(t.Context())
		ok, err := s.Has(t.Context(), content.Descriptor{Digest: layer.Digest})
		must(t, err)
		return ok
	}
	b.start("c", idle, nil)
	must(t, b.d.RemoveImage(t.Context(), "registry.example/app@"+string(b.image.Digest())))
	must(t, b.d.RemoveImage(t.Context(), "registry.example/app@"+string(b.image.Digest())))
	b.await("the layer is collected", func() bool { return !there() })
	if got := b.runIn("c", "ls", "/own"); got != "/own\n" {
		t.Errorf("a running container has lost its files: %q", got)
	}
}
