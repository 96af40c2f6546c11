package schema_test

import (
	"strings"
	"testing"

	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/fault"
)

func table() schema.Field {
	return schema.Obj("", schema.Texts("location"), schema.Absents("zones"), []schema.Field{
		schema.Must(schema.Obj("properties", []schema.Field{
			schema.Refused("sku", "Standard"),
			schema.Must(schema.ListOf("containers", schema.Obj("", []schema.Field{
				schema.Must(schema.Field{Name: "name", Kind: schema.String}),
				{Name: "memoryInGB", Kind: schema.Number},
				{Name: "tty", Kind: schema.Bool},
			}))),
			schema.MapOf("settings", schema.Field{Kind: schema.String}),
			{Name: "volumes", Kind: schema.Any, Absent: true},
		})),
	})
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ name, body, want, target string }{
		{"good, in any case", `{"LOCATION":"x","properties":{"containers":[{"name":"a","memoryInGb":1.5}]}}`, "", ""},
		{"empty forms of absent fields", `{"zones":[],"properties":{"containers":[{"name":"a"}],"volumes":[{"a":{}}],"sku":"standard"}}`, "", ""},
		{"absent field", `{"zones":["1"],"properties":{"containers":[]}}`, "'zones' exists in Azure but is not supported here", "zones"},
		{"absent field, other than the default", `{"properties":{"sku":"Dedicated","containers":[]}}`, "'properties.sku'", "properties.sku"},
		{"absent field, deep", `{"properties":{"volumes":[{"name":"x"}],"containers":[]}}`, "'properties.volumes'", "properties.volumes"},
		{"wrong form in a list", `{"properties":{"containers":[{"name":"a"},{"name":7}]}}`, "'properties.containers[1].name' must be a string", "properties.containers[1].name"},
		{"wrong form of a list", `{"properties":{"containers":{}}}`, "'properties.containers' must be an array", "properties.containers"},
		{"wrong form in a map", `{"properties":{"containers":[],"settings":{"a":1}}}`, "'properties.settings['a']' must be a string", "properties.settings['a']"},
		{"missing", `{"properties":{"containers":[{}]}}`, "Required property 'name' not found in JSON. Path 'properties.containers[0]'.", "properties.containers[0].name"},
		{"missing by null", `{"properties":null}`, "Required property 'properties' not found in JSON. Path ''.", "properties"},
		{"no JSON", "{\n\"a\":}", "not JSON, at byte 7 in line 2", ""},
		{"no object", `[]`, "must be a JSON object", ""},
		{"more after the end", `{} {}`, "not JSON", ""},
		{"nothing", ``, "the body is empty", ""},
	} {
		_, err := schema.Check([]byte(c.body), table(), false)
		switch f := fault.From(err); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(f.Message, c.want) || f.Target != c.target || f.Kind != fault.Invalid):
			t.Errorf("%s: got %+v, want %q at %q", c.name, f, c.want, c.target)
		}
	}
}

func TestUnknownNamesTheNearest(t *testing.T) {
	unknown, err := schema.Check([]byte(`{"properties":{"containers":[{"name":"a","memmoryInGB":1}],"qqqqqqqq":1}}`), table(), false)
	if err != nil || len(unknown) != 2 {
		t.Fatalf("%v, %v", unknown, err)
	}
	for _, u := range unknown {
		message := fault.From(u.Refuse()).Message
		switch u.Path {
		case "properties.containers[0].memmoryInGB":
			if !strings.Contains(message, "Did you mean 'memoryInGB'?") {
				t.Error(message)
			}
		case "properties.qqqqqqqq":
			if strings.Contains(message, "mean") {
				t.Error(message)
			}
		default:
			t.Errorf("unexpected %q", u.Path)
		}
	}
}

func TestPartialNeedsNothing(t *testing.T) {
	if _, err := schema.Check([]byte(`{}`), table(), true); err != nil {
		t.Error(err)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"properties":{"containers":[{"name":"a"}]}}`))
	f.Add([]byte(`{"properties":{"x":`))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := schema.Check(body, table(), false)
		if err != nil && fault.KindOf(err) != fault.Invalid {
			t.Fatalf("%q: %v", body, err)
		}
	})
}
