package pull

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"fairlead.dev/internal/content"
)

// maxResumes is how often a download goes on after its connection broke.
const maxResumes = 20

// atOnce is how many layers of one image are downloaded at the same time.
const atOnce = 3

// waitingTick is how often a pull that waits for another's download shows that it is alive.
const waitingTick = 5 * time.Second

// storeError is an error of the writer that a download goes to.
type storeError struct{ err error }

func (e storeError) Error() string { return e.err.Error() }
func (e storeError) Unwrap() error { return e.err }

// sink hashes and counts what it writes.
type sink struct {
	w        io.Writer
	hash     hash.Hash
	done     int64
	progress func(n int)
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.hash.Write(p[:n])
	s.done += int64(n)
	s.progress(n)
	if err != nil {
		return n, storeError{err}
	}
	return n, nil
}

// blob downloads d into w, going on from where it was when the connection breaks, and verifies size and digest:
// ErrMismatch. An error of w is told as the node's.
func (r *remote) blob(ctx context.Context, d content.Descriptor, w io.Writer, progress func(n int)) error {
	to := &sink{w: w, hash: d.Digest.NewHash(), progress: progress}
	for resumes := 0; ; resumes++ {
		err := r.blobFrom(ctx, d, to)
		var stored storeError
		switch {
		case err == nil, errors.Is(err, errBroken) && to.done >= d.Size: // all is here: there is nothing left to ask for
			if got := content.FromHash(d.Digest.Algorithm(), to.hash); got != d.Digest || to.done != d.Size {
				return mismatch("blob", d, got, to.done)
			}
			return nil
		case errors.As(err, &stored):
			return nodeFault(stored.err)
		case !errors.Is(err, errBroken) || resumes == maxResumes:
			return r.unreachable(ctx, err)
		}
		if err := sleep(ctx, r.limits.BackOff); err != nil {
			return r.unreachable(ctx, err)
		}
	}
}

// errBroken says that a body ended before its end.
var errBroken = errors.New("the connection broke")

// blobFrom downloads what to lacks of d.
func (r *remote) blobFrom(ctx context.Context, d content.Descriptor, to *sink) error {
	header := http.Header{}
	if to.done > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", to.done))
	}
	res, err := r.content(ctx, http.MethodGet, "/blobs/"+string(d.Digest), header)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	skip, err := r.checkBlob(res, d, to.done)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, res.Body, skip); err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	// One byte more than there should be tells content that is too long from content that is right.
	_, err = io.Copy(to, io.LimitReader(res.Body, d.Size-to.done+1))
	var stored storeError
	if err != nil && !errors.As(err, &stored) && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return err
}

// checkBlob looks at an answer's head. It gives how many bytes stand before those that are wanted: a server may ignore
// Range.
func (r *remote) checkBlob(res *http.Response, d content.Descriptor, from int64) (skip int64, err error) {
	switch status := res.StatusCode; {
	case status == http.StatusOK:
		if res.ContentLength >= 0 && res.ContentLength != d.Size {
			return 0, mismatch("blob", d, d.Digest, res.ContentLength)
		}
		return from, nil
	case status == http.StatusPartialContent:
		start, _, _ := strings.Cut(strings.TrimPrefix(res.Header.Get("Content-Range"), "bytes "), "-")
		if n, err := strconv.ParseInt(start, 10, 64); err != nil || n != from {
			return 0, ErrRegistryUnavailable.WithMessage("the registry %s gives another range than was asked for", r.service)
		}
		return 0, nil
	case refuses(status):
		return 0, r.refused()
	case status == http.StatusNotFound:
		return 0, ErrMismatch.WithMessage("the blob %s, which the manifest names, is missing from %s/%s", d.Digest, r.service, r.repository)
	}
	return 0, r.unexpected(res.StatusCode, "the request for a blob")
}

// flight is a download from one registry: a registry that is slow, or pretends to be, holds up nobody else's.
type flight struct {
	service string
	digest  content.Digest
}

// flights lets one download of its kind happen at a time: who waited finds the content on the node.
type flights struct {
	mu   sync.Mutex
	busy map[flight]chan struct{}
}

// enter waits until nobody else is on d and makes the caller the one who is, until leave. While it waits it calls
// waiting from time to time.
func (f *flights) enter(ctx context.Context, d flight, waiting func()) (leave func(), err error) {
	tick := time.NewTicker(waitingTick)
	defer tick.Stop()
	for {
		f.mu.Lock()
		wait, taken := f.busy[d]
		if !taken {
			if f.busy == nil {
				f.busy = map[flight]chan struct{}{}
			}
			mine := make(chan struct{})
			f.busy[d] = mine
			f.mu.Unlock()
			return func() {
				f.mu.Lock()
				delete(f.busy, d)
				f.mu.Unlock()
				close(mine)
			}, nil
		}
		f.mu.Unlock()
		select {
		case <-wait:
		case <-tick.C:
			waiting()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
