package pull

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
)

// job is one pull on its way: each stage leaves what the next ones need.
type job struct {
	puller  *Puller
	request Request
	rec     *recorder
	session Session // nil while nothing is fetched

	ref       content.Reference
	endpoint  Endpoint
	candidate *Candidate // nil: the pull goes as a stranger
	remote    *remote

	index        content.Digest // that the registry named
	digest       content.Digest // of the manifest for the platform
	manifest     content.Manifest
	manifestBody []byte
	config       content.ImageConfig
	configBody   []byte
	layers       []Layer
}

func (p *Puller) newJob(r Request, o Observer) *job {
	id := uuid.NewString()
	r.Correlation = cmp.Or(r.Correlation, id)
	rec := &recorder{now: p.now, observe: o, attempt: Attempt{
		ID: id, Workload: r.Workload, Container: r.Container, Image: r.Image, Correlation: r.Correlation, Started: p.now(),
	}}
	return &job{puller: p, request: r, rec: rec}
}

func (j *job) image() Image {
	return Image{reference: j.ref, index: j.index, digest: j.digest, config: j.config, layers: j.layers}
}

// step is one stage: what it does, in order.
type step struct {
	name StageName
	do   func(context.Context) error
}

// authorize takes the stages that need no room on the node.
func (j *job) authorize(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, j.puller.limits.Ask)
	defer cancel()
	return j.take(ctx, []step{
		{StageParse, j.parse},
		{StageFind, j.find},
		{StageCredential, j.choose},
		{StageIdentity, j.identify},
		{StageToken, j.login},
		{StageRole, j.ask},
		{StageManifest, j.readManifest},
		{StagePlatform, j.selectPlatform},
	})
}

// fetch takes the stages that fill the node.
func (j *job) fetch(ctx context.Context) error {
	return j.take(ctx, []step{{StageBlobs, j.download}, {StageUnpack, j.unpack}})
}

// errSkip ends a stage that has nothing to do.
var errSkip = errors.New("this stage is not needed")

func (j *job) take(ctx context.Context, steps []step) error {
	for _, s := range steps {
		j.rec.begin(s.name)
		err := s.do(ctx)
		switch {
		case err == nil:
			j.rec.end(OK)
		case errors.Is(err, errSkip):
			j.rec.end(Skipped)
		default:
			return j.failed(s.name, err)
		}
	}
	return nil
}

// failed notes a failure of a stage and gives it its place: an error that names its own stage keeps it.
func (j *job) failed(name StageName, err error) error {
	var placed *Error
	if !errors.As(err, &placed) {
		f := fault.From(err)
		placed = &Error{name, f.Code, f}
	}
	j.rec.fail(placed)
	return placed
}

func (j *job) parse(context.Context) (err error) {
	if j.ref, err = content.ParseReference(j.request.Image); err != nil {
		return err
	}
	j.rec.fact("host", j.ref.Host)
	j.rec.fact("repository", j.ref.Repository)
	j.rec.fact("tag", j.ref.Tag)
	j.rec.fact("digest", string(j.ref.Digest))
	j.rec.fact("defaulted", strings.Join(j.ref.Defaulted, ","))
	return nil
}

func (j *job) find(ctx context.Context) (err error) {
	if j.endpoint, err = j.puller.registries.Endpoint(ctx, j.ref.Host); err != nil {
		if errors.Is(err, ErrHostUnknown) {
			// The names of registries that it may have been are not for everyone who may read this record.
			return ErrHostUnknown.WithMessage("%q is no registry that is known here", j.ref.Host).WithCause(err)
		}
		return err
	}
	j.rec.fact("registry", j.endpoint.Registry.String())
	j.rec.fact("loginServer", j.endpoint.Service)
	return nil
}

func (j *job) choose(context.Context) (err error) {
	j.candidate = choose(j.request.Candidates, j.rec)
	if j.remote, err = newRemote(j.endpoint, j.ref.Repository, j.puller.limits); err != nil {
		return err
	}
	j.remote.header = http.Header{
		"X-Ms-Correlation-Request-Id": {j.request.Correlation},
		"X-Ms-Client-Request-Id":      {j.rec.attempt.ID},
		"Accept-Encoding":             {"identity"},
		"User-Agent":                  {"fairlead"},
	}
	j.remote.requestID = func(id string) { j.rec.fact("requestId", id) }
	j.remote.login = j.puller.login(j.candidate)
	if j.candidate == nil {
		j.remote.stranger = strangerRefused(j.request.Candidates, j.endpoint.Service)
	}
	return nil
}

func (j *job) identify(context.Context) error {
	if j.candidate == nil {
		return errSkip
	}
	if id := j.candidate.Identity; id != nil {
		j.rec.fact("kind", SourceIdentity)
		j.rec.fact("resourceId", id.Resource.String())
		j.rec.fact("clientId", id.ClientID)
		j.rec.fact("principalId", id.PrincipalID)
		return nil
	}
	j.rec.fact("kind", "user")
	j.rec.fact("username", j.candidate.Username)
	return nil
}

func (j *job) login(ctx context.Context) (err error) {
	j.remote.token, err = j.remote.login(ctx, j.remote)
	if err != nil {
		return err
	}
	if j.remote.token.IsZero() {
		return errSkip
	}
	c := readClaims(j.remote.token)
	j.rec.fact("audience", cmp.Or(c.Audience, j.endpoint.Service))
	if c.NotBefore > 0 {
		j.rec.fact("notBefore", time.Unix(c.NotBefore, 0).UTC().Format(time.RFC3339))
	}
	if c.Expires > 0 {
		j.rec.fact("expiresAt", time.Unix(c.Expires, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

// ask makes the one request that decides. A manifest that is absent is the next stage's failure: the right was not
// refused.
func (j *job) ask(ctx context.Context) error {
	d, size, err := j.remote.resolve(ctx, j.ref)
	if err != nil {
		f := fault.From(err)
		if f.Code != ErrDenied.Code && f.Kind != fault.Unauthenticated {
			return &Error{StageManifest, f.Code, f}
		}
		return err
	}
	j.index = d
	j.rec.resolved(d)
	j.rec.fact("digest", string(d))
	if size >= 0 {
		j.rec.fact("size", strconv.FormatInt(size, 10))
	}
	return nil
}

func (j *job) readManifest(ctx context.Context) error {
	if err := j.open(ctx, content.Descriptor{Digest: j.index}); err != nil {
		return err
	}
	j.rec.fact("digest", string(j.index))
	j.rec.fact("mediaType", j.manifest.MediaType)
	return nil
}

// open makes d the job's manifest, from the node when it is there.
func (j *job) open(ctx context.Context, d content.Descriptor) (err error) {
	j.digest = d.Digest
	if body, ok := j.local(ctx, d, content.MaxManifest); ok {
		j.manifestBody = body
		j.manifest, err = parseManifest(d.MediaType, body)
		return err
	}
	return j.twice(ctx, func() (err error) {
		j.manifestBody, j.manifest, err = j.remote.manifest(ctx, d)
		return err
	})
}

// twice does something that may bring other content than was asked for, and does it once more if so.
func (j *job) twice(ctx context.Context, do func() error) error {
	err := do()
	if !errors.Is(err, ErrMismatch) {
		return err
	}
	j.puller.log.WarnContext(ctx, "content did not verify; it is fetched once more", "workload", j.request.Workload.String(),
		"image", j.request.Image, "correlation_id", j.request.Correlation, "reason", fault.From(err).Message)
	return do()
}

// local reads content that is on the node whole and as it should be.
func (j *job) local(ctx context.Context, d content.Descriptor, limit int64) ([]byte, bool) {
	if j.session == nil {
		return nil, false
	}
	if has, err := j.session.Has(ctx, d); err != nil || !has {
		return nil, false
	}
	r, err := j.session.Open(ctx, d)
	if err != nil {
		return nil, false
	}
	defer r.Close()
	body, err := readAll(r, limit)
	return body, err == nil && d.Digest.Verify(body)
}

// selectPlatform goes from an index to the manifest for the node, and reads the config, which has the last word.
func (j *job) selectPlatform(ctx context.Context) error {
	want := j.request.Platform
	j.rec.fact("wanted", want.String())
	if j.manifest.IsIndex() {
		child, err := content.Select(j.manifest.Manifests, want)
		if err != nil {
			return ErrPlatformAbsent.WithMessage("%s", fault.From(err).Message)
		}
		if err := j.open(ctx, child); err != nil {
			return j.asContent(err)
		}
		if j.manifest.IsIndex() {
			return ErrInvalid.WithMessage("the index names another index for %s, which is not followed", want)
		}
	}
	j.rec.fact("digest", string(j.digest))
	if err := j.checkLimits(); err != nil {
		return &Error{StageBlobs, ErrTooBig.Code, fault.From(err)}
	}
	if err := j.readConfig(ctx); err != nil {
		return j.asContent(err)
	}
	have := j.config.Platform
	have.OS = cmp.Or(have.OS, want.OS)
	if have.Architecture != "" && !want.Runs(have) {
		return ErrPlatformAbsent.WithMessage("the image is not built for %s; it is for %s", want, have)
	}
	return nil
}

// asContent gives errors of content the stage that they belong to.
func (j *job) asContent(err error) error {
	if f := fault.From(err); errors.Is(err, ErrMismatch) || errors.Is(err, ErrTooBig) || errors.Is(err, ErrInvalid) {
		return &Error{StageBlobs, f.Code, f}
	}
	return err
}

func (j *job) checkLimits() error {
	limits := j.puller.limits
	if n := len(j.manifest.Layers); n > limits.Layers {
		return ErrTooBig.WithMessage("the image has %d layers; the limit is %d", n, limits.Layers)
	}
	if size := j.manifest.Config.Size; size > content.MaxConfig {
		return tooBig("the image's config", size, content.MaxConfig)
	}
	for _, l := range j.manifest.Layers {
		if l.Size > limits.LayerBytes {
			return tooBig("the layer "+string(l.Digest), l.Size, limits.LayerBytes)
		}
	}
	return nil
}

func (j *job) readConfig(ctx context.Context) (err error) {
	d := *j.manifest.Config
	body, ok := j.local(ctx, d, content.MaxConfig)
	if !ok {
		err := j.twice(ctx, func() error {
			var b bytes.Buffer
			err := j.remote.blob(ctx, d, &b, func(int) {})
			body = b.Bytes()
			return err
		})
		if err != nil {
			return err
		}
	}
	j.configBody = body
	if j.config, err = content.ParseImageConfig(body); err != nil {
		return ErrInvalid.WithMessage("%s", fault.From(err).Message).WithCause(err)
	}
	if n, m := len(j.manifest.Layers), len(j.config.DiffIDs); n != m {
		return ErrInvalid.WithMessage("the manifest names %d layers, the config %d", n, m)
	}
	j.layers = nil
	for i, l := range j.manifest.Layers {
		j.layers = append(j.layers, Layer{Descriptor: l, DiffID: j.config.DiffIDs[i]})
	}
	return nil
}
