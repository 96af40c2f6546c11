package cli_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/cli"
	"fairlead.dev/internal/cli/exit"
)

func TestExitCodes(t *testing.T) {
	f := newFake(t)
	f.override["POST "+id("default", "Microsoft.ContainerRegistry/registries", "myacr")+"/listCredentials"] = func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 403, "AuthorizationFailed", "does not have authorization")
	}
	f.ok("registry", "create", "myacr")
	for name, c := range map[string]struct {
		args []string
		code exit.Code
		says []string
	}{
		"no such command":    {[]string{"puhs"}, exit.Usage, []string{"puhs", "push"}},
		"no such subcommand": {[]string{"registry", "craete"}, exit.Usage, []string{"registry craete", "registry create"}},
		"no such flag":       {[]string{"ps", "--nonsense"}, exit.Usage, []string{"--nonsense", "ps --help"}},
		"argument missing":   {[]string{"why"}, exit.Usage, []string{"WORKLOAD is missing", "hint: see 'fairlead why --help'"}},
		"argument too many":  {[]string{"why", "a", "b"}, exit.Usage, []string{`"b"`}},
		"bad format":         {[]string{"ps", "-o", "yaml"}, exit.Usage, []string{"table, json"}},
		"no image":           {[]string{"group", "create", "x"}, exit.Usage, []string{"--image is missing", "hint: see 'fairlead group create --help'"}},
		"bad tail":           {[]string{"logs", "x", "--tail", "-3"}, exit.Usage, []string{"--tail -3"}},
		"secret needs sp":    {[]string{"ps", "-o", "secret"}, exit.Usage, []string{"table, json"}},
		"not found":          {[]string{"why", "nosuch"}, exit.NotFound, []string{"nosuch", "fairlead ps"}},
		"registry not found": {[]string{"registry", "show", "nosuch"}, exit.NotFound, []string{"registry create nosuch"}},
		"denied":             {[]string{"registry", "credential", "myacr"}, exit.Denied, []string{"authorization", "AuthorizationFailed", "role assign"}},
		"no ready file":      {[]string{"ps", "--ready-file", "/nonexistent/ready.json"}, exit.Unreachable, []string{"/nonexistent/ready.json", "fairlead up"}},
		"not here":           {[]string{"up"}, exit.Failure, []string{"only where Fairlead itself runs"}},
		"deleting asks":      {[]string{"registry", "delete", "myacr"}, exit.Usage, []string{"--yes"}},
		"help":               {[]string{"registry", "--help"}, exit.OK, nil},
		"help of a command":  {[]string{"help", "registry", "create"}, exit.OK, nil},
		"help of nothing":    {[]string{"help", "registry", "craete"}, exit.Usage, []string{"registry craete", "registry create"}},
		"version":            {[]string{"version"}, exit.OK, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.run(c.args...)
			if r.code != int(c.code) {
				t.Errorf("exit code %d, want %d\n%s", r.code, c.code, r.err)
			}
			for _, text := range c.says {
				if !strings.Contains(r.err, text) {
					t.Errorf("stderr lacks %q:\n%s", text, r.err)
				}
			}
			if c.code != exit.OK && r.out != "" {
				t.Errorf("an error wrote to stdout: %s", r.out)
			}
		})
	}
}

// TestExitCodesAreDocumented: the page lists every code that help lists.
func TestExitCodesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	help := f.ok("help", "exit-codes")
	for _, row := range exit.Table() {
		if row[0] != "any" && !strings.Contains(string(page), "| "+row[0]+" |") {
			t.Errorf("docs/exit-codes.md lacks %s", row[0])
		}
		if !strings.Contains(help, row[1]) {
			t.Errorf("help exit-codes lacks %q", row[1])
		}
	}
}

func TestUnreachable(t *testing.T) {
	f := newFake(t)
	f.server.Close()
	r := f.run("ps")
	if r.code != int(exit.Unreachable) || !strings.Contains(r.err, "no Fairlead answers") || !strings.Contains(r.err, "fairlead up") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}

func TestInterruptedAndTimedOut(t *testing.T) {
	f := newFake(t)
	f.allowed = func() bool { return false }
	f.resources[strings.ToLower(id("rg", "Microsoft.ContainerInstance/containerGroups", "app"))] = object{
		"id": id("rg", "Microsoft.ContainerInstance/containerGroups", "app"), "name": "app", "properties": object{},
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.override["GET "+id("rg", "Microsoft.ContainerInstance/containerGroups", "app")] = func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		answer(w, 200, object{"properties": object{}})
	}
	env := map[string]string{"FAIRLEAD_READY_FILE": f.ready}
	if r := runCLI(ctx, env, "", "wait", "app"); r.code != int(exit.Interrupted) || !strings.Contains(r.err, "interrupted") {
		t.Errorf("interrupted: code %d: %s", r.code, r.err)
	}
	if r := runCLI(t.Context(), env, "", "wait", "app", "--timeout", "300ms"); r.code != int(exit.TimedOut) || !strings.Contains(r.err, "--timeout") {
		t.Errorf("timed out: code %d: %s", r.code, r.err)
	}
}

func TestWrongSecret(t *testing.T) {
	f := newFake(t)
	text, err := os.ReadFile(f.ready)
	if err != nil {
		t.Fatal(err)
	}
	path := f.file("wrong.json", strings.Replace(string(text), adminSecret, "wrong-secret-77", 1))
	r := f.run("ps", "--ready-file", path)
	if r.code != int(exit.Denied) || !strings.Contains(r.err, "AADSTS7000215") || !strings.Contains(r.err, "fairlead login") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
	if strings.Contains(r.err+r.out, "wrong-secret-77") {
		t.Errorf("the secret is shown: %s", r.err)
	}
}

func TestLogin(t *testing.T) {
	f := newFake(t)
	config := filepath.Join(f.dir, "config")
	env := map[string]string{"FAIRLEAD_CONFIG_DIR": config, "XDG_DATA_HOME": f.dir}
	login := func(secret string) result {
		return runCLI(t.Context(), env, secret, "login", "--arm", f.url("management"), "--server", "127.0.0.1", "--ca-file", filepath.Join(f.dir, "ca.pem"),
			"--service-principal", "-u", adminID, "--tenant", tenant)
	}
	if r := login("wrong\n"); r.code != int(exit.Denied) {
		t.Fatalf("wrong secret: code %d: %s", r.code, r.err)
	}
	if _, err := os.Stat(filepath.Join(config, "login.json")); err == nil {
		t.Fatal("a login that was refused is kept")
	}
	r := login(adminSecret + "\n")
	if r.code != 0 || !strings.Contains(r.out, subscription) || strings.Contains(r.out+r.err, adminSecret) {
		t.Fatalf("code %d: %s%s", r.code, r.out, r.err)
	}
	info, err := os.Stat(filepath.Join(config, "login.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the login's file: %v, %v", info, err)
	}
	if r := runCLI(t.Context(), env, "", "ps", "-o", "json"); r.code != 0 || strings.TrimSpace(r.out) != "[]" {
		t.Errorf("ps with the login: code %d: %s%s", r.code, r.out, r.err)
	}
	if err := os.Chmod(filepath.Join(config, "login.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := runCLI(t.Context(), env, "", "ps"); r.code != int(exit.Denied) || !strings.Contains(r.err, "chmod 600") {
		t.Errorf("a login that others may read: code %d: %s", r.code, r.err)
	}
	if r := runCLI(t.Context(), env, "", "logout"); r.code != 0 {
		t.Errorf("logout: %s", r.err)
	}
	if _, err := os.Stat(filepath.Join(config, "login.json")); err == nil {
		t.Error("logout left the login")
	}
}

func TestEnv(t *testing.T) {
	f := newFake(t)
	out := f.ok("env")
	for _, line := range []string{
		"export FAIRLEAD_READY_FILE='" + f.ready + "'", "export SSL_CERT_FILE='" + filepath.Join(f.dir, "ca.pem") + "'",
		"export ARM_TENANT_ID='" + tenant + "'", "export AZURE_CLIENT_ID='" + adminID + "'", "export AZURE_AUTHORITY_HOST='" + f.url("login") + "/'",
	} {
		if !strings.Contains(out, line+"\n") {
			t.Errorf("env lacks %s:\n%s", line, out)
		}
	}
	if strings.Contains(out, adminSecret) {
		t.Error("env shows the secret without being asked")
	}
	if out := f.ok("env", "--secrets"); !strings.Contains(out, "export ARM_CLIENT_SECRET='"+adminSecret+"'\n") {
		t.Errorf("env --secrets: %s", out)
	}
	if f.asked("") != 0 {
		t.Error("env needs no server")
	}
}

// TestLocalCommands: flags reach the functions that the program hands over.
func TestLocalCommands(t *testing.T) {
	var up cli.UpOptions
	var hosts cli.HostsOptions
	local := cli.Local{
		Version: "v1.2.3",
		Up:      func(_ context.Context, _ cli.Streams, o cli.UpOptions) error { up = o; return nil },
		Hosts:   func(_ context.Context, _ cli.Streams, o cli.HostsOptions) error { hosts = o; return nil },
	}
	var out strings.Builder
	streams := cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out, Env: func(string) string { return "" }}
	run := func(args ...string) int { return cli.Main(t.Context(), args, streams, local) }
	if code := run("up", "--data", "/d", "--listen", "127.0.0.1:0", "--domain", "a.b", "--domain", "c.d", "--ready-file", "r.json", "--compute", "none", "--allow-issuer", "idp.example"); code != 0 {
		t.Fatalf("up: %s", out.String())
	}
	if up.Data != "/d" || up.Listen != "127.0.0.1:0" || strings.Join(up.Domains, " ") != "a.b c.d" || up.ReadyFile != "r.json" || up.Compute != "none" || strings.Join(up.AllowIssuers, " ") != "idp.example" {
		t.Errorf("up got %+v", up)
	}
	if code := run("hosts", "--file", "h", "--write"); code != 0 || hosts.File != "h" || !hosts.Write {
		t.Errorf("hosts: code %d, %+v", code, hosts)
	}
	if code := run("hosts", "--remove", "--write"); code != int(exit.Usage) {
		t.Errorf("hosts --remove --write: code %d", code)
	}
	out.Reset()
	if run("version"); !strings.HasPrefix(out.String(), "v1.2.3\t") {
		t.Errorf("version: %s", out.String())
	}
}

// TestEveryCommandHelps: every command has a short text and refuses nonsense.
func TestEveryCommandHelps(t *testing.T) {
	f := newFake(t)
	for _, line := range []string{
		"apply", "run", "ps", "logs", "exec", "why", "attempts", "wait", "rm", "registry create", "registry list", "registry show", "registry delete",
		"registry credential", "push", "images", "tags", "untag", "sp create", "sp reset", "sp list", "sp delete", "identity create", "identity list",
		"identity show", "identity delete", "identity federate", "identity federations", "identity unfederate", "role assign", "role list", "role remove", "group create", "group update", "group list", "group show",
		"group delete", "group stop", "group start", "group restart", "webapp create", "webapp update", "webapp list", "webapp show", "webapp delete",
		"webapp stop", "webapp start", "webapp restart", "webapp log", "resource-group list", "resource-group delete", "login", "logout", "env",
		"up", "down", "doctor", "trust", "hosts", "version",
	} {
		out := f.ok(append(strings.Fields(line), "--help")...)
		if !strings.Contains(out, "fairlead "+line) {
			t.Errorf("%s --help does not show its usage:\n%s", line, out)
		}
	}
	if f.asked("") != 0 {
		t.Error("help asked the server")
	}
}

func TestJSONIsJSON(t *testing.T) {
	f := newFake(t)
	f.ok("registry", "create", "myacr")
	f.ok("group", "create", "app", "-g", "rg", "--image", "myacr.azurecr.io/app:v1")
	for _, line := range []string{"ps", "group list", "webapp list", "registry list", "identity list", "sp list", "role list", "resource-group list", "images myacr", "why app", "attempts app", "version", "env"} {
		var v any
		if err := json.Unmarshal([]byte(f.ok(append(strings.Fields(line), "-o", "json")...)), &v); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestRetriesWhileTheServerIsBusy(t *testing.T) {
	f := newFake(t)
	times := 0
	f.override["GET /subscriptions/"+subscription+"/providers/Microsoft.ContainerRegistry/registries"] = func(w http.ResponseWriter, _ *http.Request) {
		if times++; times < 3 {
			w.Header().Set("Retry-After", "0")
			refuse(w, 503, "ServerBusy", "later")
			return
		}
		answer(w, 200, object{"value": []object{}})
	}
	begin := time.Now()
	f.ok("registry", "list")
	if times != 3 || time.Since(begin) > 5*time.Second {
		t.Errorf("asked %d times in %v", times, time.Since(begin))
	}
}
