package aks

// registryTokens is the name of the role by which kubelets get tokens of service accounts for pulling images.
const registryTokens = "fairlead-registry-tokens"

// CredentialProviders gives the kubelet's file for --image-credential-provider-config. For images at these hosts it runs
// the program of that name with args, and shows it a token of the pod's service account for the exchange against one of a
// managed identity, with those annotations of the service account that say which (KEP-4412). What the program answers
// counts for pods of the same service account; a pod without one pulls too.
//
// Source: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1/#kubelet-config-k8s-io-v1-CredentialProviderConfig
func CredentialProviders(program string, args, hosts, annotations []string) []byte {
	return document(object{
		"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
		"providers": []object{{
			"name": program, "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "args": args,
			"matchImages": hosts, "defaultCacheDuration": "10m",
			"tokenAttributes": object{
				"serviceAccountTokenAudience": tokenAudience, "cacheType": "ServiceAccount",
				"requireServiceAccount": false, "optionalServiceAccountAnnotationKeys": annotations,
			},
		}},
	})
}

// CredentialObjects gives what a cluster needs so that its kubelets get those tokens. Without it they do not run the
// program at all.
//
// Source: https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/#service-account-token-for-image-pulls
func CredentialObjects() []Object {
	const group = "rbac.authorization.k8s.io"
	of := func(kind, plural string, more object) Object {
		more["apiVersion"], more["kind"] = group+"/v1", kind
		more["metadata"] = metadata(registryTokens)
		return Object{"/apis/" + group + "/v1/" + plural + "/" + registryTokens, document(more)}
	}
	return []Object{
		of("ClusterRole", "clusterroles", object{
			"rules": []object{{"apiGroups": []string{""}, "resources": []string{tokenAudience}, "verbs": []string{"request-serviceaccounts-token-audience"}}},
		}),
		of("ClusterRoleBinding", "clusterrolebindings", object{
			"roleRef":  object{"apiGroup": group, "kind": "ClusterRole", "name": registryTokens},
			"subjects": []object{{"apiGroup": group, "kind": "Group", "name": "system:nodes"}},
		}),
	}
}
