package arm

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

const subscriptionActions need = "Microsoft.Resources/subscriptions"

// subscriptionRoutes answer what there is above resource groups: tenant, subscription, regions and providers.
func (h *Handler) subscriptionRoutes() []route {
	return []route{
		on(http.MethodGet, "tenants", atRoot, signedIn, h.listTenants),
		on(http.MethodGet, "subscriptions", atRoot, signedIn, h.listSubscriptions),
		on(http.MethodGet, "subscriptions/*", atRoot, subscriptionActions+"/read", h.getSubscription).filtered(),
		on(http.MethodGet, "locations", atSubscription, subscriptionActions+"/locations/read", h.listLocations),
		on(http.MethodGet, "providers", atSubscription, subscriptionActions+"/providers/read", h.listProviders),
		on(http.MethodGet, "providers/*", atSubscription, subscriptionActions+"/providers/read", h.getProvider),
		on(http.MethodPost, "providers/*/register", atSubscription, "Microsoft.Resources/subscriptions/providers/register/action", h.getProvider),
	}
}

func (h *Handler) listTenants(context.Context, *call) (*reply, error) {
	return ok(value{Value: []map[string]any{{
		"id": "/tenants/" + h.Tenant, "tenantId": h.Tenant, "displayName": "Fairlead", "defaultDomain": h.Origin.Domain(),
		"tenantCategory": "Home", "countryCode": "", "domains": h.Origin.Domains,
	}}})
}

func (h *Handler) subscription() map[string]any {
	return map[string]any{
		"id": "/subscriptions/" + h.Subscription, "subscriptionId": h.Subscription, "tenantId": h.Tenant, "displayName": "Fairlead",
		"state": "Enabled", "authorizationSource": "RoleBased", "managedByTenants": []string{},
		"subscriptionPolicies": map[string]string{"locationPlacementId": "Public_2014-09-01", "quotaId": "Default", "spendingLimit": "Off"},
	}
}

// listSubscriptions shows the subscription to those who have any role in it, and to others that there is none.
func (h *Handler) listSubscriptions(ctx context.Context, c *call) (*reply, error) {
	id := resource.SubscriptionID(h.Subscription)
	roles, err := h.Access.Assignments(ctx, access.AssignmentFilter{Scope: id, PrincipalID: c.who.ID(), Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(roles) == 0 {
		return ok(value{Value: []any{}})
	}
	return ok(value{Value: []any{h.subscription()}})
}

func (h *Handler) getSubscription(context.Context, *call) (*reply, error) {
	return ok(h.subscription())
}

// regions are the names that clients offer for completion. A resource may be put in any other, too: they are all here.
func regions() []string {
	return []string{
		"australiaeast", "brazilsouth", "canadacentral", "centralindia", "centralus", "eastasia", "eastus", "eastus2", "francecentral",
		"germanywestcentral", "japaneast", "koreacentral", "local", "northeurope", "norwayeast", "southafricanorth", "southcentralus",
		"southeastasia", "swedencentral", "switzerlandnorth", "uaenorth", "uksouth", "westeurope", "westus", "westus2", "westus3",
	}
}

func (h *Handler) listLocations(context.Context, *call) (*reply, error) {
	var out []map[string]any
	for _, name := range regions() {
		out = append(out, map[string]any{
			"id": "/subscriptions/" + h.Subscription + "/locations/" + name, "name": name, "displayName": name, "regionalDisplayName": name,
			"type": "Region", "metadata": map[string]any{"regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": "Local", "pairedRegion": []any{}},
		})
	}
	return ok(value{Value: out})
}

type provider struct {
	ID           string         `json:"id"`
	Namespace    string         `json:"namespace"`
	State        string         `json:"registrationState"`
	Policy       string         `json:"registrationPolicy"`
	ResourceType []providerType `json:"resourceTypes"`
}

type providerType struct {
	Name      string   `json:"resourceType"`
	Locations []string `json:"locations"`
	Versions  []string `json:"apiVersions"`
}

// providers gives the namespaces and the types in them. Any version that looks like one is answered to; the ones named
// are what present clients send.
func (h *Handler) providers() map[string]*provider {
	out := map[string]*provider{}
	add := func(typeName, version string) {
		namespace, name, _ := strings.Cut(typeName, "/")
		p := out[strings.ToLower(namespace)]
		if p == nil {
			id := "/subscriptions/" + h.Subscription + "/providers/" + namespace
			p = &provider{ID: id, Namespace: namespace, State: "Registered", Policy: "RegistrationRequired"}
			out[strings.ToLower(namespace)] = p
		}
		p.ResourceType = append(p.ResourceType, providerType{name, regions(), []string{version}})
	}
	add(registryTypeName, "2025-11-01")
	add(identityTypeName, "2024-11-30")
	add(federationTypeName, "2024-11-30")
	add(containerGroupTypeName, "2025-09-01")
	add(planTypeName, "2023-12-01")
	add(siteTypeName, "2023-12-01")
	add(clusterTypeName, "2025-10-01")
	add(poolTypeName, "2025-10-01")
	add(connectedTypeName, "2024-01-01")
	add(roleTypeName, "2022-04-01")
	add(assignmentTypeName, "2022-04-01")
	add(groupTypeName, "2024-11-01")
	add("Microsoft.Resources/subscriptions", "2022-12-01")
	return out
}

// namespaces gives the namespaces that have operations.
func (h *Handler) namespaces() []string {
	seen := map[string]bool{}
	for _, t := range h.types {
		namespace, _, _ := strings.Cut(t.name, "/")
		seen[namespace] = true
	}
	seen["Microsoft.Resources"] = true
	return slices.Sorted(maps.Keys(seen))
}

func (h *Handler) listProviders(context.Context, *call) (*reply, error) {
	all := h.providers()
	out := make([]*provider, 0, len(all))
	for _, namespace := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[namespace])
	}
	return ok(value{Value: out})
}

// getProvider shows a provider; there is nothing to do to register it.
func (h *Handler) getProvider(_ context.Context, c *call) (*reply, error) {
	p := h.providers()[strings.ToLower(c.names[0])]
	if p == nil {
		return nil, fault.Newf(fault.NotFound, "InvalidResourceNamespace", "The resource namespace '%.80s' is invalid.", c.names[0])
	}
	return ok(p)
}
