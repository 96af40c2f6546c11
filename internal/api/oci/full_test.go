//go:build linux

package oci_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fairlead.dev/internal/content"
)

// TestFullDisk fills the disk around an upload that holds a part of it. What is there can be read, what changes anything is told why it cannot,
// and cancelling the upload makes room again.
func TestFullDisk(t *testing.T) {
	w := &world{t: t, dir: t.TempDir()}
	if err := syscall.Mount("tmpfs", w.dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("needs the right to mount a small filesystem: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(w.dir, 0)) })
	w.start()
	t.Cleanup(func() { w.stop() })
	must(t, w.service.Create(t.Context(), acme))
	c := w.pusher()
	c.push("app", "v1", "config")
	h, _ := c.want(http.StatusAccepted, "POST", "/v2/app/blobs/uploads/", nil)
	location := h.Get("Location")
	h, _ = c.want(http.StatusAccepted, "PATCH", location, strings.Repeat("x", 512<<10))
	location = h.Get("Location")
	c.want(http.StatusInsufficientStorage, "PATCH", location, strings.Repeat("x", 3<<20))
	must(t, fill(filepath.Join(w.dir, "rest")))

	// The database has some room in its log yet.
	for i, status := 0, http.StatusCreated; status != http.StatusInsufficientStorage; i++ {
		manifest := strings.Replace(imageOf("config"), "{", fmt.Sprintf(`{"annotations":{"a":"%s%d"},`, strings.Repeat("y", 4096), i), 1)
		r := c.do("PUT", "/v2/app/manifests/v2", manifest, header("Content-Type: "+content.MediaTypeManifest))
		_ = r.Body.Close()
		if status = r.StatusCode; status != http.StatusCreated && status != http.StatusInsufficientStorage || i == 1000 {
			t.Fatalf("manifest %d: %d", i, status)
		}
	}
	c.want(http.StatusOK, "GET", "/v2/app/manifests/v1", nil)
	c.want(http.StatusOK, "GET", "/v2/app/blobs/"+digest("config"), nil)
	c.want(http.StatusNoContent, "DELETE", location, nil)
	c.push("app", "v3", "another config")
}

// fill writes a file until there is no room.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
