package arm

import (
	"context"
	"errors"
	"net/http"
	"regexp"

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
