// Package manifest owns the forms in which a workload may be written down for `fairlead apply`: a container group's
// YAML, the ARM JSON of one resource, a Kubernetes object, several of them in one file, and the App Service description. It
// reads; what a field means, and whether it exists, is for the server to say, so each schema exists once.
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"fairlead.dev/internal/cli/exit"
)

// Document is one resource as it was written. Exactly one of Resource, App and Object is set.
type Document struct {
	Number   int // in its file, from 1 on; 0 for an App
	Resource *Resource
	App      *App
	Object   *Object
}

// Resource is an ARM resource. Body holds what a PUT sends: everything but id, type, name and apiVersion.
type Resource struct {
	ID, Type, Name, APIVersion string
	Body                       map[string]any
}

// limit is the most that a file may hold, in bytes: a thousand Kubernetes objects have a few megabytes.
const limit = 16 << 20

// Parse reads a file's text. Names of the file are left to the caller's errors.
func Parse(text []byte) ([]Document, error) {
	if len(text) > limit {
		return nil, exit.Usagef("%d bytes are over the limit of %d", len(text), limit)
	}
	if isApp(text) {
		app, err := parseApp(text)
		if err != nil {
			return nil, err
		}
		return []Document{{App: &app}}, nil
	}
	var documents []Document
	for i, part := range split(text) {
		d, err := parseDocument(part)
		if err != nil {
			return nil, exit.Usagef("document %d: %w", i+1, err)
		}
		if d != nil {
			d.Number = i + 1
			documents = append(documents, *d)
		}
	}
	if len(documents) == 0 {
		return nil, exit.Usagef("the file holds no resource")
	}
	return documents, nil
}

// split cuts YAML at lines of "---".
func split(text []byte) [][]byte {
	var parts [][]byte
	var part []byte
	for line := range bytes.Lines(text) {
		if trimmed := bytes.TrimRight(line, " \t\r\n"); bytes.Equal(trimmed, []byte("---")) {
			parts, part = append(parts, part), nil
			continue
		}
		part = append(part, line...)
	}
	return append(parts, part)
}

// parseDocument reads one document; nil when it is empty. JSON is YAML, so one reader serves both.
func parseDocument(text []byte) (*Document, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("not YAML or JSON: %w", err)
	}
	if string(asJSON) == "null" {
		return nil, nil //nolint:nilnil // an empty document is neither a resource nor a fault
	}
	var body map[string]any
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber() // numbers are sent as they were written
	if err := decoder.Decode(&body); err != nil {
		return nil, fmt.Errorf("a resource is a mapping of fields, which this is not")
	}
	if _, template := body["resources"]; template && body["$schema"] != nil {
		return nil, fmt.Errorf("this is an ARM template; give its resources one by one, with a type and a name")
	}
	if isKubernetes(body) {
		return &Document{Object: parseObject(body, text)}, nil
	}
	r := &Resource{Body: body}
	for field, value := range map[string]*string{"id": &r.ID, "type": &r.Type, "name": &r.Name, "apiVersion": &r.APIVersion} {
		given, ok := body[field]
		if !ok || given == nil {
			continue
		}
		if *value, ok = given.(string); !ok {
			return nil, fmt.Errorf("field %q must be a text", field)
		}
		delete(body, field)
	}
	if !strings.Contains(r.Type, "/") {
		return nil, fmt.Errorf("field \"type\" must name a resource type, such as Microsoft.ContainerInstance/containerGroups")
	}
	if err := checkSegments(r); err != nil {
		return nil, err
	}
	return &Document{Resource: r}, nil
}

// checkSegments keeps names from becoming paths.
func checkSegments(r *Resource) error {
	if strings.ContainsAny(r.Name, "/?#%\\") || r.Name == ".." || r.Name == "." {
		return fmt.Errorf("%q is not a resource's name", r.Name)
	}
	if strings.Count(r.Type, "/") != 1 || strings.ContainsAny(r.Type, "?#%\\ ") || strings.Contains(r.Type, "..") {
		return fmt.Errorf("%q is not the type of a resource that can be applied", r.Type)
	}
	return nil
}

// placeholder is a value that somebody was to fill in: <SERVICE_PRINCIPAL_CLIENT_ID>.
var placeholder = regexp.MustCompile(`^<([A-Z][A-Z0-9_]*)>$`)

// Fill puts values in the place of placeholders.
func (d Document) Fill(values map[string]string) {
	if d.App != nil {
		for _, field := range d.App.fields() {
			if m := placeholder.FindStringSubmatch(*field.value); m != nil {
				if value, ok := values[m[1]]; ok {
					*field.value = value
				}
			}
		}
		return
	}
	walk("", d.body(), func(_, name string, set func(string)) {
		if value, ok := values[name]; ok {
			set(value)
			if d.Object != nil {
				d.Object.filled = true
			}
		}
	})
}

// Unfilled gives the paths of placeholders that still stand, with their names.
func (d Document) Unfilled() []string {
	var left []string
	if d.App != nil {
		for _, field := range d.App.fields() {
			if placeholder.MatchString(*field.value) {
				left = append(left, field.name+": "+*field.value)
			}
		}
		return left
	}
	walk("", d.body(), func(path, name string, _ func(string)) { left = append(left, path+": <"+name+">") })
	slices.Sort(left)
	return left
}

func (d Document) body() map[string]any {
	if d.Object != nil {
		return d.Object.Body
	}
	return d.Resource.Body
}

// walk visits every text value that is a placeholder.
func walk(path string, v any, visit func(path, name string, set func(string))) {
	child := func(path string, v any, set func(string)) {
		if text, ok := v.(string); ok {
			if m := placeholder.FindStringSubmatch(text); m != nil {
				visit(path, m[1], set)
			}
			return
		}
		walk(path, v, visit)
	}
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			child(strings.TrimPrefix(path+"."+key, "."), value, func(s string) { v[key] = s })
		}
	case []any:
		for i, value := range v {
			child(path+"["+strconv.Itoa(i)+"]", value, func(s string) { v[i] = s })
		}
	}
}
