package arm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// armType is one kind of resource that lives in a resource group. The pipeline does for all of them what ARM does for
// all: names, tags, ETags, identities, paging, operations and deletion. A type adds what is its own.
type armType struct {
	name   string // "Microsoft.ContainerRegistry/registries"
	rule   nameRule
	unique bool         // the name is unique throughout, because it is a host name
	oldest string       // api-version; "" is any
	body   schema.Field // what a body may hold
	// prepare checks the body in p.next, completes p.next and p.links, and gives what is to be done once p.next is stored;
	// nothing may be changed before that.
	prepare func(ctx context.Context, p *put) (apply, error)
	// properties gives the public properties for a client.
	properties func(ctx context.Context, r resource.Resource) (any, error)
	// patch replaces the merging of a PATCH into what is stored; nil does that.
	patch func(context.Context, *call, *armType) (*reply, error)
	// remove undoes apply; it returns when nothing is left, also when nothing was there.
	remove func(ctx context.Context, r resource.Resource) error
	// progress tells how far a PUT is; nil when PUT is done at once.
	progress func(ctx context.Context, id resource.ID) (resource.OperationStatus, *fault.Error, error)
	// madeOK: PUT answers 200 for a new resource too, as App Service does; its clients refuse 201.
	madeOK bool
	// goneEmpty: DELETE answers 204 when it is done, as AKS does; its clients refuse 200.
	goneEmpty bool
	// slowDelete: DELETE may be answered 202 before it is done.
	slowDelete bool
	// taken is the refusal of a name that another resource has; nil when names need not be unique.
	taken func(name string) *fault.Error
	extra []route
}

// apply makes a stored resource real; the operation may be given a failure that is known at once.
type apply func(ctx context.Context, stored resource.Resource) error

// put is a PUT or a PATCH on its way.
type put struct {
	*call
	old   *resource.Resource // nil when the resource is new
	next  resource.Resource  // as it will be stored
	links []link             // resources that the body makes use of
	// doomed is a failure that is certain: the resource is stored, so that it can be asked why, and its operation fails.
	doomed *fault.Error
	letGo  func() // of what prepare has locked; called at the end of the PUT
}

// link is the use of another resource, and the action which that takes.
type link struct {
	id     resource.ID
	need   need
	target string // path in the body
}

var (
	errGroupUnknown = fault.New(fault.NotFound, "ResourceGroupNotFound", "the resource group could not be found")
	errGroupGoing   = fault.New(fault.Conflict, "ResourceGroupBeingDeleted", "the resource group is being deleted")
	errLocation     = fault.New(fault.Invalid, "LocationRequired", "The location property is required for this definition.")
	errMoved        = fault.New(fault.Conflict, "InvalidResourceLocation", "a resource cannot be moved to another location")
	errPrecondition = fault.New(fault.Conflict, "PreconditionFailed", "the condition in the request's If-Match or If-None-Match does not hold")
)

// routes gives the routes that every tracked type has.
func (t *armType) routes(h *Handler) []route {
	item := t.name + "/*"
	serve := func(f func(context.Context, *call, *armType) (*reply, error)) func(context.Context, *call) (*reply, error) {
		return func(ctx context.Context, c *call) (*reply, error) { return f(ctx, c, t) }
	}
	all := []route{
		on(http.MethodGet, item, atGroup, need(t.name+"/read"), serve(h.get)),
		on(http.MethodPut, item, atGroup, need(t.name+"/write"), serve(h.replace)),
		on(http.MethodPatch, item, atGroup, need(t.name+"/write"), serve(h.patch)),
		on(http.MethodDelete, item, atGroup, need(t.name+"/delete"), serve(h.delete)),
		on(http.MethodGet, t.name, atGroup|atSubscription, need(t.name+"/read"), serve(h.listType)).filtered(),
	}
	for i := range all {
		all[i].oldest = t.oldest
	}
	return all
}

// view encodes a resource of the type.
func (h *Handler) view(ctx context.Context, t *armType, r resource.Resource) (encoded, error) {
	properties, err := t.properties(ctx, r)
	if err != nil {
		return encoded{}, err
	}
	return h.encode(ctx, r, properties)
}

// load gives a resource, or says in Azure's words that there is none.
func (h *Handler) load(ctx context.Context, id resource.ID) (resource.Resource, error) {
	r, err := h.Store.Resource(ctx, id)
	if errors.Is(err, resource.ErrNotFound) {
		return r, h.notFound(ctx, id)
	}
	return r, err
}

// notFound says whether it is the resource that is missing or already its group.
func (h *Handler) notFound(ctx context.Context, id resource.ID) error {
	if _, err := h.loadGroup(ctx, id.Group()); err != nil {
		return err
	}
	return resource.ErrNotFound.WithMessage("The Resource '%s/%s' under resource group '%s' was not found. "+
		"For more details please go to https://aka.ms/ARMResourceNotFoundFix", h.typeName(id), id.Name(), id.ResourceGroup())
}

func (h *Handler) get(ctx context.Context, c *call, t *armType) (*reply, error) {
	r, err := h.load(ctx, c.id)
	if err != nil {
		return nil, err
	}
	body, err := h.view(ctx, t, r)
	return (&reply{status: http.StatusOK, body: body}).with("ETag", quote(r.ETag)), err
}

func (h *Handler) listType(ctx context.Context, c *call, t *armType) (*reply, error) {
	return h.list(ctx, c, listing{typeName: t.name, view: func(r resource.Resource) (any, error) { return h.view(ctx, t, r) }})
}

func (h *Handler) replace(ctx context.Context, c *call, t *armType) (*reply, error) {
	return h.put(ctx, c, t, c.whole)
}

func (h *Handler) patch(ctx context.Context, c *call, t *armType) (*reply, error) {
	if t.patch != nil {
		return t.patch(ctx, c, t)
	}
	return h.put(ctx, c, t, h.merged(ctx, c, t))
}

// put creates or replaces a resource from the body that source gives, which sees what is there now.
func (h *Handler) put(ctx context.Context, c *call, t *armType, source func(old *resource.Resource) ([]byte, error)) (*reply, error) {
	defer h.locks.enter(c.id.Group(), c.id)()
	p, err := h.begin(ctx, c, t, source)
	if err != nil {
		return nil, err
	}
	defer func() { p.letGo() }()
	do, err := t.prepare(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := h.checkLinks(ctx, p); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // from here on a client that goes away must not leave half of it
	stored, created, err := h.commit(ctx, p, t, do)
	if err != nil {
		return nil, err
	}
	view, err := h.view(ctx, t, stored)
	if err != nil {
		return nil, err
	}
	out := (&reply{status: http.StatusOK, body: view}).with("ETag", quote(stored.ETag))
	if created && !t.madeOK {
		out.status = http.StatusCreated
	}
	return out, h.follow(ctx, p, t, out)
}

// whole is the source of a PUT.
func (c *call) whole(*resource.Resource) ([]byte, error) { return c.body, nil }

// merged is the source of a PATCH: the body merged into what is stored.
func (h *Handler) merged(ctx context.Context, c *call, t *armType) func(*resource.Resource) ([]byte, error) {
	return func(old *resource.Resource) ([]byte, error) {
		if old == nil {
			return nil, h.notFound(ctx, c.id)
		}
		if err := h.checkBody(ctx, c, t.body, c.body, true); err != nil {
			return nil, err
		}
		block, err := h.encodeIdentity(ctx, *old)
		if err != nil {
			return nil, err
		}
		return patched(envelope{Location: old.Location, Kind: old.Kind, Tags: old.Tags, SKU: old.SKU, Identity: block, Properties: old.Properties}, c.body)
	}
}

// begin checks what all types have in common.
func (h *Handler) begin(ctx context.Context, c *call, t *armType, source func(*resource.Resource) ([]byte, error)) (*put, error) {
	if err := t.rule.check(c.id.Name()); err != nil {
		return nil, err
	}
	in, err := h.openGroup(ctx, c.id.Group())
	if err != nil {
		return nil, err
	}
	p := &put{call: c, letGo: func() {}}
	if p.old, err = h.find(ctx, c.id); err != nil {
		return nil, err
	}
	if err := c.precondition(p.old); err != nil {
		return nil, err
	}
	body, err := source(p.old)
	if err != nil {
		return nil, err
	}
	if err := h.checkBody(ctx, c, t.body, body, false); err != nil {
		return nil, err
	}
	// A new resource is spelled as its group and as Azure spells its type, whatever the URL's letters were.
	if p.next, err = envelopeOf(in.ID.Provider(t.name, c.id.Name()), body); err != nil {
		return nil, err
	}
	p.next.Unique = t.unique
	for _, id := range attached(p.next) {
		p.links = append(p.links, link{id: id, need: identityTypeName + "/assign/action", target: "identity.userAssignedIdentities"})
	}
	return p, p.place()
}

// find gives a resource, or nil when there is none.
func (h *Handler) find(ctx context.Context, id resource.ID) (*resource.Resource, error) {
	r, err := h.Store.Resource(ctx, id)
	if errors.Is(err, resource.ErrNotFound) {
		return nil, nil //nolint:nilnil // no resource is a value
	}
	return &r, err
}

// place settles where the resource is: it says so itself when it is new, and stays there.
func (p *put) place() error {
	switch {
	case p.old == nil && p.next.Location == "":
		return errLocation.WithTarget("location")
	case len(p.next.Location) > 64 || strings.ContainsAny(p.next.Location, `/\<>%&?"'`):
		return errLocation.WithMessage("The provided location '%.70s' is not the name of a region.", p.next.Location).WithTarget("location")
	case p.old == nil:
		return nil
	case p.next.Location == "":
		p.next.Location = p.old.Location
	case p.next.Location != p.old.Location:
		return errMoved.WithMessage("The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%s'. "+
			"Please select a new resource name.", p.id.Name(), p.old.Location, p.id.ResourceGroup(), p.next.Location).WithTarget("location")
	}
	p.next.ID = p.old.ID // keeps its first spelling
	return nil
}

func attached(r resource.Resource) []resource.ID {
	if r.Identity == nil {
		return nil
	}
	return r.Identity.Attached
}

// checkLinks refuses the use of resources that do not exist or that the caller may not use.
func (h *Handler) checkLinks(ctx context.Context, p *put) error {
	for _, l := range p.links {
		if err := h.requireLinked(ctx, p.call, l); err != nil {
			return err
		}
		if _, err := h.Store.Resource(ctx, l.id); errors.Is(err, resource.ErrNotFound) {
			return fault.Newf(fault.Invalid, "LinkedInvalidPropertyId", "The resource '%s' that '%s' names does not exist.", l.id, l.target).WithTarget(l.target)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// commit stores the resource and makes it real; when that fails, everything is as it was.
func (h *Handler) commit(ctx context.Context, p *put, t *armType, do apply) (resource.Resource, bool, error) {
	match := ""
	if p.old != nil {
		match = p.old.ETag
	}
	stored, created, err := h.Store.PutResource(ctx, p.next, match)
	if errors.Is(err, resource.ErrTaken) && t.taken != nil {
		return stored, false, t.taken(p.id.Name()).WithCause(err)
	}
	if err != nil {
		return stored, false, err
	}
	if err = h.settleIdentity(ctx, stored); err == nil {
		err = do(ctx, stored)
	}
	if err != nil {
		return stored, false, errors.Join(err, h.undo(ctx, p, t, stored))
	}
	return stored, created, nil
}

func (h *Handler) undo(ctx context.Context, p *put, t *armType, stored resource.Resource) error {
	if p.old != nil {
		_, _, err := h.Store.PutResource(ctx, *p.old, stored.ETag)
		return errors.Join(err, h.settleIdentity(ctx, *p.old))
	}
	if err := t.remove(ctx, stored); err != nil {
		return err
	}
	return errors.Join(h.Directory.DeleteManaged(ctx, stored.ID), h.Store.DeleteResource(ctx, stored.ID))
}

// settleIdentity makes or ends the system-assigned identity, as the resource says.
func (h *Handler) settleIdentity(ctx context.Context, r resource.Resource) error {
	if r.ID.Is(identityTypeName) {
		return nil // its principal is the resource itself
	}
	if r.Identity != nil && r.Identity.System {
		_, err := h.Directory.EnsureManaged(ctx, r.ID, true, r.ID.Name())
		return err
	}
	return h.Directory.DeleteManaged(ctx, r.ID)
}

// childType is one kind of resource beneath a tracked one, such as the federated credentials of an identity. It has no
// location, tags or identity, and its owner's core package keeps it, so that it goes with its owner. The pipeline does
// for all of them names, the owner's existence and lock, ETags, statuses and paging.
type childType struct {
	name string       // "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"
	body schema.Field // what a body may hold
	// put makes or changes one; created tells which.
	put func(ctx context.Context, owner resource.ID, name string, properties json.RawMessage) (made child, created bool, err error)
	// list gives those of an owner in order of their case-folded names.
	list func(ctx context.Context, owner resource.ID) ([]child, error)
	// remove removes one that is there.
	remove    func(ctx context.Context, owner resource.ID, name string) error
	goneEmpty bool // as of an armType
}

// child is one of them: its name and its public properties.
type child struct {
	name       string
	properties any
}

// routes gives the routes that every child type has.
func (t *childType) routes(h *Handler) []route {
	collection := t.name[:strings.LastIndexByte(t.name, '/')] + "/*" + t.name[strings.LastIndexByte(t.name, '/'):]
	serve := func(f func(context.Context, *call, *childType) (*reply, error)) func(context.Context, *call) (*reply, error) {
		return func(ctx context.Context, c *call) (*reply, error) { return f(ctx, c, t) }
	}
	return []route{
		on(http.MethodGet, collection, atGroup, need(t.name+"/read"), serve(h.listChildren)),
		on(http.MethodGet, collection+"/*", atGroup, need(t.name+"/read"), serve(h.getChild)),
		on(http.MethodPut, collection+"/*", atGroup, need(t.name+"/write"), serve(h.putChild)),
		on(http.MethodDelete, collection+"/*", atGroup, need(t.name+"/delete"), serve(h.deleteChild)),
	}
}

// family is what a call on children is about.
type family struct {
	owner resource.ID // as it was first spelled
	all   []child
	named *child // the one that the call names, nil when there is none or it names none
}

// family gives the children of an owner, which must exist.
func (h *Handler) family(ctx context.Context, c *call, t *childType, owner resource.ID) (family, error) {
	r, err := h.load(ctx, owner)
	if err != nil {
		return family{}, err
	}
	f := family{owner: r.ID}
	if f.all, err = t.list(ctx, owner); err != nil {
		return f, err
	}
	for i := range f.all {
		if strings.EqualFold(f.all[i].name, c.id.Name()) {
			f.named = &f.all[i]
		}
	}
	return f, nil
}

func (h *Handler) listChildren(ctx context.Context, c *call, t *childType) (*reply, error) {
	limit, after, err := c.page()
	if err != nil {
		return nil, err
	}
	f, err := h.family(ctx, c, t, c.id)
	if err != nil {
		return nil, err
	}
	page, shown := value{}, []subresource{}
	for _, one := range f.all {
		if strings.ToLower(one.name) <= after {
			continue
		}
		if len(shown) == limit {
			page.NextLink = c.nextLink(strings.ToLower(shown[limit-1].Name))
			break
		}
		shown = append(shown, t.view(f.owner, one))
	}
	page.Value = shown
	return ok(page)
}

func (h *Handler) getChild(ctx context.Context, c *call, t *childType) (*reply, error) {
	f, err := h.family(ctx, c, t, c.id.Parent())
	if err == nil && f.named == nil {
		err = resource.ErrNotFound.WithMessage("The Resource '%s/%s' of '%s' was not found.", t.name, c.id.Name(), f.owner)
	}
	if err != nil {
		return nil, err
	}
	return t.reply(http.StatusOK, f.owner, *f.named)
}

func (h *Handler) putChild(ctx context.Context, c *call, t *childType) (*reply, error) {
	owner := c.id.Parent()
	defer h.locks.enter(owner.Group(), owner)()
	if _, err := h.openGroup(ctx, owner.Group()); err != nil {
		return nil, err
	}
	f, err := h.family(ctx, c, t, owner)
	if err != nil {
		return nil, err
	}
	if err := c.checkChild(f.named); err != nil {
		return nil, err
	}
	if err := h.checkBody(ctx, c, t.body, c.body, false); err != nil {
		return nil, err
	}
	var body envelope
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	made, created, err := t.put(context.WithoutCancel(ctx), owner, c.id.Name(), body.Properties)
	if err != nil {
		return nil, err
	}
	if created {
		return t.reply(http.StatusCreated, f.owner, made)
	}
	return t.reply(http.StatusOK, f.owner, made)
}

func (h *Handler) deleteChild(ctx context.Context, c *call, t *childType) (*reply, error) {
	owner := c.id.Parent()
	defer h.locks.enter(owner.Group(), owner)()
	f, err := h.family(ctx, c, t, owner)
	switch {
	case err != nil:
		return nil, err
	case f.named == nil:
		return empty(http.StatusNoContent)
	}
	if err := c.checkChild(f.named); err != nil {
		return nil, err
	}
	if err := t.remove(context.WithoutCancel(ctx), owner, f.named.name); err != nil {
		return nil, err
	}
	if t.goneEmpty {
		return empty(http.StatusNoContent)
	}
	return empty(http.StatusOK)
}

// checkChild compares what is stored, or nil, with the conditions of a request that would change it.
func (c *call) checkChild(stored *child) error {
	if stored == nil {
		return c.precondition(nil)
	}
	etag, err := stored.etag()
	return errors.Join(err, c.precondition(&resource.Resource{ETag: etag}))
}

func (t *childType) view(owner resource.ID, one child) subresource {
	return part(owner.Child(t.name[strings.LastIndexByte(t.name, '/')+1:], one.name), one.properties)
}

func (t *childType) reply(status int, owner resource.ID, one child) (*reply, error) {
	etag, err := one.etag()
	return (&reply{status: status, body: t.view(owner, one)}).with("ETag", quote(etag)), err
}

// etag changes with the properties.
func (one child) etag() (string, error) {
	text, err := json.Marshal(one.properties)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), err
}
