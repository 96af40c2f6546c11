package arm

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

const (
	identityTypeName   = "Microsoft.ManagedIdentity/userAssignedIdentities"
	federationTypeName = identityTypeName + "/federatedIdentityCredentials"
)

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

// federation is the public face of a federated identity credential.
//
// Source: https://learn.microsoft.com/rest/api/managedidentity/federated-identity-credentials
type federation struct {
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

func (h *Handler) federationType() *childType {
	must := func(name string) schema.Field { return schema.Must(schema.Field{Name: name, Kind: schema.String}) }
	properties := schema.Must(schema.Obj("properties", schema.Absents("claimsMatchingExpression"), []schema.Field{
		must("issuer"), must("subject"), schema.Must(schema.ListOf("audiences", schema.Field{Kind: schema.String})),
	}))
	return &childType{
		name: federationTypeName,
		body: schema.Obj("", schema.Texts("id", "name", "type", "apiVersion"), schema.Anys("systemData"), []schema.Field{properties}),
		put:  h.putFederation,
		list: func(ctx context.Context, owner resource.ID) ([]child, error) {
			all, err := h.Directory.Federations(ctx, owner)
			out := make([]child, len(all))
			for i, f := range all {
				out[i] = federationView(f)
			}
			return out, federationFault(err)
		},
		remove: func(ctx context.Context, owner resource.ID, name string) error {
			return h.Directory.Unfederate(ctx, owner, name)
		},
	}
}

func (h *Handler) putFederation(ctx context.Context, owner resource.ID, name string, properties json.RawMessage) (child, bool, error) {
	var f federation
	if err := api.DecodeJSON(properties, &f); err != nil {
		return child{}, false, err
	}
	made, created, err := h.Directory.Federate(ctx, owner, identity.Federation{Name: name, Issuer: f.Issuer, Subject: f.Subject, Audiences: f.Audiences})
	return federationView(made), created, federationFault(err)
}

func federationView(f identity.Federation) child {
	return child{f.Name, federation{f.Issuer, f.Subject, f.Audiences}}
}

// federationFault puts the directory's refusals into the resource manager's words.
func federationFault(err error) error {
	f := fault.From(err)
	switch {
	case errors.Is(err, identity.ErrInvalid) && f.Target == "name":
		return errName.WithMessage("The resource name is invalid: %s.", f.Message).WithTarget("name")
	case errors.Is(err, identity.ErrInvalid):
		return fault.Newf(fault.Invalid, "BadRequest", "The federated identity credential is invalid: %s.", f.Message).WithTarget("properties." + f.Target)
	case errors.Is(err, identity.ErrPrincipalUnknown): // the identity is going
		return resource.ErrNotFound.WithMessage("The managed identity no longer exists.")
	case errors.Is(err, identity.ErrDuplicate):
		return fault.New(fault.Conflict, "Conflict", "Issuer and subject combination already exists for this Managed Identity.").WithTarget("properties.subject")
	case errors.Is(err, identity.ErrFederationsFull):
		return fault.Newf(fault.Conflict, "Conflict", "Too many federated identity credentials: a managed identity has at most %d. Remove one first.", identity.MaxFederations)
	}
	return err
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
