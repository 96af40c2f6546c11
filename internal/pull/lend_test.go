package pull_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
)

func TestLend(t *testing.T) {
	b := newBench(t, quick)
	for name, c := range map[string]struct {
		candidate          pull.Candidate
		username, password string
	}{
		"a user's own name and password":    {userCandidate(b.host()), username, password},
		"what an identity is exchanged for": {identityCandidate(), pull.TokenUser, "refresh_token-"},
	} {
		login, err := b.puller.Lend(t.Context(), b.request(c.candidate))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if login.Host != b.host() || login.Username != c.username || !strings.HasPrefix(login.Password.Reveal(), c.password) {
			t.Errorf("%s: %s on %s with %q", name, login.Username, login.Host, login.Password.Reveal())
		}
	}
}

func TestLendARegistry(t *testing.T) {
	b := newBench(t, quick)
	login, err := b.puller.LendRegistry(t.Context(), "alias.example", *identityCandidate().Identity)
	if err != nil || login.Host != b.host() || login.Username != pull.TokenUser || !strings.HasPrefix(login.Password.Reveal(), "refresh_token-") {
		t.Errorf("%s on %s, %v", login.Username, login.Host, err)
	}
	b.refused = true
	if _, err := b.puller.LendRegistry(t.Context(), b.host(), *identityCandidate().Identity); fault.KindOf(err) != fault.Denied {
		t.Errorf("an identity without a right: %v", err)
	}
	if _, err := b.puller.LendRegistry(t.Context(), "nowhere.example", *identityCandidate().Identity); fault.KindOf(err) != fault.NotFound {
		t.Errorf("no registry: %v", err)
	}
}

func TestNothingIsLentToWhoMayNotPull(t *testing.T) {
	b := newBench(t, quick)
	for name, c := range map[string]struct {
		candidate pull.Candidate
		kind      fault.Kind
		image     string
	}{
		"a credential that cannot be used": {pull.Candidate{Source: pull.SourceCredentials, From: "f", Skip: pull.SkipNotAttached}, fault.Unauthenticated, "app:v1"},
		"a tag that is not there":          {userCandidate(b.host()), fault.NotFound, "app:v9"},
	} {
		r := b.request(c.candidate)
		r.Image = b.host() + "/team/" + c.image
		if login, err := b.puller.Lend(t.Context(), r); fault.KindOf(err) != c.kind || login.Username != "" {
			t.Errorf("%s: %+v, %v", name, login, err)
		}
	}
}

// remoteDisk is a node that fetches by itself.
type remoteDisk struct{ pull.Node }

func (n remoteDisk) Begin(ctx context.Context, name string) (pull.Session, error) {
	s, err := n.Node.Begin(ctx, name)
	return elsewhere{s}, err
}

type elsewhere struct{ pull.Session }

func (elsewhere) Fetcher() string { return "a cluster" }

// Unpack has no layers to look for.
func (elsewhere) Unpack(context.Context, []pull.Layer, func(int)) error { return nil }

func TestANodeElsewhereFetchesItself(t *testing.T) {
	b := newBench(t, quick)
	puller := pull.New(b.scripted, identities{}, remoteDisk{b.disk}, quick, time.Now, slog.New(slog.DiscardHandler))
	image, attempt, err := puller.Pull(t.Context(), b.request(), nil)
	if err != nil || image.Digest() != b.image.Manifest.Digest {
		t.Fatalf("%s, %v", image.Digest(), err)
	}
	role, _ := attempt.Stage(pull.StageRole)
	blobs, _ := attempt.Stage(pull.StageBlobs)
	if role.Outcome != pull.OK || blobs.Outcome != pull.Skipped || blobs.Facts["fetchedBy"] != "a cluster" {
		t.Errorf("asked %+v, fetched %+v", role, blobs)
	}
	if n := b.disk.Files(); n != 2 {
		t.Errorf("%d pieces of content are kept, want manifest and config", n)
	}
	again, err := puller.Reopen(t.Context(), b.host()+"/team/app:v1", image.Digest())
	if err != nil || again.Digest() != image.Digest() {
		t.Errorf("opened again: %s, %v", again.Digest(), err)
	}
}
