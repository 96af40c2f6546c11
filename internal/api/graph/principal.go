package graph

import (
	"context"
	"errors"
	"net/http"
	"time"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/identity"
)

// servicePrincipal is how Graph writes a service principal.
type servicePrincipal struct {
	Context          string    `json:"@odata.context,omitempty"`
	ODataType        string    `json:"@odata.type,omitempty"`
	ID               string    `json:"id"`
	AppID            string    `json:"appId"`
	DisplayName      string    `json:"displayName"`
	AppDisplayName   *string   `json:"appDisplayName"` // null for managed identities
	AccountEnabled   bool      `json:"accountEnabled"`
	Type             string    `json:"servicePrincipalType"`
	Names            []string  `json:"servicePrincipalNames"`
	AlternativeNames []string  `json:"alternativeNames"`
	Owner            string    `json:"appOwnerOrganizationId"`
	CreatedDateTime  time.Time `json:"createdDateTime"`
	Tags             []string  `json:"tags"`
	Passwords        []string  `json:"passwordCredentials"`
	Keys             []string  `json:"keyCredentials"`
}

func (h *handler) encodePrincipal(p identity.ServicePrincipal) servicePrincipal {
	out := servicePrincipal{
		ID: p.ID, AppID: p.ClientID, DisplayName: p.DisplayName, AccountEnabled: p.Enabled, Type: "Application",
		Names: []string{p.ClientID}, AlternativeNames: []string{}, Owner: h.Directory.Tenant(), CreatedDateTime: p.Created,
		Tags: []string{}, Passwords: []string{}, Keys: []string{},
	}
	if p.Kind == identity.KindManaged {
		explicit := "isExplicit=True"
		if p.System {
			explicit = "isExplicit=False"
		}
		out.Type, out.AlternativeNames = "ManagedIdentity", []string{explicit, p.Resource.String()}
	} else {
		out.AppDisplayName = &p.DisplayName
	}
	return out
}

func (h *handler) principal(ctx context.Context, k key) (identity.ServicePrincipal, error) {
	if k.property == "appid" {
		return h.Directory.ServicePrincipalByClientID(ctx, k.value)
	}
	return h.Directory.ServicePrincipal(ctx, k.value)
}

func (h *handler) onePrincipal(status int, p identity.ServicePrincipal, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	out := h.encodePrincipal(p)
	out.Context = h.context("servicePrincipals/$entity")
	return answer{status, out}, nil
}

func (h *handler) listPrincipals(c call) (answer, error) {
	return list(h, c, collection[identity.ServicePrincipal]{
		"servicePrincipals", h.Directory.ServicePrincipals,
		func(p identity.ServicePrincipal) (string, string, string, any) {
			return p.ID, p.ClientID, p.DisplayName, h.encodePrincipal(p)
		},
	})
}

func (h *handler) createPrincipal(c call) (answer, error) {
	body := struct {
		AppID   string `json:"appId"`
		Enabled *bool  `json:"accountEnabled"`
	}{}
	if err := api.ReadJSON(c.r, maxBody, &body); err != nil {
		return answer{}, err
	}
	p, err := h.Directory.CreateServicePrincipal(c.r.Context(), body.AppID)
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return answer{}, errBadRequest.WithMessage("The appId '%.80s' of the service principal does not reference a valid application object.", body.AppID)
	case errors.Is(err, identity.ErrDuplicate):
		return answer{}, errDuplicate.WithMessage("The service principal cannot be created, updated, or restored because the service principal name %.80s is already in use.", body.AppID)
	case err == nil && body.Enabled != nil && !*body.Enabled:
		p.Enabled = false
		err = h.Directory.SetEnabled(c.r.Context(), p.ID, false)
	}
	return h.onePrincipal(http.StatusCreated, p, err)
}

func (h *handler) getPrincipal(c call) (answer, error) {
	p, err := h.principal(c.r.Context(), c.key)
	return h.onePrincipal(http.StatusOK, p, err)
}

// updatePrincipal enables or disables; nothing else of a service principal can be changed here.
func (h *handler) updatePrincipal(c call) (answer, error) {
	p, err := h.principal(c.r.Context(), c.key)
	if err != nil {
		return answer{}, err
	}
	var body struct {
		Enabled *bool `json:"accountEnabled"`
	}
	if err := api.ReadJSON(c.r, maxBody, &body); err != nil {
		return answer{}, err
	}
	if body.Enabled == nil {
		return answer{}, errBadRequest.WithMessage("Only accountEnabled of a service principal can be changed here.")
	}
	return answer{}, h.Directory.SetEnabled(c.r.Context(), p.ID, *body.Enabled)
}

func (h *handler) deletePrincipal(c call) (answer, error) {
	p, err := h.principal(c.r.Context(), c.key)
	if err != nil {
		return answer{}, err
	}
	return answer{}, h.Directory.DeleteServicePrincipal(c.r.Context(), p.ID)
}

// maxIDs is how many objects can be asked for at once, as in Azure.
const maxIDs = 1000

// getByIDs gives the applications and service principals among a list of object ids; others are left out.
func (h *handler) getByIDs(c call) (answer, error) {
	var body struct {
		IDs []string `json:"ids"`
	}
	if err := api.ReadJSON(c.r, maxBody, &body); err != nil {
		return answer{}, err
	}
	if len(body.IDs) > maxIDs {
		return answer{}, errBadRequest.WithMessage("%d ids are asked for; the limit is %d.", len(body.IDs), maxIDs)
	}
	values := []any{}
	for _, id := range body.IDs {
		object, err := h.object(c.r.Context(), id)
		if err != nil {
			return answer{}, err
		}
		if object != nil {
			values = append(values, object)
		}
	}
	return answer{http.StatusOK, map[string]any{"@odata.context": h.context("directoryObjects"), "value": values}}, nil
}

// object gives what an object id names, or nil.
func (h *handler) object(ctx context.Context, id string) (any, error) {
	p, err := h.Directory.ServicePrincipal(ctx, id)
	if err == nil {
		out := h.encodePrincipal(p)
		out.ODataType = "#microsoft.graph.servicePrincipal"
		return out, nil
	}
	if !errors.Is(err, identity.ErrNotFound) {
		return nil, err
	}
	a, err := h.Directory.Application(ctx, id)
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return nil, nil //nolint:nilnil // an id that names nothing is left out, as in Azure
	case err != nil:
		return nil, err
	}
	out := encodeApplication(a)
	out.ODataType = "#microsoft.graph.application"
	return out, nil
}
