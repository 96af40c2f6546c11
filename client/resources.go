package client

import (
	"context"
	"strings"
	"time"
)

// Resource is the envelope that every ARM resource has, with properties of type P.
type Resource[P any] struct {
	ID         string            `json:"id,omitempty"`
	Name       string            `json:"name,omitempty"`
	Type       string            `json:"type,omitempty"`
	Kind       string            `json:"kind,omitempty"`
	Location   string            `json:"location,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Identity   *Identities       `json:"identity,omitempty"`
	SKU        *SKU              `json:"sku,omitempty"`
	Properties P                 `json:"properties"`
}

// Group gives the name of the resource group that the resource is in.
func (r Resource[P]) Group() string { return GroupOf(r.ID) }

// GroupOf gives the resource group's name in a resource id, or "".
func GroupOf(id string) string {
	parts := strings.Split(id, "/")
	if len(parts) > 4 && strings.EqualFold(parts[3], "resourceGroups") {
		return parts[4]
	}
	return ""
}

// NameOf gives the last segment of a resource id.
func NameOf(id string) string {
	name, _ := afterLast(id, "/")
	return name
}

// SKU is a price level; it has a meaning only for those who read files written for Azure.
type SKU struct {
	Name string `json:"name"`
	Tier string `json:"tier,omitempty"`
}

// Identities are the managed identities attached to a workload.
type Identities struct {
	Type         string                 `json:"type"` // "SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned", "None"
	PrincipalID  string                 `json:"principalId,omitempty"`
	TenantID     string                 `json:"tenantId,omitempty"`
	UserAssigned map[string]IdentityIDs `json:"userAssignedIdentities,omitempty"` // by resource id
}

// IdentityIDs are the two ids of a managed identity, which differ.
type IdentityIDs struct {
	PrincipalID string `json:"principalId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

// Registry is Microsoft.ContainerRegistry/registries.
type Registry = Resource[RegistryProperties]

// RegistryProperties are what the client reads of a registry.
type RegistryProperties struct {
	LoginServer       string    `json:"loginServer,omitempty"`
	AdminUserEnabled  bool      `json:"adminUserEnabled"`
	CreationDate      time.Time `json:"creationDate,omitzero"`
	ProvisioningState string    `json:"provisioningState,omitempty"`
}

// ManagedIdentity is Microsoft.ManagedIdentity/userAssignedIdentities.
type ManagedIdentity = Resource[ManagedIdentityProperties]

// ManagedIdentityProperties are the ids of a user-assigned identity.
type ManagedIdentityProperties struct {
	TenantID    string `json:"tenantId,omitempty"`
	PrincipalID string `json:"principalId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

// SubtypeFederation is the name under an identity's id of what it trusts.
const SubtypeFederation = "federatedIdentityCredentials"

// Federation is Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials.
type Federation = Resource[FederationProperties]

// FederationProperties say whose tokens a managed identity trusts; all compare exactly.
type FederationProperties struct {
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

// RoleDefinition is Microsoft.Authorization/roleDefinitions.
type RoleDefinition = Resource[RoleDefinitionProperties]

// RoleDefinitionProperties are what the client reads of a role.
type RoleDefinitionProperties struct {
	RoleName    string `json:"roleName"`
	Description string `json:"description"`
	Type        string `json:"type"` // BuiltInRole or CustomRole
}

// RoleAssignment is Microsoft.Authorization/roleAssignments.
type RoleAssignment = Resource[RoleAssignmentProperties]

// RoleAssignmentProperties say who has which role where.
type RoleAssignmentProperties struct {
	RoleDefinitionID string `json:"roleDefinitionId"`
	PrincipalID      string `json:"principalId"`
	PrincipalType    string `json:"principalType,omitempty"`
	Scope            string `json:"scope,omitempty"`
}

// ContainerGroup is Microsoft.ContainerInstance/containerGroups, as far as it is read.
type ContainerGroup = Resource[ContainerGroupProperties]

// ContainerGroupProperties are what the client reads of a container group.
type ContainerGroupProperties struct {
	ProvisioningState string `json:"provisioningState"`
	RestartPolicy     string `json:"restartPolicy"`
	Containers        []struct {
		Name       string `json:"name"`
		Properties struct {
			Image        string         `json:"image"`
			InstanceView *ContainerView `json:"instanceView"`
		} `json:"properties"`
	} `json:"containers"`
	IPAddress *struct {
		IP    string `json:"ip"`
		FQDN  string `json:"fqdn"`
		Ports []struct {
			Port     int    `json:"port"`
			Protocol string `json:"protocol"`
		} `json:"ports"`
	} `json:"ipAddress"`
	InstanceView *struct {
		State string `json:"state"` // Pending, Running, Succeeded, Failed, Stopped
	} `json:"instanceView"`
}

// ContainerView is what is known of a running container.
type ContainerView struct {
	RestartCount  int             `json:"restartCount"`
	CurrentState  *ContainerState `json:"currentState"`
	PreviousState *ContainerState `json:"previousState"`
	Events        []Event         `json:"events"`
}

// Event is something that happened to a container.
type Event struct {
	Name    string    `json:"name"`
	Message string    `json:"message"`
	Last    time.Time `json:"lastTimestamp"`
}

// ContainerState is a state that a container is or was in.
type ContainerState struct {
	State        string    `json:"state"` // Running, Waiting, Terminated
	StartTime    time.Time `json:"startTime"`
	FinishTime   time.Time `json:"finishTime"`
	ExitCode     int       `json:"exitCode"`
	DetailStatus string    `json:"detailStatus"`
}

// Site is Microsoft.Web/sites, as far as it is read.
type Site = Resource[SiteProperties]

// SiteProperties are what the client reads of a web app.
type SiteProperties struct {
	State           string `json:"state"` // Running, Stopped
	DefaultHostName string `json:"defaultHostName"`
	ServerFarmID    string `json:"serverFarmId"`
	SiteConfig      struct {
		LinuxFxVersion string `json:"linuxFxVersion"` // "DOCKER|<image>"
	} `json:"siteConfig"`
}

// Image gives the image that the web app runs.
func (p SiteProperties) Image() string {
	_, image, _ := strings.Cut(p.SiteConfig.LinuxFxVersion, "|")
	return image
}

// Cluster is Microsoft.ContainerService/managedClusters, as far as it is read.
type Cluster = Resource[ClusterProperties]

// ClusterProperties are what the client reads of a managed cluster.
type ClusterProperties struct {
	ProvisioningState string `json:"provisioningState"` // Succeeded and Failed are settled, all others go on
	PowerState        struct {
		Code string `json:"code"` // Running, Stopped
	} `json:"powerState"`
	FQDN              string                     `json:"fqdn"`
	Version           string                     `json:"currentKubernetesVersion"`
	NodeResourceGroup string                     `json:"nodeResourceGroup"`
	Pools             []AgentPool                `json:"agentPoolProfiles"`
	Identities        map[string]ClusterIdentity `json:"identityProfile"`
	Status            *struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"provisioningError"`
	} `json:"status"`
	Fairlead struct {
		Progress string `json:"progress"` // what is waited for, in a few words
	} `json:"fairleadProfile"`
}

// Connected is Microsoft.Kubernetes/connectedClusters, as far as it is read.
type Connected = Resource[ConnectedProperties]

// ConnectedProperties are what the client reads of a cluster that others run.
type ConnectedProperties struct {
	Connectivity string `json:"connectivityStatus"` // Connected, Connecting, Offline
	Version      string `json:"kubernetesVersion"`
	Fairlead     struct {
		Failure string       `json:"failure"` // why it does not answer
		Pulls   []PullSecret `json:"pullSecrets"`
	} `json:"fairleadProfile"`
}

// PullSecret is a pull secret that is kept in a connected cluster.
type PullSecret struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"secretName,omitempty"`
	Accounts  []string  `json:"serviceAccounts,omitempty"`
	Registry  string    `json:"registry"`
	Identity  string    `json:"identity"`
	Expires   time.Time `json:"expires,omitzero"`  // of what is in it
	Failure   string    `json:"failure,omitempty"` // why nothing is
}

// KubeletIdentity is the name of the identity that nodes pull with, among those of a cluster.
const KubeletIdentity = "kubeletidentity"

// ClusterIdentity is an identity of a cluster. The two ids are "" when it has been deleted.
type ClusterIdentity struct {
	ResourceID string `json:"resourceId"`
	ClientID   string `json:"clientId"`
	ObjectID   string `json:"objectId"`
}

// SubtypePool is the name under a cluster's id of its pools of nodes.
const SubtypePool = "agentPools"

// AgentPool is a pool of nodes in a cluster.
type AgentPool struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
	Mode  string `json:"mode"`
}

// Nodes gives how many nodes the cluster has.
func (p ClusterProperties) Nodes() int {
	n := 0
	for _, pool := range p.Pools {
		n += pool.Count
	}
	return n
}

// Settled tells whether nothing is waited for.
func (p ClusterProperties) Settled() bool {
	return p.ProvisioningState == "Succeeded" || p.ProvisioningState == "Failed"
}

// ListOfType reads all resources of a type in the subscription, or in one resource group when group is not "".
func ListOfType[T any](ctx context.Context, c *Client, group, resourceType string) ([]T, error) {
	path := c.SubscriptionID()
	if group != "" {
		path = c.GroupID(group)
	}
	return List[T](ctx, c, path+"/providers/"+resourceType)
}
