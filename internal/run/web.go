package run

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// How App Service waits for a site's container.
const (
	warmUpPath   = "/robots933456.txt"
	warmUpEvery  = 250 * time.Millisecond
	warmUpAnswer = 30 * time.Second // for one request
	startLimit   = 230 * time.Second
)

// ErrStopped is returned by Backend for a web app that a person has stopped.
var ErrStopped = fault.New(fault.Denied, "SiteStopped", "This web app is stopped.")

// warmUp is one waiting for a site's container.
type warmUp struct{ cancel context.CancelFunc }

// warmUp begins to wait until a web app's container answers, if it runs and nothing waits yet.
func (o *owner) warmUp(ctx context.Context) {
	c := o.rec.Containers[0]
	if o.group.Web == nil || o.warm != nil || o.rec.Backend != "" || c.Current.State != Running {
		return
	}
	began := o.now()
	ctx, cancel := context.WithTimeout(ctx, o.startLimit()) // from now: an adopted one was not asked while we were away
	current := &warmUp{cancel}
	o.warm = current
	o.line(TypeNormal, "Initiating warmup request to container %s for site %s", c.Name, o.group.Web.SiteName)
	p := probe{http.Client{Transport: o.cfg.Warm, CheckRedirect: noRedirect, Timeout: warmUpAnswer}, o.rec.IP, o.group.Web.Hostname}
	ports := o.group.Web.ports()
	o.children.Go(func() {
		defer cancel()
		backend := p.first(ctx, ports)
		o.inbox.post(func(context.Context) {
			if o.warm == current {
				o.warmed(c.Name, backend, began)
			}
		})
	})
}

// ports gives where a site may listen.
func (w *Web) ports() []int {
	if w.Port == 0 {
		return []int{80, 8080}
	}
	return []int{w.Port}
}

func (o *owner) startLimit() time.Duration { return cmp.Or(o.group.Web.StartLimit, startLimit) }

// warmed takes in who answered; "" is nobody in time.
func (o *owner) warmed(container, backend string, began time.Time) {
	c, site, now := o.rec.container(container), o.group.Web.SiteName, o.now()
	o.warm = nil
	if backend != "" {
		o.rec.Backend, o.rec.Failure = backend, nil
		c.stage(pull.StageReady, began, now, nil)
		o.line(TypeNormal, "Container %s for site %s initialized successfully and is ready to serve requests.", c.Name, site)
		return
	}
	message := fmt.Sprintf("Container %s for site %s did not start within expected time limit. Elapsed time = %.3f sec", c.Name, site, now.Sub(c.Current.Started).Seconds())
	if port := o.group.Web.Port; port != 0 {
		o.line(TypeWarning, "Container %s didn't respond to HTTP pings on port: %d, failing site start. See container logs for debugging.", c.Name, port)
	}
	o.line(TypeWarning, "Stopping site %s because it failed during startup.", site)
	o.containerEnded(c, Exit{Code: exitOOM, At: now})
	o.failSite(c, codeWebTimeout, message)
}

// siteEnded takes in that a container of a web app has ended: who asks for the site waits for the next one, unless this
// one never answered.
func (o *owner) siteEnded(c *containerRecord) {
	if o.group.Web == nil {
		return
	}
	o.coolDown()
	if o.rec.Backend == "" {
		o.failSite(c, codeWebExited, fmt.Sprintf("Container %s for site %s has exited, failing site start", c.Name, o.group.Web.SiteName))
	}
	o.rec.Backend = ""
}

func (o *owner) failSite(c *containerRecord, code, message string) {
	o.line(TypeWarning, "%s", message)
	if c.Last != nil {
		start, _ := c.Last.Stage(pull.StageStart)
		c.stage(pull.StageReady, start.Ended, o.now(), fault.New(fault.Unavailable, code, message))
	}
	o.fail(Failure{Code: code, Message: message, Container: c.Name, At: o.now()})
}

// line adds a line to the site's docker log.
func (o *owner) line(kind, format string, args ...any) {
	name := EventStarted
	if kind == TypeWarning {
		name = EventFailed
	}
	o.rec.Events = note(o.rec.Events, o.now(), name, kind, fmt.Sprintf(format, args...))
}

// coolDown ends the waiting for a site's container.
func (o *owner) coolDown() {
	if o.warm != nil {
		o.warm.cancel()
		o.warm = nil
	}
}

// probe asks a container whether it speaks HTTP.
type probe struct {
	client   http.Client
	ip, host string
}

// first gives "ip:port" of the first port that gives any HTTP answer; "" when none has until ctx ends.
func (p probe) first(ctx context.Context, ports []int) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := make(chan string, len(ports))
	var all sync.WaitGroup
	for _, port := range ports {
		all.Go(func() {
			if backend := net.JoinHostPort(p.ip, strconv.Itoa(port)); p.until(ctx, backend) {
				answered <- backend
				cancel()
			}
		})
	}
	all.Wait()
	select {
	case backend := <-answered:
		return backend
	default:
		return ""
	}
}

// until asks a backend until it answers, or ctx ends.
func (p probe) until(ctx context.Context, backend string) bool {
	for {
		if p.ask(ctx, backend) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(warmUpEvery):
		}
	}
}

func (p probe) ask(ctx context.Context, backend string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+backend+warmUpPath, nil)
	if err != nil {
		return false
	}
	request.Host = p.host
	answer, err := p.client.Do(request)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return true
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Backend gives "ip:port" of a web app, waiting for it to answer. It returns ErrNotFound, ErrStopped, or an Unavailable
// fault with the Failure's words when the app cannot be started for now.
func (s *Service) Backend(ctx context.Context, id resource.ID) (string, error) {
	if shown, err := s.Status(ctx, id); err != nil || shown.Backend != "" {
		return shown.Backend, err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := s.Watch(watching, id)
	if err != nil {
		return "", err
	}
	for shown := range changes {
		switch {
		case shown.Backend != "":
			return shown.Backend, nil
		case shown.State == StateStopped:
			return "", ErrStopped
		case shown.Failure != nil:
			return "", fault.New(fault.Unavailable, shown.Failure.Code, shown.Failure.Message)
		}
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return "", ErrNotFound
}
