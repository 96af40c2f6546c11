package access

import "fairlead.dev/internal/resource"

// BuiltIn gives the built-in roles, with Azure's own ids and actions.
//
// Source: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
func BuiltIn() []RoleDefinition {
	return append(clusterRoles(), []RoleDefinition{
		builtIn("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner",
			"Grants full access to manage all resources, including the ability to assign roles in Azure RBAC.",
			Permission{Actions: []string{"*"}}),
		builtIn("b24988ac-6180-42a0-ab88-20f7382dd24c", "Contributor",
			"Grants full access to manage all resources, but does not allow you to assign roles in Azure RBAC, manage assignments in Azure Blueprints, or share image galleries.",
			Permission{Actions: []string{"*"}, NotActions: []string{
				"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
				"Microsoft.Blueprint/blueprintAssignments/write", "Microsoft.Blueprint/blueprintAssignments/delete",
				"Microsoft.Compute/galleries/share/action", "Microsoft.Purview/consents/write", "Microsoft.Purview/consents/delete",
				"Microsoft.Resources/deploymentStacks/manageDenySetting/action",
				"Microsoft.Subscription/cancel/action", "Microsoft.Subscription/enable/action",
			}}),
		builtIn("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader",
			"View all resources, but does not allow you to make any changes.",
			Permission{Actions: []string{"*/read"}}),
		builtIn("18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", "User Access Administrator",
			"Lets you manage user access to Azure resources.",
			Permission{Actions: []string{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"}}),
		builtIn("f1a07417-d97a-45cb-824c-7a7467783830", "Managed Identity Operator",
			"Read and Assign User Assigned Identity",
			Permission{Actions: managed(
				"Microsoft.ManagedIdentity/userAssignedIdentities/*/read",
				"Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action")}),
		builtIn("e40ec5ca-96e0-45a2-b4ff-59039f2c2b59", "Managed Identity Contributor",
			"Create, Read, Update, and Delete User Assigned Identity",
			Permission{Actions: managed(
				"Microsoft.ManagedIdentity/userAssignedIdentities/read",
				"Microsoft.ManagedIdentity/userAssignedIdentities/write",
				"Microsoft.ManagedIdentity/userAssignedIdentities/delete",
				"Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/read",
				"Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write",
				"Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/delete",
				"Microsoft.ManagedIdentity/userAssignedIdentities/revokeTokens/action")}),
		builtIn("7f951dda-4ed3-4680-a7ca-43fe172d538d", "AcrPull", "acr pull", Permission{Actions: []string{actionPull}}),
		builtIn("8311e382-0749-4cb8-b61a-304f252e45ec", "AcrPush", "acr push", Permission{Actions: []string{actionPull, actionPush}}),
		builtIn("c2f4ef07-c644-48eb-af81-4b1b4947fb11", "AcrDelete", "acr delete", Permission{Actions: []string{actionDelete}}),
		builtIn("6cef56e8-d556-48e5-a04f-b8e64114680f", "AcrImageSigner", "acr image signer", Permission{
			Actions:     []string{"Microsoft.ContainerRegistry/registries/sign/write"},
			DataActions: []string{"Microsoft.ContainerRegistry/registries/trustedCollections/write"},
		}),
		builtIn("b93aa761-3e63-49ed-ac28-beffa264f7ac", "Container Registry Repository Reader",
			"Allows for read access to Azure Container Registry repositories, but excluding catalog listing.",
			repositories("read")),
		builtIn("2a1e307c-b015-4ebd-883e-5b7698a07328", "Container Registry Repository Writer",
			"Allows for read and write access to Azure Container Registry repositories, but excluding catalog listing.",
			repositories("read", "write")),
		builtIn("2efddaa5-3f1f-4df3-97df-af3f13818f4c", "Container Registry Repository Contributor",
			"Allows for read, write, and delete access to Azure Container Registry repositories, but excluding catalog listing.",
			repositories("read", "write", "delete")),
		builtIn("bfdb9389-c9a5-478a-bb2f-ba9ca092c3c7", "Container Registry Repository Catalog Lister",
			"Allows for listing all repositories in an Azure Container Registry.",
			Permission{DataActions: []string{actionCatalog}}),
	}...)
}

// The actions on a registry's content, as Azure's roles have them.
const (
	actionPull    = "Microsoft.ContainerRegistry/registries/pull/read"
	actionPush    = "Microsoft.ContainerRegistry/registries/push/write"
	actionDelete  = "Microsoft.ContainerRegistry/registries/artifacts/delete"
	actionCatalog = "Microsoft.ContainerRegistry/registries/catalog/read"
	repository    = "Microsoft.ContainerRegistry/registries/repositories/"
)

func builtIn(guid, name, description string, p Permission) RoleDefinition {
	return RoleDefinition{
		ID: RoleID(guid), GUID: guid, Name: name, Description: description, BuiltIn: true,
		Permissions: []Permission{p}, AssignableScopes: []resource.ID{resource.Root},
	}
}

// managed gives what the roles for managed identities share.
func managed(actions ...string) []string {
	return append(actions, "Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*",
		"Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Resources/deployments/*", "Microsoft.Support/*")
}

func repositories(verbs ...string) Permission {
	var p Permission
	for _, verb := range verbs {
		p.DataActions = append(p.DataActions, repository+"metadata/"+verb, repository+"content/"+verb)
	}
	return p
}

// registryContent is what the admin user of a registry may do with its content.
func registryContent() Permission {
	return Permission{Actions: []string{actionPull, actionPush, actionDelete}, DataActions: []string{repository + "*", actionCatalog}}
}
