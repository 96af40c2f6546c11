package managedcluster_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"fairlead.dev/internal/api/arm/managedcluster"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// FuzzUpdate: no body panics, every refusal is the client's, a cluster that was written is read the same, and what clients
// read of it they may send back, which changes nothing.
func FuzzUpdate(f *testing.F) {
	f.Add([]byte(`{"dnsPrefix":"dev","agentPoolProfiles":[{"name":"a","count":1,"mode":"system","osDiskSizeGB":30,"nodeLabels":{"a":"b"}}]}`))
	f.Add([]byte(`{"DNSPREFIX":"dev","kubernetesVersion":"1.2","agentPoolProfiles":[{"name":"a","orchestratorVersion":"1.2.3"},{"name":"b","mode":"User"}],
		"networkProfile":{"podCidrs":["10.1.0.0/16"],"podLinkLocalAccess":"IMDS"},"aadProfile":{"managed":true},"linuxProfile":{"ssh":null}}`))
	f.Add([]byte(`{"dnsPrefix":"dev","agentPoolProfiles":[{}],"oidcIssuerProfile":{"enabled":false},"securityProfile":{"workloadIdentity":{"enabled":false}},
		"identityProfile":{"KubeletIdentity":{"resourceId":"/subscriptions/S/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/x"}}}`))
	id := resource.MustParseID("/subscriptions/S/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/dev")
	at := managedcluster.Place{ID: id, Location: "westus2", Tenant: "T", Version: func() (string, error) { return "1.2.3", nil }}
	root := schema.Obj("", []schema.Field{managedcluster.Properties()})
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := schema.Check(append(append([]byte(`{"properties":`), body...), '}'), root, false); err != nil {
			return
		}
		var s managedcluster.State
		if err := s.Update(body, at); err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("%s: %v", body, err)
			}
			return
		}
		stored, err := s.Write()
		if err != nil {
			t.Fatal(err)
		}
		if again := written(t, stored); !bytes.Equal(stored, again) {
			t.Fatalf("%s was written as %s and then as %s", body, stored, again)
		}
		if _, err := s.Cluster(id, nil); err != nil && fault.KindOf(err) != fault.Invalid {
			t.Fatalf("%s: %v", body, err)
		}
		shown, err := s.Encode(managedcluster.View{Status: cluster.Status{Version: "1.2.3", Power: cluster.PowerRunning}, ClientID: "c", ObjectID: "o", Issuer: "i"})
		if err != nil {
			t.Fatal(err)
		}
		back, err := json.Marshal(shown)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Update(back, at); err != nil {
			t.Fatalf("%s is shown, and refused when it is sent back: %v", back, err)
		}
	})
}

// written gives what is stored once more, read and written.
func written(t *testing.T, stored json.RawMessage) json.RawMessage {
	t.Helper()
	s, err := managedcluster.Read(stored)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Write()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
