package arm

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/resource"
)

const (
	clusters    = group + "/providers/Microsoft.ContainerService/managedClusters/"
	devCluster  = clusters + "dev"
	clusterBody = `{"location":"westus2","properties":{"dnsPrefix":"dev","agentPoolProfiles":[{"name":"nodepool1","count":1,"mode":"System"}]}}`
	ownGroup    = sub + "/resourceGroups/MC_rg_dev_westus2"
	ownIdentity = ownGroup + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/dev-agentpool"
)

// editCluster gives the body with a property more, or in the place of another.
func editCluster(properties string) string {
	return strings.Replace(clusterBody, `"properties":{`, `"properties":{`+properties+`,`, 1)
}

// withCluster makes a cluster that runs.
func (w *world) withCluster() *world {
	w.t.Helper()
	w.group()
	if last := w.finish(w.want(http.StatusCreated, "PUT", devCluster, clusterBody)); last.text("status") != "Succeeded" {
		w.t.Fatal(last.raw)
	}
	return w
}

// kubeconfigOf gives the one document of an answer, and its name.
func (w *world) kubeconfigOf(a answer) (name, document string) {
	w.t.Helper()
	text, err := base64.StdEncoding.DecodeString(a.text("kubeconfigs.0.value"))
	if a.status != http.StatusOK || err != nil || a.at("kubeconfigs.1") != nil {
		w.t.Fatalf("%d %s: %v", a.status, a.raw, err)
	}
	return a.text("kubeconfigs.0.name"), string(text)
}

func TestClusterBodies(t *testing.T) {
	w := newWorld(t).group()
	release := w.machine.Hold()
	made := w.do("PUT", devCluster, clusterBody)
	w.eventually("the machine is at it", func() bool {
		return w.do("GET", devCluster, "").text("properties.fairleadProfile.progress") == "starting"
	})
	w.golden("cluster-creating", w.do("GET", devCluster, ""))
	w.golden("cluster-not-yet", w.do("POST", devCluster+"/listClusterUserCredential", ""))
	release()
	w.golden("cluster-operation", w.finish(made))
	w.golden("cluster", w.do("GET", strings.ToUpper(devCluster), ""))
	w.golden("cluster-list", w.do("GET", strings.TrimSuffix(clusters, "/"), ""))
	w.golden("cluster-pools", w.do("GET", devCluster+"/agentPools", ""))
	w.golden("cluster-pool", w.do("GET", devCluster+"/agentPools/NodePool1", ""))
	w.golden("cluster-own-group", w.do("GET", ownGroup, ""))
	if a := w.do("GET", sub+"/providers/Microsoft.ContainerService/managedClusters", ""); a.text("value.0.name") != "dev" {
		t.Error(a.raw)
	}
	for _, path := range []string{sub + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities", ownGroup + "/resources"} {
		if a := w.do("GET", path, ""); a.text("value.0.name") != "dev-agentpool" {
			t.Errorf("%s: %s", path, a.raw)
		}
	}
}

func TestClusterRefusals(t *testing.T) {
	w := newWorld(t).withCluster()
	for _, c := range []struct{ name, path, body string }{
		{"name", clusters + "de%20v", clusterBody},
		{"no-prefix", clusters + "b", strings.Replace(clusterBody, `"dnsPrefix":"dev",`, "", 1)},
		{"prefix", clusters + "b", strings.Replace(clusterBody, `"dnsPrefix":"dev"`, `"dnsPrefix":"-dev"`, 1)},
		{"prefix-changed", devCluster, strings.Replace(clusterBody, `"dnsPrefix":"dev"`, `"dnsPrefix":"prod"`, 1)},
		{"range-changed", devCluster, editCluster(`"networkProfile":{"podCidr":"10.245.0.0/16"}`)},
		{"range", clusters + "b", editCluster(`"networkProfile":{"podCidr":"10.245.0.0"}`)},
		{"ranges", clusters + "b", editCluster(`"networkProfile":{"podCidr":"10.0.0.0/15"}`)},
		{"ranges-differ", clusters + "b", editCluster(`"networkProfile":{"podCidr":"10.1.0.0/16","podCidrs":["10.2.0.0/16"]}`)},
		{"dns-service", clusters + "b", editCluster(`"networkProfile":{"dnsServiceIP":"10.0.0.11"}`)},
		{"network-policy", clusters + "b", editCluster(`"networkProfile":{"networkPolicy":"calico"}`)},
		{"link-local", clusters + "b", editCluster(`"networkProfile":{"podLinkLocalAccess":"imds"}`)},
		{"version", clusters + "b", editCluster(`"kubernetesVersion":"1.30"`)},
		{"no-pools", clusters + "b", `{"location":"westus2","properties":{"dnsPrefix":"b"}}`},
		{"pool-name", clusters + "b", strings.Replace(clusterBody, "nodepool1", "Node-Pool", 1)},
		{"pool-user", clusters + "b", strings.Replace(clusterBody, `"System"`, `"User"`, 1)},
		{"pool-mode", clusters + "b", strings.Replace(clusterBody, `"System"`, `"Master"`, 1)},
		{"pool-count", clusters + "b", strings.Replace(clusterBody, `"count":1`, `"count":0`, 1)},
		{"pool-many", clusters + "b", strings.Replace(clusterBody, `"count":1`, `"count":5`, 1)},
		{"pool-first", devCluster, strings.Replace(clusterBody, "nodepool1", "other", 1)},
		{"pool-scaling", clusters + "b", strings.Replace(clusterBody, `"count":1`, `"count":1,"enableAutoScaling":true`, 1)},
		{"pool-windows", clusters + "b", strings.Replace(clusterBody, `"count":1`, `"count":1,"osType":"Windows"`, 1)},
		{"pool-version", clusters + "b", strings.Replace(clusterBody, `"count":1`, `"count":1,"orchestratorVersion":"1.30.1"`, 1)},
		{"rbac", clusters + "b", editCluster(`"enableRBAC":false`)},
		{"aad", clusters + "b", editCluster(`"aadProfile":{"managed":true,"enableAzureRBAC":false}`)},
		{"aad-legacy", clusters + "b", editCluster(`"aadProfile":{"tenantID":"x"}`)},
		{"aad-tenant", clusters + "b", editCluster(`"aadProfile":{"managed":true,"tenantID":"x"}`)},
		{"principal", clusters + "b", editCluster(`"servicePrincipalProfile":{"clientId":"0b0d4a96-0f5b-4a5c-9f8d-0a5a5a5a5a5a","secret":"s"}`)},
		{"addon", clusters + "b", editCluster(`"addonProfiles":{"omsagent":{"enabled":true}}`)},
		{"verify", clusters + "b", editCluster(`"fairleadProfile":{"imagePullCredentialsVerificationPolicy":"Sometimes"}`)},
		{"identity-other", clusters + "b", editCluster(`"identityProfile":{"other":{"resourceId":"` + ownIdentity + `"}}`)},
		{"identity-id", clusters + "b", editCluster(`"identityProfile":{"kubeletidentity":{"resourceId":"/subscriptions/x"}}`)},
		{"identity-unknown", clusters + "b", editCluster(`"identityProfile":{"kubeletidentity":{"resourceId":"` + identities + `nobody"}}`)},
		{"node-group", clusters + "b", editCluster(`"nodeResourceGroup":"rg"`)},
		{"region", clusters + "b", strings.Replace(clusterBody, "westus2", "west_us", 1)},
		{"sku", clusters + "b", strings.Replace(clusterBody, `"location"`, `"sku":{"name":"Automatic"},"location"`, 1)},
		{"workload-identity", clusters + "b", editCluster(`"oidcIssuerProfile":{"enabled":false}`)},
	} {
		w.golden("cluster-"+c.name, w.do("PUT", c.path, c.body))
	}
	w.golden("cluster-typo", w.do("PUT", clusters+"b", editCluster(`"dnsPrefx":"b"`), "x-fairlead-strict: true"))
	w.want(http.StatusNotFound, "GET", clusters+"b", "")
	w.want(http.StatusNotFound, "GET", sub+"/resourceGroups/MC_rg_b_westus2", "")
	w.want(http.StatusOK, "GET", group, "")
	w.machine.Fail("check", cluster.ErrProgramMissing)
	w.golden("cluster-no-program", w.do("PUT", clusters+"b", clusterBody))
}

func TestClusterCredentials(t *testing.T) {
	w := newWorld(t).withCluster()
	id := resource.MustParseID(devCluster)
	user := w.principal("Azure Kubernetes Service Cluster User Role", id)
	admin := w.principal("Azure Kubernetes Service Cluster Admin Role", id)
	const listUser, listAdmin = devCluster + "/listClusterUserCredential" + version, devCluster + "/listClusterAdminCredential" + version
	if a := w.as(user, "POST", listAdmin, ""); a.status != http.StatusForbidden {
		t.Errorf("a user got the administrator's: %d %s", a.status, a.raw)
	}
	if a := w.as(admin, "POST", listUser, ""); a.status != http.StatusForbidden {
		t.Errorf("a Cluster Admin lists what a user may: %d %s", a.status, a.raw)
	}
	host := cluster.Key(id)[:8] + ".hcp.westus2.aks.fairlead."
	name, document := w.kubeconfigOf(w.as(user, "POST", listUser, ""))
	for _, part := range []string{"server: https://127.0.0.1:8443", "tls-server-name: dev-" + host + "localhost", "- --tenant-id\n      - " + testTenant, "clusterUser_rg_dev"} {
		if name != "clusterUser" || !strings.Contains(document, part) {
			t.Errorf("%s: no %q in\n%s", name, part, document)
		}
	}
	w.host = "management.fairlead.internal:8443"
	name, document = w.kubeconfigOf(w.as(admin, "POST", listAdmin, ""))
	for _, part := range []string{"server: https://dev-" + host + "internal:8443\n", "clusterAdmin_rg_dev", "client-key-data"} {
		if name != "clusterAdmin" || !strings.Contains(document, part) || strings.Contains(document, "tls-server-name") {
			t.Errorf("%s: no %q in\n%s", name, part, document)
		}
	}
	w.host = testHost
	w.finish(w.want(http.StatusOK, "PATCH", devCluster, `{"properties":{"disableLocalAccounts":true}}`))
	w.golden("cluster-no-local-accounts", w.do("POST", listAdmin, ""))
}

func TestClusterPower(t *testing.T) {
	w := newWorld(t).withCluster()
	if last := w.finish(w.want(http.StatusAccepted, "POST", devCluster+"/stop", "")); last.text("status") != "Succeeded" {
		t.Fatal(last.raw)
	}
	if a := w.do("GET", devCluster, ""); a.text("properties.powerState.code") != "Stopped" || a.text("properties.agentPoolProfiles.0.powerState.code") != "Stopped" {
		t.Error(a.raw)
	}
	w.golden("cluster-stopped-credential", w.do("POST", devCluster+"/listClusterUserCredential", ""))
	w.golden("cluster-stopped-rotate", w.do("POST", devCluster+"/rotateClusterCertificates", ""))
	w.finish(w.want(http.StatusAccepted, "POST", devCluster+"/start", ""))
	w.finish(w.want(http.StatusAccepted, "POST", devCluster+"/rotateClusterCertificates", ""))
	key := cluster.Key(resource.MustParseID(devCluster))
	want := "start,stop,start,stop,rotate,start"
	if got := strings.ReplaceAll(strings.Join(w.machine.Log(), ","), " "+key, ""); got != want {
		t.Errorf("the machine did %s, want %s", got, want)
	}
	w.want(http.StatusNotFound, "POST", clusters+"none/stop", "")
}

func TestClusterThatFailsSaysWhy(t *testing.T) {
	w := newWorld(t).group()
	w.machine.Fail("start", cluster.ErrTooManyNodes.WithMessage("the memory is used up"))
	w.golden("cluster-failed-operation", w.finish(w.want(http.StatusCreated, "PUT", devCluster, clusterBody)))
	w.golden("cluster-failed", w.do("GET", devCluster, ""))
	w.golden("cluster-failed-credential", w.do("POST", devCluster+"/listClusterAdminCredential", ""))
}

func TestClusterPools(t *testing.T) {
	w := newWorld(t).withCluster()
	defer w.machine.Hold()() // so that none of these is done before it is looked at
	w.golden("cluster-pool-changed", w.do("PUT", devCluster+"/agentPools/nodepool1", `{"properties":{"count":2,"nodeLabels":{"disk":"ssd"}}}`))
	w.golden("cluster-pool-created", w.do("PUT", devCluster+"/agentPools/blue", `{"properties":{"vmSize":"Standard_B2s","osDiskSizeGB":30}}`))
	w.golden("cluster-pool-too-many", w.do("PUT", devCluster+"/agentPools/blue", `{"properties":{"count":9}}`))
	w.golden("cluster-pool-last-system", w.do("PUT", devCluster+"/agentPools/nodepool1", `{"properties":{"mode":"User"}}`))
	w.golden("cluster-pool-first-deleted", w.do("DELETE", devCluster+"/agentPools/nodepool1", ""))
	got, err := w.clusters.Cluster(t.Context(), resource.MustParseID(devCluster))
	if err != nil {
		t.Fatal(err)
	}
	if got.Nodes() != 3 || got.Pools[0].Labels["disk"] != "ssd" || got.Pools[1].Mode != "User" {
		t.Errorf("%+v", got.Pools)
	}
	w.want(http.StatusNoContent, "DELETE", devCluster+"/agentPools/BLUE", "")
	w.want(http.StatusNotFound, "GET", devCluster+"/agentPools/blue", "")
	w.want(http.StatusNoContent, "DELETE", devCluster+"/agentPools/blue", "")
	scaler := w.principal("Reader", resource.MustParseID(devCluster))
	if a := w.as(scaler, "PUT", devCluster+"/agentPools/nodepool1"+version, `{"properties":{"count":1}}`); a.status != http.StatusForbidden {
		t.Errorf("a Reader scales: %d %s", a.status, a.raw)
	}
}

func TestClusterPutAgainChangesNothing(t *testing.T) {
	w := newWorld(t).withCluster()
	before := w.do("GET", devCluster, "")
	again := w.want(http.StatusOK, "PUT", devCluster, before.raw)
	w.finish(again)
	after := w.do("GET", devCluster, "")
	if after.raw != before.raw {
		t.Errorf("it was\n%s\nand is\n%s", before.raw, after.raw)
	}
	w.finish(w.want(http.StatusOK, "PATCH", devCluster, `{"tags":{"a":"b"}}`))
	if a := w.do("GET", devCluster, ""); a.text("tags.a") != "b" || a.text("properties.fqdn") != before.text("properties.fqdn") {
		t.Error(a.raw)
	}
	w.finish(w.want(http.StatusOK, "PUT", devCluster, `{"location":"westus2","properties":{"networkProfile":{"podLinkLocalAccess":"IMDS"}}}`))
	c, err := w.clusters.Cluster(t.Context(), resource.MustParseID(devCluster))
	if err != nil || !c.PodsReachMetadata || !c.Kubelet.Equal(resource.MustParseID(ownIdentity)) {
		t.Errorf("%+v %v", c, err)
	}
}

func TestClusterKubeletIdentity(t *testing.T) {
	w := newWorld(t).group()
	w.want(http.StatusCreated, "PUT", identities+"puller", `{"location":"westus2"}`)
	body := editCluster(`"identityProfile":{"kubeletidentity":{"resourceId":"` + identities + `puller"}}`)
	contributor := w.principal("Azure Kubernetes Service Contributor Role", resource.MustParseID(group))
	w.golden("cluster-identity-denied", w.as(contributor, "PUT", devCluster+version, body))
	w.finish(w.want(http.StatusCreated, "PUT", devCluster, body))
	w.golden("cluster-identity", w.do("GET", devCluster, ""))
	w.want(http.StatusNotFound, "GET", ownIdentity, "")
	// Whoever may change the cluster may send back what they read, though not use the identity elsewhere.
	if a := w.as(contributor, "PUT", devCluster+version, body); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.raw)
	}
	w.want(http.StatusNoContent, "DELETE", devCluster, "")
	w.want(http.StatusOK, "GET", identities+"puller", "")
}

func TestClusterTakesItsOwnGroupWithIt(t *testing.T) {
	w := newWorld(t).withCluster()
	w.want(http.StatusOK, "GET", ownIdentity, "")
	w.want(http.StatusNoContent, "DELETE", devCluster, "")
	for _, path := range []string{devCluster, ownIdentity, ownGroup} {
		w.want(http.StatusNotFound, "GET", path, "")
	}
	if _, err := w.dir.Managed(t.Context(), resource.MustParseID(ownIdentity)); err == nil {
		t.Error("the kubelets' principal is left")
	}
	// With its group:
	w.finish(w.want(http.StatusCreated, "PUT", devCluster, clusterBody))
	w.finish(w.want(http.StatusAccepted, "DELETE", group, ""))
	w.want(http.StatusNotFound, "GET", ownGroup, "")
	if all := w.clusters.Clusters(); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}

func TestClusterLeavesAGroupThatIsSomebodyElses(t *testing.T) {
	w := newWorld(t).withCluster()
	w.finish(w.want(http.StatusAccepted, "DELETE", ownGroup, ""))
	if a := w.do("GET", devCluster, ""); a.text("properties.identityProfile.kubeletidentity.resourceId") != ownIdentity || a.at("properties.identityProfile.kubeletidentity.objectId") != nil {
		t.Errorf("the identity is gone, and this does not say so: %s", a.raw)
	}
	w.want(http.StatusCreated, "PUT", ownGroup, `{"location":"westus2"}`)
	w.golden("cluster-group-taken", w.do("PUT", devCluster, clusterBody))
	w.want(http.StatusNoContent, "DELETE", devCluster, "")
	w.want(http.StatusOK, "GET", ownGroup, "")
}

func TestClusterGetsItsIdentityBack(t *testing.T) {
	w := newWorld(t).withCluster()
	w.want(http.StatusOK, "DELETE", ownIdentity, "")
	w.finish(w.want(http.StatusOK, "PATCH", devCluster, `{"tags":{}}`))
	w.want(http.StatusOK, "GET", ownIdentity, "")
	w.want(http.StatusOK, "PUT", ownGroup, `{"location":"westus2","tags":{"a":"b"}}`)
	if a := w.do("GET", ownGroup, ""); a.text("managedBy") != devCluster {
		t.Errorf("a change of tags freed the group: %s", a.raw)
	}
}

func TestClusterInterruptedAtItsMakingSaysSo(t *testing.T) {
	w := newWorld(t).withCluster()
	if err := w.clusters.Delete(t.Context(), resource.MustParseID(devCluster)); err != nil {
		t.Fatal(err)
	}
	if a := w.do("GET", devCluster, ""); a.text("properties.status.provisioningError.code") != "ProvisioningInterrupted" {
		t.Error(a.raw)
	}
	if a := w.do("POST", devCluster+"/listClusterUserCredential", ""); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.raw)
	}
	w.finish(w.want(http.StatusOK, "PUT", devCluster, clusterBody))
	if a := w.do("GET", devCluster, ""); a.text("properties.provisioningState") != "Succeeded" {
		t.Error(a.raw)
	}
}
