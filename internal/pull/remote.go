package pull

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/secret"
)

// maxHops is how many redirects in a row are followed.
const maxHops = 4

// maxWait is the longest that a registry's Retry-After is waited for within one pull.
const maxWait = 20 * time.Second

// remote is one repository of one registry, asked with one credential.
type remote struct {
	base       *url.URL
	service    string
	repository string
	client     *http.Client
	limits     Limits
	header     http.Header // sent with every request
	requestID  func(string)
	login      func(context.Context, *remote) (secret.Text, error) // asks for a registry token
	stranger   *Error                                              // the refusal of who has no credential; nil for who has one

	mu    sync.Mutex
	token secret.Text // zero: the registry asks for none
}

// newRemote prepares to ask an endpoint; nothing is sent yet.
func newRemote(e Endpoint, repository string, limits Limits) (*remote, error) {
	base, err := url.Parse(e.BaseURL)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, ErrTLS.WithMessage("the registry %s is not reached by HTTPS", e.Service)
	}
	client := *e.Client
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &remote{base: base, service: e.Service, repository: repository, client: &client, limits: limits}, nil
}

// sleep waits for a time or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (r *remote) url(path string, query url.Values) string {
	u := *r.base
	u.Path, u.RawQuery = path, query.Encode()
	return u.String()
}

// content asks for a path beneath the repository with the registry token, renewing it once when it is refused, and
// follows redirects, to other hosts without the token. The caller closes the body.
func (r *remote) content(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	target := r.url("/v2/"+r.repository+path, nil)
	token, renewed := r.current(), false
	for hops := 0; ; {
		res, err := r.send(ctx, func() (*http.Request, error) { return r.request(ctx, method, target, header, token) })
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusUnauthorized && !renewed && !token.IsZero() && r.own(res.Request.URL):
			drop(res)
			if token, err = r.renew(ctx, token); err != nil {
				return nil, err
			}
			renewed = true
		case res.StatusCode >= 300 && res.StatusCode < 400:
			drop(res)
			if hops++; hops > maxHops {
				return nil, ErrRegistryUnavailable.WithMessage("the registry %s redirects in a circle", r.service)
			}
			if target, err = r.redirect(res); err != nil {
				return nil, err
			}
		default:
			return res, nil
		}
	}
}

// request builds a request for the registry, or for a host that it redirects to, which gets no token.
func (r *remote) request(ctx context.Context, method, target string, header http.Header, token secret.Text) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	if !token.IsZero() && r.own(req.URL) {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	return req, nil
}

// own reports whether u is on the registry's own host and port, over HTTPS.
func (r *remote) own(u *url.URL) bool {
	return u.Scheme == "https" && u.User == nil && strings.EqualFold(authority(u), authority(r.base))
}

func authority(u *url.URL) string {
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return u.Host
}

func (r *remote) redirect(res *http.Response) (string, error) {
	to, err := res.Location()
	if err != nil {
		return "", ErrRegistryUnavailable.WithMessage("the registry %s redirects without saying where to", r.service)
	}
	if to.Scheme != "https" || to.User != nil {
		return "", ErrTLS.WithMessage("the registry %s redirects to an address that is not HTTPS", r.service)
	}
	return to.String(), nil
}

func (r *remote) current() secret.Text {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.token
}

// renew gives a token newer than old, which was refused; several callers with one old token ask for one new one.
func (r *remote) renew(ctx context.Context, old secret.Text) (secret.Text, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.token != old {
		return r.token, nil
	}
	token, err := r.login(ctx, r)
	if err == nil {
		r.token = token
	}
	return token, err
}

// send makes one request, again after a pause when the registry is throttling, out of order or breaks the connection.
// A response has any other status; its body fails when no byte comes for the time of Limits.Stall.
func (r *remote) send(ctx context.Context, build func() (*http.Request, error)) (*http.Response, error) {
	pause := r.limits.BackOff
	for try := 1; ; try++ {
		res, err := r.once(ctx, build)
		last := try >= r.limits.Tries
		switch {
		case err != nil:
			if f := r.unreachable(ctx, err); last || !broken(err) {
				return nil, f
			}
		case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
			drop(res)
			after := retryAfter(res.Header.Get("Retry-After"))
			if last || after > maxWait {
				return nil, r.unavailable(res.StatusCode, after)
			}
			pause = max(pause, after)
		default:
			return res, nil
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, r.unreachable(ctx, err)
		}
		pause = 2 * pause
	}
}

func (r *remote) once(ctx context.Context, build func() (*http.Request, error)) (*http.Response, error) {
	req, err := build()
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, r.header)
	watched, watch := watch(ctx, r.limits.Stall)
	res, err := r.client.Do(req.WithContext(watched))
	if err != nil {
		watch.stop()
		if cause := context.Cause(watched); errors.Is(cause, errStalled) {
			return nil, cause
		}
		return nil, err
	}
	if id := res.Header.Get("X-Ms-Request-Id"); r.requestID != nil && len(id) <= 128 {
		r.requestID(id)
	}
	res.Body = &watchedBody{res.Body, watched, watch}
	return res, nil
}

// errStalled ends a connection on which nothing comes.
var errStalled = errors.New("the registry sent nothing for too long")

// watchdog cancels a request on which nothing happens.
type watchdog struct {
	timer  *time.Timer
	limit  time.Duration
	cancel context.CancelCauseFunc
}

func watch(ctx context.Context, limit time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watchdog{time.AfterFunc(limit, func() { cancel(errStalled) }), limit, cancel}
}

func (w *watchdog) alive() { w.timer.Reset(w.limit) }

func (w *watchdog) stop() { w.timer.Stop(); w.cancel(nil) }

type watchedBody struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // the body's own life, as in http.Response
	watch *watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.alive()
	}
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(b.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

func (b *watchedBody) Close() error {
	defer b.watch.stop()
	return b.ReadCloser.Close()
}

// broken reports whether err is a connection that broke rather than one that cannot be.
func broken(err error) bool {
	var asked net.Error
	late := errors.As(err, &asked) && asked.Timeout()
	return !late && !errors.Is(err, context.Canceled) && !errors.Is(err, errStalled) && !certificate(err)
}

func certificate(err error) bool {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	return errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &unknown) || errors.As(err, &name) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// unreachable says why no answer came. The address that was asked is left out of the cause: one that a redirect named
// may be signed.
func (r *remote) unreachable(ctx context.Context, err error) error {
	if _, known := errors.AsType[*fault.Error](err); known {
		return err
	}
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ErrCancelled.WithCause(err)
	case certificate(err):
		return ErrTLS.WithMessage("no trusted connection to the registry %s: %v", r.service, err).WithCause(err)
	case errors.Is(err, errStalled) || ctx.Err() != nil:
		return ErrUnreachable.WithMessage("the registry %s does not answer in time", r.service).WithCause(err)
	}
	return ErrUnreachable.WithMessage("the registry %s cannot be reached: %v", r.service, err).WithCause(err)
}

func (r *remote) unavailable(status int, after time.Duration) error {
	if status == http.StatusTooManyRequests {
		if after > 0 {
			return ErrThrottled.WithMessage("the registry %s is throttling (429) and asks to come back in %s", r.service, after)
		}
		return ErrThrottled.WithMessage("the registry %s is throttling (429)", r.service)
	}
	return ErrRegistryUnavailable.WithMessage("the registry %s does not work at present: it answers %d", r.service, status)
}

// unexpected is the answer that no stage knows what to do with.
func (r *remote) unexpected(status int, what string) error {
	return ErrRegistryUnavailable.WithMessage("the registry %s answers %d to %s", r.service, status, what)
}

// drop ends an answer of which nothing more is wanted. What little is left of it is read, so that the connection lives.
func drop(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, maxRefusal)
	_ = res.Body.Close()
}

// maxRefusal is the most bytes that an error's body is read of.
const maxRefusal = 64 << 10

// retryAfter reads the header of this name (RFC 9110 section 10.2.3); 0 when it says nothing.
func retryAfter(header string) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, time.Until(at).Round(time.Second))
	}
	return 0
}

// answer is a small response, read whole.
type answer struct {
	status int
	header http.Header
	length int64 // as it was announced; -1 when it was not
	body   []byte
}

// refuses reports whether the answer is no to who asks.
func (a answer) refuses() bool { return refuses(a.status) }

func refuses(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}

// small asks for a path beneath the repository and reads the whole answer, again when the connection breaks. errLong
// beyond limit bytes.
func (r *remote) small(ctx context.Context, path string, header http.Header, limit int64) (answer, error) {
	for try := 1; ; try++ {
		res, err := r.content(ctx, http.MethodGet, path, header)
		if err != nil {
			return answer{}, err
		}
		a, err := read(res, limit)
		drop(res)
		if err == nil || errors.Is(err, errLong) {
			return a, err
		}
		if try >= r.limits.Tries || !broken(err) {
			return answer{}, r.unreachable(ctx, err)
		}
		if err := sleep(ctx, r.limits.BackOff); err != nil {
			return answer{}, r.unreachable(ctx, err)
		}
	}
}

// read takes a response whole; errLong beyond limit bytes.
func read(res *http.Response, limit int64) (answer, error) {
	body, err := readAll(res.Body, limit)
	return answer{res.StatusCode, res.Header, res.ContentLength, body}, err
}

// errLong says that an answer has more bytes than are read.
var errLong = errors.New("the answer is longer than is allowed")

func readAll(body io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, errLong
	}
	return b, err
}
