// Package registrytest holds the suites that every driver of the registry's stores passes. It tests what the interfaces
// promise; what a driver does beyond that is for the driver's own tests.
package registrytest

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/registry"
)

// Blobs checks a registry.Blobs. start prepares an empty store and gives a function that opens it; opening again is
// what happens after a restart.
func Blobs(t *testing.T, start func(t *testing.T) (open func() registry.Blobs)) {
	for name, test := range map[string]func(*testing.T, func() registry.Blobs){
		"Commit":                  testCommit,
		"CommitRefusesOther":      testCommitRefusesOther,
		"CommitEmpty":             testCommitEmpty,
		"CommitSHA512":            testCommitSHA512,
		"AppendInChunks":          testAppendInChunks,
		"AppendRefusesOutOfOrder": testAppendRefusesOutOfOrder,
		"AppendCutOff":            testAppendCutOff,
		"AppendAfterRestart":      testAppendAfterRestart,
		"AppendsTakeTurns":        testAppendsTakeTurns,
		"WaitingEndsWithContext":  testWaitingEndsWithContext,
		"SameBlobAtOnce":          testSameBlobAtOnce,
		"Discard":                 testDiscard,
		"DiscardWaitsForNobody":   testDiscardWaitsForNobody,
		"Sweep":                   testSweep,
	} {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

func appendText(t *testing.T, b registry.Blobs, id string, at int64, text string) int64 {
	t.Helper()
	size, err := b.Append(t.Context(), id, at, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func wantBlob(t *testing.T, b registry.Blobs, d content.Digest, want string) {
	t.Helper()
	r, size, err := b.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(got) != want || size != int64(len(want)) {
		t.Errorf("blob of %d bytes, %q, %v, want %q", size, got, err, want)
	}
}

func wantNoBlob(t *testing.T, b registry.Blobs, d content.Digest) {
	t.Helper()
	if r, _, err := b.Open(t.Context(), d); !errors.Is(err, registry.ErrBlobUnknown) {
		t.Errorf("%v, want ErrBlobUnknown", err)
		if err == nil {
			_ = r.Close()
		}
	}
}

func testCommit(t *testing.T, open func() registry.Blobs) {
	b, id, d := open(), uuid.NewString(), content.FromBytes([]byte("hello"))
	appendText(t, b, id, 0, "hello")
	wantNoBlob(t, b, d)
	size, err := b.Commit(t.Context(), id, d)
	if err != nil || size != 5 {
		t.Fatalf("%d, %v", size, err)
	}
	wantBlob(t, b, d, "hello")
	if size, err := b.Size(t.Context(), id); err != nil || size != 0 {
		t.Errorf("the upload still has %d bytes, %v", size, err)
	}
	r, _, err := open().Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Seek(2, io.SeekStart)
	rest, readErr := io.ReadAll(r)
	if err := errors.Join(err, readErr, r.Close()); err != nil || string(rest) != "llo" {
		t.Errorf("from byte 2 on: %q, %v", rest, err)
	}
}

func testCommitRefusesOther(t *testing.T, open func() registry.Blobs) {
	b, id, d := open(), uuid.NewString(), content.FromBytes([]byte("other"))
	appendText(t, b, id, 0, "hello")
	if _, err := b.Commit(t.Context(), id, d); !errors.Is(err, registry.ErrDigestInvalid) {
		t.Errorf("%v, want ErrDigestInvalid", err)
	}
	wantNoBlob(t, b, d)
	wantNoBlob(t, b, content.FromBytes([]byte("hello")))
	if size, err := b.Size(t.Context(), id); err != nil || size != 0 {
		t.Errorf("the upload still has %d bytes, %v", size, err)
	}
}

func testCommitEmpty(t *testing.T, open func() registry.Blobs) {
	b, d := open(), content.FromBytes(nil)
	if _, err := b.Commit(t.Context(), uuid.NewString(), d); err != nil {
		t.Fatal(err)
	}
	wantBlob(t, b, d, "")
}

func testCommitSHA512(t *testing.T, open func() registry.Blobs) {
	b, id := open(), uuid.NewString()
	sum := sha512.Sum512([]byte("hello"))
	d := content.Digest("sha512:" + hex.EncodeToString(sum[:]))
	appendText(t, b, id, 0, "hello")
	if _, err := b.Commit(t.Context(), id, d); err != nil {
		t.Fatal(err)
	}
	wantBlob(t, b, d, "hello")
}

func testAppendInChunks(t *testing.T, open func() registry.Blobs) {
	b, id := open(), uuid.NewString()
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB, over any buffer
	whole := ""
	for i, chunk := range []string{"a", "", big, "z"} {
		at := int64(len(whole))
		if i%2 == 1 {
			at = registry.AtEnd
		}
		whole += chunk
		if size := appendText(t, b, id, at, chunk); size != int64(len(whole)) {
			t.Fatalf("size %d after chunk %d, want %d", size, i, len(whole))
		}
	}
	d := content.FromBytes([]byte(whole))
	if _, err := b.Commit(t.Context(), id, d); err != nil {
		t.Fatal(err)
	}
	wantBlob(t, b, d, whole)
}

func testAppendRefusesOutOfOrder(t *testing.T, open func() registry.Blobs) {
	b, id := open(), uuid.NewString()
	appendText(t, b, id, 0, "hello")
	for _, at := range []int64{0, 4, 6, 1 << 60} {
		size, err := b.Append(t.Context(), id, at, strings.NewReader("x"))
		if !errors.Is(err, registry.ErrRangeInvalid) || size != 5 {
			t.Errorf("at %d: size %d, %v, want 5 and ErrRangeInvalid", at, size, err)
		}
	}
	if _, err := b.Commit(t.Context(), id, content.FromBytes([]byte("hello"))); err != nil {
		t.Error(err)
	}
}

func testAppendCutOff(t *testing.T, open func() registry.Blobs) {
	b, id := open(), uuid.NewString()
	for i, cut := range []error{io.ErrUnexpectedEOF, errors.New("connection reset")} {
		body := io.MultiReader(strings.NewReader("he"), iotest.ErrReader(cut))
		size, err := b.Append(t.Context(), id, int64(2*i), body)
		if !errors.Is(err, registry.ErrUploadCut) || !errors.Is(err, cut) || size != int64(2*i+2) {
			t.Fatalf("size %d, %v, want %d and ErrUploadCut", size, err, 2*i+2)
		}
		if size, err := b.Size(t.Context(), id); err != nil || size != int64(2*i+2) {
			t.Errorf("size %d, %v", size, err)
		}
	}
	appendText(t, b, id, 4, "llo")
	if _, err := b.Commit(t.Context(), id, content.FromBytes([]byte("hehello"))); err != nil {
		t.Error(err)
	}
}

func testAppendAfterRestart(t *testing.T, open func() registry.Blobs) {
	id, d := uuid.NewString(), content.FromBytes([]byte("hello, world"))
	appendText(t, open(), id, 0, "hello")
	b := open()
	if size, err := b.Size(t.Context(), id); err != nil || size != 5 {
		t.Fatalf("size %d, %v after a restart", size, err)
	}
	appendText(t, b, id, 5, ", world")
	if _, err := open().Commit(t.Context(), id, d); err != nil {
		t.Fatal(err)
	}
	wantBlob(t, b, d, "hello, world")
}

// testAppendsTakeTurns lets writers append the same piece at once: whatever their order, whole pieces give one digest.
func testAppendsTakeTurns(t *testing.T, open func() registry.Blobs) {
	b, id := open(), uuid.NewString()
	const writers = 4
	piece := strings.Repeat("a", 1<<19) + strings.Repeat("b", 1<<19)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			if _, err := b.Append(t.Context(), id, registry.AtEnd, iotest.HalfReader(strings.NewReader(piece))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := b.Commit(t.Context(), id, content.FromBytes([]byte(strings.Repeat(piece, writers)))); err != nil {
		t.Error(err)
	}
}

func testWaitingEndsWithContext(t *testing.T, open func() registry.Blobs) {
	b, id := open(), uuid.NewString()
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := b.Append(context.WithoutCancel(t.Context()), id, 0, r)
		first <- err
	}()
	_, _ = w.Write([]byte("he")) // returns when the append has its turn and has read it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Append(ctx, id, registry.AtEnd, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	_ = w.Close()
	if err := <-first; err != nil {
		t.Error(err)
	}
	appendText(t, b, id, 2, "y")
}

func testSameBlobAtOnce(t *testing.T, open func() registry.Blobs) {
	b, text := open(), strings.Repeat("same", 50_000)
	d := content.FromBytes([]byte(text))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			id := uuid.NewString()
			_, err := b.Append(t.Context(), id, 0, strings.NewReader(text))
			size, commitErr := b.Commit(t.Context(), id, d)
			if err := errors.Join(err, commitErr); err != nil || size != int64(len(text)) {
				t.Errorf("%d, %v", size, err)
			}
			wantBlob(t, b, d, text)
		})
	}
	wg.Wait()
}

func testDiscard(t *testing.T, open func() registry.Blobs) {
	b, id := open(), uuid.NewString()
	appendText(t, b, id, 0, "hello")
	for range 2 {
		if err := b.Discard(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if size, err := b.Size(t.Context(), id); err != nil || size != 0 {
		t.Errorf("size %d, %v", size, err)
	}
	appendText(t, b, id, 0, "again")
	if _, err := b.Commit(t.Context(), id, content.FromBytes([]byte("again"))); err != nil {
		t.Errorf("the hash remembers what was discarded: %v", err)
	}
}

func testDiscardWaitsForNobody(t *testing.T, open func() registry.Blobs) {
	b, id := open(), uuid.NewString()
	r, w := io.Pipe()
	ended := make(chan error, 2)
	add := func(body io.Reader) {
		_, err := b.Append(context.WithoutCancel(t.Context()), id, registry.AtEnd, body)
		ended <- err
	}
	go add(r)
	_, _ = w.Write([]byte("he")) // returns when the append has its turn and has read it
	go add(strings.NewReader("x"))
	if err := b.Discard(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	// The second may have come to its turn after the upload was dropped, as one that has no bytes yet: so it must not be
	// asked whether it failed.
	first, second := <-ended, <-ended
	if !errors.Is(errors.Join(first, second), registry.ErrUploadUnknown) {
		t.Errorf("%v and %v, want ErrUploadUnknown", first, second)
	}
}

func testSweep(t *testing.T, open func() registry.Blobs) {
	b, id, kept := open(), uuid.NewString(), uuid.NewString()
	appendText(t, b, kept, 0, "kept")
	d := content.FromBytes([]byte("kept"))
	if _, err := b.Commit(t.Context(), kept, d); err != nil {
		t.Fatal(err)
	}
	appendText(t, b, id, 0, "hello")
	if err := b.Sweep(t.Context(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if size, err := b.Size(t.Context(), id); err != nil || size != 5 {
		t.Errorf("a young upload was swept: %d, %v", size, err)
	}
	if err := b.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if size, err := b.Size(t.Context(), id); err != nil || size != 0 {
		t.Errorf("an old upload has %d bytes, %v", size, err)
	}
	wantBlob(t, b, d, "kept")
}
