package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// A resource group is a resource like others, except that its type and its actions are named differently and that
// deleting it deletes what is in it.
const (
	groupTypeName = "Microsoft.Resources/resourceGroups"
	groupActions  = need("Microsoft.Resources/subscriptions/resourceGroups")
)

// groupState is what is kept of a group beside what all resources have.
type groupState struct {
	Provisioning string `json:"provisioningState"`
	ManagedBy    string `json:"managedBy,omitempty"` // id of the resource that the group was made for, and goes with
}

const (
	groupReady    = "Succeeded"
	groupDeleting = "Deleting"
)

func stateOfGroup(r resource.Resource) (groupState, error) {
	var s groupState
	if err := json.Unmarshal(r.Properties, &s); err != nil {
		return s, fmt.Errorf("reading the state of %s: %w", r.ID, err)
	}
	return s, nil
}

// setGroupState changes how far a group is.
func setGroupState(r *resource.Resource, provisioning string) error {
	s := groupState{}
	if r.Properties != nil {
		var err error
		if s, err = stateOfGroup(*r); err != nil {
			return err
		}
	}
	s.Provisioning = provisioning
	var err error
	r.Properties, err = json.Marshal(s)
	return err
}

var (
	groupName = nameRule{ //nolint:gochecknoglobals // a constant table
		regexp.MustCompile(`^[-\p{L}\p{Nd}._()]{0,89}[-\p{L}\p{Nd}_()]$`),
		"1 to 90 letters, digits and '-', '.', '(', ')' or '_', and does not end with '.'",
	}
	groupBody = schema.Obj("", schema.Texts("id", "name", "type", "location", "managedBy"), schema.Anys("properties"), //nolint:gochecknoglobals // a constant table
		[]schema.Field{schema.MapOf("tags", schema.Field{Kind: schema.String})})
)

func (h *Handler) groupRoutes() []route {
	return []route{
		on(http.MethodPut, "resourceGroups/*", atSubscription, groupActions+"/write", h.putGroup),
		on(http.MethodPatch, "resourceGroups/*", atSubscription, groupActions+"/write", h.patchGroup),
		on(http.MethodGet, "resourceGroups/*", atSubscription, groupActions+"/read", h.getGroup),
		on(http.MethodHead, "resourceGroups/*", atSubscription, groupActions+"/read", h.headGroup),
		on(http.MethodDelete, "resourceGroups/*", atSubscription, groupActions+"/delete", h.deleteGroup),
		on(http.MethodGet, "resourceGroups", atSubscription, groupActions+"/read", h.listGroups).filtered(),
		on(http.MethodGet, "resources", atSubscription, "Microsoft.Resources/subscriptions/resources/read", h.listResources).filtered(),
		on(http.MethodGet, "resources", atGroup, groupActions+"/resources/read", h.listResources).filtered(),
	}
}

func (h *Handler) loadGroup(ctx context.Context, id resource.ID) (resource.Resource, error) {
	r, err := h.Store.Resource(ctx, id)
	if errors.Is(err, resource.ErrNotFound) {
		return r, errGroupUnknown.WithMessage("Resource group '%s' could not be found.", id.Name())
	}
	return r, err
}

// openGroup gives a group in which something can be made: one that exists and is not going.
func (h *Handler) openGroup(ctx context.Context, id resource.ID) (resource.Resource, error) {
	r, err := h.loadGroup(ctx, id)
	if err != nil {
		return r, err
	}
	return r, refuseGoing(&r)
}

func refuseGoing(r *resource.Resource) error {
	if r == nil {
		return nil
	}
	if s, err := stateOfGroup(*r); err != nil || s.Provisioning != groupDeleting {
		return err
	}
	return errGroupGoing.WithMessage("The resource group '%s' is in deprovisioning state and cannot perform this operation.", r.ID.Name())
}

func (h *Handler) putGroup(ctx context.Context, c *call) (*reply, error) {
	return h.storeGroup(ctx, c, c.whole)
}

func (h *Handler) patchGroup(ctx context.Context, c *call) (*reply, error) {
	return h.storeGroup(ctx, c, func(old *resource.Resource) ([]byte, error) {
		if old == nil {
			_, err := h.loadGroup(ctx, c.id)
			return nil, err
		}
		return patched(envelope{Location: old.Location, Tags: old.Tags}, c.body)
	})
}

func (h *Handler) storeGroup(ctx context.Context, c *call, source func(*resource.Resource) ([]byte, error)) (*reply, error) {
	if err := groupName.check(c.id.Name()); err != nil {
		return nil, err
	}
	defer h.locks.alone(c.id.Key())()
	p := &put{call: c}
	var err error
	if p.old, err = h.find(ctx, c.id); err != nil {
		return nil, err
	}
	if err := errors.Join(refuseGoing(p.old), c.precondition(p.old)); err != nil {
		return nil, err
	}
	body, err := source(p.old)
	if err != nil {
		return nil, err
	}
	if err := h.checkBody(ctx, c, groupBody, body, false); err != nil {
		return nil, err
	}
	if p.next, err = envelopeOf(c.id, body); err != nil {
		return nil, err
	}
	if p.old != nil && p.next.Location != "" && p.next.Location != p.old.Location {
		return nil, fault.Newf(fault.Conflict, "InvalidResourceGroupLocation", "Invalid resource group location '%s'. The Resource group already exists in location '%s'.",
			p.next.Location, p.old.Location).WithTarget("location")
	}
	if err := p.place(); err != nil {
		return nil, err
	}
	p.next.Properties = nil
	if p.old != nil {
		p.next.Properties = p.old.Properties
	}
	if err := setGroupState(&p.next, groupReady); err != nil {
		return nil, err
	}
	stored, created, err := h.Store.PutResource(ctx, p.next, "")
	if err != nil {
		return nil, err
	}
	out, err := h.groupReply(ctx, stored)
	if err == nil && created {
		out.status = http.StatusCreated
	}
	return out, err
}

func (h *Handler) groupReply(ctx context.Context, r resource.Resource) (*reply, error) {
	view, err := h.groupView(ctx, r)
	return (&reply{status: http.StatusOK, body: view}).with("ETag", quote(r.ETag)), err
}

// groupView gives a group as clients read it.
func (h *Handler) groupView(ctx context.Context, r resource.Resource) (any, error) {
	s, err := stateOfGroup(r)
	if err != nil {
		return nil, err
	}
	view, err := h.encode(ctx, r, groupState{Provisioning: s.Provisioning})
	view.ManagedBy = s.ManagedBy
	return view, err
}

func (h *Handler) getGroup(ctx context.Context, c *call) (*reply, error) {
	r, err := h.loadGroup(ctx, c.id)
	if err != nil {
		return nil, err
	}
	return h.groupReply(ctx, r)
}

func (h *Handler) headGroup(ctx context.Context, c *call) (*reply, error) {
	if _, err := h.loadGroup(ctx, c.id); err != nil {
		return nil, err
	}
	return empty(http.StatusNoContent)
}

func (h *Handler) listGroups(ctx context.Context, c *call) (*reply, error) {
	keep, err := c.keeper()
	if err != nil {
		return nil, err
	}
	return h.list(ctx, c, listing{groupTypeName, keep, func(r resource.Resource) (any, error) { return h.groupView(ctx, r) }})
}

// generic is a resource in a list of resources of all types.
type generic struct {
	encoded
	Created time.Time `json:"createdTime"`
	Changed time.Time `json:"changedTime"`
}

func (h *Handler) listResources(ctx context.Context, c *call) (*reply, error) {
	keep, err := c.keeper()
	if err != nil {
		return nil, err
	}
	return h.list(ctx, c, listing{"", keep, func(r resource.Resource) (any, error) {
		view, err := h.encode(ctx, r, nil)
		return generic{view, r.Created, r.Changed}, err
	}})
}

func (h *Handler) deleteGroup(ctx context.Context, c *call) (*reply, error) {
	r, err := h.loadGroup(ctx, c.id)
	if err != nil {
		return nil, err
	}
	if err := c.precondition(&r); err != nil {
		return nil, err
	}
	o := h.newOperation(c, resource.OperationDelete, r)
	if err := h.Operations.BeginOperation(ctx, o); err != nil {
		return nil, err
	}
	h.deletes.start(o)
	return h.accepted(c, o), nil
}

// destroyGroup closes the group to newcomers, removes what runs, then what that used, then the group.
func (h *Handler) destroyGroup(ctx context.Context, id resource.ID) error {
	r, err := h.markGroup(ctx, id, groupDeleting)
	if errors.Is(err, resource.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = h.emptyGroup(ctx, id)
	}
	if err == nil {
		return h.destroyLocked(ctx, r)
	}
	if ctx.Err() == nil { // what could not be deleted can be used again
		_, opened := h.markGroup(ctx, id, groupReady)
		err = errors.Join(err, opened)
	}
	return err
}

func (h *Handler) markGroup(ctx context.Context, id resource.ID, provisioning string) (resource.Resource, error) {
	defer h.locks.alone(id.Key())()
	r, err := h.Store.Resource(ctx, id)
	if err != nil {
		return r, err
	}
	if err := setGroupState(&r, provisioning); err != nil {
		return r, err
	}
	r, _, err = h.Store.PutResource(ctx, r, "*")
	return r, err
}

func (h *Handler) emptyGroup(ctx context.Context, id resource.ID) error {
	all, err := h.Store.ListResources(ctx, id, "", "", 0)
	if err != nil {
		return err
	}
	var workloads sync.WaitGroup
	errs := make([]error, len(all))
	for i, r := range all {
		if h.isWorkload(r.ID) {
			workloads.Go(func() { errs[i] = h.destroy(ctx, r.ID) })
		}
	}
	workloads.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, r := range slices.Backward(all) {
		if err := h.destroy(ctx, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// isWorkload tells what runs from what is only used.
func (h *Handler) isWorkload(id resource.ID) bool {
	return id.Is(containerGroupTypeName) || id.Is(siteTypeName) || id.Is(clusterTypeName)
}

// checkBody compares a body with the fields that a type has. What exists nowhere is refused for those who ask for
// that, and noted in the log for the others, as Azure ignores it.
func (h *Handler) checkBody(ctx context.Context, c *call, fields schema.Field, body []byte, partial bool) error {
	unknown, err := schema.Check(body, fields, partial)
	if err != nil {
		return err
	}
	for _, u := range unknown {
		if c.strict() {
			return u.Refuse()
		}
		h.Log.WarnContext(ctx, "unknown field ignored", "resource", c.id.String(), "path", u.Path)
	}
	return nil
}
