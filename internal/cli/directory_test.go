package cli_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"fairlead.dev/internal/cli/exit"
)

type sp struct{ ClientID, PrincipalID, ClientSecret string }

func TestServicePrincipals(t *testing.T) {
	f := newFake(t)
	f.ok("registry", "create", "myacr")
	var made sp
	f.decode(&made, "sp", "create", "--name", "puller", "--role", "AcrPull", "--scope", "myacr")
	if made.ClientID == "" || made.PrincipalID == "" || made.ClientID == made.PrincipalID || !strings.HasPrefix(made.ClientSecret, "new-secret-") {
		t.Fatalf("made %+v", made)
	}
	if out := f.ok("role", "list", "--to", made.ClientID); !strings.HasPrefix(out, "AcrPull\t"+made.PrincipalID+"\t") {
		t.Errorf("roles %q", out)
	}
	secret := f.ok("sp", "reset", made.ClientID, "--append", "--end-date", "2020-01-01T00:00:00Z", "--output", "secret")
	if !strings.HasPrefix(secret, "new-secret-") || strings.Count(secret, "\n") != 1 {
		t.Errorf("--output secret printed %q", secret)
	}
	passwords := func() []any { return f.apps[0]["passwordCredentials"].([]any) }
	if len(passwords()) != 2 || passwords()[1].(object)["endDateTime"] != "2020-01-01T00:00:00Z" {
		t.Errorf("after --append: %v", passwords())
	}
	if out := f.ok("sp", "list"); !strings.Contains(out, " 2020-01-01") {
		t.Errorf("not every secret's end: %q", out)
	}
	var again sp
	f.decode(&again, "sp", "reset", made.ClientID)
	if again.PrincipalID != made.PrincipalID {
		t.Errorf("reset shows %+v", again)
	}
	if len(passwords()) != 1 {
		t.Errorf("after reset: %v", passwords())
	}
	if out := f.ok("sp", "list"); strings.Contains(out, "secret") || !strings.HasPrefix(out, "puller\t"+made.ClientID) {
		t.Errorf("list %q", out)
	}
	if r := f.run("sp", "reset", tenant); r.code != int(exit.NotFound) {
		t.Errorf("unknown client id: code %d", r.code)
	}
	if r := f.run("sp", "create", "--role", "AcrPull", "--scope", "nosuch"); r.code != int(exit.NotFound) || len(f.apps) != 1 {
		t.Errorf("unknown scope: code %d, %d applications", r.code, len(f.apps))
	}
	f.ok("sp", "delete", made.ClientID)
	if len(f.apps) != 0 {
		t.Error("delete left it")
	}
}

func TestRoles(t *testing.T) {
	f := newFake(t)
	f.ok("registry", "create", "myacr")
	var made struct {
		ID         string
		Properties struct{ ClientID, PrincipalID string }
	}
	f.decode(&made, "identity", "create", "web-id", "-g", "rg")
	principal := func() []string {
		var all []struct{ Properties struct{ PrincipalID string } }
		f.decode(&all, "role", "list", "--on", "myacr")
		var ids []string
		for _, a := range all {
			ids = append(ids, a.Properties.PrincipalID)
		}
		return ids
	}
	r := f.run("role", "assign", "AcrPull", "--to", made.Properties.ClientID, "--on", "myacr")
	if r.code != 0 || !strings.Contains(r.err, "is the client id of web-id: its principal id is "+made.Properties.PrincipalID) {
		t.Errorf("by client id: code %d: %s", r.code, r.err)
	}
	if got := principal(); len(got) != 1 || got[0] != made.Properties.PrincipalID {
		t.Errorf("assigned to %v", got)
	}
	f.ok("role", "remove", "AcrPull", "--to", "web-id", "--on", "myacr")
	if got := principal(); len(got) != 0 {
		t.Errorf("after remove: %v", got)
	}
	f.ok("role", "assign", "AcrPull", "--exact", "--to", made.Properties.ClientID, "--on", id("default", "Microsoft.ContainerRegistry/registries", "myacr"))
	if got := principal(); len(got) != 1 || got[0] != made.Properties.ClientID {
		t.Errorf("--exact assigned to %v", got)
	}
	for name, args := range map[string][]string{
		"principal": {"--to", "nosuch", "--on", "myacr"}, "scope": {"--to", "web-id", "--on", "nosuch"},
	} {
		if r := f.run(append([]string{"role", "assign", "AcrPull"}, args...)...); r.code != int(exit.NotFound) || !strings.Contains(r.err, "nosuch") {
			t.Errorf("unknown %s: code %d: %s", name, r.code, r.err)
		}
	}
	if r := f.run("role", "remove", "AcrPull", "--to", "web-id", "--on", "myacr"); r.code != int(exit.NotFound) {
		t.Errorf("removing what is not there: code %d", r.code)
	}
}

func TestPush(t *testing.T) {
	f := newFake(t)
	f.file("site/bin/app", "program")
	f.file("site/www/index.html", "hello")
	if err := os.Symlink("app", filepath.Join(f.dir, "site/bin/sh")); err != nil {
		t.Fatal(err)
	}
	push := func(source string, args ...string) (digest string) {
		var pushed struct{ Image, Digest string }
		f.decode(&pushed, append([]string{"push", source}, args...)...)
		return pushed.Digest
	}
	first := push(filepath.Join(f.dir, "site"), "myacr/web:v1", "--entrypoint", "/bin/app", "--cmd", "-v", "--platform", "linux/arm64")
	if again := push(filepath.Join(f.dir, "site"), "myacr.azurecr.io/web:v2", "--entrypoint", "/bin/app", "--cmd", "-v", "--platform", "linux/arm64"); again != first {
		t.Errorf("the same files gave %s and %s", first, again)
	}
	if r := f.run("push", filepath.Join(f.dir, "site"), "myacr/web:v3"); r.code != 0 || !strings.Contains(r.err, "exists already") {
		t.Errorf("a layer that is there was sent again: code %d: %s", r.code, r.err)
	}
	if out := f.ok("tags", "myacr", "web"); strings.Count(out, "\n") != 3 || !strings.HasPrefix(out, "v1\t"+first+"\t") {
		t.Errorf("tags %q", out)
	}
	if out := f.ok("images", "myacr.azurecr.io"); out != "web\n" {
		t.Errorf("images %q", out)
	}

	index, err := random.Index(1000, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	at, err := layout.Write(filepath.Join(f.dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := at.AppendIndex(index); err != nil {
		t.Fatal(err)
	}
	want, _ := index.Digest()
	if got := push(filepath.Join(f.dir, "layout"), "myacr/multi:v1"); got != want.String() {
		t.Errorf("pushed %s, want %s", got, want)
	}

	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	tag, _ := name.NewTag("app:v1")
	archive := filepath.Join(f.dir, "app.tar")
	if err := tarball.WriteToFile(archive, tag, img); err != nil {
		t.Fatal(err)
	}
	push(archive, "myacr/archived")
	if out := f.ok("tags", "myacr", "archived", "--names-only"); !strings.HasPrefix(out, "latest\t") {
		t.Errorf("tags %q", out)
	}
}

func TestPushRefusals(t *testing.T) {
	f := newFake(t)
	dir := filepath.Dir(f.file("site/app", "program"))
	for name, c := range map[string]struct {
		args []string
		code exit.Code
		says string
	}{
		"no such source":     {[]string{"/nonexistent", "myacr/app:v1"}, exit.Failure, "/nonexistent"},
		"no registry":        {[]string{dir, "app"}, exit.Usage, "myacr/app:v1"},
		"other host":         {[]string{dir, "docker.io/app:v1"}, exit.Usage, "docker.io"},
		"bad tag":            {[]string{dir, "myacr/app:a b"}, exit.Usage, "tag"},
		"upper case":         {[]string{dir, "myacr/App:v1"}, exit.Usage, "App"},
		"empty directory":    {[]string{t.TempDir(), "myacr/app:v1"}, exit.Usage, "no files"},
		"not an archive":     {[]string{f.file("text", "hello"), "myacr/app:v1"}, exit.Usage, "docker save"},
		"config of archives": {[]string{f.file("text", "hello"), "myacr/app:v1", "--cmd", "x"}, exit.Usage, "directories"},
		"config of layouts":  {[]string{filepath.Dir(f.file("layout/oci-layout", "{}")), "myacr/app:v1", "--user", "1"}, exit.Usage, "an OCI layout"},
		"ref of files":       {[]string{dir, "myacr/app:v1", "--source-ref", "x"}, exit.Usage, "--source-ref"},
		"no variable":        {[]string{dir, "myacr/app:v1", "--env", "=value-xyz"}, exit.Usage, "NAME=VALUE"},
		"bad platform":       {[]string{dir, "myacr/app:v1", "--platform", "arm"}, exit.Usage, "linux/amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.run(append([]string{"push"}, c.args...)...)
			if r.code != int(c.code) || !strings.Contains(r.err, c.says) {
				t.Errorf("code %d, want %d with %q: %s", r.code, c.code, c.says, r.err)
			}
		})
	}
	if f.asked("POST /v2/") != 0 {
		t.Error("something was uploaded")
	}
}

// Who may assign roles on one registry, and neither read the directory nor anything else, can run the command that why
// prints.
func TestRolesWithoutDirectory(t *testing.T) {
	f := newFake(t)
	f.ok("registry", "create", "myacr")
	on := id("default", "Microsoft.ContainerRegistry/registries", "myacr")
	denied := func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
	}
	f.override["GET /v1.0/servicePrincipals/"+tenant] = denied
	f.override["GET /v1.0/servicePrincipals"] = denied
	f.override["GET /subscriptions/"+subscription+"/providers/Microsoft.Authorization/roleDefinitions"] = func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 403, "AuthorizationFailed", "does not have authorization")
	}
	r := f.run("role", "assign", "AcrPull", "--to", tenant, "--on", on)
	if r.code != 0 || !strings.HasPrefix(r.out, "AcrPull\t"+tenant+"\t") || !strings.Contains(r.err, tenant+" is taken for a principal id") {
		t.Errorf("code %d: %s%s", r.code, r.out, r.err)
	}
	if out := f.ok("role", "list", "--on", on); !strings.HasPrefix(out, "AcrPull\t"+tenant+"\t") {
		t.Errorf("list %q", out)
	}
	f.ok("role", "remove", "AcrPull", "--to", tenant, "--on", on)
	if r := f.run("role", "assign", "AcrPull", "--to", "a-name", "--on", on); r.code != int(exit.Denied) || !strings.Contains(r.err, "hint: the directory is read") {
		t.Errorf("by name: code %d: %s", r.code, r.err)
	}
	var made struct {
		Properties struct{ ClientID, PrincipalID string }
	}
	f.decode(&made, "identity", "create", "web-id", "-g", "rg")
	f.override["GET /v1.0/servicePrincipals/"+made.Properties.ClientID] = denied
	if out := f.ok("role", "assign", "AcrPull", "--to", made.Properties.ClientID, "--on", on); !strings.Contains(out, made.Properties.PrincipalID) {
		t.Errorf("an identity's client id: %q", out)
	}
}

func TestFederations(t *testing.T) {
	f := newFake(t)
	f.ok("identity", "create", "web-id", "-g", "rg")
	type federation struct {
		Name       string
		Properties struct {
			Issuer, Subject string
			Audiences       []string
		}
	}
	const issuer = "https://oidc.fl.test/t/c/"
	var made, again, other federation
	f.decode(&made, "identity", "federate", "web-id", "--issuer", issuer, "--service-account", "shop/web")
	if !strings.HasPrefix(made.Name, "shop-web-") || made.Properties.Issuer != issuer || made.Properties.Subject != "system:serviceaccount:shop:web" ||
		len(made.Properties.Audiences) != 1 || made.Properties.Audiences[0] != "api://AzureADTokenExchange" {
		t.Errorf("made %+v", made)
	}
	f.decode(&again, "identity", "federate", "web-id", "--issuer", issuer, "--subject", "system:serviceaccount:shop:web")
	f.decode(&other, "identity", "federate", "web-id", "--issuer", issuer+"2/", "--service-account", "shop/web", "--audience", "x")
	if again.Name != made.Name || other.Name == made.Name || other.Properties.Audiences[0] != "x" {
		t.Errorf("again %s, other issuer %s, first %s", again.Name, other.Name, made.Name)
	}
	f.ok("identity", "federate", "web-id", "--issuer", issuer, "--subject", "repo:me/it", "--name", "ci")
	if out := f.ok("identity", "federations", "web-id"); strings.Count(out, "\n") != 3 || !strings.Contains(out, "ci\trepo:me/it\tapi://AzureADTokenExchange\t"+issuer+"\n") {
		t.Errorf("listed %q", out)
	}
	var all []federation
	f.decode(&all, "identity", "federations", "web-id")
	if len(all) != 3 {
		t.Errorf("listed %v", all)
	}
	f.ok("identity", "unfederate", "web-id", "ci")
	if r := f.run("identity", "unfederate", "web-id", "ci"); r.code != int(exit.NotFound) || !strings.Contains(r.err, "identity federations web-id") {
		t.Errorf("taking away what is not there: code %d: %s", r.code, r.err)
	}
	for name, args := range map[string][]string{
		"no issuer": {"--subject", "x"}, "no subject": {"--issuer", issuer}, "both": {"--issuer", issuer, "--subject", "x", "--service-account", "a/b"},
		"no namespace": {"--issuer", issuer, "--service-account", "web"},
	} {
		if r := f.run(append([]string{"identity", "federate", "web-id"}, args...)...); r.code != int(exit.Usage) {
			t.Errorf("%s: code %d: %s", name, r.code, r.err)
		}
	}
}
