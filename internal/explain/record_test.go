package explain_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/explain"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// What only fetching shows comes from the record of the last pull.
func TestContentMismatch(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.assign("AcrPull", id.PrincipalID, myacr)
	w.containerGroup(appV1, byIdentity(id))
	w.group.Identities = []pull.Identity{id}

	good := w.client.Transport
	w.client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		res, err := good.RoundTrip(r)
		if err == nil && strings.HasSuffix(r.URL.Path, string(w.image.Layers[0].Digest)) {
			res.Body = flip(res.Body)
		}
		return res, err
	})
	if err := w.pull(); !errors.Is(err, pull.ErrMismatch) {
		t.Fatalf("the pull ended with %v", err)
	}
	r := w.expect("CONTENT_MISMATCH", "blobs")
	if len(r.Fix) != 0 || r.LastSeen.IsZero() || r.FirstSeen.IsZero() {
		t.Errorf("report %+v", r)
	}
	if _, err := os.Stat(w.disk.Path(w.image.Layers[0].Digest)); err == nil {
		t.Error("the layer is on the node")
	}
	w.push(myacr, "app", "v1", pulltest.NewImage(t, amd64, "pushed again"))
	w.expect("", "")
}

// Pairs that look alike from outside are told apart above; here two faults meet, and the earlier one is the verdict.
func TestTwoFaults(t *testing.T) {
	t.Run("credential, role and tag", func(t *testing.T) {
		w := newWorld(t)
		w.site("myacr.azurecr.io/app", run.Web{}, w.managed("web-id"))
		r := w.expect("CRED_MI_NOT_ENABLED", "credential")
		if got := alsoCodes(r); got != "ROLE_MISSING TAG_DEFAULTED" {
			t.Errorf("also wrong: %s", got)
		}
	})
	t.Run("password and role", func(t *testing.T) {
		w := newWorld(t)
		app, _, value := w.application("puller", time.Now().Add(-time.Hour))
		w.containerGroup("myacr.azurecr.io/none:v1", byPassword(app.ClientID, value))
		r := w.expect("AUTH_CLIENT_SECRET_EXPIRED", "token")
		if got := alsoCodes(r); got != "ROLE_MISSING REPO_UNKNOWN" {
			t.Errorf("also wrong: %s", got)
		}
	})
	t.Run("role and tag", func(t *testing.T) {
		w := newWorld(t)
		id := w.managed("web-id")
		w.containerGroup("myacr.azurecr.io/app:v9", byIdentity(id))
		w.group.Identities = []pull.Identity{id}
		r := w.expect("ROLE_MISSING", "role")
		if got := alsoCodes(r); got != "TAG_UNKNOWN" {
			t.Errorf("also wrong: %s", got)
		}
	})
}

// The first error of a retry loop is kept beside the last.
func TestFirstError(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.containerGroup("myacr.azurecr.io/app:v9", byIdentity(id))
	w.group.Identities = []pull.Identity{id}
	if err := w.pull(); !errors.Is(err, pull.ErrDenied) {
		t.Fatal(err)
	}
	w.assign("AcrPull", id.PrincipalID, myacr)
	if err := w.pull(); !errors.Is(err, pull.ErrTagUnknown) {
		t.Fatal(err)
	}
	r := w.expect("TAG_UNKNOWN", "manifest")
	if r.FirstError == nil || r.FirstError.Code != "ROLE_MISSING" || !r.FirstSeen.Before(r.LastSeen) || r.NextRetry.IsZero() {
		t.Errorf("report %+v", r)
	}
	w.paste(r.Fix)
	if r := w.expect("", ""); r.FirstError != nil {
		t.Errorf("a workload that can pull has the error %+v", r.FirstError)
	}
}

// A workload whose pull is in order is handed over.
func TestNotAPull(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.assign("AcrPull", id.PrincipalID, myacr)
	w.containerGroup(appV1, byIdentity(id))
	w.group.Identities = []pull.Identity{id}
	must(t, w.pull())
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	ended := &run.State{State: run.Terminated, ExitCode: 3, Detail: run.DetailError}
	for name, c := range map[string]struct {
		now     run.ContainerStatus
		verdict string
		says    string
	}{
		"running":  {run.ContainerStatus{Name: "app", Current: &run.State{State: run.Running}}, explain.CanPull, "running"},
		"finished": {run.ContainerStatus{Name: "app", Current: &run.State{State: run.Terminated, Detail: run.DetailCompleted}}, explain.CanPull, "terminated"},
		"failed":   {run.ContainerStatus{Name: "app", Current: ended}, explain.NotAPull, "exit code 3"},
		"unstarted": {run.ContainerStatus{
			Name: "app", Current: &run.State{State: run.Terminated, ExitCode: 128, Detail: run.DetailError, Finished: noon},
			Events: []run.Event{{Name: run.EventFailed, Message: "no such command", Last: noon}},
		}, explain.NotAPull, "pulling: no such command"},
		"crashing": {run.ContainerStatus{Name: "app", Current: &run.State{State: run.Waiting, Detail: run.DetailCrashLoop}, Previous: ended, RestartCount: 4}, explain.NotAPull, "4 times"},
	} {
		w.status.Containers = []run.ContainerStatus{c.now}
		r := w.why(w.admin)
		if r.Verdict != c.verdict || !strings.Contains(r.Summary, c.says) || (r.Code == "NOT_A_PULL") != (c.verdict == explain.NotAPull) || len(r.Fix) != 0 {
			t.Errorf("%s: verdict %s, code %q: %s", name, r.Verdict, r.Code, r.Summary)
		}
	}
}

// Who may not read the registry learns nothing of it: the same words whatever is wrong there.
func TestEntitlement(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	caller := func() identity.Principal {
		_, p, _ := w.application("group reader", time.Time{})
		w.assign("Reader", p.ID(), resource.MustParseID(rg+"/providers/Microsoft.ContainerInstance/containerGroups/web"))
		return p
	}()
	w.push(myacr, "app", "hush-hush", w.image)
	explained := map[string]string{}
	for name, prepare := range map[string]func(){
		"role":       func() { w.containerGroup(appV1, byIdentity(id)) },
		"tag":        func() { w.containerGroup("myacr.azurecr.io/app:v7", byIdentity(id)) },
		"repository": func() { w.containerGroup("myacr.azurecr.io/nix:v1", byIdentity(id)) },
		"elsewhere":  func() { w.assign("AcrPull", id.PrincipalID, other); w.containerGroup(appV1, byIdentity(id)) },
	} {
		prepare()
		w.group.Identities = []pull.Identity{id}
		if name == "tag" || name == "repository" {
			w.assign("AcrPull", id.PrincipalID, myacr)
		}
		r := w.why(caller)
		if r.Verdict != explain.CannotPull || r.Code != "" || r.Stage != "hidden: you lack read on "+myacr.String() || len(r.Fix)+len(r.AlsoWrong) != 0 {
			t.Errorf("%s: %+v", name, r)
		}
		r.Image = explain.Image{}
		text, err := json.Marshal(r)
		must(t, err)
		for _, leak := range []string{"AcrPull", "hush-hush", "registries/other", "sha256:", "UNKNOWN", "MISSING", "issued", "refused\""} {
			if strings.Contains(string(text), leak) {
				t.Errorf("%s: %q leaks: %s", name, leak, text)
			}
		}
		r.NextRetry, r.LastSeen = time.Time{}, time.Time{}
		same, err := json.Marshal(r)
		must(t, err)
		explained[string(same)] = name
		assigned, err := w.access.Assignments(t.Context(), filterOf(id.PrincipalID))
		must(t, err)
		for _, a := range assigned {
			must(t, w.access.Unassign(t.Context(), a.ID))
		}
	}
	if len(explained) != 1 {
		t.Errorf("faults that are hidden can be told apart: %v", explained)
	}

	// What is not the registry's is told, and what repairs it.
	w.containerGroup(appV1)
	if r := w.why(caller); r.Code != "CRED_NONE" || r.Authorization != nil || len(r.AlsoWrong) != 0 || len(r.Fix) == 0 {
		t.Errorf("credential: %+v", r)
	}
	// Names of registries are for those who may read them.
	w.containerGroup("myacrr.azurecr.io/app:v1", byIdentity(id))
	if r := w.why(caller); r.Code != "REF_HOST_UNKNOWN" || strings.Contains(r.Summary, "myacr.azurecr") || len(r.Fix) != 0 {
		t.Errorf("nearest names: %+v", r)
	}
	// A healthy workload is called so, without its digest.
	w.assign("AcrPull", id.PrincipalID, myacr)
	w.containerGroup(appV1, byIdentity(id))
	w.group.Identities = []pull.Identity{id}
	if r := w.why(caller); r.Verdict != explain.CanPull || r.Image.Digest != "" || r.Token != nil {
		t.Errorf("healthy: %+v", r)
	}
	_, stranger, _ := w.application("stranger", time.Time{})
	if _, err := w.explainer.Why(t.Context(), stranger, w.group.ID); !errors.Is(err, explain.ErrDenied) {
		t.Errorf("a stranger gets %v, want ErrDenied", err)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.containerGroup(appV1)
	w.status.State = run.StateStopped
	if _, err := w.explainer.Why(t.Context(), w.admin, w.group.ID); !errors.Is(err, explain.ErrStopped) {
		t.Errorf("a stopped workload: %v, want ErrStopped", err)
	}
	if _, err := w.explainer.Why(t.Context(), w.admin, myacr); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("what never was: %v, want ErrNotFound", err)
	}
}

// A role that was just assigned is never called missing.
func TestJustAssigned(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.containerGroup(appV1, byIdentity(id))
	w.group.Identities = []pull.Identity{id}
	w.expect("ROLE_MISSING", "role")
	for range 3 {
		w.assign("AcrPull", id.PrincipalID, myacr)
		w.expect("", "")
		all, err := w.access.Assignments(t.Context(), filterOf(id.PrincipalID))
		must(t, err)
		must(t, w.access.Unassign(t.Context(), all[0].ID))
		w.expect("ROLE_MISSING", "role")
	}
}

// The record of a pull and a group's events tell no more than why does: who may not read the registry cannot tell there
// either what is wrong in it.
func TestRecordIsForWhoMayKnow(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	workload := resource.MustParseID(rg + "/providers/Microsoft.ContainerInstance/containerGroups/web")
	stranger := w.person("Reader", workload)
	shown := map[string]bool{}
	for _, c := range []struct {
		image string
		role  bool
		want  error
	}{
		{appV1, false, pull.ErrDenied},
		{"myacr.azurecr.io/app:v7", true, pull.ErrTagUnknown},
		{"myacr.azurecr.io/nix:v1", true, pull.ErrRepositoryUnknown},
		{appV1, true, nil},
	} {
		if c.role {
			w.assign("AcrPull", id.PrincipalID, myacr)
		}
		w.containerGroup(c.image, byIdentity(id))
		w.group.Identities = []pull.Identity{id}
		if err := w.pull(); !errors.Is(err, c.want) {
			t.Fatalf("%s: the pull ended with %v, want %v", c.image, err, c.want)
		}
		whole, err := w.explainer.Record(t.Context(), w.admin, w.last)
		must(t, err)
		if whole != w.last {
			t.Errorf("%s: the administrator does not see the whole record", c.image)
		}
		part, err := w.explainer.Record(t.Context(), stranger, w.last)
		must(t, err)
		if (part.Summary == "") != (c.want == nil) || part.Code != "" || len(w.last.Stages) == 0 {
			t.Errorf("%s: code %q, summary %q", c.image, part.Code, part.Summary)
		}
		if c.want == nil {
			part.Summary = ""
		}
		text, err := json.Marshal(struct {
			Stages  []pull.Stage
			Layers  []pull.LayerProgress
			Digest  string
			Started bool
		}{part.Stages[4:], part.Layers, string(part.Digest), part.Started.IsZero()})
		must(t, err)
		shown[string(text)] = true
	}
	if len(shown) != 1 {
		t.Errorf("what the registry answered can be told from %v", shown)
	}

	failed := []run.Event{
		{Name: run.EventFailed, Message: run.PullFailedPrefix + `"myacr.azurecr.io/app:v7": there is no tag "v7"`},
		{Name: run.EventFailed, Message: run.PullFailedPrefix + `"app:v7": no registry`},
		{Name: run.EventFailed, Message: "Error: Failed to start container, Error response: no such file"},
	}
	whole, err := w.explainer.Events(t.Context(), w.admin, failed)
	must(t, err)
	if !slices.Equal(whole, failed) {
		t.Errorf("the administrator sees %+v", whole)
	}
	part, err := w.explainer.Events(t.Context(), stranger, failed)
	must(t, err)
	if strings.Contains(part[0].Message, "no tag") || !strings.Contains(part[0].Message, "hidden: you lack read on "+myacr.String()) || !slices.Equal(part[1:], failed[1:]) {
		t.Errorf("a stranger sees %+v", part)
	}
	if none, err := w.explainer.Record(t.Context(), stranger, nil); none != nil || err != nil {
		t.Errorf("no record became %+v, %v", none, err)
	}
}
