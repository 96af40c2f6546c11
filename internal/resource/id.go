// Package resource owns what things are called: ARM resource ids and scopes, the origin (the host names and port
// under which this Fairlead is reached), the stored envelope that every ARM resource shares, and the long-running
// operations that clients poll. What is inside a resource belongs to its own core package.
package resource

import (
	"strings"

	"fairlead.dev/internal/fault"
)

// ID is an ARM resource id or scope: "/" (the root), "/subscriptions/S", "/subscriptions/S/resourceGroups/G", or
// "<scope>/providers/Namespace/type/name[/subtype/name…]". It keeps the caller's spelling and compares by its case-folded
// Key, as ARM does. The zero ID names nothing.
//
// Source: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules and WIRE trap 4.
type ID struct {
	text string // canonical: no doubled or trailing slashes, well-known literals in Azure's spelling
}

// Root is the scope above every subscription.
var Root = ID{"/"} //nolint:gochecknoglobals // a constant in all but the language

// ErrBadID is returned by ParseID for text that is no resource id.
var ErrBadID = fault.New(fault.Invalid, "InvalidResourceId", "not a resource id")

// ParseID reads an id in any letter case, collapses doubled slashes, and spells the well-known literals as Azure does.
// It returns ErrBadID, with a message that names the fault, for anything else: "..", control characters, an odd number
// of segments, an empty name, a name over 260 characters.
func ParseID(s string) (ID, error) {
	if !strings.HasPrefix(s, "/") {
		return ID{}, ErrBadID.WithMessage("resource id %q must begin with '/'", clip(s))
	}
	segments := split(s)
	if len(segments) == 0 {
		return Root, nil
	}
	if err := checkSegments(segments); err != nil {
		return ID{}, err
	}
	return build(s, segments)
}

// MustParseID is ParseID for ids known at compile time and for tests; it panics on a bad one.
func MustParseID(s string) ID {
	id, err := ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}

func split(s string) []string {
	var segments []string
	for segment := range strings.SplitSeq(s, "/") {
		if segment != "" {
			segments = append(segments, segment)
		}
	}
	return segments
}

func checkSegments(segments []string) error {
	for _, segment := range segments {
		if segment == "." || segment == ".." || len(segment) > 260 {
			return ErrBadID.WithMessage("resource id has the segment %q, which is not a name", clip(segment))
		}
		if i := strings.IndexFunc(segment, func(r rune) bool { return r < 0x20 || r == 0x7f || strings.ContainsRune(`<>%&\?#`, r) }); i >= 0 {
			return ErrBadID.WithMessage("resource id has a character that names may not hold, in the segment %q", clip(segment))
		}
	}
	return nil
}

// build checks the grammar: [subscriptions S [resourceGroups G]] { providers NS (type name)+ }.
func build(given string, segments []string) (ID, error) {
	var out strings.Builder
	bad := func(why string) (ID, error) {
		return ID{}, ErrBadID.WithMessage("resource id %q %s", clip(given), why)
	}
	put := func(parts ...string) {
		for _, p := range parts {
			out.WriteByte('/')
			out.WriteString(p)
		}
	}
	rest := segments
	if strings.EqualFold(rest[0], "subscriptions") {
		if len(rest) < 2 {
			return bad("ends before the subscription")
		}
		put("subscriptions", rest[1])
		rest = rest[2:]
		if len(rest) > 0 && strings.EqualFold(rest[0], "resourceGroups") {
			if len(rest) < 2 {
				return bad("ends before the resource group's name")
			}
			put("resourceGroups", rest[1])
			rest = rest[2:]
		}
	}
	for len(rest) > 0 {
		if !strings.EqualFold(rest[0], "providers") {
			return bad("has '" + clip(rest[0]) + "' where 'providers' belongs")
		}
		n := len(rest)
		for i := 1; i < len(rest); i++ {
			if i > 1 && strings.EqualFold(rest[i], "providers") {
				n = i
				break
			}
		}
		if n < 4 || n%2 != 0 {
			return bad("ends before a resource's name")
		}
		put("providers")
		put(rest[1:n]...)
		rest = rest[n:]
	}
	return ID{out.String()}, nil
}

// String gives the canonical text.
func (id ID) String() string { return id.text }

// Key gives the case-folded text: the key under which the id is stored and compared.
func (id ID) Key() string { return strings.ToLower(id.text) }

// IsZero reports whether the id names nothing.
func (id ID) IsZero() bool { return id.text == "" }

// Equal compares as ARM does, without regard to case: by Key, so that what is stored apart is never taken for the same.
func (id ID) Equal(other ID) bool { return id.text == other.text || id.Key() == other.Key() }

// Covers reports whether other is id itself or lies beneath it; this is the rule for scopes of role assignments.
func (id ID) Covers(other ID) bool {
	if id.IsZero() || other.IsZero() {
		return false
	}
	if id == Root {
		return true
	}
	a, b := id.Key(), other.Key()
	return a == b || strings.HasPrefix(b, a+"/")
}

// Subscription gives the subscription's id (a GUID), or "".
func (id ID) Subscription() string { return id.after("/subscriptions/", 0) }

// ResourceGroup gives the resource group's name, or "".
func (id ID) ResourceGroup() string {
	segments := split(id.text)
	if len(segments) >= 4 && segments[2] == "resourceGroups" {
		return segments[3]
	}
	return ""
}

func (id ID) after(prefix string, n int) string {
	rest, ok := strings.CutPrefix(id.text, prefix)
	if !ok {
		return ""
	}
	segments := split(rest)
	if len(segments) <= n {
		return ""
	}
	return segments[n]
}

// Type gives "Namespace/type[/subtype…]", "Microsoft.Resources/resourceGroups", "Microsoft.Resources/subscriptions", or
// "" for the root.
func (id ID) Type() string {
	at := strings.LastIndex(id.text, "/providers/")
	if at < 0 {
		switch len(split(id.text)) {
		case 4:
			return "Microsoft.Resources/resourceGroups"
		case 2:
			return "Microsoft.Resources/subscriptions"
		}
		return ""
	}
	segments := split(id.text[at+len("/providers/"):])
	var out strings.Builder
	out.WriteString(segments[0])
	for i := 1; i < len(segments); i += 2 {
		out.WriteString("/" + segments[i])
	}
	return out.String()
}

// Is reports whether the id's type is t, without regard to case.
func (id ID) Is(t string) bool { return strings.EqualFold(id.Type(), t) }

// Name gives the last segment: the resource's own name; "" for the root.
func (id ID) Name() string {
	return id.text[strings.LastIndexByte(id.text, '/')+1:]
}

// Parent gives the id one level up: a subresource's resource, a resource's group (or the resource it extends), a group's
// subscription, a subscription's root. The root's parent is the zero ID.
func (id ID) Parent() ID {
	segments := split(id.text)
	switch {
	case len(segments) == 0:
		return ID{}
	case len(segments) == 2:
		return Root
	}
	at := strings.LastIndex(id.text, "/providers/")
	keep := segments[:len(segments)-2]
	if at >= 0 && len(split(id.text[at+len("/providers/"):])) == 3 {
		if at == 0 {
			return Root
		}
		return ID{id.text[:at]}
	}
	return ID{"/" + strings.Join(keep, "/")}
}

// SubscriptionID gives the id of subscription s.
func SubscriptionID(s string) ID { return ID{"/subscriptions/" + s} }

// GroupID gives the id of resource group name in subscription s.
func GroupID(s, name string) ID { return ID{"/subscriptions/" + s + "/resourceGroups/" + name} }

// Group gives the id of the resource group that id lies in, or the zero ID.
func (id ID) Group() ID {
	if g := id.ResourceGroup(); g != "" {
		return GroupID(id.Subscription(), g)
	}
	return ID{}
}

// Provider gives the id of the resource of the given full type ("Microsoft.Web/sites") and name directly under id.
func (id ID) Provider(resourceType, name string) ID {
	base := id.text
	if id == Root {
		base = ""
	}
	return ID{base + "/providers/" + resourceType + "/" + name}
}

// Child gives the id of the subresource subtype/name of id.
func (id ID) Child(subtype, name string) ID { return ID{id.text + "/" + subtype + "/" + name} }

// MarshalText and UnmarshalText let an ID stand in JSON as its text.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.text), nil }

// UnmarshalText is ParseID; the empty text gives the zero ID.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
