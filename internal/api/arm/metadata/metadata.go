// Package metadata owns the documents at /metadata/endpoints, from which clients learn where a cloud's services are,
// in the three shapes that clients ask for.
package metadata

import (
	"strings"

	"fairlead.dev/internal/resource"
)

// CloudName is the name that clients know this cloud by.
const CloudName = "Fairlead"

type authentication struct {
	LoginEndpoint    string   `json:"loginEndpoint"`
	Audiences        []string `json:"audiences"`
	Tenant           string   `json:"tenant,omitempty"`
	IdentityProvider string   `json:"identityProvider,omitempty"`
}

type oldest struct {
	Gallery        string         `json:"galleryEndpoint"`
	Graph          string         `json:"graphEndpoint"`
	Portal         string         `json:"portalEndpoint"`
	Authentication authentication `json:"authentication"`
}

type cloud struct {
	Name            string            `json:"name"`
	Portal          string            `json:"portal"`
	Authentication  authentication    `json:"authentication"`
	ResourceManager string            `json:"resourceManager"`
	Graph           string            `json:"graph"`
	GraphAudience   string            `json:"graphAudience"`
	MicrosoftGraph  string            `json:"microsoftGraphResourceId"`
	Gallery         string            `json:"gallery"`
	Batch           string            `json:"batch"`
	Media           string            `json:"media"`
	SQLManagement   string            `json:"sqlManagement"`
	ImageAliasDoc   string            `json:"vmImageAliasDoc"`
	DataLake        string            `json:"activeDirectoryDataLake"`
	AppInsights     string            `json:"appInsightsResourceId"`
	Telemetry       string            `json:"appInsightsTelemetryChannelResourceId"`
	Attestation     string            `json:"attestationResourceId"`
	Synapse         string            `json:"synapseAnalyticsResourceId"`
	LogAnalytics    string            `json:"logAnalyticsResourceId"`
	Databases       string            `json:"ossrDbmsResourceId"`
	Suffixes        map[string]string `json:"suffixes"`
}

// Document gives the document of an api-version: the shape of 2015-01-01, the list of 2019-05-01, or the one cloud of
// 2022-09-01 for this and any other version. Azure says "common" for the tenant; here there is one, and a client that
// signs in learns it from here. All names in it lie under o's first domain.
func Document(o resource.Origin, tenant, version string) any {
	arm := o.URL(resource.ARM)
	// The path "adfs" keeps clients from asking Azure's own instance discovery about our login host.
	sign := authentication{LoginEndpoint: o.URL(resource.Login) + "/adfs", Audiences: []string{arm + "/", arm}}
	switch {
	case version < "2019":
		return oldest{Gallery: arm + "/", Graph: o.URL(resource.Graph) + "/", Portal: o.URL(resource.Portal), Authentication: sign}
	case version < "2020":
		return []cloud{describe(o, tenant, sign)}
	}
	return describe(o, tenant, sign)
}

func describe(o resource.Origin, tenant string, sign authentication) cloud {
	arm, graph := o.URL(resource.ARM), o.URL(resource.Graph)
	sign.Tenant, sign.IdentityProvider = tenant, "AAD"
	c := cloud{
		Name: CloudName, Portal: o.URL(resource.Portal), Authentication: sign, ResourceManager: arm + "/",
		Graph: graph + "/", GraphAudience: graph + "/", MicrosoftGraph: graph + "/", Gallery: arm + "/",
		Suffixes: map[string]string{"acrLoginServer": strings.TrimPrefix(o.RegistrySuffix(), ".")},
	}
	// Services that do not exist here still have to have a name for clients to read the document.
	for name, label := range map[string]string{
		"storage": "core", "keyVaultDns": "vault", "mhsmDns": "managedhsm", "sqlServerHostname": "database",
		"azureDataLakeStoreFileSystem": "datalakestore", "azureDataLakeAnalyticsCatalogAndJob": "datalakeanalytics",
		"azureFrontDoorEndpointSuffix": "frontdoor", "storageSyncEndpointSuffix": "storagesync", "mysqlServerEndpoint": "mysql",
		"postgresqlServerEndpoint": "postgres", "mariadbServerEndpoint": "mariadb", "synapseAnalytics": "synapse", "attestationEndpoint": "attest",
	} {
		c.Suffixes[name] = label + "." + o.Domain()
	}
	return c
}
