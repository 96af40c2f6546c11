package aks

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/internal/fault"
)

// The words of azure-workload-identity, on pods and service accounts.
//
// Source: https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html
const (
	labelUse                 = "azure.workload.identity/use"
	annotationClientID       = "azure.workload.identity/client-id"
	annotationTenantID       = "azure.workload.identity/tenant-id"
	annotationExpiration     = "azure.workload.identity/service-account-token-expiration"
	annotationSkipContainers = "azure.workload.identity/skip-containers"
)

// What a pod gets.
const (
	tokenVolume   = "azure-identity-token"
	tokenMount    = "/var/run/secrets/azure/tokens" //nolint:gosec // a path
	tokenFile     = "azure-identity-token"
	tokenAudience = "api://AzureADTokenExchange" //nolint:gosec // an audience
	shortestToken = 3600                         // seconds
	longestToken  = 86400                        // seconds

	// Ours: the authority that our own certificates come from, for programs in containers.
	authorityVolume = "fairlead-ca"
	authorityMount  = "/var/run/secrets/fairlead/ca" //nolint:gosec // a path
	authorityFile   = "fairlead.pem"
	// systemAuthorities are the directories that a program would have looked into without SSL_CERT_DIR: they stay in it.
	systemAuthorities = "/etc/ssl/certs:/etc/pki/tls/certs"
)

var errPod = fault.New(fault.Invalid, "BadRequest", "the pod cannot have workload identity")

// pod is what is read of a pod.
type pod struct {
	Metadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		ServiceAccountName string      `json:"serviceAccountName"`
		InitContainers     []container `json:"initContainers"`
		Containers         []container `json:"containers"`
		Volumes            []named     `json:"volumes"`
	} `json:"spec"`
}

type container struct {
	Name         string  `json:"name"`
	Env          []named `json:"env"`
	VolumeMounts []struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
	} `json:"volumeMounts"`
}

type named struct {
	Name string `json:"name"`
}

// operation is one step of a JSON patch (RFC 6902). Only what is missing is added, so nothing else is needed.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func add(path string, value any) operation { return operation{"add", path, value} }

// mutate gives the changes that let a pod sign in as the identity that its service account is annotated with: a volume
// with the service account's token for the token endpoint, mounted in every container that is not skipped, the AZURE_*
// variables that client libraries look for, and the trust in our certificates. Nothing that the pod sets itself is
// changed, and what the webhook has added once it does not add again.
func (h *webhook) mutate(p pod, account map[string]string) ([]operation, error) {
	seconds, err := expiration(p.Metadata.Annotations, account)
	if err != nil {
		return nil, err
	}
	// As upstream the service account's annotation decides; the pod's may fill in for an account that has none.
	clientID := cmp.Or(account[annotationClientID], p.Metadata.Annotations[annotationClientID])
	tenantID := cmp.Or(account[annotationTenantID], p.Metadata.Annotations[annotationTenantID], h.TenantID)
	env := []variable{
		{"AZURE_CLIENT_ID", clientID},
		{"AZURE_TENANT_ID", tenantID},
		{"AZURE_FEDERATED_TOKEN_FILE", tokenMount + "/" + tokenFile},
		{"AZURE_AUTHORITY_HOST", h.AuthorityHost},
	}
	skipped := skippedContainers(p.Metadata.Annotations)
	var patch []operation
	trusting := false
	for _, group := range []struct {
		field      string
		containers []container
	}{{"initContainers", p.Spec.InitContainers}, {"containers", p.Spec.Containers}} {
		for i, c := range group.containers {
			if !slices.Contains(skipped, c.Name) {
				patch = append(patch, c.mutate(fmt.Sprintf("/spec/%s/%d", group.field, i), env)...)
				trusting = trusting || c.trusts()
			}
		}
	}
	return append(patch, p.addVolumes(seconds, trusting)...), nil
}

type variable struct{ name, value string }

// mutate gives the changes to one container, which lies at a path.
func (c container) mutate(at string, env []variable) []operation {
	variables := list{path: at + "/env", empty: c.Env == nil}
	for _, v := range env {
		if v.value != "" && !c.has(v.name) {
			variables.add(map[string]string{"name": v.name, "value": v.value})
		}
	}
	mounts := list{path: at + "/volumeMounts", empty: c.VolumeMounts == nil}
	mount := func(volume, path string) {
		if !c.mounts(volume, path) {
			mounts.add(map[string]any{"name": volume, "mountPath": path, "readOnly": true})
		}
	}
	mount(tokenVolume, tokenMount)
	if c.trusts() {
		variables.add(map[string]string{"name": "SSL_CERT_DIR", "value": authorityMount + ":" + systemAuthorities})
		mount(authorityVolume, authorityMount)
	}
	return append(variables.patch, mounts.patch...)
}

// trusts reports whether the container leaves it to us which authorities it trusts.
func (c container) trusts() bool { return !c.has("SSL_CERT_DIR") && !c.has("SSL_CERT_FILE") }

func (c container) has(variable string) bool { return slices.Contains(c.Env, named{variable}) }

// mounts reports whether the container mounts a volume already, or anything at its place.
func (c container) mounts(volume, path string) bool {
	for _, m := range c.VolumeMounts {
		if m.Name == volume || strings.TrimRight(m.MountPath, "/") == path {
			return true
		}
	}
	return false
}

func (p pod) addVolumes(seconds int, trusting bool) []operation {
	volumes := list{path: "/spec/volumes", empty: p.Spec.Volumes == nil}
	if !slices.Contains(p.Spec.Volumes, named{tokenVolume}) {
		volumes.add(map[string]any{"name": tokenVolume, "projected": map[string]any{"sources": []any{map[string]any{
			"serviceAccountToken": map[string]any{"path": tokenFile, "expirationSeconds": seconds, "audience": tokenAudience},
		}}}})
	}
	if trusting && !slices.Contains(p.Spec.Volumes, named{authorityVolume}) {
		volumes.add(map[string]any{"name": authorityVolume, "projected": map[string]any{"sources": []any{map[string]any{
			"clusterTrustBundle": map[string]any{"name": trustBundle, "path": authorityFile, "optional": true},
		}}}})
	}
	return volumes.patch
}

// list adds to an array that may not be there yet.
type list struct {
	path  string
	empty bool // there is no array
	patch []operation
}

func (l *list) add(item any) {
	if l.empty {
		l.patch, l.empty = append(l.patch, add(l.path, []any{})), false
	}
	l.patch = append(l.patch, add(l.path+"/-", item))
}

// expiration gives how long a token is to live, in seconds: as the pod says, else as the service account says.
func expiration(pod, account map[string]string) (int, error) {
	text := cmp.Or(pod[annotationExpiration], account[annotationExpiration])
	if text == "" {
		return shortestToken, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < shortestToken || seconds > longestToken {
		return 0, errPod.WithMessage("the annotation %s is %.40q: it must be a number of seconds from %d to %d", annotationExpiration, text, shortestToken, longestToken)
	}
	return seconds, nil
}

// skippedContainers gives the names of the containers to leave alone, which a pod lists with semicolons. One without a
// name, which Kubernetes does not take anyway, is always among them.
func skippedContainers(pod map[string]string) []string {
	names := strings.Split(pod[annotationSkipContainers]+";", ";")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}
