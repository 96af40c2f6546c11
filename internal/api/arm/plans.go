package arm

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/api/arm/site"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

const planTypeName = "Microsoft.Web/serverfarms"

// sku is a plan's price level. It buys nothing here, but clients expect their own back.
type sku struct {
	Name     string `json:"name"`
	Tier     string `json:"tier,omitempty"`
	Size     string `json:"size,omitempty"`
	Family   string `json:"family,omitempty"`
	Capacity int    `json:"capacity"`
}

// planType is the App Service plan: a name that web apps refer to.
func (h *Handler) planType() *armType {
	properties := schema.Obj("properties", schema.Anys("reserved"), schema.Absents("hyperV", "isXenon", "hostingEnvironmentProfile"),
		schema.Anys("provisioningState", "status", "geoRegion", "numberOfSites", "numberOfWorkers", "maximumNumberOfWorkers", "maximumElasticWorkerCount",
			"perSiteScaling", "elasticScaleEnabled", "targetWorkerCount", "targetWorkerSizeId", "zoneRedundant", "workerTierName", "isSpot", "subscription",
			"resourceGroup", "spotExpirationTime", "freeOfferExpirationTime", "kubeEnvironmentProfile", "asyncScalingEnabled", "name"))
	skuField := schema.Obj("sku", schema.Texts("name", "tier", "size", "family"), schema.Numbers("capacity"), schema.Anys("skuCapacity", "locations", "capabilities"))
	return &armType{
		name:       planTypeName,
		rule:       nameRule{regexp.MustCompile(`^[-\p{L}\p{Nd}]{1,60}$`), "1 to 60 letters, digits and '-'"},
		body:       tracked(properties, []schema.Field{skuField}, schema.Absents("extendedLocation")),
		prepare:    preparePlan,
		properties: h.planView,
		remove:     h.removePlan,
		madeOK:     true,
	}
}

func preparePlan(_ context.Context, p *put) (apply, error) {
	var properties struct {
		Reserved *bool `json:"reserved"`
	}
	if err := api.DecodeJSON(p.next.Properties, &properties); err != nil {
		return nil, err
	}
	if properties.Reserved != nil && !*properties.Reserved {
		return nil, fault.New(fault.Invalid, "UnsupportedProperty", "Only plans for Linux are supported here: 'properties.reserved' is true.").WithTarget("properties.reserved")
	}
	s := sku{Name: "B1", Tier: "Basic", Capacity: 1}
	if p.next.SKU != nil {
		s.Tier = ""
		if err := api.DecodeJSON(p.next.SKU, &s); err != nil {
			return nil, err
		}
	}
	s.Size = s.Name
	if s.Family = strings.TrimRight(s.Name, "0123456789"); len(s.Family) > 8 || s.Name == "" {
		return nil, fault.Newf(fault.Invalid, "InvalidSku", "The SKU '%.40s' is invalid.", s.Name).WithTarget("sku.name")
	}
	var err error
	if p.next.SKU, err = json.Marshal(s); err != nil {
		return nil, err
	}
	p.next.Kind, p.next.Properties = "linux", json.RawMessage("{}")
	return func(context.Context, resource.Resource) error { return nil }, nil
}

func (h *Handler) planView(ctx context.Context, r resource.Resource) (any, error) {
	sites, err := h.sitesOn(ctx, r.ID)
	return map[string]any{
		"provisioningState": "Succeeded", "status": "Ready", "reserved": true, "isXenon": false, "hyperV": false, "isSpot": false,
		"numberOfSites": len(sites), "numberOfWorkers": 1, "maximumNumberOfWorkers": 1, "perSiteScaling": false, "zoneRedundant": false,
		"geoRegion": r.Location, "resourceGroup": r.ID.ResourceGroup(), "subscription": h.Subscription, "targetWorkerCount": 0, "targetWorkerSizeId": 0,
		"elasticScaleEnabled": false, "maximumElasticWorkerCount": 1, "kubeEnvironmentProfile": nil,
	}, err
}

// sitesOn gives the names of the web apps of a plan.
func (h *Handler) sitesOn(ctx context.Context, plan resource.ID) ([]string, error) {
	all, err := h.Store.ListResources(ctx, resource.SubscriptionID(h.Subscription), siteTypeName, "", 0)
	var names []string
	for _, r := range all {
		s, broken := site.Read(r.Properties, nil)
		err = errors.Join(err, broken)
		if strings.EqualFold(s.Plan, plan.String()) {
			names = append(names, r.ID.Name())
		}
	}
	return names, err
}

func (h *Handler) removePlan(ctx context.Context, r resource.Resource) error {
	names, err := h.sitesOn(ctx, r.ID)
	if err == nil && len(names) > 0 {
		return fault.Newf(fault.Conflict, "Conflict", "Server farm '%s' cannot be deleted because it has web app(s) %s assigned to it.", r.ID.Name(), strings.Join(names, ","))
	}
	return err
}
