package cli_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"fairlead.dev/internal/cli/exit"
)

const (
	groups = "Microsoft.ContainerInstance/containerGroups"
	sites  = "Microsoft.Web/sites"
)

const aciYAML = `apiVersion: '2019-12-01'
type: 'Microsoft.ContainerInstance/containerGroups'
location: 'westeurope'
name: 'my-aci-instance'
properties:
  osType: 'Linux'
  containers:
  - name: 'my-container'
    properties:
      image: 'myacr.azurecr.io/my-private-image:v1'
      resources: {requests: {cpu: 1, memoryInGB: 1.5}}
  imageRegistryCredentials:
  - server: 'myacr.azurecr.io'
    username: '<SERVICE_PRINCIPAL_CLIENT_ID>'
    password: '<SERVICE_PRINCIPAL_CLIENT_SECRET>'
  restartPolicy: 'Never'
`

func TestApplyContainerGroup(t *testing.T) {
	f := newFake(t)
	path := f.file("aci.yaml", aciYAML)
	r := f.run("apply", "-f", path, "-g", "demo")
	if r.code != int(exit.Usage) || !strings.Contains(r.err, "properties.imageRegistryCredentials[0].password: <SERVICE_PRINCIPAL_CLIENT_SECRET>") || f.asked("PUT") != 0 {
		t.Errorf("unfilled: code %d, %d PUTs: %s", r.code, f.asked("PUT"), r.err)
	}
	r = f.pipe("the-secret-9\n", "apply", "-f", path, "-g", "demo", "--set", "SERVICE_PRINCIPAL_CLIENT_ID=abc", "--set-stdin", "SERVICE_PRINCIPAL_CLIENT_SECRET")
	if r.code != 0 {
		t.Fatalf("code %d: %s", r.code, r.err)
	}
	if strings.Contains(r.out+r.err, "the-secret-9") {
		t.Error("the secret is shown")
	}
	made := f.resource(id("demo", groups, "my-aci-instance"))
	if made["strict"] != "true" || made["version"] != "2019-12-01" || made["location"] != "westeurope" {
		t.Errorf("PUT was %v", made)
	}
	credential := made["properties"].(object)["imageRegistryCredentials"].([]any)[0].(object)
	if credential["username"] != "abc" || credential["password"] != "the-secret-9" {
		t.Errorf("credential %v", credential)
	}
	if group := f.resource(sub + "/resourceGroups/demo"); group == nil || group["location"] != "westeurope" {
		t.Errorf("resource group %v", group)
	}
	if want := "group/my-aci-instance\tdemo\tTerminated\t"; !strings.HasPrefix(r.out, want) {
		t.Errorf("out %q, want %q", r.out, want)
	}
	if !strings.Contains(r.err, "layer 0123456789ab\t10 B") {
		t.Errorf("no progress lines: %s", r.err)
	}
}

func TestApplyThatMayNotPull(t *testing.T) {
	f := newFake(t)
	f.allowed = func() bool { return false }
	path := f.file("aci.yaml", strings.NewReplacer("<SERVICE_PRINCIPAL_CLIENT_ID>", "abc", "<SERVICE_PRINCIPAL_CLIENT_SECRET>", "def").Replace(aciYAML))
	r := f.run("apply", "-f", path, "-g", "demo")
	if r.code != int(exit.CannotStart) {
		t.Fatalf("code %d: %s", r.code, r.err)
	}
	for _, text := range []string{"ROLE_MISSING identity web-id may not read", "fix: fairlead role assign AcrPull --to p-id --on myacr", "hint: the whole reason: fairlead why group/my-aci-instance"} {
		if !strings.Contains(r.err, text) {
			t.Errorf("stderr lacks %q:\n%s", text, r.err)
		}
	}
	if strings.Contains(r.err, "\x1b") {
		t.Errorf("an escape sequence of the server's reached the terminal: %q", r.err)
	}
}

func TestApplySeveralAndRefused(t *testing.T) {
	f := newFake(t)
	f.ok("apply", "-g", "demo", "-f", f.file("two.yaml", `
type: Microsoft.ManagedIdentity/userAssignedIdentities
name: web-id
---
# nothing here
---
{"type": "Microsoft.ContainerRegistry/registries", "name": "myacr", "sku": {"name": "Basic"}}
`))
	if f.resource(id("demo", "Microsoft.ManagedIdentity/userAssignedIdentities", "web-id")) == nil || f.resource(id("demo", "Microsoft.ContainerRegistry/registries", "myacr")) == nil {
		t.Error("one of two documents was not applied")
	}
	for name, text := range map[string]string{
		"no YAML": "a: [", "a list": "- a", "no type": "name: x", "empty": "---\n",
		"template": `{"$schema": "x", "resources": []}`, "duplicate": "type: a/b\ntype: a/b", "path in name": "type: A.B/c\nname: ../x",
	} {
		if r := f.run("apply", "-f", f.file("bad.yaml", text), "-g", "demo"); r.code != int(exit.Usage) || !strings.Contains(r.err, "bad.yaml") {
			t.Errorf("%s: code %d: %s", name, r.code, r.err)
		}
	}
}

func TestApplyAppService(t *testing.T) {
	f := newFake(t)
	var made struct {
		ID         string
		Properties struct{ ClientID string }
	}
	f.decode(&made, "identity", "create", "web-id", "-g", "ids")
	path := f.file("appservice.txt", `// This demonstrates how the App Service is configured for a Docker image
App Service Configuration:
    Image: 'myacr.azurecr.io/my-private-image:v1'
    Registry Type: Azure Container Registry
    Registry URL: 'myacr.azurecr.io'
    Authentication Type: Managed Identity
    Managed Identity Client ID: '<MANAGED_IDENTITY_CLIENT_ID>'
`)
	if r := f.run("apply", "-f", path, "-g", "demo", "--set", "MANAGED_IDENTITY_CLIENT_ID="+made.Properties.ClientID); r.code != int(exit.Usage) || !strings.Contains(r.err, "--name") {
		t.Errorf("without a name: code %d: %s", r.code, r.err)
	}
	if r := f.run("apply", "-f", path, "-g", "demo", "--name", "shop", "--set", "MANAGED_IDENTITY_CLIENT_ID="+tenant); r.code != int(exit.NotFound) || !strings.Contains(r.err, "identity list") {
		t.Errorf("unknown identity: code %d: %s", r.code, r.err)
	}
	f.ok("apply", "-f", path, "-g", "demo", "--name", "shop", "--set", "MANAGED_IDENTITY_CLIENT_ID="+made.Properties.ClientID)
	site := f.resource(id("demo", sites, "shop"))
	config := site["properties"].(object)["siteConfig"].(object)
	if config["linuxFxVersion"] != "DOCKER|myacr.azurecr.io/my-private-image:v1" || config["acrUseManagedIdentityCreds"] != true || config["acrUserManagedIdentityID"] != made.Properties.ClientID {
		t.Errorf("siteConfig %v", config)
	}
	if _, ok := site["identity"].(object)["userAssignedIdentities"].(object)[made.ID]; !ok {
		t.Errorf("the identity is not attached: %v", site["identity"])
	}
	if site["properties"].(object)["serverFarmId"] != id("demo", "Microsoft.Web/serverfarms", "shop-plan") || f.resource(id("demo", "Microsoft.Web/serverfarms", "shop-plan")) == nil {
		t.Errorf("plan %v", site["properties"])
	}
}

func TestGroupLife(t *testing.T) {
	f := newFake(t)
	f.ok("identity", "create", "puller", "-g", "rg")
	r := f.pipe("registry-password\n", "group", "create", "app", "-g", "rg", "--image", "myacr.azurecr.io/app:v1", "--username", "U", "--credential-stdin",
		"--env", "A=1", "--secure-env", "B=hush", "--port", "8080", "--cpu", "0.5", "--command", `/bin/sh -c "echo 'a b'"`)
	if r.code != 0 || strings.Contains(r.out+r.err, "registry-password") {
		t.Fatalf("create: code %d: %s%s", r.code, r.out, r.err)
	}
	group := f.resource(id("rg", groups, "app"))
	container := group["properties"].(object)["containers"].([]any)[0].(object)["properties"].(object)
	if got := container["command"].([]any); len(got) != 3 || got[2] != "echo 'a b'" {
		t.Errorf("command %q", got)
	}
	if env := container["environmentVariables"].([]any); env[0].(object)["value"] != "1" || env[1].(object)["secureValue"] != "hush" {
		t.Errorf("environment %v", env)
	}
	credential := func() object {
		all := f.resource(id("rg", groups, "app"))["properties"].(object)["imageRegistryCredentials"].([]any)
		if len(all) != 1 {
			t.Fatalf("credentials %v", all)
		}
		return all[0].(object)
	}
	if c := credential(); c["server"] != "myacr.azurecr.io" || c["username"] != "U" || c["password"] != "registry-password" {
		t.Errorf("credential %v", c)
	}
	f.ok("group", "update", "app", "--image", "myacr.azurecr.io/app:v2", "--identity", "puller")
	puller := id("rg", "Microsoft.ManagedIdentity/userAssignedIdentities", "puller")
	if c := credential(); c["identity"] != puller || c["username"] != nil {
		t.Errorf("credential after update %v", c)
	}
	group = f.resource(id("rg", groups, "app"))
	if group["identity"].(object)["type"] != "UserAssigned" || group["properties"].(object)["containers"].([]any)[0].(object)["properties"].(object)["image"] != "myacr.azurecr.io/app:v2" {
		t.Errorf("after update %v", group)
	}
	if out := f.ok("ps"); !strings.HasPrefix(out, "group/app\trg\tRunning\tmyacr.azurecr.io/app:v2\t") {
		t.Errorf("ps: %q", out)
	}
	f.ok("group", "restart", "app")
	if f.asked("POST "+id("rg", groups, "app")+"/restart") != 1 {
		t.Error("restart was not asked for")
	}
	f.ok("rm", "app")
	if f.resource(id("rg", groups, "app")) != nil || f.run("rm", "app").code != int(exit.NotFound) {
		t.Error("rm left it")
	}
}

func TestNamesThatFitSeveral(t *testing.T) {
	f := newFake(t)
	f.ok("group", "create", "app", "-g", "one", "--image", "myacr.azurecr.io/app:v1")
	f.ok("group", "create", "app", "-g", "two", "--image", "myacr.azurecr.io/app:v1")
	r := f.run("why", "app")
	if r.code != int(exit.Usage) || !strings.Contains(r.err, id("one", groups, "app")) || !strings.Contains(r.err, id("two", groups, "app")) {
		t.Errorf("code %d: %s", r.code, r.err)
	}
	f.ok("why", "app", "-g", "two")
	f.ok("why", id("one", groups, "app"))
	f.ok("why", "group/APP", "-g", "one")
	if r := f.run("why", "webapp/app"); r.code != int(exit.NotFound) {
		t.Errorf("webapp/app: code %d", r.code)
	}
}

func TestWhyAndWait(t *testing.T) {
	f := newFake(t)
	var granted atomic.Bool
	f.allowed = granted.Load
	if r := f.run("group", "create", "app", "-g", "rg", "--image", "myacr.azurecr.io/app:v1"); r.code != int(exit.CannotStart) {
		t.Fatalf("create: code %d: %s", r.code, r.err)
	}
	r := f.run("why", "app")
	if r.code != int(exit.CannotStart) || r.err != "" {
		t.Errorf("why: code %d, stderr %q", r.code, r.err)
	}
	order := []string{
		"cannot pull  ROLE_MISSING", "✓ parse", "✓ identity", "web-id  client id c-id  principal id p-id (read)", "✗ role        no role", "? blobs       hidden: you lack read", "passed over: appSettings X: absent",
		"✗ AcrPull on /other for p-id: scope does not cover this registry", "also wrong  TAG_UNKNOWN", "To grant pull on this registry:", "  fairlead role assign AcrPull --to p-id --on myacr",
	}
	at := 0
	for _, text := range order {
		i := strings.Index(r.out[at:], text)
		if i < 0 {
			t.Fatalf("why lacks %q, or has it too early:\n%s", text, r.out)
		}
		at += i
	}
	if strings.Contains(r.out, "manifest") || strings.Contains(r.out, "\x1b") {
		t.Errorf("why shows a stage that was not reached, or an escape sequence:\n%q", r.out)
	}
	if r := f.run("logs", "app"); r.code != 0 || !strings.Contains(r.err, "has written nothing: it cannot pull its image; ask 'fairlead why group/app'") {
		t.Errorf("logs of what never ran: code %d: %s", r.code, r.err)
	}
	r.code = int(exit.TimedOut)
	for limit := 300 * time.Millisecond; r.code == int(exit.TimedOut) && limit < 10*time.Second; limit *= 2 { // a short one may be over before it has looked once
		r = f.run("wait", "app", "--timeout", limit.String())
	}
	if r.code != int(exit.CannotStart) || !strings.Contains(r.err, "ROLE_MISSING") {
		t.Errorf("wait without a role: code %d: %s", r.code, r.err)
	}
	granted.Store(true)
	f.ok("wait", "app")
	if out := f.ok("why", "app"); !strings.HasPrefix(out, "can pull  myacr.azurecr.io/app:v1\n") || strings.Contains(out, "✗") {
		t.Errorf("why when it can pull:\n%s", out)
	}
}

func TestRunAndLogs(t *testing.T) {
	f := newFake(t)
	r := f.run("run", "myacr.azurecr.io/app:v1", "-g", "rg", "--name", "job", "--follow", "--rm", "--", "/bin/echo", "one")
	if r.code != 0 || r.out != "one\ntwo\n" || !strings.Contains(r.err, "group/job\n") {
		t.Fatalf("code %d: %q %s", r.code, r.out, r.err)
	}
	if f.resource(id("rg", groups, "job")) != nil {
		t.Error("--rm left it")
	}
	f.exitCode = 3
	r = f.run("run", "myacr.azurecr.io/app:v1", "-g", "rg", "--name", "job", "--follow", "--rm")
	if r.code != int(exit.Failure) || r.out != "one\ntwo\n" || !strings.Contains(r.err, "exit code 3") || f.resource(id("rg", groups, "job")) != nil {
		t.Errorf("a job that fails: code %d: %q %s", r.code, r.out, r.err)
	}
	f.run("run", "myacr.azurecr.io/app:v1", "-g", "rg", "--name", "over")
	if r := f.run("wait", "over"); r.code != int(exit.CannotStart) || !strings.Contains(r.err, "exit code 3") {
		t.Errorf("waiting for what will not run again: code %d: %s", r.code, r.err)
	}
	f.exitCode = 0
	out := f.ok("run", "myacr.azurecr.io/team/my_app:v1")
	if !strings.HasPrefix(out, "group/my-app-") {
		t.Errorf("name: %q", out)
	}
	f.ok("group", "create", "srv", "-g", "rg", "--image", "a/b")
	if out := f.ok("logs", "srv", "--tail", "2"); out != "one\ntwo\n" {
		t.Errorf("logs %q", out)
	}
	if r := f.run("run", "a/b", "--dns-label", "svc"); r.code != int(exit.Usage) || !strings.Contains(r.err, "--port") || !strings.Contains(r.err, "hint: see 'fairlead run --help'") {
		t.Errorf("a label for no address: code %d: %s", r.code, r.err)
	}
	if r := f.run("logs", "srv", "-c", "nosuch"); r.code != int(exit.NotFound) || !strings.Contains(r.err, "srv") {
		t.Errorf("no such container: code %d: %s", r.code, r.err)
	}
}

// TestExec: the password goes first, stdin in binary frames with an empty one at its end, and the exit code comes back.
func TestExec(t *testing.T) {
	f := newFake(t)
	f.ok("group", "create", "app", "-g", "rg", "--image", "a/b")
	f.override["POST "+id("rg", groups, "app")+"/containers/app/exec"] = func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, object{"webSocketUri": strings.Replace(f.url("management"), "https", "wss", 1) + "/exec/1", "password": "pw"})
	}
	f.override["GET /exec/1"] = func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		kind, password, _ := conn.Read(r.Context())
		if kind != websocket.MessageText || string(password) != "pw" {
			conn.Close(websocket.StatusPolicyViolation, "no password")
			return
		}
		var stdin strings.Builder
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil || kind != websocket.MessageBinary {
				return
			}
			if len(data) == 0 {
				break
			}
			stdin.Write(data)
		}
		conn.Write(r.Context(), websocket.MessageBinary, []byte("got "+stdin.String()))
		conn.Close(websocket.StatusNormalClosure, "exit code 7")
	}
	r := f.pipe("hello", "exec", "app", "-i", "--", "cat", "-")
	if r.code != 7 || r.out != "got hello" || r.err != "" {
		t.Errorf("code %d, out %q, err %q", r.code, r.out, r.err)
	}
}

func TestWebappUpdate(t *testing.T) {
	f := newFake(t)
	var made struct{ Properties struct{ ClientID string } }
	f.decode(&made, "identity", "create", "web-id", "-g", "rg")
	f.ok("webapp", "create", "shop", "-g", "rg", "--image", "myacr.azurecr.io/web:v1", "--identity", "web-id", "--setting", "A=1", "--port", "8080")
	site := f.resource(id("rg", sites, "shop"))
	config := func() object {
		return f.resource(id("rg", sites, "shop"))["properties"].(object)["siteConfig"].(object)
	}
	if config()["acrUseManagedIdentityCreds"] != nil || len(config()["appSettings"].([]any)) != 2 {
		t.Errorf("created with %v", config())
	}
	for attached := range site["identity"].(object)["userAssignedIdentities"].(object) {
		site["identity"].(object)["userAssignedIdentities"].(object)[attached] = object{"clientId": made.Properties.ClientID}
	}
	f.ok("webapp", "update", "shop", "-g", "rg", "--use-identity")
	if config()["acrUseManagedIdentityCreds"] != true || config()["acrUserManagedIdentityID"] != made.Properties.ClientID {
		t.Errorf("updated to %v", config())
	}
	f.override["POST "+id("rg", sites, "shop")+"/config/appsettings/list"] = func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, object{"properties": object{"A": "1", "B": "2"}})
	}
	f.ok("webapp", "update", "shop", "-g", "rg", "--setting", "B=3")
	if settings := f.resource(id("rg", sites, "shop") + "/config/appsettings")["properties"].(object); settings["A"] != "1" || settings["B"] != "3" {
		t.Errorf("settings %v", settings)
	}
	if r := f.run("webapp", "update", "nosuch", "-g", "rg", "--use-identity"); r.code != int(exit.NotFound) {
		t.Errorf("no such site: code %d", r.code)
	}
	r := f.pipe("registry-password\n", "webapp", "update", "shop", "--username", "U", "--credential-stdin")
	settings := f.resource(id("rg", sites, "shop") + "/config/appsettings")["properties"].(object)
	if r.code != 0 || settings["DOCKER_REGISTRY_SERVER_URL"] != "https://myacr.azurecr.io" || settings["DOCKER_REGISTRY_SERVER_PASSWORD"] != "registry-password" || config()["acrUseManagedIdentityCreds"] != false {
		t.Errorf("user name and password: code %d: %s: %v, %v", r.code, r.err, settings, config())
	}
	f.ok("webapp", "create", "bare", "-g", "rg", "--image", "myacr.azurecr.io/web:v1")
	if r := f.run("webapp", "update", "bare", "--use-identity"); r.code != int(exit.Usage) || !strings.Contains(r.err, "--identity") {
		t.Errorf("no identity: code %d: %s", r.code, r.err)
	}
}

// TestRunInterrupted: what Ctrl-C leaves running is named.
func TestRunInterrupted(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.override["GET "+id("rg", "Microsoft.ContainerInstance/containerGroups", "job")+"/containers/job/logs"] = func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		answer(w, 200, object{"content": ""})
	}
	r := runCLI(ctx, map[string]string{"FAIRLEAD_READY_FILE": f.ready}, "", "run", "myacr.azurecr.io/app:v1", "-g", "rg", "--name", "job", "-f", "--rm", "--restart-policy", "Always")
	if r.code != int(exit.Interrupted) || !strings.Contains(r.err, "fairlead rm group/job -g rg") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}
