package access

import "strings"

// ClusterActions is what the actions on a managed cluster, and the data actions on the objects in it, begin with.
const ClusterActions = "Microsoft.ContainerService/managedClusters/"

// clusterRoles gives the roles for managed clusters: three for the resource, four for what the Kubernetes API of a cluster
// serves, at the cluster or at one namespace beneath it.
//
// Source: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/containers, sections "Azure
// Kubernetes Service …" (kept as articles/role-based-access-control/built-in-roles/containers.md in
// github.com/MicrosoftDocs/azure-docs); each list stands there under the same name.
func clusterRoles() []RoleDefinition {
	const user = ClusterActions + "listClusterUserCredential/action"
	everything := []string{ClusterActions + "*"}
	return []RoleDefinition{
		builtIn("4abbcc35-e782-43d8-92c5-2d3f1bd2253f", "Azure Kubernetes Service Cluster User Role",
			"List cluster user credential action.",
			Permission{Actions: []string{user, ClusterActions + "read"}}),
		builtIn("0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8", "Azure Kubernetes Service Cluster Admin Role",
			"List cluster admin credential action.",
			Permission{Actions: []string{
				ClusterActions + "listClusterAdminCredential/action", ClusterActions + "accessProfiles/listCredential/action", ClusterActions + "read", ClusterActions + "runcommand/action",
			}}),
		builtIn("ed7f3fbd-7b88-4dd4-9017-9adb7ce333f8", "Azure Kubernetes Service Contributor Role",
			"Grants access to read and write Azure Kubernetes Service clusters",
			Permission{Actions: []string{
				"Microsoft.Authorization/*/read", "Microsoft.ContainerService/locations/*", ClusterActions + "*",
				"Microsoft.ContainerService/managedclustersnapshots/*", "Microsoft.ContainerService/snapshots/*",
				"Microsoft.Insights/alertRules/*", "Microsoft.Resources/deployments/*", "Microsoft.Resources/subscriptions/resourceGroups/read",
			}}),
		builtIn("7f6c6a51-bcf8-42ba-9220-52d62157d7db", "Azure Kubernetes Service RBAC Reader",
			"Allows read-only access to see most objects in a namespace. It does not allow viewing roles or role bindings. This role does not allow viewing Secrets, since reading the contents of Secrets enables access to ServiceAccount credentials in the namespace, which would allow API access as any ServiceAccount in the namespace (a form of privilege escalation). Applying this role at cluster scope will give access across all namespaces.",
			Permission{Actions: clusterActions(), DataActions: clusterReads()}),
		builtIn("a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb", "Azure Kubernetes Service RBAC Writer",
			"Allows read/write access to most objects in a namespace.This role does not allow viewing or modifying roles or role bindings. However, this role allows accessing Secrets and running Pods as any ServiceAccount in the namespace, so it can be used to gain the API access levels of any ServiceAccount in the namespace. Applying this role at cluster scope will give access across all namespaces.",
			Permission{Actions: clusterActions(), DataActions: clusterWrites()}),
		builtIn("3498e952-d568-435e-9b2c-8d77e338d7f7", "Azure Kubernetes Service RBAC Admin",
			"Lets you manage all resources under cluster/namespace, except update or delete resource quotas and namespaces.",
			Permission{Actions: clusterActions(user), DataActions: everything, NotDataActions: []string{
				ClusterActions + "resourcequotas/write", ClusterActions + "resourcequotas/delete", ClusterActions + "namespaces/write", ClusterActions + "namespaces/delete",
			}}),
		builtIn("b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b", "Azure Kubernetes Service RBAC Cluster Admin",
			"Lets you manage all resources in the cluster.",
			Permission{Actions: clusterActions(user), DataActions: everything}),
	}
}

// clusterActions gives the actions that the roles for a cluster's objects share, and then more.
func clusterActions(more ...string) []string {
	return append([]string{
		"Microsoft.Authorization/*/read", "Microsoft.Resources/subscriptions/operationresults/read",
		"Microsoft.Resources/subscriptions/read", "Microsoft.Resources/subscriptions/resourceGroups/read",
	}, more...)
}

// clusterReads gives the data actions of the RBAC Reader.
func clusterReads() []string {
	return inCluster(`
		apps/controllerrevisions/read apps/daemonsets/read apps/deployments/read apps/replicasets/read apps/statefulsets/read
		autoscaling/horizontalpodautoscalers/read batch/cronjobs/read batch/jobs/read configmaps/read
		discovery.k8s.io/endpointslices/read endpoints/read events.k8s.io/events/read events/read
		extensions/daemonsets/read extensions/deployments/read extensions/ingresses/read extensions/networkpolicies/read extensions/replicasets/read
		limitranges/read metrics.k8s.io/pods/read metrics.k8s.io/nodes/read namespaces/read
		networking.k8s.io/ingresses/read networking.k8s.io/networkpolicies/read persistentvolumeclaims/read pods/read
		policy/poddisruptionbudgets/read replicationcontrollers/read resourcequotas/read serviceaccounts/read services/read`)
}

// clusterWrites gives the data actions of the RBAC Writer.
func clusterWrites() []string {
	return inCluster(`
		apps/controllerrevisions/read apps/daemonsets/* apps/deployments/* apps/replicasets/* apps/statefulsets/*
		autoscaling/horizontalpodautoscalers/* batch/cronjobs/*
		coordination.k8s.io/leases/read coordination.k8s.io/leases/write coordination.k8s.io/leases/delete
		discovery.k8s.io/endpointslices/read batch/jobs/* configmaps/* endpoints/* events.k8s.io/events/read events/*
		extensions/daemonsets/* extensions/deployments/* extensions/ingresses/* extensions/networkpolicies/* extensions/replicasets/*
		limitranges/read metrics.k8s.io/pods/read metrics.k8s.io/nodes/read namespaces/read
		networking.k8s.io/ingresses/* networking.k8s.io/networkpolicies/* persistentvolumeclaims/* pods/*
		policy/poddisruptionbudgets/* replicationcontrollers/* resourcequotas/read secrets/* serviceaccounts/* services/*`)
}

func inCluster(list string) []string {
	var actions []string
	for action := range strings.FieldsSeq(list) {
		actions = append(actions, ClusterActions+action)
	}
	return actions
}
