package arm

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"

	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

const (
	groups  = group + "/providers/" + containerGroupTypeName + "/"
	minimal = `{"location":"westus2","properties":{"containers":[{"name":"app","properties":{"image":"myacr.azurecr.io/app:v1"}}]}}`
)

// container gives a body of one container with more properties, and more of the group's.
func container(properties, more string) string {
	return `{"location":"westus2","properties":{"containers":[{"name":"app","properties":{"image":"myacr.azurecr.io/app:v1"` + properties + `}}]` + more + `}}`
}

func TestContainerGroupLife(t *testing.T) {
	w := newWorld(t)
	w.group()
	body := container(`,"command":["/bin/app"],"ports":[{"port":80}],"environmentVariables":[{"name":"A","value":"b"},{"name":"S","secureValue":"hidden-1"}],"resources":{"requests":{"cpu":0.5,"memoryInGb":1}}`,
		`,"imageRegistryCredentials":[{"server":"myacr.azurecr.io","username":"u","password":"hidden-2"}],"ipAddress":{"type":"Public","ports":[{"port":80,"protocol":"tcp"}],"dnsNameLabel":"hello"},"restartPolicy":"always"`)
	made := w.want(http.StatusCreated, "PUT", groups+"g1", body)
	if done := w.finish(made); done.text("status") != "Succeeded" {
		t.Fatal(done.raw)
	}
	w.eventually("the container runs", func() bool {
		return w.want(http.StatusOK, "GET", groups+"g1", "").text("properties.instanceView.state") == "Running"
	})
	w.golden("containergroup", w.do("GET", groups+"g1", ""))
	// The example's secrets reach the workload, and nobody else.
	g, err := w.runs.Group(t.Context(), resource.MustParseID(groups+"g1"))
	if err != nil || g.Credentials[0].Password.Reveal() != "hidden-2" || g.Containers[0].Env[1].Secure.Reveal() != "hidden-1" {
		t.Fatalf("%+v, %v", g, err)
	}
	for _, path := range []string{groups + "g1", group + "/providers/" + containerGroupTypeName, group + "/resources", groups + "g1/attempts"} {
		if a := w.want(http.StatusOK, "GET", path, ""); strings.Contains(a.raw, "hidden") {
			t.Errorf("%s shows a secret: %s", path, a.raw)
		}
	}
	if strings.Contains(w.logs.String(), "hidden") {
		t.Error("a secret is in the log")
	}
	// What was read can be written back: secrets that a GET does not show stay.
	got := w.do("GET", groups+"g1", "")
	w.finish(w.want(http.StatusOK, "PUT", groups+"g1", got.raw))
	again, err := w.runs.Group(t.Context(), g.ID)
	if err != nil || again.Credentials[0].Password != g.Credentials[0].Password || again.Containers[0].Env[1].Secure != g.Containers[0].Env[1].Secure {
		t.Errorf("after the round trip: %+v, %v", again, err)
	}
	w.want(http.StatusOK, "PATCH", groups+"g1", `{"tags":{"x":"y"},"properties":null,"identity":null}`)
	w.want(http.StatusBadRequest, "PATCH", groups+"g1", `{"properties":{"restartPolicy":"Never"}}`)
	w.want(http.StatusNoContent, "POST", groups+"g1/stop", "")
	if s := w.want(http.StatusOK, "GET", groups+"g1", ""); s.text("properties.instanceView.state") != "Stopped" || s.text("tags.x") != "y" {
		t.Error(s.raw)
	}
	started := w.want(http.StatusAccepted, "POST", groups+"g1/start", "")
	w.finish(started)
	location := strings.TrimPrefix(started.header.Get("Location"), "https://"+testHost)
	w.want(http.StatusOK, "GET", location, "")
	w.want(http.StatusNoContent, "POST", groups+"g1/restart", "")
	w.golden("containergroup-deleted", w.want(http.StatusOK, "DELETE", groups+"g1", ""))
	w.want(http.StatusNoContent, "DELETE", groups+"g1", "")
	w.want(http.StatusNotFound, "GET", groups+"g1", "")
	w.node.set(func(n *node) {
		if len(n.sandboxes) != 0 {
			t.Errorf("sandboxes are left: %v", n.sandboxes)
		}
	})
}

func TestExampleDeploysUnmodified(t *testing.T) {
	w := newWorld(t)
	w.group()
	text, err := os.ReadFile("../../../examples/aci.yaml")
	if err != nil {
		t.Fatal(err)
	}
	body, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	path := sub + "/resourcegroups/rg/providers/Microsoft.ContainerInstance//containerGroups/my-aci-instance?api-version=2019-12-01"
	w.finish(w.want(http.StatusCreated, "PUT", path, string(body), "x-fairlead-strict: true"))
}

func TestFailedPullFailsTheOperation(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.node.set(func(n *node) { n.refuse = func(pull.Request) error { return pull.ErrDenied } })
	done := w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	w.golden("operation-failed", done)
	if done.text("error.code") != "InaccessibleImage" {
		t.Error(done.raw)
	}
	// The group stays to be asked why, and another PUT tries at once.
	got := w.want(http.StatusOK, "GET", groups+"g1", "")
	if got.text("properties.provisioningState") != "Failed" {
		t.Error(got.raw)
	}
	w.want(http.StatusOK, "GET", groups+"g1/why", "")
	w.node.set(func(n *node) { n.refuse = nil })
	if done := w.finish(w.want(http.StatusOK, "PUT", groups+"g1", minimal)); done.text("status") != "Succeeded" {
		t.Error(done.raw)
	}
}

func TestUnattachedIdentityFailsTheOperationAndStays(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", identities+"web-id", `{"location":"westus2"}`)
	w.node.set(func(n *node) {
		n.refuse = func(q pull.Request) error {
			if len(q.Candidates) == 1 && q.Candidates[0].Skip == "" {
				return nil
			}
			return pull.ErrNotAttached
		}
	})
	credential := `,"imageRegistryCredentials":[{"server":"myacr.azurecr.io","identity":"` + identities + `web-id"}]`
	made := w.want(http.StatusCreated, "PUT", groups+"g1", container("", credential))
	w.golden("operation-identity", w.finish(made))
	body := strings.Replace(container("", credential), `{"location"`, `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"`+identities+`WEB-id":{}}},"location"`, 1)
	if done := w.finish(w.want(http.StatusOK, "PUT", groups+"g1", body)); done.text("status") != "Succeeded" {
		t.Error(done.raw)
	}
}

func TestGoldenContainerGroupErrors(t *testing.T) {
	w := newWorld(t)
	w.group()
	two := func(second string) string {
		return strings.Replace(container(`,"ports":[{"port":80}]`, ""), `}}]`, `}},`+second+`]`, 1)
	}
	for _, c := range []struct{ name, body, path string }{
		{"windows", container("", `,"osType":"Windows"`), "?api-version=2023-05-01"},
		{"volumes", container(`,"volumeMounts":[{"name":"v","mountPath":"/v"}]`, ""), ""},
		{"gpu", container(`,"resources":{"requests":{"cpu":1,"memoryInGB":1,"gpu":{"count":1,"sku":"V100"}}}`, ""), ""},
		{"spot", container("", `,"priority":"Spot"`), ""},
		{"probe", container(`,"livenessProbe":{"httpGet":{"port":80}}`, ""), ""},
		{"zones", strings.Replace(minimal, `{`, `{"zones":["1"],`, 1), ""},
		{"no-containers", `{"location":"westus2","properties":{"containers":[]}}`, ""},
		{"no-properties", `{"location":"westus2"}`, ""},
		{"no-image", `{"location":"westus2","properties":{"containers":[{"name":"a","properties":{}}]}}`, ""},
		{"container-name", `{"location":"westus2","properties":{"containers":[{"name":"My_App","properties":{"image":"a"}}]}}`, ""},
		{"container-twice", two(`{"name":"app","properties":{"image":"b"}}`), ""},
		{"ports-collide", two(`{"name":"other","properties":{"image":"b","ports":[{"port":80,"protocol":"TCP"}]}}`), ""},
		{"port", container(`,"ports":[{"port":70000}]`, ""), ""},
		{"env", container(`,"environmentVariables":[{"name":"1 A","value":"x"}]`, ""), ""},
		{"env-twice", container(`,"environmentVariables":[{"name":"A","value":"x"},{"name":"A","value":"y"}]`, ""), ""},
		{"memory", container(`,"resources":{"requests":{"cpu":1,"memoryInGB":-1}}`, ""), ""},
		{"restart-policy", container("", `,"restartPolicy":"Sometimes"`), ""},
		{"credential-no-server", container("", `,"imageRegistryCredentials":[{"username":"u","password":"p"}]`), ""},
		{"credential-ambiguous", container("", `,"imageRegistryCredentials":[{"server":"s","username":"u","password":"p","identity":"`+identities+`x"}]`), ""},
		{"credential-nothing", container("", `,"imageRegistryCredentials":[{"server":"s"}]`), ""},
		{"credential-no-password", container("", `,"imageRegistryCredentials":[{"server":"s","username":"u"}]`), ""},
		{"credential-too-old", container("", `,"imageRegistryCredentials":[{"server":"s","identity":"`+identities+`x"}]`), "?api-version=2021-03-01"},
		{"credential-no-identity", container("", `,"imageRegistryCredentials":[{"server":"s","identity":"web-id"}]`), ""},
		{"address", container("", `,"ipAddress":{"type":"Public","ports":[]}`), ""},
		{"label", container("", `,"ipAddress":{"type":"Public","ports":[{"port":80}],"dnsNameLabel":"Hello World"}`), ""},
		{"typo", strings.Replace(minimal, `"image"`, `"enviromentVariables":[],"image"`, 1), ""},
	} {
		a := w.do("PUT", groups+"g1"+c.path, c.body, "x-fairlead-strict: true")
		if a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", c.name, a.status, a.raw)
		}
		w.golden("containergroup-"+c.name, a)
	}
	w.want(http.StatusNotFound, "GET", groups+"g1", "")
	w.golden("containergroup-group-name", w.do("PUT", groups+"My--Group", minimal))
}

func TestEmptyFormsAndUnknownFieldsPass(t *testing.T) {
	w := newWorld(t)
	w.group()
	body := container(`,"configMap":{"keyValuePairs":{}},"volumeMounts":[],"livenessProbe":null,"made":{"up":1}`,
		`,"sku":"Standard","priority":"Regular","volumes":[],"initContainers":null,"dnsConfig":{},"osType":"Linux","subnetIds":[]`)
	w.want(http.StatusCreated, "PUT", groups+"g1", strings.Replace(body, `{`, `{"zones":null,"tags":null,"identity":{"type":"None"},`, 1))
	if !strings.Contains(w.logs.String(), "properties.containers[0].properties.made") {
		t.Error("the unknown field is not in the log")
	}
}

func TestLabelsAreUniqueInARegion(t *testing.T) {
	w := newWorld(t)
	w.group()
	body := container("", `,"ipAddress":{"type":"Public","ports":[{"port":80}],"dnsNameLabel":"hello"}`)
	w.want(http.StatusCreated, "PUT", groups+"g1", body)
	if a := w.want(http.StatusConflict, "PUT", groups+"g2", body); a.code() != "DnsNameLabelNotAvailable" {
		t.Error(a.raw)
	}
	w.want(http.StatusCreated, "PUT", groups+"g2", strings.Replace(body, "westus2", "eastus", 1))
}

// slowStore has PUTs of one resource wait before they are stored.
type slowStore struct {
	resource.Store
	name    string
	reached chan struct{} // closed when it waits
	goOn    chan struct{}
}

func (s *slowStore) PutResource(ctx context.Context, r resource.Resource, match string) (resource.Resource, bool, error) {
	if r.ID.Name() == s.name {
		close(s.reached)
		<-s.goOn
	}
	return s.Store.PutResource(ctx, r, match)
}

// TestLabelIsTakenOnceOfTwoAtATime has a second group ask for a label while the first, which was found to be free to have
// it, is not stored yet.
func TestLabelIsTakenOnceOfTwoAtATime(t *testing.T) {
	w := newWorld(t)
	w.group()
	slow := &slowStore{Store: w.h.Store, name: "g1", reached: make(chan struct{}), goOn: make(chan struct{})}
	w.h.Store = slow
	goOn := sync.OnceFunc(func() { close(slow.goOn) })
	defer goOn()
	body := container("", `,"ipAddress":{"type":"Public","ports":[{"port":80}],"dnsNameLabel":"hello"}`)
	put := func(name string) <-chan answer {
		out := make(chan answer, 1)
		go func() {
			defer close(out)
			out <- w.do("PUT", groups+name, body)
		}()
		return out
	}
	first := put("g1")
	<-slow.reached
	second := put("g2")
	w.eventually("the second waits for the first, or is answered", func() bool {
		w.h.locks.mu.Lock()
		defer w.h.locks.mu.Unlock()
		l := w.h.locks.held["labels in westus2"]
		return len(second) > 0 || l != nil && l.users == 2
	})
	goOn()
	if a := <-first; a.status != http.StatusCreated {
		t.Errorf("the first: %d %s", a.status, a.raw)
	}
	if a := <-second; a.status != http.StatusConflict || a.code() != "DnsNameLabelNotAvailable" {
		t.Errorf("the second: %d %s", a.status, a.raw)
	}
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.node.set(func(n *node) {
		n.onStart = func(s run.ContainerSpec) {
			if err := os.WriteFile(s.LogPath, []byte("one\ntwo\nthree\xff\n"), 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	for query, want := range map[string]string{"": "one\ntwo\nthree\uFFFD\n", "&tail=2": "two\nthree\uFFFD\n"} {
		if got := w.want(http.StatusOK, "GET", groups+"g1/containers/app/logs"+version+query, ""); got.text("content") != want {
			t.Errorf("%q: %q", query, got.text("content"))
		}
	}
	w.node.set(func(n *node) {
		n.onStart = func(s run.ContainerSpec) {
			if err := os.WriteFile(s.LogPath, []byte("early"+strings.Repeat("late", maxLog/4)), 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g2", minimal))
	if got := w.want(http.StatusOK, "GET", groups+"g2/containers/app/logs", "").text("content"); len(got) != maxLog || strings.Contains(got, "early") {
		t.Errorf("%d bytes of a long log, want its last %d", len(got), maxLog)
	}
	w.want(http.StatusBadRequest, "GET", groups+"g1/containers/app/logs"+version+"&tail=x", "")
	w.want(http.StatusNotFound, "GET", groups+"g1/containers/nothing/logs", "")
	w.want(http.StatusNotFound, "GET", groups+"nothing/containers/app/logs", "")
}

func TestOperationsSurviveARestart(t *testing.T) {
	w := newWorld(t)
	w.group()
	hold := make(chan struct{})
	w.node.set(func(n *node) { n.hold = hold })
	made := w.want(http.StatusCreated, "PUT", groups+"g1", minimal)
	poll := strings.TrimPrefix(made.header.Get("Azure-AsyncOperation"), "https://"+testHost)
	if a := w.want(http.StatusOK, "GET", poll, ""); a.text("status") != "InProgress" || a.header.Get("Retry-After") != "1" {
		t.Error(a.raw)
	}
	w.restart()
	if a := w.want(http.StatusOK, "GET", poll, ""); a.text("status") != "InProgress" {
		t.Error(a.raw)
	}
	close(hold)
	if done := w.finish(made); done.text("status") != "Succeeded" {
		t.Error(done.raw)
	}
}

// TestRestartThatTakesLong: the SDKs know no answer but 204, and follow the operation that it names.
func TestRestartThatTakesLong(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	hold := make(chan struct{})
	w.node.set(func(n *node) { n.hold = hold })
	going := w.want(http.StatusNoContent, "POST", groups+"g1/restart", "")
	poll := strings.TrimPrefix(going.header.Get("Azure-AsyncOperation"), "https://"+testHost)
	if a := w.want(http.StatusOK, "GET", poll, ""); a.text("status") != "InProgress" {
		t.Error(a.raw)
	}
	close(hold)
	if done := w.finish(going); done.text("status") != "Succeeded" {
		t.Error(done.raw)
	}
}

func TestHalfDoneDeletionIsFinishedAfterARestart(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.finish(w.want(http.StatusCreated, "PUT", groups+"g1", minimal))
	w.want(http.StatusCreated, "PUT", registries+"myacr", `{"location":"westus2"}`)
	stopping, release := make(chan struct{}, 10), make(chan struct{})
	w.node.set(func(n *node) {
		n.stopping = func(ctx context.Context) {
			stopping <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
	})
	accepted := w.want(http.StatusAccepted, "DELETE", group, "")
	<-stopping
	if a := w.want(http.StatusConflict, "PUT", registries+"another", `{"location":"westus2"}`); a.code() != "ResourceGroupBeingDeleted" {
		t.Error(a.raw)
	}
	w.restart()
	location := strings.TrimPrefix(accepted.header.Get("Location"), "https://"+testHost)
	w.want(http.StatusAccepted, "GET", location, "")
	close(release)
	if done := w.finish(accepted); done.text("status") != "Succeeded" {
		t.Error(done.raw)
	}
	w.want(http.StatusOK, "GET", location, "")
	w.want(http.StatusNotFound, "GET", group, "")
	if list := w.want(http.StatusOK, "GET", sub+"/resources", ""); list.raw != "{\"value\":[]}\n" {
		t.Errorf("left: %s", list.raw)
	}
}

func TestGroupDeletionTakesEverythingAlong(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", sub+"/resourceGroups/rg2", `{"location":"westus2"}`)
	w.want(http.StatusCreated, "PUT", sub+"/resourceGroups/rg2/providers/"+registryTypeName+"/stays", `{"location":"westus2"}`)
	w.want(http.StatusCreated, "PUT", registries+"myacr", `{"location":"westus2","properties":{"adminUserEnabled":true}}`)
	id := w.want(http.StatusCreated, "PUT", identities+"web-id", `{"location":"westus2"}`).text("properties.principalId")
	w.want(http.StatusCreated, "PUT", registries+"myacr"+assigned+"44444444-4444-4444-4444-444444444444", assignment(acrPull, id, ""))
	w.want(http.StatusOK, "PUT", plans+"plan", `{"location":"westus2"}`)
	w.want(http.StatusOK, "PUT", sites+"hello", siteBody("plan", ""))
	for i := range 3 {
		w.finish(w.want(http.StatusCreated, "PUT", fmt.Sprintf("%sg%d", groups, i), minimal))
	}
	// Whoever may delete the group may follow its deletion, although that takes their role away.
	owner := w.principal("Owner", resource.MustParseID(group))
	accepted := w.as(owner, "DELETE", group+version, "")
	if accepted.status != http.StatusAccepted {
		t.Fatal(accepted.raw)
	}
	poll := strings.TrimPrefix(accepted.header.Get("Azure-AsyncOperation"), "https://"+testHost)
	w.eventually("the group is gone", func() bool {
		a := w.as(owner, "GET", poll, "")
		if a.status != http.StatusOK {
			t.Fatal(a.raw)
		}
		return a.text("status") == "Succeeded"
	})
	if a := w.as(w.principal("", resource.Root), "GET", poll, ""); a.status != http.StatusForbidden {
		t.Errorf("a stranger follows the operation: %d", a.status)
	}
	if list := w.want(http.StatusOK, "GET", sub+"/resources", ""); strings.Count(list.raw, `"id"`) != 1 || !strings.Contains(list.raw, "stays") {
		t.Errorf("left: %s", list.raw)
	}
	if _, err := w.dir.Principal(t.Context(), id); err == nil {
		t.Error("the identity's principal is left")
	}
	if left := w.want(http.StatusOK, "GET", group+"/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01", ""); strings.Contains(left.raw, "resourceGroups/rg/") {
		t.Errorf("assignments are left: %s", left.raw)
	}
	w.node.set(func(n *node) {
		if len(n.sandboxes) != 0 {
			t.Errorf("sandboxes are left: %v", n.sandboxes)
		}
	})
	// A new registry of the same name holds nothing of the old one, and the name is free again.
	w.group()
	w.want(http.StatusCreated, "PUT", registries+"myacr", `{"location":"westus2"}`)
	w.want(http.StatusBadRequest, "POST", registries+"myacr/listCredentials", "")
}
