package arm

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/internal/api/arm/cmdline"
	"fairlead.dev/internal/api/arm/execsession"
	"fairlead.dev/internal/api/arm/kubewhy"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

const (
	maxLog = 4 << 20 // bytes of a log in one answer, as in Azure
	// promptStart is how long a start is waited for before the answer is that it goes on.
	promptStart = 5 * time.Second
)

// workloadRoutes are Fairlead's own additions, the same for every kind of workload: why it cannot pull, and the record
// of its pulls, from which progress is shown.
func (h *Handler) workloadRoutes(typeName string) []route {
	return []route{
		on(http.MethodGet, typeName+"/*/why", atGroup, need(typeName+"/read"), h.why),
		on(http.MethodGet, typeName+"/*/attempts", atGroup, need(typeName+"/read"), h.attempts),
	}
}

func (h *Handler) why(ctx context.Context, c *call) (*reply, error) {
	r, err := h.load(ctx, c.id)
	if err != nil {
		return nil, err
	}
	reports, err := h.Explainer.Why(ctx, c.who, r.ID)
	if err != nil {
		return nil, err
	}
	return ok(value{Value: reports})
}

// podRoutes are Fairlead's own additions for Kubernetes: why pods cannot pull, by what the caller has read of the cluster:
// a managed one, or any other that only a kubeconfig leads to.
func (h *Handler) podRoutes() []route {
	return []route{
		on(http.MethodPost, clusterTypeName+"/*/why", atGroup, need(clusterTypeName+"/read"), h.whyPods),
		on(http.MethodPost, "Microsoft.ContainerService/why", atSubscription, signedIn, h.whyPods),
	}
}

func (h *Handler) whyPods(ctx context.Context, c *call) (*reply, error) {
	if !c.id.IsZero() {
		if _, err := h.load(ctx, c.id); err != nil {
			return nil, err
		}
	}
	e, err := kubewhy.Decode(c.body)
	if err != nil {
		return nil, err
	}
	report, err := h.Explainer.WhyPods(ctx, c.who, c.id, e)
	if err != nil {
		return nil, err
	}
	return ok(report)
}

// attempt is a container's first pull that failed as it still does, and its last pull.
type attempt struct {
	Container string        `json:"container"`
	First     *pull.Attempt `json:"first"`
	Last      *pull.Attempt `json:"last"`
}

func (h *Handler) attempts(ctx context.Context, c *call) (*reply, error) {
	r, err := h.load(ctx, c.id)
	if err != nil {
		return nil, err
	}
	g, err := h.Workloads.Group(ctx, r.ID)
	if err != nil && !errors.Is(err, run.ErrNotFound) {
		return nil, err
	}
	out := []attempt{}
	for _, container := range g.Containers {
		a := attempt{Container: container.Name}
		first, last, err := h.Workloads.Attempts(ctx, r.ID, container.Name)
		if err != nil {
			return nil, err
		}
		if a.First, err = h.Explainer.Record(ctx, c.who, first); err != nil {
			return nil, err
		}
		if a.Last, err = h.Explainer.Record(ctx, c.who, last); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return ok(value{Value: out})
}

// begun starts or restarts a workload and waits a moment; pending tells that it goes on.
func (h *Handler) begun(ctx context.Context, c *call, do func(context.Context, resource.ID) error) (r resource.Resource, pending bool, err error) {
	if r, err = h.load(ctx, c.id); err != nil {
		return r, false, err
	}
	moment, cancel := context.WithTimeout(ctx, promptStart)
	defer cancel()
	err = do(moment, r.ID)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return r, true, nil
	}
	return r, false, err
}

// stop answers when nothing runs any more.
func (h *Handler) stop(ctx context.Context, c *call) (*reply, error) {
	r, err := h.load(ctx, c.id)
	if err != nil {
		return nil, err
	}
	if err := h.Workloads.Stop(ctx, r.ID); err != nil {
		return nil, err
	}
	return empty(http.StatusNoContent)
}

// container gives the workload that the path names and the name of the container in it; a web app has only one.
func (h *Handler) container(ctx context.Context, c *call) (resource.ID, string, error) {
	id := c.id
	if !h.isWorkload(id) {
		id = id.Parent()
	}
	r, err := h.load(ctx, id)
	if err != nil {
		return id, "", err
	}
	if len(c.names) > 1 {
		return r.ID, c.names[1], nil
	}
	g, err := h.Workloads.Group(ctx, r.ID)
	if err != nil {
		return r.ID, "", err
	}
	return r.ID, g.Containers[0].Name, nil
}

func (h *Handler) logs(ctx context.Context, c *call) (*reply, error) {
	id, name, err := h.container(ctx, c)
	if err != nil {
		return nil, err
	}
	options := run.LogOptions{Most: maxLog}
	if tail := c.query["tail"]; tail != "" {
		if options.Tail, err = strconv.Atoi(tail); err != nil || options.Tail < 1 {
			return nil, errPage.WithMessage("The value '%.40s' of tail is invalid: it is a number from 1 on.", tail).WithTarget("tail")
		}
	}
	stream, err := h.Workloads.Logs(ctx, id, name, options)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	content, err := io.ReadAll(io.LimitReader(stream, maxLog)) // not what is written meanwhile
	if err != nil {
		return nil, err
	}
	return ok(map[string]string{"content": strings.ToValidUTF8(string(content), "\uFFFD")})
}

// execBody is what a client wants to be run. Arguments and Terminal are Fairlead's own: Azure has one text, and a
// terminal always.
type execBody struct {
	Command      string   `json:"command"`
	Arguments    []string `json:"arguments"`
	Terminal     *bool    `json:"terminal"`
	TerminalSize *struct {
		Rows uint16 `json:"rows"`
		Cols uint16 `json:"cols"`
	} `json:"terminalSize"`
}

// exec prepares a command for the socket that the client will open, and answers where that is.
func (h *Handler) exec(ctx context.Context, c *call) (*reply, error) {
	id, name, err := h.container(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := h.mayExec(ctx, id, name); err != nil {
		return nil, err
	}
	var body execBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	spec := run.ExecSpec{Command: body.Arguments, TTY: body.TerminalSize != nil}
	if len(spec.Command) == 0 {
		if spec.Command, err = cmdline.Split(body.Command); err != nil {
			return nil, fault.From(err).WithTarget("command")
		}
	}
	if len(spec.Command) == 0 {
		return nil, fault.New(fault.Invalid, "InvalidRequestContent", "There is no command to run.").WithTarget("command")
	}
	if body.TerminalSize != nil {
		spec.Rows, spec.Cols = body.TerminalSize.Rows, body.TerminalSize.Cols
	}
	if body.Terminal != nil {
		spec.TTY = *body.Terminal
	}
	session, password, err := h.sessions.Open(execsession.Command{Workload: id, Container: name, Spec: spec, Allowed: c.stillAllowed})
	if err != nil {
		return nil, err
	}
	uri := "wss://" + strings.TrimPrefix(c.origin(), "https://") + "/exec/" + session
	return ok(map[string]string{"webSocketUri": uri, "password": password.Reveal()})
}

// mayExec refuses a container that is not there or does not run: a socket has few words for it.
func (h *Handler) mayExec(ctx context.Context, id resource.ID, name string) error {
	s, err := h.Workloads.Status(ctx, id)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.Containers, func(c run.ContainerStatus) bool { return c.Name == name })
	switch {
	case i < 0:
		return run.ErrContainerUnknown.WithMessage("The container '%.80s' was not found in '%s'.", name, id.Name())
	case s.Containers[i].Current.State != run.Running:
		return run.ErrNotRunning.WithMessage("The container '%s' does not run: nothing can be executed in it.", name)
	}
	return nil
}
