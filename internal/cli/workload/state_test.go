package workload_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/workload"
)

func TestOfGroup(t *testing.T) {
	const notStarted = `{"name":"Failed","message":"Error: Failed to start container, Error response: no such command","lastTimestamp":"2026-01-01T00:00:00Z"}`
	for name, c := range map[string]struct {
		policy, provisioning, views string
		want                        workload.Phase
		why                         string
	}{
		"no view yet":       {"Always", "Creating", `null`, workload.Pending, ""},
		"waiting":           {"Always", "Creating", `{"currentState":{"state":"Waiting"}}`, workload.Pending, ""},
		"running":           {"Always", "Succeeded", `{"currentState":{"state":"Running"}}`, workload.Running, ""},
		"ended well":        {"Never", "Succeeded", `{"currentState":{"state":"Terminated","exitCode":0}}`, workload.Finished, ""},
		"ended badly":       {"Never", "Succeeded", `{"currentState":{"state":"Terminated","exitCode":3}}`, workload.Failed, "container c0 ended with exit code 3"},
		"out of memory":     {"Never", "Succeeded", `{"currentState":{"state":"Terminated","exitCode":137,"detailStatus":"OOMKilled"}}`, workload.Failed, "OOMKilled"},
		"started again":     {"OnFailure", "Succeeded", `{"restartCount":1,"currentState":{"state":"Waiting"},"previousState":{"exitCode":3}}`, workload.Pending, ""},
		"does not stay up":  {"Always", "Succeeded", `{"restartCount":3,"currentState":{"state":"Waiting"},"previousState":{"exitCode":3}}`, workload.Failed, "started again 3 times"},
		"one of two runs":   {"Always", "Creating", `{"currentState":{"state":"Running"}},{"currentState":{"state":"Waiting"}}`, workload.Pending, ""},
		"one ran, one runs": {"Never", "Succeeded", `{"currentState":{"state":"Terminated"}},{"currentState":{"state":"Running"}}`, workload.Running, ""},
		"ended by itself":   {"Never", "Succeeded", `{"currentState":{"state":"Terminated","exitCode":128,"finishTime":"2026-01-02T00:00:00Z"},"events":[` + notStarted + `]}`, workload.Failed, "container c0 ended with exit code 128"},
		"not started":       {"Never", "Succeeded", `{"currentState":{"state":"Terminated","exitCode":128,"finishTime":"2026-01-01T00:00:00Z"},"events":[` + notStarted + `]}`, workload.Failed, "container c0 was not started: no such command"},
		"not started again": {"Always", "Succeeded", `{"currentState":{"state":"Waiting"},"previousState":{"exitCode":128,"finishTime":"2026-01-01T00:00:00Z"},"events":[` + notStarted + `]}`, workload.Failed, "no such command"},
		"pull failed":       {"Always", "Failed", `{"currentState":{"state":"Waiting"}}`, workload.Failed, "cannot pull"},
	} {
		t.Run(name, func(t *testing.T) {
			var containers []string
			for i, view := range strings.SplitAfter(c.views, "}},") {
				containers = append(containers, `{"name":"c`+string(rune('0'+i))+`","properties":{"instanceView":`+strings.TrimSuffix(view, ",")+`}}`)
			}
			var g client.ContainerGroup
			text := `{"properties":{"restartPolicy":"` + c.policy + `","provisioningState":"` + c.provisioning + `","containers":[` + strings.Join(containers, ",") + `]}}`
			if err := json.Unmarshal([]byte(text), &g); err != nil {
				t.Fatal(err)
			}
			got := workload.OfGroup(g)
			if final := got.Phase == workload.Failed && !got.Pulling && got.Restarts == 0; got.Final != final {
				t.Errorf("final: %v", got.Final)
			}
			if got.Phase != c.want || !strings.Contains(got.Why, c.why) {
				t.Errorf("got %+v, want phase %d because %q", got, c.want, c.why)
			}
		})
	}
}

func TestOfSite(t *testing.T) {
	attempt := func(code string, stages ...client.Stage) []client.Attempts {
		a := client.Attempt{ID: "1", Code: code, Stages: stages}
		if code != "" {
			a.Summary = "summary"
		}
		return []client.Attempts{{Container: "shop", Last: &a}}
	}
	hidden := []client.Attempts{{Container: "shop", Last: &client.Attempt{ID: "1", Summary: "what the registry answers is hidden"}}}
	stopped := client.Site{Properties: client.SiteProperties{State: "Stopped"}}
	for name, c := range map[string]struct {
		site     client.Site
		attempts []client.Attempts
		want     workload.Phase
		pulling  bool
	}{
		"nothing yet":                     {client.Site{}, nil, workload.Pending, false},
		"pulled":                          {client.Site{}, attempt("", client.Stage{Name: "start", Outcome: "ok"}), workload.Pending, false},
		"ready":                           {client.Site{}, attempt("", client.Stage{Name: "ready", Outcome: "ok"}), workload.Running, false},
		"pull failed":                     {client.Site{}, attempt("CRED_MI_NOT_ENABLED"), workload.Failed, true},
		"pull failed for a hidden reason": {client.Site{}, hidden, workload.Failed, true},
		"no answer":                       {client.Site{}, attempt("", client.Stage{Name: "ready", Outcome: "failed", Message: "no answer"}), workload.Failed, false},
		"stopped":                         {stopped, attempt("", client.Stage{Name: "ready", Outcome: "ok"}), workload.Stopped, false},
	} {
		if got := workload.OfSite(c.site, c.attempts); got.Phase != c.want || got.Pulling != c.pulling {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// TestUpdateKeepsTheRest: a group that was read, changed and prepared for PUT loses nothing that the server did not write
// itself, known to this program or not.
func TestUpdateKeepsTheRest(t *testing.T) {
	var group workload.Object
	const read = `{"id":"/x","name":"app","type":"t","location":"here","tags":{"a":"b"},
		"identity":{"type":"SystemAssigned","principalId":"p","tenantId":"t"},
		"properties":{"provisioningState":"Succeeded","instanceView":{"state":"Running"},"osType":"Linux","future":{"x":1},
			"ipAddress":{"ip":"10.0.0.1","fqdn":"f","type":"Public","ports":[{"port":80}]},
			"imageRegistryCredentials":[{"server":"other.io","username":"o"},{"server":"myacr.azurecr.fairlead.localhost:8443","username":"u"}],
			"containers":[{"name":"app","properties":{"image":"myacr.azurecr.io/app:v1","instanceView":{},"command":["x"]}}]}}`
	if err := json.Unmarshal([]byte(read), &group); err != nil {
		t.Fatal(err)
	}
	workload.ForPut(group)
	if err := workload.SetImage(group, "", "myacr.azurecr.io/app:v2"); err != nil {
		t.Fatal(err)
	}
	if err := workload.SetCredential(group, workload.Credential{Identity: "/ids/puller"}); err != nil {
		t.Fatal(err)
	}
	var want workload.Object
	const put = `{"location":"here","tags":{"a":"b"},
		"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"/ids/puller":{}}},
		"properties":{"osType":"Linux","future":{"x":1},"ipAddress":{"type":"Public","ports":[{"port":80}]},
			"imageRegistryCredentials":[{"server":"other.io","username":"o"},{"server":"myacr.azurecr.io","identity":"/ids/puller"}],
			"containers":[{"name":"app","properties":{"image":"myacr.azurecr.io/app:v2","command":["x"]}}]}}`
	if err := json.Unmarshal([]byte(put), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, group); diff != "" {
		t.Errorf("PUT (-want +got):\n%s", diff)
	}
}
