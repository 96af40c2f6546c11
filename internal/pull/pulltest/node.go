package pulltest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
)

// Node checks pull.Node's contract. open gives an empty node for linux/amd64 content.
func Node(t *testing.T, open func(t *testing.T) pull.Node) {
	tests := map[string]func(*testing.T, pull.Node){
		"content is there when committed":         committed,
		"what is not committed leaves nothing":    abandoned,
		"content that does not verify is refused": unverified,
		"two sessions write the same":             together,
		"unpacking":                               unpacking,
		"an unpacked layer must have its DiffID":  wrongDiffID,
		"a pinned image outlives its session":     pinned,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// begin opens a session that ends with the test.
func begin(t *testing.T, n pull.Node, name string) pull.Session {
	t.Helper()
	s, err := n.Begin(t.Context(), t.Name()+"/"+name)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own context has ended by now
		defer cancel()
		if err := s.End(ctx); err != nil {
			t.Errorf("ending the session: %v", err)
		}
	})
	return s
}

func write(t *testing.T, s pull.Session, b Blob) {
	t.Helper()
	must(t, put(t.Context(), s, b))
}

func put(ctx context.Context, s pull.Session, b Blob) error {
	w, err := s.Write(ctx, b.Descriptor)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(b.Body, 1000) {
		if _, err := w.Write(chunk); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return errors.Join(w.Commit(ctx), w.Close())
}

func has(t *testing.T, s pull.Session, d content.Descriptor, want bool) {
	t.Helper()
	got, err := s.Has(t.Context(), d)
	must(t, err)
	if got != want {
		t.Errorf("Has(%s) is %v, want %v", d.Digest, got, want)
	}
}

func committed(t *testing.T, n pull.Node) {
	s := begin(t, n, "one")
	b := NewBlob("application/octet-stream", bytes.Repeat([]byte("content "), 10_000))
	has(t, s, b.Descriptor, false)
	if _, err := s.Open(t.Context(), b.Descriptor); !errors.Is(err, pull.ErrNotOnNode) {
		t.Errorf("opening what is not there: %v, want ErrNotOnNode", err)
	}
	write(t, s, b)
	has(t, s, b.Descriptor, true)
	has(t, s, content.Descriptor{Digest: b.Digest}, true)
	has(t, s, content.Descriptor{Digest: b.Digest, Size: b.Size + 1}, false)
	r, err := s.Open(t.Context(), content.Descriptor{Digest: b.Digest})
	must(t, err)
	defer r.Close()
	got, err := io.ReadAll(r)
	must(t, err)
	if !bytes.Equal(got, b.Body) {
		t.Errorf("read %d bytes, which are not those written", len(got))
	}
	write(t, s, b)
}

func abandoned(t *testing.T, n pull.Node) {
	s := begin(t, n, "one")
	b := NewBlob("application/octet-stream", []byte("never committed"))
	w, err := s.Write(t.Context(), b.Descriptor)
	must(t, err)
	_, err = w.Write(b.Body[:5])
	must(t, err)
	must(t, w.Close())
	has(t, s, b.Descriptor, false)
	write(t, s, b)
	has(t, s, b.Descriptor, true)
}

func unverified(t *testing.T, n pull.Node) {
	s := begin(t, n, "one")
	for _, c := range []struct{ name, promised, written string }{
		{"another byte", "promised", "Promised"},
		{"too short", "promised too", "promised"},
		{"too long", "promise", "promised more"},
	} {
		b := NewBlob("application/octet-stream", []byte(c.promised))
		err := put(t.Context(), s, Blob{b.Descriptor, []byte(c.written)})
		if !errors.Is(err, pull.ErrMismatch) {
			t.Errorf("%s: %v, want ErrMismatch", c.name, err)
		}
		has(t, s, b.Descriptor, false)
	}
}

func together(t *testing.T, n pull.Node) {
	b := NewBlob("application/octet-stream", bytes.Repeat([]byte("same "), 50_000))
	var writers sync.WaitGroup
	for _, name := range []string{"one", "two", "three"} {
		s := begin(t, n, name)
		writers.Go(func() {
			if err := put(t.Context(), s, b); err != nil {
				t.Errorf("session %s: %v", name, err)
			}
			if got, err := s.Has(t.Context(), b.Descriptor); err != nil || !got {
				t.Errorf("session %s: Has is %v, %v", name, got, err)
			}
		})
	}
	writers.Wait()
}

func unpacking(t *testing.T, n pull.Node) {
	im := NewImage(t, content.Platform{OS: "linux", Architecture: "amd64"}, "first", "second", "third")
	s := begin(t, n, "one")
	if err := s.Unpack(t.Context(), im.PullLayers(), func(int) {}); !errors.Is(err, pull.ErrNotOnNode) {
		t.Errorf("unpacking what was not written: %v, want ErrNotOnNode", err)
	}
	for _, l := range im.Layers {
		write(t, s, l)
	}
	for range 2 {
		var seen []int
		must(t, s.Unpack(t.Context(), im.PullLayers(), func(i int) { seen = append(seen, i) }))
		slices.Sort(seen)
		if !slices.Equal(seen, []int{0, 1, 2}) {
			t.Errorf("progress told of layers %v, want each once", seen)
		}
	}
	must(t, s.Unpack(t.Context(), nil, func(int) { t.Error("progress without layers") }))
}

func wrongDiffID(t *testing.T, n pull.Node) {
	im := NewImage(t, content.Platform{OS: "linux", Architecture: "amd64"}, "first", "second")
	s := begin(t, n, "one")
	for _, l := range im.Layers {
		write(t, s, l)
	}
	layers := im.PullLayers()
	layers[1].DiffID = content.FromBytes([]byte("something else"))
	if err := s.Unpack(t.Context(), layers, func(int) {}); !errors.Is(err, pull.ErrMismatch) {
		t.Errorf("unpacking under a wrong DiffID: %v, want ErrMismatch", err)
	}
}

func pinned(t *testing.T, n pull.Node) {
	im := NewImage(t, content.Platform{OS: "linux", Architecture: "amd64"}, "kept")
	all := append([]Blob{im.Config, im.Manifest}, im.Layers...)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := n.Begin(ctx, t.Name()+"/first")
	must(t, err)
	for _, b := range all {
		write(t, s, b)
	}
	must(t, s.Unpack(ctx, im.PullLayers(), func(int) {}))
	must(t, s.Pin(ctx, "registry.example/app@"+string(im.Manifest.Digest), im.Manifest.Descriptor))
	must(t, s.Pin(ctx, "registry.example/app@"+string(im.Manifest.Digest), im.Manifest.Descriptor))
	cancel()
	must(t, s.End(t.Context()))

	again := begin(t, n, "second")
	for _, b := range all {
		has(t, again, b.Descriptor, true)
	}
	must(t, again.Unpack(t.Context(), im.PullLayers(), func(int) {}))
}
