package arm

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"

	"fairlead.dev/internal/api/arm/connectedcluster"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/cluster/connected"
	"fairlead.dev/internal/resource"
)

const connectedTypeName = "Microsoft.Kubernetes/connectedClusters"

func (h *Handler) connectedType() *armType {
	t := &armType{
		name: connectedTypeName,
		rule: nameRule{regexp.MustCompile(`^[A-Za-z0-9]([-_A-Za-z0-9]{0,61}[A-Za-z0-9])?$`), "1 to 63 letters, digits, '-' and '_', with a letter or digit at both ends"},
		body: tracked(connectedcluster.Properties(), schema.Absents("extendedLocation")), prepare: h.prepareConnected, properties: h.connectedView,
		remove: func(ctx context.Context, r resource.Resource) error { return h.Connected.Delete(ctx, r.ID) },
	}
	t.extra = []route{
		on(http.MethodPost, t.name+"/*/refreshPullSecrets", atGroup, connectedTypeName+"/refreshPullSecrets/action", h.refreshConnected),
	}
	return t
}

func (h *Handler) prepareConnected(_ context.Context, p *put) (apply, error) {
	s, err := connectedcluster.Read(p.next.Properties)
	if err != nil {
		return nil, err
	}
	c, err := s.Cluster(p.next.ID)
	if err != nil {
		return nil, err
	}
	for i, pull := range c.Pulls { // secrets are minted for it, and whoever reads them acts as it
		p.links = append(p.links, link{
			id: pull.Identity, need: identityTypeName + "/assign/action", target: "properties.fairleadProfile.pullSecrets[" + strconv.Itoa(i) + "].identity",
		})
	}
	if p.next.Properties, err = s.Write(); err != nil {
		return nil, err
	}
	p.next.Kind = ""
	return func(ctx context.Context, _ resource.Resource) error {
		return connectedcluster.Refusal(h.Connected.Put(ctx, c))
	}, nil
}

func (h *Handler) connectedView(ctx context.Context, r resource.Resource) (any, error) {
	s, err := connectedcluster.Read(r.Properties)
	if err != nil {
		return nil, err
	}
	now, err := h.Connected.Status(ctx, r.ID)
	if errors.Is(err, connected.ErrNotFound) {
		now, err = connected.Status{Failure: "The request that made this resource was interrupted. Please send it again."}, nil
	}
	return s.Encode(now), err
}

// refreshConnected mints all pull secrets of a cluster anew.
func (h *Handler) refreshConnected(ctx context.Context, c *call) (*reply, error) {
	r, err := h.load(ctx, c.id)
	if err != nil {
		return nil, err
	}
	s, err := connectedcluster.Read(r.Properties)
	if err != nil {
		return nil, err
	}
	now, err := h.Connected.Refresh(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return ok(s.Encode(now))
}
