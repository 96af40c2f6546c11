package arm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/api/arm/site"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

const siteTypeName = "Microsoft.Web/sites"

var siteName = nameRule{regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9]{0,58}[A-Za-z0-9]$`), "2 to 60 letters, digits and '-', with a letter or digit at both ends"}

func (h *Handler) siteType() *armType {
	t := &armType{
		name: siteTypeName, rule: siteName, unique: true,
		body:    tracked(site.Properties(), schema.Absents("extendedLocation")),
		prepare: h.prepareSite, properties: h.siteView,
		remove: func(ctx context.Context, r resource.Resource) error { return h.Workloads.Delete(ctx, r.ID) },
		madeOK: true,
	}
	t.taken = func(name string) *fault.Error {
		return fault.Newf(fault.Conflict, "Conflict", "Website with given name %s already exists.", name)
	}
	item := t.name + "/*"
	t.extra = append(h.workloadRoutes(t.name),
		on(http.MethodPost, item+"/start", atGroup, siteTypeName+"/start/action", func(ctx context.Context, c *call) (*reply, error) { return h.turnSite(ctx, c, h.Workloads.Start) }),
		on(http.MethodPost, item+"/restart", atGroup, siteTypeName+"/restart/action", func(ctx context.Context, c *call) (*reply, error) { return h.turnSite(ctx, c, h.Workloads.Restart) }),
		on(http.MethodPost, item+"/stop", atGroup, siteTypeName+"/stop/action", func(ctx context.Context, c *call) (*reply, error) { return h.turnSite(ctx, c, h.Workloads.Stop) }),
		on(http.MethodGet, item+"/logs", atGroup, siteTypeName+"/read", h.logs),
		on(http.MethodPost, item+"/exec", atGroup, siteTypeName+"/exec/action", h.exec),
		on(http.MethodPost, item+"/publishxml", atGroup, siteTypeName+"/publishxml/action", h.publishXML),
		on(http.MethodGet, item+"/slots", atGroup, siteTypeName+"/slots/read", h.noneOf),
		on(http.MethodGet, item+"/basicPublishingCredentialsPolicies/*", atGroup, siteTypeName+"/basicPublishingCredentialsPolicies/read", h.publishingPolicy),
		on(http.MethodPost, "Microsoft.Web/checkNameAvailability", atSubscription, "Microsoft.Web/checknameavailability/read", h.checkSiteName),
	)
	t.extra = append(t.extra, h.siteConfigRoutes(t)...)
	return t
}

func (h *Handler) prepareSite(_ context.Context, p *put) (apply, error) {
	s, err := h.oldSite(p.old)
	if err != nil {
		return nil, err
	}
	if err := s.Update(p.next.Properties); err != nil {
		return nil, err
	}
	if s.Plan != "" {
		plan, err := resource.ParseID(s.Plan)
		if err != nil || !plan.Is(planTypeName) {
			return nil, fault.Newf(fault.Invalid, "InvalidParameter", "The serverFarmId '%.200s' is no resource id of an App Service plan.", s.Plan).WithTarget("properties.serverFarmId")
		}
		p.links = append(p.links, link{id: plan, need: planTypeName + "/join/action", target: "properties.serverFarmId"})
	}
	p.next.Kind, p.next.SKU = "app,linux,container", nil
	return func(ctx context.Context, r resource.Resource) error { return h.runSite(ctx, r, s) }, h.keepSite(&p.next, s)
}

// oldSite gives the site that is stored; an empty one when there is none.
func (h *Handler) oldSite(r *resource.Resource) (site.Site, error) {
	if r == nil {
		return site.Read([]byte("{}"), nil)
	}
	return h.readSite(*r)
}

// readSite opens a stored site.
func (h *Handler) readSite(r resource.Resource) (site.Site, error) {
	if r.Sealed == nil {
		return site.Read(r.Properties, nil)
	}
	plain, err := h.Sealer.Open(r.Sealed, sealedAs(r.ID))
	if err != nil {
		return site.Site{}, err
	}
	return site.Read(r.Properties, plain)
}

// keepSite writes a site into the resource that will be stored.
func (h *Handler) keepSite(r *resource.Resource, s site.Site) error {
	public, plain, err := s.Write()
	if err != nil {
		return err
	}
	r.Properties, r.Sealed = public, h.Sealer.Seal(plain, sealedAs(r.ID))
	return nil
}

func sealedAs(id resource.ID) string { return "site/" + id.Key() }

// runSite has the site run as it is stored now. It returns before the image is pulled, as App Service does.
func (h *Handler) runSite(ctx context.Context, r resource.Resource, s site.Site) error {
	identities, err := h.attachedIdentities(ctx, r)
	if err != nil {
		return err
	}
	g, named := s.Group(r.ID, r.Location, h.Origin.SiteHost(r.ID.Name()), identities)
	if !named {
		return h.Workloads.Delete(ctx, r.ID)
	}
	return h.Workloads.Put(ctx, g)
}

func (h *Handler) siteView(ctx context.Context, r resource.Resource) (any, error) {
	s, err := site.Read(r.Properties, nil)
	if err != nil {
		return nil, err
	}
	status, err := h.Workloads.Status(ctx, r.ID)
	if err != nil && !errors.Is(err, run.ErrNotFound) {
		return nil, err
	}
	return s.Encode(site.View{
		Name: r.ID.Name(), Group: r.ID.ResourceGroup(), Hostname: h.Origin.SiteHost(r.ID.Name()),
		Stopped: status.State == run.StateStopped, SKU: "Basic", Changed: r.Changed,
	}), nil
}

// turnSite starts, restarts or stops a site. As in App Service the request itself succeeds when the pull does not:
// the site answers 503 then, and why tells the cause.
func (h *Handler) turnSite(ctx context.Context, c *call, do func(context.Context, resource.ID) error) (*reply, error) {
	if _, err := h.load(ctx, c.id); err != nil {
		return nil, err
	}
	_, _, err := h.begun(ctx, c, do)
	if err != nil && (errors.Is(err, run.ErrTransitioning) || !refused(err) && !errors.Is(err, run.ErrNotFound)) {
		return nil, err
	}
	return empty(http.StatusOK)
}

// refused tells a pull or a start that did not succeed from a failure of our own.
func refused(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.Invalid || kind == fault.Conflict
}

func (h *Handler) publishXML(ctx context.Context, c *call) (*reply, error) {
	r, err := h.load(ctx, c.id)
	if err != nil {
		return nil, err
	}
	return ok(text{"application/xml", site.PublishProfiles(r.ID.Name(), h.Origin.SiteHost(r.ID.Name()))})
}

// publishingPolicy answers that nobody publishes with a password, over FTP or otherwise.
func (h *Handler) publishingPolicy(ctx context.Context, c *call) (*reply, error) {
	if _, err := h.load(ctx, c.id.Parent()); err != nil {
		return nil, err
	}
	return ok(part(c.id, map[string]bool{"allow": false}))
}

func (h *Handler) checkSiteName(ctx context.Context, c *call) (*reply, error) {
	return h.checkName(ctx, c, siteTypeName, siteName)
}

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
