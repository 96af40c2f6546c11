package pull_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
)

func TestTokenRenewedOnce(t *testing.T) {
	b := newBench(t, quick)
	b.times(1, "GET /v2/team/app/blobs", func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.expired = b.tokens
		b.mu.Unlock()
		b.serveContent(w, r)
	})
	if _, _, err := b.puller.Pull(t.Context(), b.request(), nil); err != nil {
		t.Fatal(err)
	}
	if b.tokens != 2 {
		t.Errorf("%d tokens were asked for, want 2", b.tokens)
	}
}

// A right that is taken away in the middle ends the pull.
func TestRightWithdrawnInTheMiddle(t *testing.T) {
	b := newBench(t, quick)
	b.on("GET /v2/team/app/blobs", func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	wantFailure(t, attempt, err, pull.StageRole, "ROLE_MISSING")
}

func TestConnectionBreaks(t *testing.T) {
	b := newBench(t, quick)
	big := b.image.Layers[0]
	var ranges atomic.Int32
	b.on("GET /v2/team/app/blobs/"+string(big.Digest), func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(big.Size))
		w.Write(big.Body[:big.Size/2])
		panic(http.ErrAbortHandler)
	})
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ranges.Load() != 1 || attempt.Done != attempt.Bytes {
		t.Errorf("%d ranges asked for, %d of %d bytes", ranges.Load(), attempt.Done, attempt.Bytes)
	}
}

// A connection that breaks when the last byte has come has nothing left to go on with: registries answer 416 to that.
func TestConnectionBreaksAtTheEnd(t *testing.T) {
	b := newBench(t, quick)
	big := b.image.Layers[0]
	var asked atomic.Int32
	b.on("GET /v2/team/app/blobs/"+string(big.Digest), func(w http.ResponseWriter, _ *http.Request) bool {
		asked.Add(1)
		w.Write(big.Body)
		w.(http.Flusher).Flush() // without a length: the end is missing
		panic(http.ErrAbortHandler)
	})
	if _, _, err := b.puller.Pull(t.Context(), b.request(), nil); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestServerIgnoresRange(t *testing.T) {
	b := newBench(t, quick)
	big := b.image.Layers[0]
	var first atomic.Bool
	b.on("GET /v2/team/app/blobs/"+string(big.Digest), func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", fmt.Sprint(big.Size))
		if first.CompareAndSwap(false, true) {
			w.Write(big.Body[:100])
			panic(http.ErrAbortHandler)
		}
		w.Write(big.Body)
		return true
	})
	if _, _, err := b.puller.Pull(t.Context(), b.request(), nil); err != nil {
		t.Fatal(err)
	}
}

// Content that is not what it should be is fetched once more, then never again, and nothing of it stays.
func TestContentMismatch(t *testing.T) {
	flipped := func(b []byte) []byte { c := bytes.Clone(b); c[len(c)/2] ^= 1; return c }
	for name, spoil := range map[string]func(w http.ResponseWriter, body []byte){
		"flipped bit":            func(w http.ResponseWriter, body []byte) { w.Write(flipped(body)) },
		"shorter":                func(w http.ResponseWriter, body []byte) { w.Write(body[:len(body)-1]) },
		"longer":                 func(w http.ResponseWriter, body []byte) { w.Write(append(bytes.Clone(body), 'x')) },
		"shorter without length": func(w http.ResponseWriter, body []byte) { w.Write(body[:10]); w.(http.Flusher).Flush() },
		"endless without length": func(w http.ResponseWriter, body []byte) { w.(http.Flusher).Flush(); w.Write(body); w.Write(body) },
		"missing":                func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusNotFound) },
	} {
		for _, what := range []string{"layer", "config"} {
			t.Run(what+" "+name, func(t *testing.T) {
				b := newBench(t, quick)
				bad := b.image.Layers[0]
				if what == "config" {
					bad = b.image.Config
				}
				var times atomic.Int32
				b.on("GET /v2/team/app/blobs/"+string(bad.Digest), func(w http.ResponseWriter, _ *http.Request) bool {
					times.Add(1)
					spoil(w, bad.Body)
					return true
				})
				image, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
				wantFailure(t, attempt, err, pull.StageBlobs, "CONTENT_MISMATCH")
				if times.Load() != 2 {
					t.Errorf("fetched %d times, want twice", times.Load())
				}
				if image.Digest() != "" {
					t.Error("an image came out")
				}
				if _, err := os.Stat(b.disk.Path(bad.Digest)); err == nil {
					t.Error("the content is on the node")
				}
			})
		}
	}
}

func TestContentMismatchMended(t *testing.T) {
	b := newBench(t, quick)
	b.times(1, "GET /v2/team/app/blobs/"+string(b.image.Layers[0].Digest), func(w http.ResponseWriter, _ *http.Request) {
		w.Write(bytes.Repeat([]byte("x"), int(b.image.Layers[0].Size)))
	})
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if attempt.Done != attempt.Bytes {
		t.Errorf("%d of %d bytes", attempt.Done, attempt.Bytes)
	}
}

func TestManifestMismatch(t *testing.T) {
	other := pulltest.NewImage(t, amd64, "something else")
	for name, prepare := range map[string]func(b *bench) string{
		"another manifest than HEAD named": func(b *bench) string {
			b.content["manifests/"+string(b.image.Manifest.Digest)] = pulltest.Blob{Descriptor: b.image.Manifest.Descriptor, Body: other.Manifest.Body}
			return "team/app:v1"
		},
		"another digest than asked for": func(b *bench) string {
			b.content["manifests/"+string(other.Manifest.Digest)] = b.image.Manifest
			return "team/app@" + string(other.Manifest.Digest)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, quick)
			r := b.request()
			r.Image = b.host() + "/" + prepare(b)
			_, attempt, err := b.puller.Pull(t.Context(), r, nil)
			wantFailure(t, attempt, err, pull.StageManifest, "CONTENT_MISMATCH")
		})
	}
}

// A tag that moves between the question and the download changes nothing: what HEAD named is what is used.
func TestTagMoves(t *testing.T) {
	b := newBench(t, quick)
	other := pulltest.NewImage(t, amd64, "pushed meanwhile")
	b.on("GET /v2/team/app/manifests/", func(http.ResponseWriter, *http.Request) bool {
		b.push("v1", other)
		return false
	})
	image, _, err := b.puller.Pull(t.Context(), b.request(), nil)
	if err != nil || image.Digest() != b.image.Manifest.Digest {
		t.Errorf("got %s, %v; want %s", image.Digest(), err, b.image.Manifest.Digest)
	}
}

func TestTooBig(t *testing.T) {
	t.Run("manifest by length", func(t *testing.T) {
		b := newBench(t, quick)
		b.on("HEAD ", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "4194305")
			return true
		})
		_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
		wantFailure(t, attempt, err, pull.StageManifest, "CONTENT_TOO_BIG")
	})
	t.Run("endless manifest", func(t *testing.T) {
		b := newBench(t, quick)
		b.on("GET /v2/team/app/manifests/", func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(w, io.LimitReader(endless{}, 64<<20))
			return true
		})
		_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
		wantFailure(t, attempt, err, pull.StageManifest, "CONTENT_TOO_BIG")
	})
	t.Run("layers", func(t *testing.T) {
		b := newBench(t, pull.Limits{Layers: 1})
		_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
		wantFailure(t, attempt, err, pull.StageBlobs, "CONTENT_TOO_BIG")
	})
	t.Run("layer", func(t *testing.T) {
		b := newBench(t, pull.Limits{LayerBytes: 100})
		_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
		wantFailure(t, attempt, err, pull.StageBlobs, "CONTENT_TOO_BIG")
		if b.disk.Files() != 0 {
			t.Error("something was fetched")
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestThrottled(t *testing.T) {
	b := newBench(t, quick)
	tooMany := func(after string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}
	b.times(2, "HEAD ", tooMany("0"))
	if _, _, err := b.puller.Pull(t.Context(), b.request(), nil); err != nil {
		t.Errorf("after two refusals: %v", err)
	}
	before := b.count("HEAD ")
	b.times(1, "HEAD ", tooMany("1"))
	began := time.Now()
	if _, _, err := b.puller.Authorize(t.Context(), b.request()); err != nil || time.Since(began) < time.Second {
		t.Errorf("Retry-After was not waited for: %v after %s", err, time.Since(began))
	}
	b.times(9, "HEAD ", tooMany("3600"))
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	failure := wantFailure(t, attempt, err, pull.StageManifest, "REG_THROTTLED")
	if !strings.Contains(failure.Err.Message, "1h0m0s") || b.count("HEAD ") != before+3 {
		t.Errorf("message %q after %d requests", failure.Err.Message, b.count("HEAD ")-before)
	}
}

func TestRegistryUnavailable(t *testing.T) {
	b := newBench(t, quick)
	b.on("GET /v2/", func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	wantFailure(t, attempt, err, pull.StageToken, "REG_UNAVAILABLE")
	if n := b.count("GET /v2/"); n != 4 {
		t.Errorf("tried %d times, want 4", n)
	}
}

func TestUnreachable(t *testing.T) {
	b := newBench(t, quick)
	b.Close()
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	wantFailure(t, attempt, err, pull.StageToken, "NET_TIMEOUT")
}

func TestCertificateNotTrusted(t *testing.T) {
	b := newBench(t, quick)
	b.Client().Transport = http.DefaultTransport.(*http.Transport).Clone()
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	wantFailure(t, attempt, err, pull.StageToken, "NET_TLS")
	b.Client().CloseIdleConnections()
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := newScripted(t)
		registry.overPipes()
		b := newBenchWith(t, registry, pull.Limits{Stall: 7 * time.Second})
		b.times(1, "GET /v2/team/app/blobs/"+string(b.image.Layers[0].Digest), func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(b.image.Layers[0].Size))
			w.Write(b.image.Layers[0].Body[:100])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		began := time.Now()
		if _, _, err := b.puller.Pull(t.Context(), b.request(), nil); err != nil || time.Since(began) < 7*time.Second {
			t.Errorf("a download that stalls once: %v after %s", err, time.Since(began))
		}
		b.on("HEAD ", func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
		wantFailure(t, attempt, err, pull.StageManifest, "NET_TIMEOUT")
	})
}

func TestCancelled(t *testing.T) {
	b := newBench(t, quick)
	ctx, cancel := context.WithCancel(t.Context())
	b.on("GET /v2/team/app/blobs", func(_ http.ResponseWriter, r *http.Request) bool { cancel(); <-r.Context().Done(); return true })
	_, attempt, err := b.puller.Pull(ctx, b.request(), nil)
	wantFailure(t, attempt, err, pull.StagePlatform, "CANCELLED")
	if b.disk.Files() != 0 {
		t.Errorf("%d files on the node", b.disk.Files())
	}
}

// Credentials stay with the registry: another host gets none, neither by a redirect nor by a realm.
func TestOtherHosts(t *testing.T) {
	b := newBench(t, quick)
	storage := newScripted(t)
	storage.StartTLS()
	var leaked atomic.Bool
	storage.on("", func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		w.Write(b.image.Layers[0].Body)
		return true
	})
	b.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs.AddCert(storage.Certificate())
	b.on("GET /v2/team/app/blobs/"+string(b.image.Layers[0].Digest), func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, storage.URL+"/signed?sig=s", http.StatusTemporaryRedirect)
		return true
	})
	if _, _, err := b.puller.Pull(t.Context(), b.request(), nil); err != nil {
		t.Fatal(err)
	}
	if storage.count("GET /signed") != 1 || leaked.Load() {
		t.Errorf("the other host was asked %d times; a credential was sent: %v", storage.count(""), leaked.Load())
	}

	b.on("GET /v2/", func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+storage.URL+`/oauth2/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	before := storage.count("")
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	wantFailure(t, attempt, err, pull.StageToken, "REG_UNAVAILABLE")
	if storage.count("") != before {
		t.Error("the realm on another host was asked")
	}
}

func TestRedirectDown(t *testing.T) {
	b := newBench(t, quick)
	var asked atomic.Bool
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer plain.Close()
	b.on("HEAD ", func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, plain.URL+"/", http.StatusTemporaryRedirect)
		return true
	})
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	wantFailure(t, attempt, err, pull.StageManifest, "NET_TLS")
	b.on("HEAD ", func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		return true
	})
	_, attempt, err = b.puller.Pull(t.Context(), b.request(), nil)
	wantFailure(t, attempt, err, pull.StageManifest, "REG_UNAVAILABLE")
	if asked.Load() {
		t.Error("plain HTTP was spoken")
	}
}

func TestTokenAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"empty": ``, "no token": `{}`, "not JSON": `<html>`, "a number": `{"access_token":1}`,
		"header injection": `{"access_token":"a\r\nX-Evil: 1"}`, "huge": `{"access_token":"` + strings.Repeat("x", 2<<20) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, quick)
			b.on("GET /oauth2/token", func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, answer); return true })
			_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
			wantFailure(t, attempt, err, pull.StageToken, "REG_UNAVAILABLE")
		})
	}
}
