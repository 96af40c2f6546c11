// Package schema owns the check of a request's JSON against a table of the fields that a resource type has in Azure:
// which of them are understood here, which exist there but not here (refused by their path when they carry a value, so
// that nothing is silently left undone), and which exist nowhere. It looks at shapes only; what values mean is for the
// type to say.
package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// Kind is the JSON form of a field.
type Kind uint8

// The forms. A null passes for every one of them.
const (
	Any    Kind = iota // not looked into
	String             // text
	Number             // a number
	Bool               // true or false
	Object             // an object with the Fields
	List               // an array of Elem
	Map                // an object with names of the caller's choice, and Elem as values
)

var kindWords = map[Kind]string{String: "a string", Number: "a number", Bool: "true or false", Object: "an object", Map: "an object", List: "an array"} //nolint:gochecknoglobals // a constant table

// Field is a field of a body.
type Field struct {
	Name     string
	Kind     Kind
	Fields   []Field // of an Object
	Elem     *Field  // of a List or a Map
	Required bool
	// Absent marks a field that Azure has and this server does not. It may be sent as long as it carries no value: null,
	// false, "", {}, [] and whatever holds only such, or one of Pass.
	Absent bool
	Pass   []string // the texts that mean Azure's default, without regard to case
}

// Texts, Numbers, Bools, Anys and Absents give several fields of one form.
func Texts(names ...string) []Field { return fields(String, names) }

// Numbers gives fields that hold numbers.
func Numbers(names ...string) []Field { return fields(Number, names) }

// Bools gives fields that hold true or false.
func Bools(names ...string) []Field { return fields(Bool, names) }

// Anys gives fields that are not looked into.
func Anys(names ...string) []Field { return fields(Any, names) }

// Absents gives fields that Azure has and this server does not.
func Absents(names ...string) []Field {
	out := fields(Any, names)
	for i := range out {
		out[i].Absent = true
	}
	return out
}

func fields(kind Kind, names []string) []Field {
	out := make([]Field, len(names))
	for i, name := range names {
		out[i] = Field{Name: name, Kind: kind}
	}
	return out
}

// Obj gives an object of the given groups of fields.
func Obj(name string, groups ...[]Field) Field {
	f := Field{Name: name, Kind: Object}
	for _, g := range groups {
		f.Fields = append(f.Fields, g...)
	}
	return f
}

// ListOf gives an array; elem's name is not used.
func ListOf(name string, elem Field) Field { return Field{Name: name, Kind: List, Elem: &elem} }

// MapOf gives an object with free names.
func MapOf(name string, elem Field) Field { return Field{Name: name, Kind: Map, Elem: &elem} }

// Must marks a field as required.
func Must(f Field) Field { f.Required = true; return f }

// Refused gives a field that Azure has and this server does not, except for the texts that mean Azure's default.
func Refused(name string, pass ...string) Field {
	return Field{Name: name, Absent: true, Pass: pass}
}

// Unknown is a field that exists nowhere.
type Unknown struct {
	Path    string // "properties.containers[0].name"
	Nearest string // the known name most like it, or ""
}

var (
	errContent = fault.New(fault.Invalid, "InvalidRequestContent", "the request content was invalid")
	errAbsent  = fault.New(fault.Invalid, "UnsupportedProperty", "a property that Azure has is not supported here (yet)")
	errUnknown = fault.New(fault.Invalid, "UnknownProperty", "a property does not exist")
)

// Check compares body, which must be a JSON object, with root and gives the unknown fields that it met. It returns
// faults that name the path for JSON of the wrong form, a required field that is missing (unless partial is set, for a
// patch), and an absent field that carries a value.
func Check(body []byte, root Field, partial bool) ([]Unknown, error) {
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return nil, malformed(body, err)
	}
	if _, ok := value.(map[string]any); !ok {
		return nil, errContent.WithMessage("The request content was invalid and could not be deserialized: it must be a JSON object.")
	}
	c := checker{partial: partial}
	err := c.value("", root, value)
	return c.unknown, err
}

func malformed(body []byte, err error) error {
	if len(body) == 0 {
		return errContent.WithMessage("The request content was invalid and could not be deserialized: the body is empty.")
	}
	at := int64(len(body))
	if syntax, ok := err.(*json.SyntaxError); ok { //nolint:errorlint // json returns it bare
		at = syntax.Offset
	}
	line := 1 + strings.Count(string(body[:min(at, int64(len(body)))]), "\n")
	return errContent.WithMessage("The request content was invalid and could not be deserialized: it is not JSON, at byte %d in line %d.", at, line).WithCause(err)
}

// Refuse gives the fault for an unknown field, for callers who want none.
func (u Unknown) Refuse() error {
	e := errUnknown.WithMessage("The property '%s' does not exist.", u.Path).WithTarget(u.Path)
	if u.Nearest != "" {
		e = e.WithMessage("The property '%s' does not exist. Did you mean '%s'?", u.Path, u.Nearest)
	}
	return e
}

type checker struct {
	partial bool
	unknown []Unknown
}

func (c *checker) value(path string, f Field, v any) error {
	if v == nil || f.Kind == Any {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		if f.Kind == Object {
			return c.object(path, f, v)
		}
		if f.Kind == Map {
			return c.members(path, f, v)
		}
	case []any:
		if f.Kind == List {
			return c.list(path, f, v)
		}
	case string:
		if f.Kind == String {
			return nil
		}
	case float64:
		if f.Kind == Number {
			return nil
		}
	case bool:
		if f.Kind == Bool {
			return nil
		}
	}
	return errContent.WithMessage("The request content was invalid and could not be deserialized: '%s' must be %s.", path, kindWords[f.Kind]).WithTarget(path)
}

func (c *checker) object(path string, f Field, v map[string]any) error {
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		at, value := join(path, name), v[name]
		sub, ok := f.field(name)
		if !ok {
			c.unknown = append(c.unknown, Unknown{Path: at, Nearest: nearest(name, f.Fields)})
			continue
		}
		if sub.Absent {
			if carries(value, sub.Pass) {
				return errAbsent.WithMessage("The property '%s' exists in Azure but is not supported here.", at).WithTarget(at)
			}
			continue
		}
		seen[sub.Name] = value != nil
		if err := c.value(at, sub, value); err != nil {
			return err
		}
	}
	for _, sub := range f.Fields {
		if sub.Required && !seen[sub.Name] && !c.partial {
			return errContent.WithMessage("The request content was invalid and could not be deserialized: 'Required property '%s' not found in JSON. Path '%s'.'", sub.Name, path).
				WithTarget(join(path, sub.Name))
		}
	}
	return nil
}

func (c *checker) list(path string, f Field, v []any) error {
	for i, item := range v {
		if err := c.value(fmt.Sprintf("%s[%d]", path, i), *f.Elem, item); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) members(path string, f Field, v map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if err := c.value(fmt.Sprintf("%s['%.100s']", path, name), *f.Elem, v[name]); err != nil {
			return err
		}
	}
	return nil
}

func (f Field) field(name string) (Field, bool) {
	for _, sub := range f.Fields {
		if strings.EqualFold(sub.Name, name) {
			return sub, true
		}
	}
	return Field{}, false
}

func join(path, name string) string {
	if len(name) > 100 {
		name = name[:100] + "…"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// carries reports whether a value says anything: clients send empty forms of fields that nobody set.
func carries(v any, pass []string) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		for _, p := range pass {
			if strings.EqualFold(p, v) {
				return false
			}
		}
		return v != ""
	case []any:
		for _, item := range v {
			if carries(item, pass) {
				return true
			}
		}
	case map[string]any:
		for _, item := range v {
			if carries(item, pass) {
				return true
			}
		}
	}
	return false
}

// nearest gives the name of the field that a mistyped name was probably meant to be, or "".
func nearest(name string, among []Field) string {
	names := make([]string, len(among))
	for i, f := range among {
		names[i] = f.Name
	}
	for _, n := range resource.Nearest(name, names, 1) {
		return n
	}
	return ""
}
