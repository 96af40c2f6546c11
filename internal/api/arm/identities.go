package arm

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"

	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

const identityTypeName = "Microsoft.ManagedIdentity/userAssignedIdentities"

func (h *Handler) identityType() *armType {
	return &armType{
		name: identityTypeName,
		rule: nameRule{regexp.MustCompile(`^[A-Za-z0-9][-_A-Za-z0-9]{2,127}$`), "3 to 128 letters, digits, '-' and '_', and begins with a letter or digit"},
		body: tracked(schema.Obj("properties", schema.Texts("tenantId", "principalId", "clientId"), []schema.Field{schema.Refused("isolationScope", "None")})),
		prepare: func(_ context.Context, p *put) (apply, error) {
			p.next.Properties = json.RawMessage("{}")
			return func(ctx context.Context, r resource.Resource) error {
				_, err := h.Directory.EnsureManaged(ctx, r.ID, false, r.ID.Name())
				return err
			}, nil
		},
		properties: h.identityView,
		remove:     func(ctx context.Context, r resource.Resource) error { return h.Directory.DeleteManaged(ctx, r.ID) },
	}
}

func (h *Handler) identityView(ctx context.Context, r resource.Resource) (any, error) {
	sp, err := h.Directory.Managed(ctx, r.ID)
	if err != nil && !errors.Is(err, identity.ErrPrincipalUnknown) {
		return nil, err
	}
	return map[string]string{"tenantId": h.Tenant, "principalId": sp.ID, "clientId": sp.ClientID}, nil
}

// attachedIdentities gives the principals behind a resource's identity block, the system-assigned one first. One that
// was deleted after it was attached is left out.
func (h *Handler) attachedIdentities(ctx context.Context, r resource.Resource) ([]pull.Identity, error) {
	if r.Identity == nil {
		return nil, nil
	}
	owners := r.Identity.Attached
	if r.Identity.System {
		owners = append([]resource.ID{r.ID}, owners...)
	}
	var out []pull.Identity
	for _, owner := range owners {
		sp, err := h.Directory.Managed(ctx, owner)
		if errors.Is(err, identity.ErrPrincipalUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, pull.Identity{Resource: owner, ClientID: sp.ClientID, PrincipalID: sp.ID, System: owner.Equal(r.ID)})
	}
	return out, nil
}
