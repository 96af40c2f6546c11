package arm

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// Clients sleep 30 s between two looks at an operation unless they are told otherwise (WIRE trap 6).
const retryAfter = "1"

var errOperationUnknown = fault.New(fault.NotFound, "OperationNotFound", "The operation could not be found: it never was, or ended more than a day ago.")

// operationRoutes answer the URLs that long-running requests hand out: "operations" with the state as JSON (the header
// Azure-AsyncOperation), "operationresults" with 202 until the end (the header Location).
func (h *Handler) operationRoutes() []route {
	var routes []route
	for _, namespace := range h.namespaces() {
		for shape, serve := range map[string]func(context.Context, *call) (*reply, error){"operations": h.getOperation, "operationresults": h.getOperationResult} {
			r := on(http.MethodGet, namespace+"/locations/*/"+shape+"/*", atSubscription, need(namespace+"/locations/"+shape+"/read"), serve)
			r.owner = h.beganOperation
			routes = append(routes, r)
		}
	}
	return routes
}

// beganOperation lets the principal that began an operation follow it: with a role on one group only it may not read
// the subscription's operations, and after deleting what its role was on it has no role at all.
func (h *Handler) beganOperation(ctx context.Context, c *call) bool {
	o, err := h.Operations.Operation(ctx, c.id.Name())
	return err == nil && o.Caller == c.who.ID()
}

// follow makes the answer of a PUT a long-running one, when the type's PUT is.
func (h *Handler) follow(ctx context.Context, p *put, t *armType, out *reply) error {
	if t.progress == nil {
		return nil
	}
	o := h.newOperation(p.call, resource.OperationPut, p.next)
	if err := h.Operations.BeginOperation(ctx, o); err != nil {
		return err
	}
	if p.doomed != nil {
		o.Status, o.Code, o.Message = resource.Failed, p.doomed.Code, p.doomed.Message
		if err := h.Operations.EndOperation(ctx, o); err != nil {
			return err
		}
	}
	out.with("Azure-AsyncOperation", p.operationURL("operations", o)).with("Retry-After", retryAfter)
	return nil
}

// accepted answers that an operation goes on.
func (h *Handler) accepted(c *call, o resource.Operation) *reply {
	return (&reply{status: http.StatusAccepted}).with("Azure-AsyncOperation", c.operationURL("operations", o)).
		with("Location", c.operationURL("operationresults", o)).with("Retry-After", retryAfter)
}

func (c *call) operationURL(shape string, o resource.Operation) string {
	namespace, _, _ := strings.Cut(c.h.typeName(o.Resource), "/")
	return c.origin() + operationID(namespace, shape, o).String() + "?api-version=" + c.version
}

func operationID(namespace, shape string, o resource.Operation) resource.ID {
	return resource.SubscriptionID(o.Resource.Subscription()).Provider(namespace+"/locations", o.Location).Child(shape, o.ID)
}

// operation gives the operation that a call names as it is now.
func (h *Handler) operation(ctx context.Context, c *call) (resource.Operation, error) {
	o, err := h.Operations.Operation(ctx, c.id.Name())
	if errors.Is(err, resource.ErrNotFound) {
		return o, errOperationUnknown
	}
	if err != nil || o.Status != resource.InProgress || o.Kind != resource.OperationPut {
		return o, err
	}
	// A PUT is as far as the resource's owner says, also when that owner was restarted in between.
	t, ok := h.types[strings.ToLower(o.Resource.Type())]
	if !ok || t.progress == nil {
		return o, fault.Newf(fault.Internal, "InternalError", "an operation on %s, whose type has none", o.Resource)
	}
	status, failure, err := t.progress(ctx, o.Resource)
	if err != nil || status == resource.InProgress {
		return o, err
	}
	o.Status, o.Ended = status, h.Now()
	if failure != nil {
		o.Code, o.Message = failure.Code, failure.Message
	}
	return o, h.Operations.EndOperation(ctx, o)
}

// failureOf gives the error that an operation ended with.
func failureOf(o resource.Operation) error {
	kind := fault.Conflict
	if o.Code == internalCode {
		kind = fault.Internal
	}
	return fault.New(kind, o.Code, o.Message)
}

type operationBody struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Status    string     `json:"status"`
	StartTime time.Time  `json:"startTime"`
	EndTime   *time.Time `json:"endTime,omitempty"`
	Error     *errorBody `json:"error,omitempty"`
}

func (h *Handler) getOperation(ctx context.Context, c *call) (*reply, error) {
	o, err := h.operation(ctx, c)
	if err != nil {
		return nil, err
	}
	body := operationBody{ID: c.id.String(), Name: o.ID, Status: string(o.Status), StartTime: o.Created}
	switch o.Status {
	case resource.InProgress:
	case resource.Failed:
		body.Error = &errorBody{Code: o.Code, Message: o.Message}
		fallthrough
	default:
		body.EndTime = &o.Ended
	}
	out := &reply{status: http.StatusOK, body: body}
	if o.Status == resource.InProgress {
		out.with("Retry-After", retryAfter)
	}
	return out, nil
}

// getOperationResult answers 202 until the operation has ended, and then as the request itself would have.
func (h *Handler) getOperationResult(ctx context.Context, c *call) (*reply, error) {
	o, err := h.operation(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case o.Status == resource.InProgress:
		return h.accepted(c, o), nil
	case o.Status == resource.Failed:
		return nil, failureOf(o)
	case o.Kind == resource.OperationDelete:
		return empty(http.StatusOK)
	}
	// To have begun the operation is a right to its outcome, not to the resource as it is by now.
	if err := h.require(ctx, c.who, h.readNeed(o.Resource), o.Resource); err != nil {
		return nil, err
	}
	r, err := h.load(ctx, o.Resource)
	if err != nil {
		return nil, err
	}
	view, err := h.view(ctx, h.types[strings.ToLower(r.ID.Type())], r)
	return &reply{status: http.StatusOK, body: view}, err
}
