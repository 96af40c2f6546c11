package explain

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/run"
)

// How a stage is known.
const (
	knownDone = "done" // it was tried just now
	knownRead = "read" // from configuration or a record
)

// write puts the report together.
func (q *inquiry) write(ctx context.Context, found *finding, also []finding) (Report, error) {
	r := Report{
		Container: q.container.Name, Verdict: CannotPull, NextRetry: q.status.NextRetry,
		Image: Image{Given: q.container.Image, Defaulted: q.ref.Defaulted},
		Fix:   []Fix{}, AlsoWrong: []Also{}, Authorization: q.writeAuthorization(),
	}
	if r.Image.Defaulted == nil {
		r.Image.Defaulted = []string{}
	}
	if q.ref.Repository != "" {
		r.Image.Resolved = q.ref.String()
		r.Credential = q.writeCredential()
	}
	if err := q.writeIdentity(ctx, &r); err != nil {
		return Report{}, err
	}
	if q.entitled {
		r.Image.Digest = q.digest
	}
	switch {
	case found == nil:
		q.writeHealthy(&r)
	case q.hides(found.stage):
		r.Stage, r.Summary = q.hidden(), "what the registry answers to this workload is "+q.hidden()
	default:
		r.Code, r.Stage, r.Summary = found.code, string(found.stage), found.summary
		r.Fix = append(r.Fix, found.fix...)
	}
	for _, f := range also {
		r.AlsoWrong = append(r.AlsoWrong, Also{f.code, f.summary})
	}
	r.Token = q.writeToken(found)
	r.Stages = q.writeStages(found)
	q.writeTimes(&r)
	return r, nil
}

// hides reports whether what happens in a stage is not for the caller: from the role on it is the registry's.
func (q *inquiry) hides(stage pull.StageName) bool {
	return !q.entitled && !before(stage, pull.StageRole)
}

func (q *inquiry) hidden() string { return hiddenBy(q.endpoint.Registry) }

// writeHealthy says what became of a workload whose pull is in order, and hands over.
func (q *inquiry) writeHealthy(r *Report) {
	r.Verdict = CanPull
	r.Summary = "the image can be pulled"
	if q.entitled {
		r.Summary += " as " + string(q.digest)
	}
	i := slices.IndexFunc(q.status.Containers, func(c run.ContainerStatus) bool { return c.Name == q.container.Name })
	if i < 0 || q.status.Containers[i].Current == nil || q.last == nil || q.last.Code != "" {
		return
	}
	now := q.status.Containers[i]
	trouble, told := "", "; see what it said with 'fairlead logs "+q.group.ID.Name()+"'"
	switch s, unstarted := *now.Current, now.StartFailure(); {
	case q.status.Failure != nil && (q.status.Failure.Container == "" || q.status.Failure.Container == q.container.Name):
		trouble = q.status.Failure.Message
	case unstarted != "":
		trouble, told = unstarted, ""
	case s.State == run.Waiting && s.Detail == run.DetailCrashLoop && now.Previous != nil:
		trouble = fmt.Sprintf("the container ended with exit code %d (%s) and is restarted, %d times so far", now.Previous.ExitCode, now.Previous.Detail, now.RestartCount)
	case s.State == run.Terminated && s.ExitCode != 0:
		trouble = fmt.Sprintf("the container ended with exit code %d (%s)", s.ExitCode, s.Detail)
	default:
		r.Summary += "; the container is " + strings.ToLower(s.State)
		return
	}
	r.Verdict, r.Code, r.Stage = NotAPull, notAPull, string(pull.StageStart)
	r.Summary += ", so this is no matter of pulling: " + trouble + told
}

func (q *inquiry) writeCredential() *Credential {
	c := &Credential{Source: "none", Skipped: []Skipped{}}
	used := q.used()
	if used != nil {
		c.Source, c.From = used.Source, used.From
	}
	for i := range q.candidates {
		other := &q.candidates[i]
		if other == used {
			continue
		}
		why := other.Skip
		if why == "" {
			why = "an earlier one is used"
		}
		if other.Skip == pull.SkipOtherHost {
			why += ": " + other.Server
		}
		c.Skipped = append(c.Skipped, Skipped{other.Source, other.From, why})
	}
	return c
}

// writeIdentity says who asks. A user name of which the directory knows nothing is shown as it is.
func (q *inquiry) writeIdentity(ctx context.Context, r *Report) error {
	p, used := q.principal, q.used()
	if p.IsZero() {
		if used != nil && used.Identity == nil {
			r.Identity = &Identity{Kind: "unknown", Name: used.Username}
		}
		return nil
	}
	r.Identity = &Identity{
		Kind: string(p.Kind()), Name: p.Name(), ResourceID: p.Resource().String(),
		ClientID: p.ClientID(), PrincipalID: p.ID(), TenantID: p.Tenant(),
	}
	if sp, err := q.Directory.ServicePrincipal(ctx, p.ID()); err == nil && !sp.Resource.IsZero() {
		attached := q.attached(pull.Identity{Resource: sp.Resource})
		r.Identity.Attached = &attached
	} else if absent(err) != nil {
		return err
	}
	return nil
}

// writeToken tells of the registry token where that gives nothing away: to who may not read the registry, a token that
// was refused would.
func (q *inquiry) writeToken(found *finding) *Token {
	s, ok := q.attempt.Stage(pull.StageToken)
	if !ok || !q.entitled && (found == nil || found.stage != pull.StageToken) {
		return nil
	}
	t := &Token{Status: "refused", Audience: s.Facts["audience"], NotBefore: s.Facts["notBefore"], ExpiresAt: s.Facts["expiresAt"]}
	if s.Outcome == pull.OK {
		t.Status = "issued"
	}
	return t
}

// writeStages shows every stage, and of those that are not for the caller only that.
func (q *inquiry) writeStages(found *finding) []Stage {
	var out []Stage
	for _, name := range stages() {
		out = append(out, q.writeStage(name, found))
	}
	return out
}

func (q *inquiry) writeStage(name pull.StageName, found *finding) Stage {
	tried, ok := q.attempt.Stage(name)
	s := Stage{Name: name, Outcome: "not reached", Known: knownDone}
	switch {
	case name == pull.StageCredential || name == pull.StageIdentity:
		s.Known = knownRead
	case !before(name, pull.StageBlobs) && q.failure == nil && q.last != nil && q.last.Digest == q.digest:
		tried, ok = q.last.Stage(name)
		s.Known = knownRead
	}
	failedHere := found != nil && found.stage == name
	switch {
	case q.hides(name) || !q.entitled && name == pull.StageToken && !failedHere:
		return Stage{Name: name, Outcome: q.hidden()}
	case failedHere:
		s.Outcome, s.Message = string(pull.Failed), found.summary
	case ok && (found == nil || before(name, found.stage)):
		if s.Outcome = string(tried.Outcome); tried.Outcome == pull.Failed {
			s.Outcome = string(pull.Skipped) // the node took it for the failure; it was only where the failure showed
		}
	default:
		s.Known = ""
	}
	return s
}

// writeTimes tells when it began, and with what, if that was something else than what the last pull met.
func (q *inquiry) writeTimes(r *Report) {
	if q.last != nil {
		r.LastSeen = q.last.Started
	}
	if q.failure != nil {
		r.LastSeen = q.Now().UTC()
	}
	if q.first == nil {
		return
	}
	r.FirstSeen = q.first.Started
	if r.Verdict == CannotPull && q.last != nil && q.first.Code != q.last.Code && !q.hides(failedStage(q.first)) {
		r.FirstError = &Also{q.first.Code, q.first.Summary}
	}
}

func failedStage(a *pull.Attempt) pull.StageName {
	for _, s := range a.Stages {
		if s.Outcome == pull.Failed {
			return s.Name
		}
	}
	return ""
}
