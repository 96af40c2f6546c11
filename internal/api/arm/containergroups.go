package arm

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/arm/containergroup"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

const (
	containerGroupTypeName = "Microsoft.ContainerInstance/containerGroups"
	oldestContainerGroup   = "2018-10-01"
)

func (h *Handler) containerGroupType() *armType {
	t := &armType{
		name: containerGroupTypeName, oldest: oldestContainerGroup, slowDelete: true,
		rule:    nameRule{regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){0,62}$`), "1 to 63 lower-case letters, digits and single '-', with a letter or digit at both ends"},
		body:    tracked(containergroup.Properties(), schema.Absents("zones", "extendedLocation")),
		prepare: h.prepareContainerGroup, properties: h.containerGroupView, patch: h.patchContainerGroup, progress: h.containerGroupProgress,
		remove: func(ctx context.Context, r resource.Resource) error { return h.Workloads.Delete(ctx, r.ID) },
	}
	item := t.name + "/*"
	t.extra = append(h.workloadRoutes(t.name),
		on(http.MethodPost, item+"/start", atGroup, containerGroupTypeName+"/start/action", h.startContainerGroup),
		on(http.MethodPost, item+"/stop", atGroup, containerGroupTypeName+"/stop/action", h.stop),
		on(http.MethodPost, item+"/restart", atGroup, containerGroupTypeName+"/restart/action", h.restartContainerGroup),
		on(http.MethodGet, item+"/containers/*/logs", atGroup, containerGroupTypeName+"/containers/logs/read", h.logs),
		on(http.MethodPost, item+"/containers/*/exec", atGroup, containerGroupTypeName+"/containers/exec/action", h.exec),
	)
	for i := range t.extra {
		t.extra[i].oldest = t.oldest
	}
	return t
}

func (h *Handler) prepareContainerGroup(ctx context.Context, p *put) (apply, error) {
	in := containergroup.Input{Resource: p.next, Version: p.version}
	if p.old != nil {
		old, err := h.Workloads.Group(ctx, p.old.ID)
		switch {
		case err == nil:
			in.Old = &old
		case !errors.Is(err, run.ErrNotFound):
			return nil, err
		}
	}
	out, err := containergroup.Decode(in)
	if err != nil {
		return nil, err
	}
	if err := h.checkLabel(ctx, p, out.Group.IP); err != nil {
		return nil, err
	}
	p.next.Properties, p.doomed = out.Public, out.Doomed
	p.next.SKU, p.next.Kind = nil, ""
	return func(ctx context.Context, r resource.Resource) error {
		out.Group.ID = r.ID
		identities, err := h.attachedIdentities(ctx, r)
		if err != nil {
			return err
		}
		out.Group.Identities = identities
		return h.Workloads.Put(ctx, out.Group)
	}, nil
}

// checkLabel refuses a DNS name label that another group in the region has, and lets none take a label there until the PUT
// is done: neither the one that it asks for, nor the one that it gives up and has again when it fails.
func (h *Handler) checkLabel(ctx context.Context, p *put, ip *run.IPAddress) error {
	asks := ip != nil && ip.DNSNameLabel != ""
	if asks || p.old != nil && containergroup.DNSNameLabel(p.old.Properties) != "" {
		p.letGo = h.locks.alone("labels in " + p.next.Location)
	}
	if !asks {
		return nil
	}
	groups, err := h.Store.ListResources(ctx, resource.SubscriptionID(h.Subscription), containerGroupTypeName, "", 0)
	if err != nil {
		return err
	}
	for _, r := range groups {
		if !r.ID.Equal(p.id) && r.Location == p.next.Location && containergroup.DNSNameLabel(r.Properties) == ip.DNSNameLabel {
			return fault.Newf(fault.Conflict, "DnsNameLabelNotAvailable", "The DNS name label '%s' in container group '%s' is not available in the region '%s'.",
				ip.DNSNameLabel, p.id.Name(), p.next.Location).WithTarget("properties.ipAddress.dnsNameLabel")
		}
	}
	return nil
}

// status gives a workload's state. A resource whose workload is gone was interrupted while it was made.
func (h *Handler) status(ctx context.Context, id resource.ID) (run.Status, error) {
	s, err := h.Workloads.Status(ctx, id)
	if errors.Is(err, run.ErrNotFound) {
		return run.Status{ID: id, Provisioning: run.ProvisioningFailed, State: run.StateStopped, Failure: &run.Failure{
			Code: "ProvisioningInterrupted", Message: "The request that made this resource was interrupted. Please send it again.",
		}}, nil
	}
	return s, err
}

func (h *Handler) containerGroupView(ctx context.Context, r resource.Resource) (any, error) {
	s, err := h.status(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	who, _ := api.PrincipalFrom(ctx)
	s.Containers = slices.Clone(s.Containers)
	for i := range s.Containers {
		events := &s.Containers[i].Events
		if *events, err = h.Explainer.Events(ctx, who, *events); err != nil {
			return nil, err
		}
	}
	return containergroup.Encode(r.Properties, s, func(label string) string { return h.Origin.GroupHost(label, r.Location) })
}

// containerGroupProgress tells a PUT's operation how far the group is.
func (h *Handler) containerGroupProgress(ctx context.Context, id resource.ID) (resource.OperationStatus, *fault.Error, error) {
	s, err := h.status(ctx, id)
	if err != nil {
		return "", nil, err
	}
	switch s.Provisioning {
	case run.ProvisioningSucceeded:
		return resource.Succeeded, nil, nil
	case run.ProvisioningFailed:
		failure := fault.New(fault.Conflict, "ProvisioningFailed", "The container group could not be provisioned.")
		if s.Failure != nil {
			failure = fault.New(fault.Conflict, s.Failure.Code, s.Failure.Message)
		}
		return resource.Failed, failure, nil
	}
	return resource.InProgress, nil, nil
}

// patchContainerGroup changes tags, which is all that Azure lets a PATCH of a group change.
func (h *Handler) patchContainerGroup(ctx context.Context, c *call, t *armType) (*reply, error) {
	defer h.locks.enter(c.id.Group(), c.id)()
	r, err := h.load(ctx, c.id)
	if err != nil {
		return nil, err
	}
	if err := c.precondition(&r); err != nil {
		return nil, err
	}
	if err := h.checkBody(ctx, c, t.body, c.body, true); err != nil {
		return nil, err
	}
	var e envelope
	if err := c.decode(&e); err != nil {
		return nil, err
	}
	if text := string(e.Properties); text != "" && text != "null" && text != "{}" || e.Identity != nil {
		return nil, fault.New(fault.Invalid, "InvalidRequestContent", "A PATCH of a container group changes its tags only; use PUT for anything else.").WithTarget("properties")
	}
	if e.Tags != nil {
		r.Tags = e.Tags
	}
	if err := checkTags(r.Tags); err != nil {
		return nil, err
	}
	if r, _, err = h.Store.PutResource(ctx, r, r.ETag); err != nil {
		return nil, err
	}
	view, err := h.view(ctx, t, r)
	return (&reply{status: http.StatusOK, body: view}).with("ETag", quote(r.ETag)), err
}

func (h *Handler) startContainerGroup(ctx context.Context, c *call) (*reply, error) {
	r, _, err := h.begun(ctx, c, h.Workloads.Start)
	if err != nil {
		return nil, err
	}
	return h.transition(ctx, c, r)
}

// restartContainerGroup replaces what runs; that takes as long as a pull does.
func (h *Handler) restartContainerGroup(ctx context.Context, c *call) (*reply, error) {
	r, pending, err := h.begun(ctx, c, h.Workloads.Restart)
	if err != nil && refused(err) && !errors.Is(err, run.ErrTransitioning) {
		f := fault.From(err)
		return nil, f.WithMessage("Failed to restart the container group '%s'. Error: Multiple error occurred: 'BadRequest':'%s':%s", c.id.Name(), f.Code, f.Message)
	}
	switch {
	case err != nil:
		return nil, err
	case pending:
		goesOn, err := h.transition(ctx, c, r)
		if err == nil {
			goesOn.status = http.StatusNoContent // Azure's SDKs take nothing else for an answer here, and follow its header
		}
		return goesOn, err
	}
	return empty(http.StatusNoContent)
}

// transition answers that a start goes on, and how it can be followed.
func (h *Handler) transition(ctx context.Context, c *call, r resource.Resource) (*reply, error) {
	o := h.newOperation(c, resource.OperationPut, r)
	if err := h.Operations.BeginOperation(ctx, o); err != nil {
		return nil, err
	}
	return h.accepted(c, o), nil
}
