package aks

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"fairlead.dev/internal/resource"
)

// The keys of a user's "extra" that the claims of an Entra token become. A key must be a domain with a path.
const (
	extraTenant  = "fairlead.dev/tenant"
	extraClient  = "fairlead.dev/client-id"
	extraTokenID = "fairlead.dev/token-id"
)

type object = map[string]any

// AuthenticationConfiguration gives the API server's file for --authentication-config: whoever has an access token of the
// tenant for the AKS server application is the user whose name and uid are its object id, in lower case, and who is in the
// groups of the claim "groups". Tokens of both versions count. They are verified by what nodeOrigin's login host, which
// nodes can reach and whose certificate is of caPEM, says: nodeOrigin is origin with that domain alone.
//
// The file is apiserver.config.k8s.io/v1, since Kubernetes 1.34. There each issuer and each discoveryURL stands once, a
// discoveryURL is never the issuer's own, and the issuer in what is found there must be the issuer here, letter for letter.
//
// Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration
func AuthenticationConfiguration(origin, nodeOrigin resource.Origin, tenant string, caPEM []byte) []byte {
	login := nodeOrigin.URL(resource.Login) + "/" + tenant
	issuer := func(issuer, discovery, client string) object {
		return object{
			"issuer": object{
				"url": issuer, "discoveryURL": discovery, "certificateAuthority": string(caPEM), "audiences": []string{resource.AzureClusters},
			},
			"claimValidationRules": []object{
				{"claim": "tid", "requiredValue": tenant},
				// No other name, above all none of "system:", can come of a token.
				{"expression": "claims.oid.matches('" + objectIDPattern.String() + "')", "message": "the claim oid is no object id"},
			},
			"claimMappings": object{
				"username": object{"expression": "claims.oid"},
				"uid":      object{"expression": "claims.oid"},
				"groups":   object{"expression": "has(claims.groups) ? dyn(claims.groups).filter(g, g.matches('" + objectIDPattern.String() + "')) : []"},
				"extra": []object{
					{"key": extraTenant, "valueExpression": "claims.tid"},
					{"key": extraClient, "valueExpression": "has(claims." + client + ") ? claims." + client + " : ''"},
					{"key": extraTokenID, "valueExpression": "has(claims.uti) ? claims.uti : ''"},
				},
			},
		}
	}
	return document(object{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
		"jwt": []object{
			issuer(origin.IssuerV1(tenant), login+"/.well-known/openid-configuration", "appid"),
			issuer(origin.Issuer(tenant), login+"/discovery/v2.0/openid-configuration", "azp"),
		},
	})
}

// AuthorizationConfiguration gives the API server's file for --authorization-config: Node, then our webhook, by the
// kubeconfig at an absolute path (see WebhookKubeconfig), then RBAC. The webhook is asked about Entra principals only. It
// stands before RBAC so that it can deny what a principal asks that is disabled or deleted, whatever RoleBindings name it.
// Nothing that it answers is remembered, so that what is taken away in Azure is gone at the next request. While it does not
// answer, the API server goes by its own RBAC.
//
// Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization
func AuthorizationConfiguration(kubeconfig string) []byte {
	return document(object{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
		"authorizers": []object{
			{"type": "Node", "name": "node"},
			{"type": "Webhook", "name": "azure-rbac", "webhook": object{
				"cacheAuthorizedRequests": false, "authorizedTTL": "1s",
				"cacheUnauthorizedRequests": false, "unauthorizedTTL": "1s", // a TTL must be given, though nothing is cached
				"timeout":                    "5s",
				"subjectAccessReviewVersion": "v1",
				"matchConditionSubjectAccessReviewVersion": "v1",
				"failurePolicy":   "NoOpinion",
				"connectionInfo":  object{"type": "KubeConfigFile", "kubeConfigFile": kubeconfig},
				"matchConditions": []object{{"expression": "request.user.matches('" + objectIDPattern.String() + "')"}},
			}},
			{"type": "RBAC", "name": "rbac"},
		},
	})
}

// WebhookKubeconfig gives the file by which a cluster's API server finds a webhook of ours and shows who it is. It holds the
// token: who can read it can ask in the cluster's name.
func WebhookKubeconfig(url string, caPEM []byte, token string) []byte {
	const name = "fairlead"
	return document(object{
		"apiVersion": "v1", "kind": "Config", "current-context": name,
		"clusters": []object{{"name": name, "cluster": object{"server": url, "certificate-authority-data": base64.StdEncoding.EncodeToString(caPEM)}}},
		"users":    []object{{"name": name, "user": object{"token": token}}},
		"contexts": []object{{"name": name, "context": object{"cluster": name, "user": name}}},
	})
}

// AdmissionConfiguration gives the API server's file for --admission-control-config-file: to admission webhooks it shows who
// it is by the kubeconfig at an absolute path (see AdmissionKubeconfig).
//
// Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#authenticate-apiservers
func AdmissionConfiguration(kubeconfig string) []byte {
	return document(object{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
		"plugins": []object{{"name": "MutatingAdmissionWebhook", "configuration": object{
			"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": kubeconfig,
		}}},
	})
}

// AdmissionKubeconfig gives the file that tells an API server what to show to webhooks at the host and port of a URL, and to
// no others.
func AdmissionKubeconfig(url, token string) []byte {
	return document(object{
		"apiVersion": "v1", "kind": "Config",
		"users": []object{{"name": strings.TrimPrefix(url, "https://"), "user": object{"token": token}}},
	})
}

// trustBundle is the name of the ClusterTrustBundle with our authority.
const trustBundle = "fairlead"

// Object is an object to be put into a cluster, and its path in the API.
type Object struct {
	Path string
	Body []byte // JSON
}

// Objects gives what a cluster needs for workload identity: the webhook at url, which changes those pods that ask for it,
// and our authority as a trust bundle, which is what pods mount. The webhook is asked again when another has changed the
// pod; without an answer from it no such pod is made, for it would not work.
func Objects(url string, caPEM []byte) []Object {
	const webhook, registration, certificates = "fairlead-workload-identity", "admissionregistration.k8s.io/v1", "certificates.k8s.io/v1"
	return []Object{
		{"/apis/" + certificates + "/clustertrustbundles/" + trustBundle, document(object{
			"apiVersion": certificates, "kind": "ClusterTrustBundle", "metadata": metadata(trustBundle), "spec": object{"trustBundle": string(caPEM)},
		})},
		{"/apis/" + registration + "/mutatingwebhookconfigurations/" + webhook, document(object{
			"apiVersion": registration, "kind": "MutatingWebhookConfiguration", "metadata": metadata(webhook),
			"webhooks": []object{{
				"name":                    "workload-identity.fairlead.dev",
				"clientConfig":            object{"url": url, "caBundle": base64.StdEncoding.EncodeToString(caPEM)},
				"rules":                   []object{{"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "operations": []string{"CREATE"}, "resources": []string{"pods"}}},
				"objectSelector":          object{"matchLabels": object{labelUse: "true"}},
				"failurePolicy":           "Fail",
				"reinvocationPolicy":      "IfNeeded",
				"sideEffects":             "None",
				"timeoutSeconds":          5,
				"admissionReviewVersions": []string{"v1"},
			}},
		})},
	}
}

func metadata(name string) object {
	return object{"name": name, "labels": object{"app.kubernetes.io/managed-by": "fairlead"}}
}

// document writes a file of Kubernetes' in JSON, which it takes for YAML.
func document(v object) []byte {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("writing a document of constants and strings: %v", err))
	}
	return []byte(out.String())
}
