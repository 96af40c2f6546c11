package site

import (
	"encoding/json"
	"fmt"
	"time"
)

// View is what a client reads of a site besides what was put.
type View struct {
	Name, Group string
	Hostname    string
	Stopped     bool
	SKU         string // of the plan; clients fail without one
	Changed     time.Time
}

// Encode gives the properties of a site for a client.
func (s Site) Encode(v View) map[string]any {
	state := "Running"
	if v.Stopped {
		state = "Stopped"
	}
	or := func(b *bool, otherwise bool) bool {
		if b == nil {
			return otherwise
		}
		return *b
	}
	vault := "SystemAssigned"
	if s.VaultReader != nil && *s.VaultReader != "" {
		vault = *s.VaultReader
	}
	return map[string]any{
		"name": v.Name, "state": state, "hostNames": []string{v.Hostname}, "repositorySiteName": v.Name, "usageState": "Normal",
		"enabled": or(s.Enabled, true), "enabledHostNames": []string{v.Hostname}, "availabilityState": "Normal",
		"hostNameSslStates": []map[string]any{{"name": v.Hostname, "sslState": "Disabled", "hostType": "Standard"}},
		"serverFarmId":      s.Plan, "reserved": true, "isXenon": false, "hyperV": false, "lastModifiedTimeUtc": v.Changed.Format(time.RFC3339Nano),
		"siteConfig": s.EncodeConfig(), "sku": v.SKU, "defaultHostName": v.Hostname, "resourceGroup": v.Group,
		"httpsOnly": or(s.HTTPSOnly, false), "clientAffinityEnabled": or(s.Affinity, false), "clientCertEnabled": false, "clientCertMode": "Required",
		"scmSiteAlsoStopped": false, "containerSize": 0, "dailyMemoryTimeQuota": 0, "redundancyMode": "None", "publicNetworkAccess": "Enabled",
		"storageAccountRequired": false, "keyVaultReferenceIdentity": vault, "outboundIpAddresses": "", "possibleOutboundIpAddresses": "",
		"customDomainVerificationId": "", "virtualNetworkSubnetId": nil, "hostNamesDisabled": false,
	}
}

// EncodeConfig gives siteConfig with its true values: clients read a site, change a field and put all of it back.
func (s Site) EncodeConfig() map[string]any {
	out := map[string]any{
		"linuxFxVersion": "", "appCommandLine": "", "acrUseManagedIdentityCreds": false, "acrUserManagedIdentityID": nil, "alwaysOn": false,
		"numberOfWorkers": 1, "http20Enabled": true, "webSocketsEnabled": true, "ftpsState": "Disabled", "minTlsVersion": "1.2", "scmMinTlsVersion": "1.2",
		"httpLoggingEnabled": true, "detailedErrorLoggingEnabled": false, "requestTracingEnabled": false, "use32BitWorkerProcess": false,
		"managedPipelineMode": "Integrated", "loadBalancing": "LeastRequests", "localMySqlEnabled": false, "autoHealEnabled": false,
		"remoteDebuggingEnabled": false, "vnetRouteAllEnabled": false, "scmIpSecurityRestrictionsUseMain": false, "defaultDocuments": []string{},
		"ipSecurityRestrictionsDefaultAction": "Allow", "scmIpSecurityRestrictionsDefaultAction": "Allow", "scmType": "None",
	}
	for name, v := range s.Config {
		out[name] = v
	}
	return out
}

// EncodeSettings gives the app settings in the clear, for those who may list them.
func (s Site) EncodeSettings() map[string]string {
	out := make(map[string]string, len(s.Settings))
	for name, v := range s.Settings {
		out[name] = v.Reveal()
	}
	return out
}

// EncodeConnections gives the connection strings in the clear, for those who may list them.
func (s Site) EncodeConnections() any {
	out := make(map[string]sealedConnection, len(s.Connections))
	for name, c := range s.Connections {
		out[name] = sealedConnection{c.Value.Reveal(), c.Type}
	}
	return out
}

// PublishProfiles gives the document that clients read where to publish to: nowhere, as apps here are images only.
func PublishProfiles(name, hostname string) string {
	profile := func(method string) string {
		return fmt.Sprintf(`<publishProfile profileName="%s - %s" publishMethod="%s" publishUrl="" userName="$%s" userPWD="" destinationAppUrl="https://%s"/>`, name, method, method, name, hostname)
	}
	return "<publishData>" + profile("MSDeploy") + profile("FTP") + "</publishData>"
}

// Default gives what config/<name> is as long as nobody has put it; false when there is no such thing.
func Default(name string) (json.RawMessage, bool) {
	d, ok := map[string]string{
		"slotconfignames": `{"connectionStringNames":null,"appSettingNames":null,"azureStorageConfigNames":null}`,
		"logs": `{"applicationLogs":{"fileSystem":{"level":"Off"}},"httpLogs":{"fileSystem":{"retentionInMb":35,"retentionInDays":null,"enabled":true},` +
			`"azureBlobStorage":{"sasUrl":null,"retentionInDays":null,"enabled":false}},"failedRequestsTracing":{"enabled":false},"detailedErrorMessages":{"enabled":false}}`,
		"metadata": `{}`,
	}[name]
	return json.RawMessage(d), ok
}
