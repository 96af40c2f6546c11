package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

const sub = "/subscriptions/" + subscription

func id(group, resourceType, name string) string {
	return sub + "/resourceGroups/" + group + "/providers/" + resourceType + "/" + name
}

func (f *fake) arm(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/metadata/") {
		answer(w, 200, object{
			"authentication":           object{"loginEndpoint": f.url("login"), "tenant": tenant},
			"microsoftGraphResourceId": f.url("graph") + "/", "suffixes": object{"acrLoginServer": "azurecr." + domain},
		})
		return
	}
	if r.Header.Get("Authorization") != "Bearer token for "+f.url("management")+"/.default" {
		refuse(w, 401, "InvalidAuthenticationToken", "no")
		return
	}
	if r.URL.Path == "/operations/done" {
		w.WriteHeader(200)
		return
	}
	if r.URL.Query().Get("api-version") == "" {
		refuse(w, 400, "MissingApiVersionParameter", "no api-version")
		return
	}
	switch path := r.URL.Path; {
	case path == "/tenants":
		answer(w, 200, object{"value": []object{{"tenantId": tenant, "domains": []string{domain, "other.test"}}}})
	case strings.Contains(path, "/managedClusters/") && !strings.Contains(path, "/roleAssignments"):
		f.cluster(w, r)
	case strings.HasSuffix(path, "/why"):
		answer(w, 200, object{"value": []object{f.report()}})
	case strings.HasSuffix(path, "/attempts"):
		f.attempts(w, path)
	case strings.HasSuffix(path, "/logs"):
		text := "one\ntwo\n"
		if !f.allowed() {
			text = ""
		}
		answer(w, 200, object{"content": text})
	case strings.Contains(path, "/roleDefinitions"):
		answer(w, 200, object{"value": []object{{"id": sub + "/providers/Microsoft.Authorization/roleDefinitions/" + acrPull, "name": acrPull, "properties": object{"roleName": "AcrPull"}}}})
	default:
		f.tracked(w, r)
	}
}

func (f *fake) tracked(w http.ResponseWriter, r *http.Request) {
	key := strings.ToLower(r.URL.Path)
	have, there := f.resources[key]
	switch {
	case r.Method == http.MethodPut:
		f.put(w, r, key)
	case r.Method == http.MethodPost:
		f.pulls++
		w.WriteHeader(204)
	case r.Method == http.MethodDelete && !there:
		w.WriteHeader(204)
	case r.Method == http.MethodDelete:
		delete(f.resources, key)
		w.Header().Set("Location", f.url("management")+"/operations/done")
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(202)
	case there:
		f.refresh(have)
		answer(w, 200, have)
	case f.isList(key):
		answer(w, 200, object{"value": f.list(key)})
	default:
		refuse(w, 404, "ResourceNotFound", "no "+r.URL.Path)
	}
}

// isList: an id with the name left out has an even number of segments behind its last provider, or is a known list.
func (f *fake) isList(key string) bool {
	_, rest, ok := strings.Cut(key, "/providers/")
	if !ok {
		return key == "/subscriptions" || strings.HasSuffix(key, "/resourcegroups")
	}
	if i := strings.LastIndex(rest, "/providers/"); i >= 0 {
		rest = rest[i+len("/providers/"):]
	}
	return strings.Count(rest, "/") == 1 || strings.HasSuffix(rest, "/federatedidentitycredentials")
}

func (f *fake) list(key string) []object {
	if key == "/subscriptions" {
		return []object{{"subscriptionId": subscription}}
	}
	found := []object{}
	prefix, suffix, typed := strings.Cut(key, "/providers/")
	for have, o := range f.resources {
		f.refresh(o)
		_, tail, _ := strings.Cut(have, "/providers/")
		switch {
		case strings.HasSuffix(suffix, "microsoft.authorization/roleassignments"):
			if strings.Contains(have, "/roleassignments/") {
				found = append(found, o)
			}
		case strings.HasSuffix(suffix, "/federatedidentitycredentials"):
			if strings.HasPrefix(have, key+"/") {
				found = append(found, o)
			}
		case typed && strings.HasPrefix(have, prefix+"/") && strings.HasPrefix(tail, suffix+"/") && strings.Count(tail, "/") == 2,
			!typed && strings.HasPrefix(have, key+"/") && tail == "":
			found = append(found, o)
		}
	}
	return found
}

func (f *fake) put(w http.ResponseWriter, r *http.Request, key string) {
	body := object{}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		refuse(w, 400, "InvalidRequestContent", err.Error())
		return
	}
	body["id"], body["name"] = r.URL.Path, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	body["strict"], body["version"] = r.Header.Get("x-fairlead-strict"), r.URL.Query().Get("api-version")
	properties, _ := body["properties"].(object)
	if properties == nil {
		properties = object{}
		body["properties"] = properties
	}
	switch {
	case strings.Contains(key, "/federatedidentitycredentials/"):
	case strings.Contains(key, "/userassignedidentities/"):
		properties["clientId"], properties["principalId"] = uuid.NewString(), uuid.NewString()
	case strings.Contains(key, "/registries/") && !strings.Contains(key, "/roleassignments/"):
		properties["loginServer"] = body["name"].(string) + ".azurecr." + domain
	case strings.Contains(key, "/roleassignments/"):
		properties["scope"], _, _ = strings.Cut(r.URL.Path, "/providers/Microsoft.Authorization")
	}
	f.resources[key] = body
	f.pulls++
	f.refresh(body)
	if strings.Contains(key, "/containergroups/") && !f.allowed() {
		refuse(w, 400, "InaccessibleImage", "The image in container group is not accessible.")
		return
	}
	answer(w, 201, body)
}

// clusterIDs are what the nodes' identity is known by.
const (
	kubeletClient = "55555555-5555-5555-5555-555555555555"
	kubeletObject = "66666666-6666-6666-6666-666666666666"
)

// cluster answers for managed clusters: what is changed is at it when it is looked at first, and done after the second look.
func (f *fake) cluster(w http.ResponseWriter, r *http.Request) {
	const within = "/providers/" + clusterType + "/"
	path, rest, _ := strings.Cut(r.URL.Path, within)
	name, action, acted := strings.Cut(rest, "/")
	path += within + name
	key := strings.ToLower(path)
	body := f.resources[key]
	switch {
	case r.Method == http.MethodPut && !acted:
		f.resources[key] = f.newCluster(r, path, name)
		answer(w, 201, f.resources[key])
		return
	case body == nil:
		refuse(w, 404, "ResourceNotFound", "no "+path)
		return
	}
	properties := body["properties"].(object)
	busy := func(state string) {
		properties["provisioningState"], properties["fairleadProfile"] = state, object{"progress": "waiting for " + state}
	}
	switch {
	case strings.HasPrefix(action, "listCluster"):
		document := kubeconfigOf(name, strings.Contains(action, "Admin"))
		answer(w, 200, object{"kubeconfigs": []object{{"name": "x", "value": []byte(document)}}})
	case strings.HasPrefix(action, "agentPools/"):
		pool := object{}
		_ = json.NewDecoder(r.Body).Decode(&pool)
		properties["agentPoolProfiles"].([]any)[0].(object)["count"] = pool["properties"].(object)["count"]
		busy("Updating")
		answer(w, 200, pool)
	case r.Method == http.MethodPost:
		state := map[string]string{"stop": "Stopping", "start": "Starting", "rotateClusterCertificates": "RotatingClusterCertificates"}[action]
		properties["powerState"] = object{"code": map[bool]string{true: "Stopped", false: "Running"}[action == "stop"]}
		busy(state)
		w.WriteHeader(202)
	case r.Method == http.MethodPatch:
		properties["identityProfile"] = object{"kubeletidentity": kubelet(name)}
		answer(w, 200, body)
	case r.Method == http.MethodDelete:
		delete(f.resources, key)
		w.WriteHeader(200)
	default:
		answer(w, 200, body)
		looks, _ := properties["looks"].(int)
		properties["looks"] = looks + 1
		if state := properties["provisioningState"]; state != "Failed" && looks > 0 && !f.stuck {
			properties["provisioningState"], properties["fairleadProfile"] = "Succeeded", object{}
		}
	}
}

func kubelet(cluster string) object {
	return object{"resourceId": id("MC", "Microsoft.ManagedIdentity/userAssignedIdentities", cluster+"-agentpool"), "clientId": kubeletClient, "objectId": kubeletObject}
}

func (f *fake) newCluster(r *http.Request, id, name string) object {
	body := object{}
	_ = json.NewDecoder(r.Body).Decode(&body)
	body["id"], body["name"], body["strict"] = id, name, r.Header.Get("x-fairlead-strict")
	properties := body["properties"].(object)
	properties["fqdn"], properties["currentKubernetesVersion"] = name+"-0a1b2c3d.hcp.westus2.aks."+domain, "1.37.2"
	properties["powerState"], properties["provisioningState"] = object{"code": "Running"}, "Creating"
	properties["fairleadProfile"] = object{"progress": "starting node 1\x1b[31m"}
	properties["asked"] = properties["identityProfile"]
	properties["identityProfile"] = object{"kubeletidentity": kubelet(name)}
	return body
}

func kubeconfigOf(cluster string, admin bool) string {
	user, how := "clusterUser_demo_"+cluster, "{exec: {apiVersion: client.authentication.k8s.io/v1, command: fairlead, args: [kube, token]}}"
	if admin {
		user, how = "clusterAdmin_demo_"+cluster, "{client-key-data: a2V5}"
	}
	return fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: %[1]s, clusters: [{name: %[1]s, cluster: {server: "https://127.0.0.1:8443"}}],
contexts: [{name: %[1]s, context: {cluster: %[1]s, user: %[2]s}}], users: [{name: %[2]s, user: %[3]s}]}`, cluster, user, how)
}

// refresh brings what a workload shows of itself up to what it may do now.
func (f *fake) refresh(o object) {
	properties, _ := o["properties"].(object)
	containers, ok := properties["containers"].([]any)
	if !ok {
		return
	}
	state, provisioning := object{"state": "Running", "startTime": "2026-01-01T00:00:00Z"}, "Succeeded"
	if !f.allowed() {
		state, provisioning = object{"state": "Waiting"}, "Failed"
	} else if properties["restartPolicy"] == "Never" {
		state = object{"state": "Terminated", "exitCode": f.exitCode, "detailStatus": "Completed"}
	}
	properties["provisioningState"] = provisioning
	properties["instanceView"] = object{"state": state["state"]}
	for _, c := range containers {
		c.(object)["properties"].(object)["instanceView"] = object{"restartCount": 0, "currentState": state}
	}
}

func (f *fake) attempts(w http.ResponseWriter, path string) {
	if f.resources[strings.ToLower(strings.TrimSuffix(path, "/attempts"))] == nil {
		refuse(w, 404, "ResourceNotFound", "no "+path)
		return
	}
	last := object{
		"id": fmt.Sprint("pull-", f.pulls), "image": "myacr.azurecr.io/app:v1", "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:01Z", "digest": "sha256:abc",
		"layers": []object{{"digest": "sha256:0123456789abcdef", "size": 10, "done": 10, "state": "unpacked"}},
		"stages": []object{
			{"name": "role", "outcome": "ok", "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:01Z"},
			{"name": "ready", "outcome": "ok", "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:01Z"},
		},
	}
	if !f.allowed() {
		last["code"], last["summary"], last["stages"], last["layers"] = "ROLE_MISSING", "no role", []object{{"name": "role", "outcome": "failed"}}, nil
	}
	answer(w, 200, object{"value": []object{{"container": "app", "first": nil, "last": last}}})
}

func (f *fake) report() object {
	if f.allowed() {
		return object{"verdict": "can-pull", "image": object{"given": "myacr.azurecr.io/app:v1", "resolved": "myacr.azurecr.io/app:v1", "digest": "sha256:abc"}, "fix": []any{}, "stages": []object{{"name": "parse", "outcome": "ok"}}}
	}
	return object{
		"verdict": "cannot-pull", "code": "ROLE_MISSING", "stage": "role", "summary": "identity web-id may not read myacr/app\x1b[31m",
		"image":      object{"given": "myacr.azurecr.io/app:v1", "resolved": "myacr.azurecr.fl.test/app:v1"},
		"credential": object{"source": "managedIdentity", "from": "imageRegistryCredentials[0].identity", "skipped": []object{{"source": "appSettings", "from": "X", "why": "absent"}}},
		"identity":   object{"name": "web-id", "clientId": "c-id", "principalId": "p-id"},
		"token":      object{"status": "issued"},
		"stages": []object{
			{"name": "parse", "outcome": "ok"},
			{"name": "identity", "outcome": "ok", "known": "read"},
			{"name": "role", "outcome": "failed", "message": "no role"},
			{"name": "manifest", "outcome": "not reached"},
			{"name": "blobs", "outcome": "hidden: you lack read"},
		},
		"authorization": object{"needed": "registries/pull/read", "considered": []object{{"role": "AcrPull", "scope": "/other", "principalId": "p-id", "result": "rejected", "why": "scope does not cover this registry"}}},
		"fix":           []object{{"why": "grant pull on this registry", "command": "fairlead role assign AcrPull --to p-id --on myacr", "az": "az role assignment create"}},
		"alsoWrong":     []object{{"code": "TAG_UNKNOWN", "summary": "no such tag"}},
	}
}
