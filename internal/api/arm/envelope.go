package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// envelope is what every resource's body has in common.
type envelope struct {
	Location   string            `json:"location,omitempty"`
	Kind       string            `json:"kind,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	SKU        json.RawMessage   `json:"sku,omitempty"`
	Identity   *identityBlock    `json:"identity,omitempty"`
	Properties json.RawMessage   `json:"properties,omitempty"`
}

// identityBlock is the managed identity block as clients write and read it.
type identityBlock struct {
	Type        string                   `json:"type"`
	PrincipalID string                   `json:"principalId,omitempty"`
	TenantID    string                   `json:"tenantId,omitempty"`
	User        map[string]*attachedUser `json:"userAssignedIdentities,omitempty"`
}

type attachedUser struct {
	PrincipalID string `json:"principalId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

// Limits on tags, as Azure has them.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

// envelopeOf reads the common part of a body into a resource.
func envelopeOf(id resource.ID, body []byte) (resource.Resource, error) {
	var e envelope
	if err := api.DecodeJSON(body, &e); err != nil {
		return resource.Resource{}, err
	}
	r := resource.Resource{ID: id, Location: location(e.Location), Kind: e.Kind, Tags: e.Tags, SKU: e.SKU, Properties: e.Properties}
	if len(e.Properties) == 0 || string(e.Properties) == "null" {
		r.Properties = json.RawMessage("{}")
	}
	if string(e.SKU) == "null" {
		r.SKU = nil
	}
	var err error
	if r.Identity, err = e.Identity.resource(); err != nil {
		return resource.Resource{}, err
	}
	return r, checkTags(r.Tags)
}

// location folds "West US 2" and "westus2" into one.
func location(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return fault.Newf(fault.Invalid, "TooManyTags", "A resource may have at most %d tags; the request has %d.", maxTags, len(tags)).WithTarget("tags")
	}
	for name, v := range tags {
		if name == "" || len(name) > maxTagName || strings.ContainsAny(name, `<>%&\?/`) {
			return fault.Newf(fault.Invalid, "InvalidTagNameCharacters", `The tag name '%.100s' is invalid: it has 1 to %d characters, none of <>%%&\?/.`, name, maxTagName).WithTarget("tags")
		}
		if len(v) > maxTagValue {
			return fault.Newf(fault.Invalid, "TagValueTooLong", "The value of the tag '%s' has %d characters; the limit is %d.", name, len(v), maxTagValue).WithTarget("tags")
		}
	}
	return nil
}

// resource reads the block; nil for none.
func (b *identityBlock) resource() (*resource.Identity, error) {
	if b == nil || b.Type == "" || strings.EqualFold(b.Type, "None") {
		return nil, nil //nolint:nilnil // no identity is a value
	}
	out := &resource.Identity{}
	user := false
	for part := range strings.SplitSeq(b.Type, ",") {
		switch strings.ToLower(strings.TrimSpace(part)) {
		case "systemassigned":
			out.System = true
		case "userassigned":
			user = true
		default:
			return nil, errIdentityBlock.WithMessage("The identity type '%.60s' is invalid: it is 'SystemAssigned', 'UserAssigned', 'SystemAssigned, UserAssigned' or 'None'.", b.Type).WithTarget("identity.type")
		}
	}
	for text, value := range b.User {
		if value == nil {
			continue // null takes an identity away
		}
		id, err := resource.ParseID(text)
		if err != nil || !id.Is(identityTypeName) {
			return nil, errIdentityBlock.WithMessage("The identity '%.200s' is no resource id of a user-assigned identity.", text).WithTarget("identity.userAssignedIdentities")
		}
		out.Attached = append(out.Attached, id)
	}
	if user == (len(out.Attached) == 0) {
		return nil, errIdentityBlock.WithMessage("The identity type 'UserAssigned' and the property 'userAssignedIdentities' must be given together.").WithTarget("identity")
	}
	slices.SortFunc(out.Attached, func(a, b resource.ID) int { return strings.Compare(a.Key(), b.Key()) })
	out.Attached = slices.CompactFunc(out.Attached, resource.ID.Equal)
	return out, nil
}

var errIdentityBlock = fault.New(fault.Invalid, "InvalidIdentityType", "the identity block is invalid")

// encoded is a resource as clients read it.
type encoded struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Kind       string            `json:"kind,omitempty"`
	ManagedBy  string            `json:"managedBy,omitempty"`
	Tags       map[string]string `json:"tags"`
	SKU        json.RawMessage   `json:"sku,omitempty"`
	Identity   *identityBlock    `json:"identity,omitempty"`
	Properties any               `json:"properties,omitempty"`
}

// encode gives a resource as clients read it; properties is the type's part.
func (h *Handler) encode(ctx context.Context, r resource.Resource, properties any) (encoded, error) {
	out := encoded{
		ID: r.ID.String(), Name: r.ID.Name(), Type: h.typeName(r.ID), Location: r.Location, Kind: r.Kind,
		Tags: r.Tags, SKU: r.SKU, Properties: properties,
	}
	if out.Tags == nil {
		out.Tags = map[string]string{}
	}
	var err error
	out.Identity, err = h.encodeIdentity(ctx, r)
	return out, err
}

// typeName spells a type as Azure does, whatever the URL's spelling was when the resource was made.
func (h *Handler) typeName(id resource.ID) string {
	if t, ok := h.types[strings.ToLower(id.Type())]; ok {
		return t.name
	}
	return id.Type()
}

func (h *Handler) encodeIdentity(ctx context.Context, r resource.Resource) (*identityBlock, error) {
	if r.Identity == nil {
		return nil, nil //nolint:nilnil // no identity is a value
	}
	var kinds []string
	out := &identityBlock{}
	if r.Identity.System {
		kinds = append(kinds, "SystemAssigned")
		sp, err := h.Directory.Managed(ctx, r.ID)
		if err != nil && !errors.Is(err, identity.ErrPrincipalUnknown) {
			return nil, err
		}
		out.PrincipalID, out.TenantID = sp.ID, h.Tenant
	}
	if len(r.Identity.Attached) > 0 {
		kinds = append(kinds, "UserAssigned")
		out.User = make(map[string]*attachedUser, len(r.Identity.Attached))
	}
	for _, id := range r.Identity.Attached {
		sp, err := h.Directory.Managed(ctx, id)
		if err != nil && !errors.Is(err, identity.ErrPrincipalUnknown) {
			return nil, err
		}
		out.User[id.String()] = &attachedUser{PrincipalID: sp.ID, ClientID: sp.ClientID}
	}
	out.Type = strings.Join(kinds, ", ")
	return out, nil
}

// nameRule is what a type's names must look like.
type nameRule struct {
	pattern *regexp.Regexp
	words   string // completes "…: it has "
}

var errName = fault.New(fault.Invalid, "InvalidResourceName", "the resource name is invalid")

func (n nameRule) check(name string) error {
	if n.pattern.MatchString(name) {
		return nil
	}
	return errName.WithMessage("The resource name '%.100s' (%d characters) is invalid: it has %s.", name, len(name), n.words).WithTarget("name")
}

// patched gives the body that PUT would have been given to make the change that patch describes.
func patched(now envelope, patch []byte) ([]byte, error) {
	base, err := json.Marshal(now)
	if err != nil {
		return nil, fmt.Errorf("encoding what is to be patched: %w", err)
	}
	return mergePatch(base, patch)
}

// mergePatch applies a JSON merge patch (RFC 7396) as ARM does it: names match without regard to case, and tags are
// replaced as a whole.
func mergePatch(base, patch []byte) ([]byte, error) {
	var target, change map[string]any
	if err := json.Unmarshal(base, &target); err != nil {
		return nil, fmt.Errorf("reading what is to be patched: %w", err)
	}
	if err := api.DecodeJSON(patch, &change); err != nil {
		return nil, err
	}
	for name := range change {
		if strings.EqualFold(name, "tags") {
			delete(target, "tags")
		}
	}
	return json.Marshal(merge(target, change))
}

func merge(target, change map[string]any) map[string]any {
	if target == nil {
		target = map[string]any{}
	}
	for name, value := range change {
		at := name
		for have := range target {
			if strings.EqualFold(have, name) {
				at = have
			}
		}
		switch value := value.(type) {
		case nil:
			delete(target, at)
		case map[string]any:
			sub, _ := target[at].(map[string]any)
			target[at] = merge(sub, value)
		default:
			target[at] = value
		}
	}
	return target
}
