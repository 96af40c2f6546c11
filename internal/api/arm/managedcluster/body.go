// Package managedcluster owns how a managed Kubernetes cluster is written on the wire
// (Microsoft.ContainerService/managedClusters and the agent pools beneath): the fields that a body may hold, what is kept of
// one, the cluster that it asks for, and how clients read it. It does no I/O; storing and authorising are the pipeline's.
package managedcluster

import "fairlead.dev/internal/api/arm/schema"

// Properties gives the fields of "properties". What has no counterpart here and changes nothing that anybody could notice
// is taken and shown again, or passed over; what would change who reaches the cluster, or what runs in it, is refused.
//
// Source: https://learn.microsoft.com/rest/api/aks/managed-clusters/create-or-update
func Properties() schema.Field {
	return schema.Obj("properties",
		schema.Texts("kubernetesVersion", "dnsPrefix", "nodeResourceGroup"),
		schema.Bools("enableRBAC", "disableLocalAccounts"),
		schema.Anys(echoed()...),
		// What Azure answers, and clients send back.
		schema.Anys("provisioningState", "powerState", "status", "currentKubernetesVersion", "fqdn", "azurePortalFQDN", "privateFQDN", "maxAgentPools",
			"resourceUID", "privateLinkResources", "windowsProfile", "autoScalerProfile", "hostedSystemProfile", "schedulerProfile", "eTag"),
		schema.Absents("fqdnSubdomain", "addonProfiles", "podIdentityProfile", "apiServerAccessProfile", "diskEncryptionSetID", "httpProxyConfig",
			"ingressProfile", "workloadAutoScalerProfile", "azureMonitorProfile", "aiToolchainOperatorProfile", "creationData", "guardrailsProfile",
			"safeguardsProfile", "enablePodSecurityPolicy", "enableNamespaceResources"),
		[]schema.Field{
			schema.ListOf("agentPoolProfiles", pool("", schema.Texts("name"))),
			schema.MapOf("identityProfile", schema.Obj("", schema.Texts("resourceId", "clientId", "objectId"))),
			schema.Obj("servicePrincipalProfile", []schema.Field{schema.Refused("clientId", "msi")}, schema.Absents("secret")),
			network(), aad(), security(),
			schema.Obj("oidcIssuerProfile", schema.Bools("enabled"), schema.Texts("issuerURL")),
			schema.Obj("serviceMeshProfile", []schema.Field{schema.Refused("mode", "Disabled")}, schema.Absents("istio")),
			schema.Obj("nodeProvisioningProfile", []schema.Field{schema.Refused("mode", "Manual")}, schema.Anys("defaultNodePools")),
			schema.Obj("nodeResourceGroupProfile", []schema.Field{schema.Refused("restrictionLevel", "Unrestricted")}),
			schema.Obj("bootstrapProfile", []schema.Field{schema.Refused("artifactSource", "Direct")}, schema.Absents("containerRegistryId")),
			schema.Refused("publicNetworkAccess", "Enabled"),
			schema.Obj("fairleadProfile", schema.Texts("imagePullCredentialsVerificationPolicy", "progress")),
		})
}

// PoolProperties gives the fields of "properties" of an agent pool by itself.
func PoolProperties() schema.Field { return pool("properties") }

func pool(name string, more ...[]schema.Field) schema.Field {
	return schema.Obj(name, append(more,
		schema.Texts("vmSize", "orchestratorVersion", "mode"), schema.Numbers("count"), schema.Anys(poolEchoed()...),
		schema.Anys("provisioningState", "powerState", "currentOrchestratorVersion", "nodeImageVersion", "eTag", "status", "creationData", "spotMaxPrice"),
		schema.Absents("enableAutoScaling", "minCount", "maxCount", "enableNodePublicIP", "nodePublicIPPrefixID", "nodeTaints", "nodeInitializationTaints",
			"vnetSubnetID", "podSubnetID", "enableFIPS", "enableEncryptionAtHost", "enableUltraSSD", "kubeletConfig", "linuxOSConfig", "proximityPlacementGroupID",
			"hostGroupID", "capacityReservationGroupID", "gpuInstanceProfile", "gpuProfile", "messageOfTheDay", "windowsProfile", "networkProfile",
			"virtualMachinesProfile", "virtualMachineNodesStatus", "localDNSProfile"),
		[]schema.Field{
			schema.Refused("osType", "Linux"), schema.Refused("type", "VirtualMachineScaleSets"), schema.Refused("scaleSetPriority", "Regular"),
			schema.Refused("scaleSetEvictionPolicy", "Delete"), schema.Refused("workloadRuntime", "OCIContainer"),
			schema.MapOf("nodeLabels", schema.Field{Kind: schema.String}),
		})...)
}

func network() schema.Field {
	return schema.Obj("networkProfile",
		schema.Texts("podCidr", "serviceCidr", "dnsServiceIP", "networkPlugin", "networkPluginMode", "podLinkLocalAccess"),
		schema.Anys("podCidrs", "serviceCidrs", "loadBalancerSku", "loadBalancerProfile", "dockerBridgeCidr", "networkMode"),
		schema.Absents("natGatewayProfile", "advancedNetworking", "kubeProxyConfig", "staticEgressGatewayProfile"),
		[]schema.Field{
			schema.Refused("networkPolicy", "none"), schema.Refused("networkDataplane", "azure"), schema.Refused("outboundType", "loadBalancer", "none"),
			schema.Refused("ipFamilies", "IPv4"),
		})
}

func aad() schema.Field {
	return schema.Obj("aadProfile", schema.Bools("managed", "enableAzureRBAC"), schema.Texts("tenantID"),
		schema.Absents("adminGroupObjectIDs", "clientAppID", "serverAppID", "serverAppSecret"))
}

func security() schema.Field {
	return schema.Obj("securityProfile",
		[]schema.Field{
			schema.Obj("workloadIdentity", schema.Bools("enabled")),
			schema.Obj("imageCleaner", schema.Absents("enabled"), schema.Anys("intervalHours")),
		},
		schema.Absents("defender", "azureKeyVaultKms", "customCATrustCertificates", "imageIntegrity", "nodeRestriction", "kubernetesResourceObjectEncryptionProfile"))
}

// echoed are the properties that have no effect here and are shown as they were given.
func echoed() []string {
	return []string{"autoUpgradeProfile", "linuxProfile", "metricsProfile", "storageProfile", "supportPlan", "upgradeSettings"}
}

// poolEchoed are those of an agent pool: what machines its nodes would be.
func poolEchoed() []string {
	return []string{
		"availabilityZones", "gatewayProfile", "kubeletDiskType", "maxPods", "osDiskSizeGB", "osDiskType", "osSKU", "podIPAllocationMode", "scaleDownMode",
		"securityProfile", "tags", "upgradeSettings", "upgradeStrategy", "upgradeSettingsBlueGreen", "artifactStreamingProfile",
	}
}
