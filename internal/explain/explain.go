// Package explain owns why a workload can or cannot pull: it goes through the chain again, with the workload's own
// credential, and then says from what identity, access, registry and run know what the refusal means and which command
// repairs it.
//
//	do:    pull.Authorize (token for that identity, HEAD on that manifest)  ─► coarse failure
//	read:  identity, access, registry, the recorded attempts                ─► exact code, fix, what else is wrong
//
// A verdict comes from doing, never from configuration alone. The registry tells a stranger little; who may read the
// registry is told everything, who may not is shown that something is hidden. How a report looks to people is for the
// surfaces and the CLI.
package explain

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// Named errors of this package.
var (
	// ErrDenied: the caller may not read the workload.
	ErrDenied = fault.New(fault.Denied, "AuthorizationFailed", "you may not read this workload")
	// ErrStopped: nothing pulls for a workload that a person has stopped.
	ErrStopped = fault.New(fault.Conflict, "WorkloadStopped", "the workload is stopped: nothing is pulled for it until it is started")
)

// Groups is what is known of workloads. *run.Service is the real one; the errors are its own.
type Groups interface {
	Group(ctx context.Context, id resource.ID) (run.Group, error)
	Status(ctx context.Context, id resource.ID) (run.Status, error)
	Attempts(ctx context.Context, id resource.ID, container string) (first, last *pull.Attempt, err error)
}

// Authorizer asks the right to pull. *pull.Puller is the real one.
type Authorizer interface {
	Authorize(ctx context.Context, r pull.Request) (content.Digest, pull.Attempt, error)
}

// Deps is what an Explainer reads from. All but Platform and Clusters must be set.
type Deps struct {
	Groups     Groups
	Pull       Authorizer
	Access     *access.Engine
	Directory  *identity.Directory
	Registry   *registry.Service
	Registries pull.Registries
	Origin     resource.Origin
	Platform   content.Platform // of the node; this machine's when not set
	Now        func() time.Time
	Clusters   Clusters // nil: there are no managed clusters
}

// Explainer answers why.
type Explainer struct{ Deps }

// New makes an Explainer.
func New(d Deps) *Explainer {
	if d.Platform.OS == "" {
		d.Platform = content.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	return &Explainer{d}
}

// Why explains each container of a workload to caller, in the order of the containers. ErrDenied, ErrStopped,
// run.ErrNotFound.
func (e *Explainer) Why(ctx context.Context, caller identity.Principal, workload resource.ID) ([]Report, error) {
	ok, err := e.may(ctx, caller, workload.Type()+"/read", workload)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrDenied
	}
	group, err := e.Groups.Group(ctx, workload)
	if err != nil {
		return nil, err
	}
	status, err := e.Groups.Status(ctx, workload)
	if err != nil {
		return nil, err
	}
	if status.State == run.StateStopped {
		return nil, ErrStopped
	}
	reports, errs := make([]Report, len(group.Containers)), make([]error, len(group.Containers))
	var all sync.WaitGroup
	for i, c := range group.Containers {
		all.Go(func() {
			q := &inquiry{Explainer: e, siblings: siblingsOf(group), caller: caller, group: group, status: status, container: c, kind: groupKind{}, entitled: true}
			reports[i], errs[i] = q.answer(ctx)
		})
	}
	all.Wait()
	return reports, errors.Join(errs...)
}

func siblingsOf(g run.Group) []sibling {
	var out []sibling
	for _, id := range g.Identities {
		out = append(out, sibling{id.PrincipalID, "the identity " + id.Resource.Name() + ", which this workload has too"})
	}
	return out
}

// may reports whether p may do an action on a scope.
func (e *Explainer) may(ctx context.Context, p identity.Principal, action string, scope resource.ID) (bool, error) {
	d, err := e.Access.Check(ctx, p, access.Action{Name: action}, scope)
	return d.Allowed, err
}

// sameRegistry reports whether two hosts lead to one registry here.
func (e *Explainer) sameRegistry(ctx context.Context) func(a, b string) bool {
	return func(a, b string) bool {
		one, errOne := e.Registries.Endpoint(ctx, a)
		other, errOther := e.Registries.Endpoint(ctx, b)
		return errOne == nil && errOther == nil && !one.Registry.IsZero() && one.Registry.Equal(other.Registry)
	}
}

// inquiry is the question about one container.
type inquiry struct {
	*Explainer
	caller    identity.Principal
	group     run.Group
	status    run.Status
	container run.Container
	kind      kind
	siblings  []sibling // which a role may have been meant for, given to them by mistake

	first, last *pull.Attempt // as recorded; nil where there is none
	ref         content.Reference
	endpoint    pull.Endpoint // zero when the host is unknown
	entitled    bool          // nothing is hidden: the caller may read the registry, or there is none
	candidates  []pull.Candidate
	attempt     pull.Attempt // just now
	digest      content.Digest
	failure     *pull.Error        // just now; nil when it could be pulled
	principal   identity.Principal // of the credential that was used; zero when that is nobody known
	considered  []access.Considered
	allowed     bool // whether principal may pull
}

// sibling is an identity beside the one that pulls.
type sibling struct {
	principalID string
	what        string // "the identity web-id, which this workload has too"
}

// finding is one thing that is wrong.
type finding struct {
	code    string
	stage   pull.StageName
	summary string
	fix     []Fix
}

// answer asks, reads and puts together the report.
func (q *inquiry) answer(ctx context.Context) (Report, error) {
	if err := q.ask(ctx); err != nil {
		return Report{}, err
	}
	found, err := q.find(ctx)
	if err != nil {
		return Report{}, err
	}
	also, err := q.findAlso(ctx, found)
	if err != nil {
		return Report{}, err
	}
	return q.write(ctx, found, also)
}

// ask has the right to pull asked now, and looks up who asked.
func (q *inquiry) ask(ctx context.Context) (err error) {
	if q.first, q.last, err = q.Groups.Attempts(ctx, q.group.ID, q.container.Name); err != nil {
		return err
	}
	if err := q.prepare(ctx); err != nil {
		return err
	}
	if q.ref.Repository != "" {
		q.candidates = run.Candidates(q.group, q.ref, q.sameRegistry(ctx))
	}
	return q.try(ctx)
}

// prepare reads the reference, which stays zero when it is none, and finds the registry.
func (q *inquiry) prepare(ctx context.Context) error {
	ref, err := content.ParseReference(q.container.Image)
	if err != nil {
		return nil //nolint:nilerr // the pull finds the same, and says so
	}
	q.ref = ref
	return q.locate(ctx)
}

// try has the right to pull asked now with the candidates, and looks up who asked.
func (q *inquiry) try(ctx context.Context) (err error) {
	if err := q.tryNow(ctx); err != nil {
		return err
	}
	if used := q.used(); used != nil {
		if q.principal, err = q.principalOf(ctx, *used); err != nil {
			return err
		}
	}
	if err := q.consider(ctx); err != nil {
		return err
	}
	// A role may have been assigned while we asked: ask once more rather than call it missing.
	if f := q.failure; f != nil && q.allowed && (f.Code == pull.ErrDenied.Code || f.Code == pull.ErrRefused.Code) {
		return q.tryNow(ctx)
	}
	return nil
}

func (q *inquiry) tryNow(ctx context.Context) error {
	digest, attempt, err := q.Pull.Authorize(ctx, pull.Request{
		Workload: q.group.ID, Container: q.container.Name, Image: q.container.Image, Platform: q.Platform, Candidates: q.candidates,
	})
	q.digest, q.attempt, q.failure = digest, attempt, nil
	if err != nil && !errors.As(err, &q.failure) {
		return err
	}
	return ctx.Err()
}

// locate finds the registry that the image is in, and whether the caller may read it.
func (q *inquiry) locate(ctx context.Context) error {
	endpoint, err := q.Registries.Endpoint(ctx, q.ref.Host)
	if errors.Is(err, pull.ErrHostUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	q.endpoint = endpoint
	if !endpoint.Registry.IsZero() { // what a registry elsewhere said to the node is the workload's own
		q.entitled, err = q.may(ctx, q.caller, registryRead, endpoint.Registry)
	}
	return err
}

const registryRead = "Microsoft.ContainerRegistry/registries/read"

// used gives the credential that the pull goes with; nil for a stranger.
func (q *inquiry) used() *pull.Candidate {
	for i := range q.candidates {
		if q.candidates[i].Skip == "" {
			return &q.candidates[i]
		}
	}
	return nil
}

// find turns the failure into what it means; nil when nothing is wrong with the pull.
func (q *inquiry) find(ctx context.Context) (*finding, error) {
	if q.failure == nil {
		return q.recorded(), nil
	}
	code := q.failure.Code
	switch {
	case code == pull.ErrReferenceInvalid.Code:
		return q.badReference(), nil
	case code == pull.ErrHostUnknown.Code:
		return q.unknownHost(ctx)
	case q.endpoint.Registry.IsZero():
		return q.elsewhere(), nil
	case q.failure.Stage == pull.StageCredential:
		return q.kind.stranger(ctx, q)
	case q.failure.Stage == pull.StageIdentity && code == pull.ErrIdentityGone.Code:
		return q.identityGone(ctx)
	case code == pull.ErrRefused.Code:
		return q.refused(ctx)
	case code == pull.ErrDenied.Code:
		return q.denied(ctx)
	case code == pull.ErrPlatformAbsent.Code:
		return q.platformAbsent(ctx)
	case q.failure.Stage == pull.StageManifest && q.failure.Err.Kind == fault.NotFound:
		if found, err := q.content(ctx); err != nil || found != nil {
			return found, err
		}
	}
	return q.asIs(), nil
}

// asIs takes the failure at the node's word.
func (q *inquiry) asIs() *finding {
	return &finding{code: q.failure.Code, stage: q.failure.Stage, summary: q.failure.Err.Message}
}

// elsewhere is a failure at a registry that is not ours: the node's word, under the code that is likeliest.
func (q *inquiry) elsewhere() *finding {
	f := q.asIs()
	if f.code == pull.ErrRefused.Code {
		f.code = authBadPassword
	}
	return f
}

// recorded gives what the last pull failed with, when that is something that only fetching shows: asking just now went
// well, for the same digest.
func (q *inquiry) recorded() *finding {
	ended := q.last
	if ended != nil && ended.Ended.IsZero() {
		ended = q.first // the last is under way
	}
	if ended == nil || ended.Code == "" || ended.Image != q.container.Image || ended.Digest != q.digest {
		return nil
	}
	for _, name := range []pull.StageName{pull.StageBlobs, pull.StageUnpack} {
		if s, ok := ended.Stage(name); ok && s.Outcome == pull.Failed {
			summary := s.Message
			if s.Code == pull.ErrMismatch.Code {
				summary += "; it is never run: push the image again, under this or another tag"
			}
			return &finding{code: s.Code, stage: name, summary: summary}
		}
	}
	return nil
}

// findAlso looks at the later stages that do not depend on the one that failed.
func (q *inquiry) findAlso(ctx context.Context, found *finding) ([]finding, error) {
	if found == nil || !q.entitled || q.endpoint.Registry.IsZero() {
		return nil, nil
	}
	var also []finding
	if before(found.stage, pull.StageRole) && !q.principal.IsZero() && !q.allowed {
		f, err := q.role(ctx)
		if err != nil {
			return nil, err
		}
		also = append(also, *f)
	}
	if before(found.stage, pull.StageManifest) {
		f, err := q.content(ctx)
		if err != nil {
			return nil, err
		}
		if f != nil {
			if f.code == pull.ErrTagUnknown.Code && slices.Contains(q.ref.Defaulted, content.DefaultedTag) {
				f.code = tagDefaulted
			}
			also = append(also, *f)
		}
	}
	return also, nil
}

// before reports whether stage a comes before b.
func before(a, b pull.StageName) bool { return rank(a) < rank(b) }

// rank gives a stage's place; one that is none of a report's comes last.
func rank(s pull.StageName) int {
	if i := slices.Index(stages(), s); i >= 0 {
		return i
	}
	return len(stages())
}

// stages are those of a report, in order.
func stages() []pull.StageName {
	return []pull.StageName{
		pull.StageParse, pull.StageFind, pull.StageCredential, pull.StageIdentity, pull.StageToken,
		pull.StageRole, pull.StageManifest, pull.StagePlatform, pull.StageBlobs, pull.StageUnpack,
	}
}

// Codes of docs/reference/failures.md that only this package gives.
const (
	authBadPassword    = "AUTH_BAD_PASSWORD"
	authAdminDisabled  = "AUTH_ADMIN_DISABLED"
	authSecretExpired  = "AUTH_CLIENT_SECRET_EXPIRED"
	authSecretWrong    = "AUTH_CLIENT_SECRET_WRONG"
	authAppUnknown     = "AUTH_APP_UNKNOWN"
	authTokenExpired   = "AUTH_TOKEN_EXPIRED"
	roleWrongPrincipal = "ROLE_WRONG_PRINCIPAL"
	roleWrongScope     = "ROLE_WRONG_SCOPE"
	roleOrphaned       = "ROLE_ORPHANED"
	refHostDefaulted   = "REF_HOST_DEFAULTED"
	tagDefaulted       = "TAG_DEFAULTED"
	notAPull           = "NOT_A_PULL"
)
