package graph

import "strings"

// key names one object: by its object id, or by an alternate property.
type key struct {
	property string // "id", "appid"
	value    string
}

// parsePath reads "/<version>/<collection>[/<id> | (<property>='<value>')][/<operation>]" into a shape in lower case, in
// which "{}" stands for the object, and the object's key.
func parsePath(path string) (shape string, k key, ok bool) {
	var segments []string
	for segment := range strings.SplitSeq(path, "/") {
		if segment != "" {
			segments = append(segments, segment)
		}
	}
	if len(segments) < 2 || segments[0] != "v1.0" && segments[0] != "beta" {
		return "", key{}, false
	}
	segments = segments[1:]
	collection, inner, found := strings.Cut(segments[0], "(")
	shape, rest := strings.ToLower(collection), segments[1:]
	switch {
	case found:
		if k, ok = parseKey(inner); !ok {
			return "", key{}, false
		}
		shape += "/{}"
	case shape == "directoryobjects" || shape == "me":
	case len(rest) > 0:
		k = key{"id", rest[0]}
		shape, rest = shape+"/{}", rest[1:]
	}
	for _, segment := range rest {
		operation := strings.ToLower(segment)
		operation = strings.TrimPrefix(operation, "microsoft.graph.")
		shape += "/" + operation
	}
	return shape, k, true
}

// parseKey reads what stands behind the opening parenthesis of a key: "appId='…')" or "'…')".
func parseKey(s string) (key, bool) {
	s, ok := strings.CutSuffix(s, ")")
	if !ok {
		return key{}, false
	}
	property := "id"
	if name, value, named := strings.Cut(s, "="); named {
		property, s = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
	}
	value, rest, ok := quoted(s)
	return key{property, value}, ok && rest == "" && (property == "id" || property == "appid")
}

// quoted reads a text in single quotes, in which two stand for one, and gives what follows it.
func quoted(s string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, "'")
	var out strings.Builder
	for ok {
		before, after, closed := strings.Cut(s, "'")
		out.WriteString(before)
		if !closed {
			return "", "", false
		}
		if !strings.HasPrefix(after, "'") {
			return out.String(), after, true
		}
		out.WriteByte('\'')
		s = after[1:]
	}
	return "", "", false
}
