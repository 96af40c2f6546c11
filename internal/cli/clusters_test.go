package cli_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/cli/exit"
)

const clusterType = "Microsoft.ContainerService/managedClusters"

// withCluster makes a registry and a cluster.
func (f *fake) withCluster(args ...string) *fake {
	f.t.Helper()
	f.ok("registry", "create", "myacr")
	f.ok(append([]string{"kube", "create", "dev", "-g", "demo"}, args...)...)
	return f
}

// pullers gives who has AcrPull on myacr.
func (f *fake) pullers() []string {
	f.t.Helper()
	var all []struct {
		Properties struct{ PrincipalID, Scope string }
	}
	f.decode(&all, "role", "list")
	var out []string
	for _, a := range all {
		out = append(out, a.Properties.PrincipalID)
	}
	return out
}

// kubectl puts a program called kubectl, and no other of ours, on PATH. It notes how it was called, what it read and the
// kubeconfig that it was given, then does as script says.
func (f *fake) kubectl(script string) (notes func() string) {
	f.t.Helper()
	log := filepath.Join(f.dir, "kubectl.log")
	f.file("path/kubectl", fmt.Sprintf("#!/bin/sh\n{ echo \"called: $*\"; grep -E 'command:|value:|name: cluster|^current' \"$KUBECONFIG\"; ls -l \"$KUBECONFIG\" | cut -c1-10; } >> %s\n%s\n", log, strings.ReplaceAll(script, "LOG", log)))
	f.t.Setenv("PATH", filepath.Join(f.dir, "path")+":/usr/bin:/bin")
	return func() string {
		text, err := os.ReadFile(log)
		if err != nil {
			f.t.Fatal(err)
		}
		return string(text)
	}
}

func TestKubeCreate(t *testing.T) {
	f := newFake(t)
	f.ok("registry", "create", "myacr")
	r := f.run("kube", "create", "dev_1", "-g", "demo", "--node-count", "2", "--attach-acr", "myacr", "--pods-reach-metadata", "--pod-cidr", "10.8.0.0/16")
	if r.code != 0 {
		t.Fatal(r.err)
	}
	const want = "dev_1\tdemo\tSucceeded\tRunning\t1.37.2\t2\tdev_1-0a1b2c3d.hcp.westus2.aks.fl.test\n"
	if r.out != want {
		t.Errorf("out %q, want %q", r.out, want)
	}
	for _, text := range []string{"dev_1: starting node 1[31m\n", "AcrPull on myacr: given to the nodes' identity dev_1-agentpool", "fairlead kube get-credentials dev_1 -g demo"} {
		if !strings.Contains(r.err, text) {
			t.Errorf("stderr lacks %q:\n%s", text, r.err)
		}
	}
	made := f.resource(id("demo", clusterType, "dev_1"))
	got, _ := json.Marshal(object{"location": made["location"], "strict": made["strict"], "prefix": made["properties"].(object)["dnsPrefix"], "pools": made["properties"].(object)["agentPoolProfiles"], "network": made["properties"].(object)["networkProfile"]})
	if want := `{"location":"westus2","network":{"podCidr":"10.8.0.0/16","podLinkLocalAccess":"IMDS"},"pools":[{"count":2,"mode":"System","name":"nodepool1"}],"prefix":"dev-1","strict":"true"}`; string(got) != want {
		t.Errorf("asked for %s\nwant %s", got, want)
	}
	if got := f.pullers(); len(got) != 1 || got[0] != kubeletObject {
		t.Errorf("AcrPull for %v", got)
	}
	if r := f.run("kube", "create", "dev_1", "-g", "demo"); r.code != 1 || !strings.Contains(r.err, "exists already") {
		t.Errorf("a second time: %+v", r)
	}
	if r := f.run("kube", "create", "other", "--attach-acr", "nosuch"); r.code != int(exit.NotFound) || f.resource(id("default", clusterType, "other")) != nil {
		t.Errorf("with a registry that does not exist: %+v", r)
	}
}

func TestKubeCreateThatFailsOrIsLeft(t *testing.T) {
	f := newFake(t)
	f.stuck = true
	ctx, interrupt := context.WithCancel(t.Context())
	path := id("default", clusterType, "dev")
	looks := 0
	f.override["GET "+path] = func(w http.ResponseWriter, r *http.Request) {
		if looks++; looks == 3 {
			interrupt()
		}
		f.arm(w, r)
	}
	env := map[string]string{"FAIRLEAD_READY_FILE": f.ready}
	r := runCLI(ctx, env, "", "kube", "create", "dev")
	if r.code != int(exit.Interrupted) || !strings.Contains(r.err, "dev goes on being created: see 'fairlead kube show dev -g default'") || f.resource(path) == nil {
		t.Errorf("interrupted: %+v", r)
	}
	if r := f.run("kube", "create", "other", "--no-wait"); r.code != 0 || !strings.HasPrefix(r.out, "other\tdefault\tCreating\t") {
		t.Errorf("not waited for: %+v", r)
	}
	delete(f.override, "GET "+path)
	properties := f.resource(path)["properties"].(object)
	properties["provisioningState"], properties["status"] = "Failed", object{"provisioningError": object{"code": "QuotaExceeded", "message": "too many nodes"}}
	if r := f.run("kube", "show", "dev"); r.code != 0 || !strings.Contains(r.err, "too many nodes (QuotaExceeded)") || !strings.Contains(r.out, "\tFailed\t") {
		t.Errorf("show: %+v", r)
	}
	if r := f.run("kube", "update", "dev"); r.code != int(exit.CannotStart) || !strings.Contains(r.err, "dev: too many nodes (QuotaExceeded)") {
		t.Errorf("failed: %+v", r)
	}
}

func TestKubeLife(t *testing.T) {
	f := newFake(t).withCluster()
	if out := f.ok("kube", "list"); !strings.HasPrefix(out, "dev\tdemo\tSucceeded\tRunning\t") {
		t.Error(out)
	}
	var all []object
	if f.decode(&all, "kube", "list", "-g", "demo"); len(all) != 1 || all[0]["name"] != "dev" {
		t.Error(all)
	}
	if r := f.run("kube", "stop", "dev"); r.code != 0 || !strings.Contains(r.out, "\tSucceeded\tStopped\t") || !strings.Contains(r.err, "waiting for Stopping") {
		t.Errorf("%+v", r)
	}
	if r := f.run("kube", "start", "dev", "--no-wait"); r.code != 0 || !strings.Contains(r.out, "\tStarting\tRunning\t") {
		t.Errorf("%+v", r)
	}
	if r := f.run("kube", "rotate-certs", "dev"); r.code != 0 || !strings.Contains(r.err, "get-credentials dev --overwrite-existing") {
		t.Errorf("%+v", r)
	}
	if r := f.run("kube", "show", "dev", "-g", "elsewhere"); r.code != int(exit.NotFound) || !strings.Contains(r.err, "fairlead kube list") {
		t.Errorf("%+v", r)
	}
	if r := f.run("kube", "delete", "dev"); r.code != int(exit.Usage) || !strings.Contains(r.err, "--yes") {
		t.Errorf("%+v", r)
	}
	f.ok("kube", "delete", "dev", "--yes")
	if f.resource(id("demo", clusterType, "dev")) != nil {
		t.Error("it is still there")
	}
}

func TestKubeUpdate(t *testing.T) {
	f := newFake(t).withCluster()
	for _, step := range []struct {
		args    []string
		says    string
		pullers int
	}{
		{[]string{"--attach-acr", "myacr"}, "AcrPull on myacr: given to the nodes' identity dev-agentpool", 1},
		{[]string{"--detach-acr", "myacr"}, "AcrPull on myacr: taken away from the nodes' identity dev-agentpool", 0},
		{[]string{"--detach-acr", "myacr"}, "AcrPull on myacr: the nodes' identity dev-agentpool does not have it", 0},
		{[]string{"--node-count", "3"}, "waiting for Updating", 0},
	} {
		r := f.run(append([]string{"kube", "update", "dev"}, step.args...)...)
		if r.code != 0 || !strings.Contains(r.err, step.says) || len(f.pullers()) != step.pullers {
			t.Errorf("%v: %d may pull: %+v", step.args, len(f.pullers()), r)
		}
	}
	if out := f.ok("kube", "show", "dev"); !strings.Contains(out, "\t3\t") {
		t.Error(out)
	}
	// The server knows best what is assigned already.
	f.override["GET "+id("demo", clusterType, "dev")] = nil
	if r := f.run("kube", "update", "dev", "--nodepool", "x"); r.code != int(exit.Usage) {
		t.Errorf("%+v", r)
	}
}

func TestKubeUpdateMakesALostIdentityAnew(t *testing.T) {
	f := newFake(t).withCluster()
	lost := f.resource(id("demo", clusterType, "dev"))["properties"].(object)
	lose := func() {
		lost["identityProfile"] = object{"kubeletidentity": object{"resourceId": kubelet("dev")["resourceId"]}}
	}
	lose()
	if r := f.run("kube", "update", "dev", "--detach-acr", "myacr"); r.code != 0 || !strings.Contains(r.err, "does not exist any longer") {
		t.Errorf("%+v", r)
	}
	if r := f.run("kube", "update", "dev", "--attach-acr", "myacr"); r.code != 0 || len(f.pullers()) != 1 || f.asked("PATCH") != 1 {
		t.Errorf("%+v", r)
	}
	lose()
	f.ok("kube", "update", "dev")
	if f.asked("PATCH") != 2 {
		t.Error("it is not asked for anew")
	}
}

func TestKubeCredentials(t *testing.T) {
	f := newFake(t).withCluster()
	t.Setenv("PATH", f.dir)
	home := filepath.Join(f.dir, "home")
	run := func(args ...string) result {
		return runCLI(t.Context(), map[string]string{"FAIRLEAD_READY_FILE": f.ready, "HOME": home}, "", append([]string{"kube", "get-credentials", "dev"}, args...)...)
	}
	r := run()
	path := filepath.Join(home, ".kube", "config")
	text, err := os.ReadFile(path)
	self, _ := os.Executable()
	if err != nil || r.code != 0 || !strings.Contains(r.err, "dev is the context dev in "+path) {
		t.Fatalf("%+v %v", r, err)
	}
	for _, part := range []string{"command: " + self, "name: FAIRLEAD_READY_FILE", "value: " + f.ready, "current-context: dev"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if r := run("--admin"); r.code != 0 || !strings.Contains(r.err, "dev-admin") {
		t.Errorf("%+v", r)
	}
	// What differs is never overwritten silently.
	other := strings.Replace(string(text), "127.0.0.1:8443", "127.0.0.1:9443", 1)
	if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(); r.code == 0 || !strings.Contains(r.err, "--overwrite-existing") {
		t.Errorf("%+v", r)
	}
	if r := run("--overwrite-existing", "--context", "mine"); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if r := run("--file", "-", "--admin"); r.code != 0 || !strings.Contains(r.out, "client-key-data: a2V5") || strings.Contains(r.err, "is the context") {
		t.Errorf("%+v", r)
	}
	f.override["POST "+id("demo", clusterType, "dev")+"/listClusterUserCredential"] = func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 409, "OperationNotAllowed", "managed cluster is in Provisioning State(Succeeded) and Power State(Stopped), listing credentials cannot be performed.")
	}
	if r := run(); r.code != 1 || !strings.Contains(r.err, "Power State(Stopped)") {
		t.Errorf("%+v", r)
	}
}

func TestKubectl(t *testing.T) {
	f := newFake(t).withCluster()
	notes := f.kubectl("cat >&2; exit 7")
	r := f.pipe("what is typed", "kube", "kubectl", "dev", "-g", "demo", "--", "get", "pods", "-o", "wide", "--", "x")
	if r.code != 7 || r.err != "what is typed" || r.out != "" {
		t.Errorf("%+v", r)
	}
	self, _ := os.Executable()
	for _, part := range []string{"called: get pods -o wide -- x\n", "command: " + self, "value: " + f.ready, "name: clusterUser_demo_dev", "-rw-------"} {
		if !strings.Contains(notes(), part) {
			t.Errorf("no %q in\n%s", part, notes())
		}
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "fairlead-kubectl-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	t.Setenv("PATH", filepath.Join(f.dir, "nothing"))
	if r := f.run("kube", "kubectl", "dev", "--", "get"); r.code != 1 || !strings.Contains(r.err, "neither fairlead-kube nor kubectl") {
		t.Errorf("%+v", r)
	}
	if r := f.run("kube", "kubectl", "dev"); r.code != int(exit.Usage) {
		t.Errorf("%+v", r)
	}
}

func TestKubectlEndsWhenInterrupted(t *testing.T) {
	f := newFake(t).withCluster()
	f.kubectl("echo started; exec sleep 60")
	ctx, interrupt := context.WithTimeout(t.Context(), time.Second)
	defer interrupt()
	began := time.Now()
	r := runCLI(ctx, map[string]string{"FAIRLEAD_READY_FILE": f.ready}, "", "kube", "kubectl", "dev", "--", "logs", "-f", "x")
	if r.code == 0 || r.out != "started\n" || time.Since(began) > 20*time.Second {
		t.Errorf("after %s: %+v", time.Since(began), r)
	}
}

// secretIn gives the docker configuration in a Secret's manifest.
func secretIn(t *testing.T, manifest string) (auths map[string]map[string]string) {
	t.Helper()
	_, rest, _ := strings.Cut(manifest, ".dockerconfigjson: ")
	encoded, _, _ := strings.Cut(rest, "\n")
	text, err := base64.StdEncoding.DecodeString(encoded)
	var config struct{ Auths map[string]map[string]string }
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, manifest)
	}
	return config.Auths
}

func TestPullSecret(t *testing.T) {
	f := newFake(t).withCluster()
	var sp struct{ ClientID string }
	f.decode(&sp, "sp", "create", "--name", "puller")
	args := []string{"kube", "pull-secret", "my-acr-secret", "--registry", "myacr", "--service-principal", sp.ClientID}
	r := f.pipe("the-secret-9\n", append(args, "--credential-stdin", "-n", "shop")...)
	auths := secretIn(t, r.out)
	if r.code != 0 || !strings.Contains(r.out, "name: my-acr-secret\n  namespace: shop\n") || !strings.Contains(r.out, "type: kubernetes.io/dockerconfigjson") {
		t.Errorf("%+v", r)
	}
	for _, host := range []string{"myacr.azurecr.io", "myacr.azurecr.fl.test", "myacr.azurecr.other.test"} {
		want := base64.StdEncoding.EncodeToString([]byte(sp.ClientID + ":the-secret-9"))
		if a := auths[host]; a["username"] != sp.ClientID || a["password"] != "the-secret-9" || a["auth"] != want {
			t.Errorf("%s: %v", host, a)
		}
	}
	if len(auths) != 3 {
		t.Errorf("%v", auths)
	}
	if minted := secretIn(t, f.ok(args...))["myacr.azurecr.io"]["password"]; minted == "" || f.passwords() != 2 {
		t.Errorf("%q, %d secrets", minted, f.passwords())
	}
	notes := f.kubectl("cat >> LOG")
	f.ok(append(args, "--apply", "--admin", "--cluster", "dev")...)
	if got := notes(); !strings.Contains(got, "called: apply -f -") || !strings.Contains(got, "name: my-acr-secret") || !strings.Contains(got, "clusterAdmin_demo_dev") || f.passwords() != 3 {
		t.Error(got)
	}
	f.kubectl("echo 'Error from server (Forbidden): no' >&2; exit 1")
	if r := f.run(append(args, "--apply")...); r.code != 1 || r.err != "Error from server (Forbidden): no\n" || f.passwords() != 3 {
		t.Errorf("%d secrets: %+v", f.passwords(), r)
	}
	for says, r := range map[string]result{
		"are needed":                    f.run(args[:5]...),
		"stdin holds no client secret":  f.pipe("\n", append(args, "--credential-stdin")...),
		"there is no registry":          f.run("kube", "pull-secret", "pull", "--registry", "nosuch", "--service-principal", sp.ClientID),
		"there is no service principal": f.run("kube", "pull-secret", "pull", "--registry", "myacr", "--service-principal", kubeletClient),
	} {
		if r.code == 0 || !strings.Contains(r.err, says) || r.out != "" {
			t.Errorf("%s: %+v", says, r)
		}
	}
}

// passwords counts the client secrets of the only application.
func (f *fake) passwords() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, _ := f.apps[0]["passwordCredentials"].([]any)
	return len(list)
}

const objects = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 3} # three
---
apiVersion: v1
kind: Secret
metadata: {name: pull, namespace: shop}
type: kubernetes.io/dockerconfigjson
data: {.dockerconfigjson: <CONFIG>}
---
---
kind: Thing
`

func TestApplyObjects(t *testing.T) {
	f := newFake(t).withCluster()
	path := f.file("shop.yaml", objects)
	notes := f.kubectl(`[ "$1" = apply ] && for f in *; do echo "== $f"; cat "$f"; done >> LOG; echo "$1 done"`)
	if r := f.run("apply", "-f", path); r.code != int(exit.Usage) || !strings.Contains(r.err, "data..dockerconfigjson: <CONFIG>") {
		t.Errorf("unfilled: %+v", r)
	}
	r := f.run("apply", "-f", path, "--set", "CONFIG=e30=", "-n", "prod")
	if r.code != 0 || r.out != "apply done\n" || r.err != "rollout done\n" {
		t.Fatalf("%+v", r)
	}
	for _, part := range []string{
		"called: apply --namespace prod -f shop.yaml (document 1) -f shop.yaml (document 2) -f shop.yaml (document 4)\n",
		"== shop.yaml (document 1)\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3} # three\n",
		".dockerconfigjson: e30=", "called: rollout status deployment/web --namespace prod\n", "name: clusterUser_demo_dev",
	} {
		if !strings.Contains(notes(), part) {
			t.Errorf("no %q in\n%s", part, notes())
		}
	}
	r = f.run("apply", "-f", path, "--set", "CONFIG=e30=", "--wait", "none", "--admin", "--cluster", "dev", "-o", "json")
	if r.code != 0 || !strings.Contains(notes(), "called: apply --output json -f") || r.err != "" {
		t.Errorf("%+v\n%s", r, notes())
	}
}

func TestApplyObjectsThatAreRefused(t *testing.T) {
	f := newFake(t).withCluster()
	path := f.file("shop.yaml", strings.Replace(objects, "<CONFIG>", "e30=", 1))
	f.kubectl(`echo 'Error from server (Forbidden): error when creating "shop.yaml (document 2)": secrets is forbidden' >&2; exit 1`)
	r := f.run("apply", "-f", path)
	if r.code != 1 || !strings.Contains(r.err, `error when creating "shop.yaml (document 2)": secrets is forbidden`) || !strings.Contains(r.err, "the cluster dev has not taken all") || !strings.Contains(r.err, "--admin") {
		t.Errorf("%+v", r)
	}
	f.kubectl(`[ "$1" = apply ] || { echo 'error: deployment "web" exceeded its progress deadline' >&2; exit 1; }`)
	r = f.run("apply", "-f", path)
	if r.code != int(exit.CannotStart) || !strings.Contains(r.err, "exceeded its progress deadline") || !strings.Contains(r.err, "hint: see why with 'fairlead why deployment/web --cluster dev'") {
		t.Errorf("%+v", r)
	}
	f.ok("kube", "create", "prod")
	if r := f.run("apply", "-f", path); r.code != int(exit.Usage) || !strings.Contains(r.err, "there are several clusters: dev, prod") && !strings.Contains(r.err, "there are several clusters: prod, dev") {
		t.Errorf("%+v", r)
	}
	if r := f.run("apply", "-f", path, "--cluster", "nosuch"); r.code != int(exit.NotFound) {
		t.Errorf("%+v", r)
	}
}

func TestApplyAThousandObjects(t *testing.T) {
	f := newFake(t).withCluster()
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata: {text: %q}\n", i, strings.Repeat("x", 2000))
	}
	notes := f.kubectl("echo $# files: $(ls | wc -l) >> LOG")
	f.ok("apply", "-f", f.file("many.yaml", text.String()))
	if got := notes(); !strings.Contains(got, "2001 files: 1000\n") || !strings.Contains(got, "-f many.yaml (document 1001)") {
		t.Errorf("%.300s", got[max(0, len(got)-300):])
	}
}
