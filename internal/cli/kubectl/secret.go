package kubectl

import (
	"encoding/base64"
	"encoding/json"

	"sigs.k8s.io/yaml"
)

// PullSecret is a Secret that pods pull with.
type PullSecret struct {
	Name, Namespace    string
	Hosts              []string // of the registry, by all its names
	Username, Password string
}

// Manifest writes the Secret, as `kubectl create secret docker-registry` makes it.
//
// Source: https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/
func (p PullSecret) Manifest() ([]byte, error) {
	auths := map[string]any{}
	for _, host := range p.Hosts {
		auths[host] = map[string]string{"username": p.Username, "password": p.Password, "auth": base64.StdEncoding.EncodeToString([]byte(p.Username + ":" + p.Password))}
	}
	config, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
		"metadata": map[string]string{"name": p.Name, "namespace": p.Namespace},
		"data":     map[string][]byte{".dockerconfigjson": config},
	})
}
