package explain_test

import (
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

// A group of several containers needs to be told which container, and for which registry.
func TestFixOfSeveralContainers(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.assign("AcrPull", id.PrincipalID, myacr)
	w.containerGroup("myacr.azurecr.io/app:v2", byIdentity(id))
	w.group.Containers = append(w.group.Containers, run.Container{Name: "side", Image: appV1})
	w.group.Identities = []pull.Identity{id}
	fix := w.expect("TAG_UNKNOWN", "manifest").Fix[0]
	if want := "fairlead group update web -g rg --image myacr.azurecr.io/app:v1 --container app"; fix.Command != want {
		t.Errorf("command %s, want %s", fix.Command, want)
	}
	w.group.Credentials = nil
	fix = w.expect("CRED_NONE", "credential").Fix[0]
	if want := "fairlead group update web -g rg --identity " + id.Resource.String() + " --server myacr.azurecr.io"; fix.Command != want {
		t.Errorf("command %s, want %s", fix.Command, want)
	}
}

// az reads a group and writes it back without what Azure hides: where that would lose a secret there is no az command.
func TestFixForAzLosesNothing(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.containerGroup(appV1)
	w.group.Identities = []pull.Identity{id}
	use := func() string {
		fixes := w.expect("CRED_NONE", "credential").Fix
		return fixes[len(fixes)-1].Az
	}
	if az := use(); !strings.Contains(az, `{"identity":"`+id.Resource.String()+`","server":"myacr.azurecr.io"}`) {
		t.Errorf("az: %s", az)
	}
	w.group.Credentials = []run.Credential{{Server: "other.azurecr.io", Username: "u", Password: w.secretOf(secret.New("of-another-registry"))}}
	if az := use(); az != "" {
		t.Errorf("az would lose a password: %s", az)
	}
	w.group.Credentials = nil
	w.group.Containers[0].Env = []run.EnvVar{{Name: "TOKEN", Secure: w.secretOf(secret.New("secure-value")), IsSecure: true}}
	if az := use(); az != "" {
		t.Errorf("az would lose a secure value: %s", az)
	}
}

// A new secret goes from the command that makes it into the one that uses it, and others stay.
func TestFixPipesSecrets(t *testing.T) {
	w := newWorld(t)
	app, p, value := w.application("puller", time.Now().Add(-time.Hour))
	w.assign("AcrPull", p.ID(), myacr)
	w.site(appV1, run.Web{Server: "https://myacr.azurecr.io", Username: app.ClientID, Password: value})
	r := w.expect("AUTH_CLIENT_SECRET_EXPIRED", "token")
	want := "fairlead sp reset " + app.ClientID + " --append --output secret | fairlead webapp update shop -g rg --server myacr.azurecr.io --username " + app.ClientID + " --credential-stdin"
	if len(r.Fix) != 1 || r.Fix[0].Command != want {
		t.Errorf("fix %+v, want %s", r.Fix, want)
	}
	w.mend(r)
}
