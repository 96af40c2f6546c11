package arm

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/internal/resource"
)

const podEvidence = `{"namespace":"team","asked":{"kind":"Deployment","name":"web"},"controller":{"kind":"Deployment","name":"web"},
	"pods":[{"name":"web-0","account":"default","containers":[{"name":"app","image":"myacr.azurecr.io/app:v1","policy":"Always"}]}],
	"secrets":[{"name":"regcred","state":"found","entries":[{"server":"myacr.azurecr.io","username":"u","password":"hidden-1"}]}]}`

// Who may read a managed cluster may ask about its pods; whoever is signed in may ask about pods of any other cluster.
func TestWhyPods(t *testing.T) {
	w := newWorld(t)
	w.group()
	const cluster = group + "/providers/Microsoft.ContainerService/managedClusters/demo"
	if _, _, err := w.h.Store.PutResource(t.Context(), resource.Resource{ID: resource.MustParseID(cluster), Location: "westus2", Properties: json.RawMessage(`{}`)}, ""); err != nil {
		t.Fatal(err)
	}
	a := w.want(http.StatusOK, "POST", cluster+"/why", podEvidence)
	if !strings.Contains(a.raw, `"summary":"in `+cluster+`"`) || !strings.Contains(a.raw, `"pods":1`) {
		t.Error(a.raw)
	}
	nobody := w.principal("", resource.Root)
	if a := w.as(nobody, "POST", cluster+"/why"+version, podEvidence); a.status != http.StatusForbidden {
		t.Errorf("who may not read the cluster: %d", a.status)
	}
	if a := w.as(nobody, "POST", sub+"/providers/Microsoft.ContainerService/why"+version, podEvidence); a.status != http.StatusOK || !strings.Contains(a.raw, `"summary":"in "`) {
		t.Errorf("about a cluster by kubeconfig: %d %s", a.status, a.raw)
	}
	w.want(http.StatusNotFound, "POST", group+"/providers/Microsoft.ContainerService/managedClusters/other/why", podEvidence)
	w.golden("why-pods-invalid", w.want(http.StatusBadRequest, "POST", cluster+"/why", `{"namespace":"team","asked":{"kind":"Pod","name":"web"}}`))
	if strings.Contains(w.logs.String(), "hidden-1") {
		t.Error("a password is in the log")
	}
}
