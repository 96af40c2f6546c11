package pull_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcomes gives name and outcome of each stage of an attempt.
func outcomes(a pull.Attempt) string {
	var out []string
	for _, s := range a.Stages {
		out = append(out, string(s.Name)+":"+string(s.Outcome))
	}
	return strings.Join(out, " ")
}

// wantFailure checks that err, and the record with it, say that a pull failed so.
func wantFailure(t *testing.T, a pull.Attempt, err error, stage pull.StageName, code string) *pull.Error {
	t.Helper()
	var failure *pull.Error
	if !errors.As(err, &failure) {
		t.Fatalf("error %v is no *pull.Error", err)
	}
	if failure.Stage != stage || failure.Code != code {
		t.Errorf("failed with %s at %s (%v), want %s at %s", failure.Code, failure.Stage, failure, code, stage)
	}
	s, ok := a.Stage(stage)
	if !ok || s.Outcome != pull.Failed || s.Code != failure.Code || a.Code != failure.Code || a.Summary == "" || a.Ended.IsZero() {
		t.Errorf("the record does not say so: code %q, stages %s", a.Code, outcomes(a))
	}
	return failure
}

func TestPull(t *testing.T) {
	b := newBench(t, quick)
	var mu sync.Mutex
	var seen []pull.Attempt
	image, attempt, err := b.puller.Pull(t.Context(), b.request(), func(a pull.Attempt) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, a)
	})
	if err != nil {
		t.Fatal(err)
	}
	if image.Digest() != b.image.Manifest.Digest || image.Index() != b.image.Manifest.Digest {
		t.Errorf("digest %s, index %s; pushed %s", image.Digest(), image.Index(), b.image.Manifest.Digest)
	}
	if diff := cmp.Diff([]string{"/bin/app"}, image.Config().Entrypoint); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(b.image.PullLayers(), image.Layers()); diff != "" {
		t.Error(diff)
	}
	want := "parse:ok find:ok credential:ok identity:ok token:ok role:ok manifest:ok platform:ok blobs:ok unpack:ok"
	if got := outcomes(attempt); got != want {
		t.Errorf("stages %s\nwant   %s", got, want)
	}
	size := b.image.Layers[0].Size + b.image.Layers[1].Size
	if attempt.Bytes != size || attempt.Done != size || attempt.Code != "" || attempt.Digest != image.Index() {
		t.Errorf("record: %d of %d bytes, code %q, digest %s", attempt.Done, attempt.Bytes, attempt.Code, attempt.Digest)
	}
	for _, l := range attempt.Layers {
		if l.State != pull.LayerUnpacked || l.Done != l.Size {
			t.Errorf("layer %+v", l)
		}
	}
	if role, _ := attempt.Stage(pull.StageRole); !strings.HasPrefix(role.Facts["requestId"], "served-") {
		t.Errorf("facts of the role stage lack the registry's request id: %v", role.Facts)
	}
	if len(seen) < len(attempt.Stages) || seen[0].Stages[0].Outcome != pull.Running {
		t.Errorf("the observer saw %d snapshots, the first %+v", len(seen), seen[0])
	}
	for i, h := range b.headers {
		if h.Get("X-Ms-Correlation-Request-Id") != "correlated" || h.Get("X-Ms-Client-Request-Id") != attempt.ID {
			t.Errorf("request %s carries no correlation: %v", b.asked[i], h)
		}
	}
}

func TestPullByIdentityAndAlias(t *testing.T) {
	b := newBench(t, quick)
	r := b.request(identityCandidate())
	r.Image = "alias.example/team/app:v1"
	image, _, err := b.puller.Pull(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if image.Digest() != b.image.Manifest.Digest || image.Given() != r.Image {
		t.Errorf("got %s as %s", image.Digest(), image.Given())
	}
	if b.count("POST /oauth2/exchange") != 1 || b.count("POST /oauth2/token") != 1 {
		t.Errorf("requests: %v", b.asked)
	}
}

// A copy on the node is not a permission: what is there is not fetched again, but the right is asked each time.
func TestSecondPullAsksAndFetchesNothing(t *testing.T) {
	b := newBench(t, quick)
	if _, _, err := b.puller.Pull(t.Context(), b.request(), nil); err != nil {
		t.Fatal(err)
	}
	blobs, heads := b.count("GET /v2/team/app/blobs"), b.count("HEAD /v2/team/app/manifests/v1")
	_, attempt, err := b.puller.Pull(t.Context(), b.request(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.count("GET /v2/team/app/blobs"); got != blobs {
		t.Errorf("%d blobs were fetched again", got-blobs)
	}
	if got := b.count("HEAD /v2/team/app/manifests/v1"); got != heads+1 {
		t.Errorf("the right was asked %d times, want once", got-heads)
	}
	if attempt.Bytes != 0 || len(attempt.Layers) != 2 {
		t.Errorf("record: %d bytes, layers %v", attempt.Bytes, attempt.Layers)
	}

	b.mu.Lock()
	b.refused = true
	b.expired = b.tokens
	b.mu.Unlock()
	_, attempt, err = b.puller.Pull(t.Context(), b.request(identityCandidate()), nil)
	wantFailure(t, attempt, err, pull.StageRole, "ROLE_MISSING")
}

func TestAuthorizeFetchesNothing(t *testing.T) {
	b := newBench(t, quick)
	d, attempt, err := b.puller.Authorize(t.Context(), b.request())
	if err != nil || d != b.image.Manifest.Digest {
		t.Fatalf("digest %s, error %v", d, err)
	}
	if got := outcomes(attempt); !strings.HasSuffix(got, "platform:ok") {
		t.Errorf("stages %s", got)
	}
	if b.disk.Files() != 0 {
		t.Errorf("%d files on the node", b.disk.Files())
	}
}

func TestReopen(t *testing.T) {
	b := newBench(t, quick)
	if _, err := b.puller.Reopen(t.Context(), b.request().Image, b.image.Manifest.Digest); !errors.Is(err, pull.ErrNotOnNode) {
		t.Errorf("before any pull: %v, want ErrNotOnNode", err)
	}
	pulled, _, err := b.puller.Pull(t.Context(), b.request(), nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := b.count("")
	image, err := b.puller.Reopen(t.Context(), pulled.Given(), pulled.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if image.Digest() != pulled.Digest() || image.ChainID() != pulled.ChainID() || image.Given() != pulled.Given() {
		t.Errorf("opened %s %s, pulled %s %s", image.Digest(), image.ChainID(), pulled.Digest(), pulled.ChainID())
	}
	if b.count("") != asked {
		t.Error("the registry was asked")
	}
}

func TestIndex(t *testing.T) {
	b := newBench(t, quick)
	other := pulltest.NewImage(t, content.Platform{OS: "linux", Architecture: "s390x"}, "for another machine")
	index := pulltest.NewIndex(t, map[string]pulltest.Image{"linux/s390x": other, "linux/amd64": b.image})
	b.content["manifests/multi"] = index
	b.content["manifests/"+string(index.Digest)] = index
	r := b.request()
	r.Image = b.host() + "/team/app:multi"
	image, attempt, err := b.puller.Pull(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if image.Digest() != b.image.Manifest.Digest || image.Index() != index.Digest || attempt.Digest != index.Digest {
		t.Errorf("digest %s of index %s", image.Digest(), image.Index())
	}

	r.Platform = content.Platform{OS: "linux", Architecture: "riscv64"}
	_, attempt, err = b.puller.Pull(t.Context(), r, nil)
	failure := wantFailure(t, attempt, err, pull.StagePlatform, "PLATFORM_ABSENT")
	if !strings.Contains(failure.Err.Message, "linux/s390x") {
		t.Errorf("message does not say what is offered: %s", failure.Err.Message)
	}

	// An image without an index has its platform in the config.
	b.push("foreign", other)
	r = b.request()
	r.Image = b.host() + "/team/app:foreign"
	_, attempt, err = b.puller.Authorize(t.Context(), r)
	wantFailure(t, attempt, err, pull.StagePlatform, "PLATFORM_ABSENT")
}

func TestRefusals(t *testing.T) {
	skipped := func(source, why string) pull.Candidate {
		return pull.Candidate{Source: source, From: "field", Server: "other.example", Skip: why}
	}
	wrong := userCandidate("")
	wrong.Username = "somebody"
	for _, c := range []struct {
		name       string
		image      string
		candidates []pull.Candidate
		stage      pull.StageName
		code       string
	}{
		{"reference", "HOST/Team/App:v1", nil, pull.StageParse, "REF_INVALID"},
		{"host", "nowhere.example/team/app:v1", nil, pull.StageFind, "REF_HOST_UNKNOWN"},
		{"defaulted host", "team/app:v1", nil, pull.StageFind, "REF_HOST_UNKNOWN"},
		{"no credential", "HOST/team/app:v1", []pull.Candidate{}, pull.StageCredential, "CRED_NONE"},
		{"credential of another registry", "HOST/team/app:v1", []pull.Candidate{skipped(pull.SourceCredentials, pull.SkipOtherHost)}, pull.StageCredential, "CRED_NONE"},
		{"settings of another registry", "HOST/team/app:v1", []pull.Candidate{skipped(pull.SourceSettings, pull.SkipOtherHost)}, pull.StageCredential, "CRED_STALE_SETTINGS"},
		{"not attached", "HOST/team/app:v1", []pull.Candidate{skipped(pull.SourceCredentials, pull.SkipOtherHost), skipped(pull.SourceIdentity, pull.SkipNotAttached)}, pull.StageCredential, "CRED_IDENTITY_NOT_ATTACHED"},
		{"not enabled", "HOST/team/app:v1", []pull.Candidate{skipped(pull.SourceIdentity, pull.SkipNotEnabled)}, pull.StageCredential, "CRED_MI_NOT_ENABLED"},
		{"wrong client id", "HOST/team/app:v1", []pull.Candidate{skipped(pull.SourceIdentity, pull.SkipWrongClientID)}, pull.StageCredential, "CRED_WRONG_CLIENT_ID"},
		{"wrong password", "HOST/team/app:v1", []pull.Candidate{wrong}, pull.StageToken, "AUTH_REFUSED"},
		{"repository", "HOST/team/none:v1", nil, pull.StageManifest, "REPO_UNKNOWN"},
		{"tag", "HOST/team/app:v2", nil, pull.StageManifest, "TAG_UNKNOWN"},
		{"digest", "HOST/team/app@" + string(content.FromBytes([]byte("no"))), nil, pull.StageManifest, "DIGEST_UNKNOWN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, quick)
			r := b.request(c.candidates...)
			if c.candidates != nil {
				r.Candidates = c.candidates
			}
			r.Image = strings.Replace(c.image, "HOST", b.host(), 1)
			_, attempt, err := b.puller.Pull(t.Context(), r, nil)
			wantFailure(t, attempt, err, c.stage, c.code)
			if b.disk.Files() != 0 {
				t.Errorf("%d files on the node", b.disk.Files())
			}
			record, err := json.Marshal(attempt)
			if err != nil {
				t.Fatal(err)
			}
			for _, hidden := range []string{password, minted, "access_token-", "refresh_token-", "secret-registry"} {
				if bytes.Contains(record, []byte(hidden)) {
					t.Errorf("the record holds %q: %s", hidden, record)
				}
			}
		})
	}
}

func TestIdentityGone(t *testing.T) {
	b := newBench(t, quick)
	p := pull.New(b.scripted, identities{gone: true}, b.disk, quick, time.Now, slog.New(slog.DiscardHandler))
	_, attempt, err := p.Pull(t.Context(), b.request(identityCandidate()), nil)
	wantFailure(t, attempt, err, pull.StageIdentity, "CRED_NODE_IDENTITY_GONE")
}

// The first usable candidate is taken, and the record says why the others were not.
func TestCandidates(t *testing.T) {
	b := newBench(t, quick)
	other := userCandidate("other.example")
	other.From, other.Skip = "imageRegistryCredentials[0]", pull.SkipOtherHost
	mine := userCandidate(b.host())
	mine.From = "imageRegistryCredentials[1]"
	spare := identityCandidate()
	spare.From = "imageRegistryCredentials[2].identity"
	_, attempt, err := b.puller.Authorize(t.Context(), b.request(other, mine, spare))
	if err != nil {
		t.Fatal(err)
	}
	stage, _ := attempt.Stage(pull.StageCredential)
	want := map[string]string{
		"source": "imageRegistryCredentials", "from": "imageRegistryCredentials[1]",
		"skipped[0]": "imageRegistryCredentials[0]: for another registry",
		"skipped[1]": "imageRegistryCredentials[2].identity: an earlier one is used",
	}
	if diff := cmp.Diff(want, stage.Facts); diff != "" {
		t.Error(diff)
	}
}

// Two workloads that pull the same at once share the bytes; one without the right gets nothing of them.
func TestTogether(t *testing.T) {
	b := newBench(t, quick)
	big := b.image.Layers[0]
	release := make(chan struct{})
	b.on("GET /v2/team/app/blobs/"+string(big.Digest), func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	var pulls sync.WaitGroup
	var waiting atomic.Int32
	pullOnce := func() {
		var once sync.Once
		_, _, err := b.puller.Pull(t.Context(), b.request(), func(a pull.Attempt) {
			if len(a.Layers) > 0 {
				once.Do(func() {
					if waiting.Add(1) == 2 {
						close(release)
					}
				})
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	pulls.Go(pullOnce)
	pulls.Go(pullOnce)
	pulls.Go(func() {
		stranger := b.request()
		stranger.Candidates = nil
		_, attempt, err := b.puller.Pull(t.Context(), stranger, nil)
		wantFailure(t, attempt, err, pull.StageCredential, "CRED_NONE")
	})
	pulls.Wait()
	if n := b.count("GET /v2/team/app/blobs/" + string(big.Digest)); n != 1 {
		t.Errorf("the layer was fetched %d times, want once", n)
	}
}
