package manifest

import (
	"strings"

	"sigs.k8s.io/yaml"
)

// Object is a Kubernetes object. What it may hold is for its cluster to say.
type Object struct {
	Kind, Name, Namespace string
	// Rolls tells that the object is rolled out, step by step, which can be waited for.
	Rolls bool
	Body  map[string]any

	given  []byte // as it was written
	filled bool   // Body differs from that
}

// isKubernetes tells a Kubernetes object from a resource of Azure, which has a type that names its provider; a Secret has a
// type too.
func isKubernetes(body map[string]any) bool {
	kind, _ := body["kind"].(string)
	resourceType, _ := body["type"].(string)
	_, versioned := body["apiVersion"].(string)
	return kind != "" && (body["type"] == nil || versioned && !strings.HasPrefix(strings.ToLower(resourceType), "microsoft."))
}

func parseObject(body map[string]any, given []byte) *Object {
	o := &Object{Body: body, given: given}
	o.Kind, _ = body["kind"].(string)
	metadata, _ := body["metadata"].(map[string]any)
	o.Name, _ = metadata["name"].(string)
	o.Namespace, _ = metadata["namespace"].(string)
	version, _ := body["apiVersion"].(string)
	switch o.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		spec, _ := body["spec"].(map[string]any)
		strategy, _ := spec["updateStrategy"].(map[string]any)
		o.Rolls = strings.HasPrefix(version, "apps/") && o.Name != "" && strategy["type"] != "OnDelete"
	}
	return o
}

// Text gives the object as it was written, unless placeholders were filled in.
func (o *Object) Text() ([]byte, error) {
	if !o.filled {
		return o.given, nil
	}
	return yaml.Marshal(o.Body)
}
