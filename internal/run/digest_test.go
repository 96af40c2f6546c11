package run_test

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
	"fairlead.dev/internal/run"
)

// imageOf gives a real image, pinned on a node of plain files.
func imageOf(t *testing.T, name, text string) pull.Image {
	t.Helper()
	disk := pulltest.NewDisk(t.TempDir())
	made := pulltest.NewImage(t, content.Platform{OS: "linux", Architecture: "amd64"}, text)
	for _, blob := range append(made.Layers, made.Config, made.Manifest) {
		if err := os.WriteFile(disk.Path(blob.Digest), blob.Body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	puller := pull.New(nil, nil, disk, pull.Limits{}, time.Now, slog.New(slog.DiscardHandler))
	image, err := puller.Reopen(t.Context(), name, made.Manifest.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// TestExactlyTheGrantedDigestRuns moves the tag of a running workload's image: a restart by policy stays with what was
// granted, a person's restart and a Put go to what the tag stands for then.
func TestExactlyTheGrantedDigestRuns(t *testing.T) {
	simulate(t, func(w *world) {
		const name = "myacr.local/app:v1"
		images := []pull.Image{imageOf(t, name, "one"), imageOf(t, name, "two"), imageOf(t, name, "three")}
		runs := func(want pull.Image, starts int) {
			t.Helper()
			w.starts(starts)
			if got := w.machine.starts[starts-1].Image.Digest(); got != want.Digest() {
				t.Errorf("%s was started, want %s", got, want.Digest())
			}
		}
		g := group("one", run.Always)
		w.puller.moves(name, images[0])
		w.put(g)
		runs(images[0], 1)
		if got := w.status(g).Containers[0].Digest; got != images[0].Digest() {
			t.Errorf("status shows %s", got)
		}

		w.puller.moves(name, images[1])
		w.machine.exit("main", 1, false)
		w.pass(0)
		runs(images[0], 2)

		w.put(g) // the same spec, but its tag stands for something else
		runs(images[1], 3)
		w.put(g)
		w.starts(3)

		w.puller.moves(name, images[2])
		if err := w.Restart(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		runs(images[2], 4)
	})
}
