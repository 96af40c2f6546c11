package explain_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/explain"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

const appV1 = "myacr.azurecr.io/app:v1"

// why explains to caller and looks through what comes out for secrets.
func (w *world) why(caller identity.Principal) explain.Report {
	w.t.Helper()
	reports, err := w.explainer.Why(w.t.Context(), caller, w.group.ID)
	must(w.t, err)
	if len(reports) != len(w.group.Containers) {
		w.t.Fatalf("%d reports for %d containers", len(reports), len(w.group.Containers))
	}
	text, err := json.Marshal(reports)
	must(w.t, err)
	for _, s := range w.secrets {
		if strings.Contains(string(text), s) {
			w.t.Errorf("a secret is in the report: %s", text)
		}
	}
	return reports[0]
}

// expect explains and compares code and stage.
func (w *world) expect(code, stage string) explain.Report {
	w.t.Helper()
	r := w.why(w.admin)
	verdict := explain.CannotPull
	if code == "" {
		verdict = explain.CanPull
	}
	if r.Verdict != verdict || r.Code != code || r.Stage != stage {
		w.t.Errorf("verdict %s, code %q at %q (%s); want %s, %q at %q", r.Verdict, r.Code, r.Stage, r.Summary, verdict, code, stage)
	}
	for _, s := range r.Stages {
		if (s.Outcome == string(pull.Failed)) != (string(s.Name) == stage) {
			w.t.Errorf("stage %s is %s, failed is %q", s.Name, s.Outcome, stage)
		}
	}
	return r
}

// mend pastes the fix and expects that the workload can pull.
func (w *world) mend(r explain.Report) {
	w.t.Helper()
	if len(r.Fix) == 0 {
		w.t.Fatal("there is no fix")
	}
	for _, f := range r.Fix {
		if f.Why == "" || strings.Contains(f.Command, "<") || !strings.HasPrefix(f.Az, "az ") {
			w.t.Errorf("a fix is not whole: %+v", f)
		}
		for _, never := range []string{"admin", "Owner", "Contributor", "anonymous", "insecure"} {
			if strings.Contains(f.Command, never) || strings.Contains(f.Az, never) {
				w.t.Errorf("a fix suggests %s: %s", never, f.Command)
			}
		}
	}
	w.paste(r.Fix)
	if after := w.expect("", ""); len(after.Fix) != 0 || after.Image.Digest == "" {
		w.t.Errorf("after the fix: %+v", after)
	}
}

func alsoCodes(r explain.Report) string {
	var codes []string
	for _, a := range r.AlsoWrong {
		codes = append(codes, a.Code)
	}
	return strings.Join(codes, " ")
}

func TestHealthy(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.assign("AcrPull", id.PrincipalID, myacr)
	w.containerGroup(appV1, run.Credential{Server: "elsewhere.example", Username: "u", Password: w.secretOf(secret.New("not-for-here"))}, byIdentity(id))
	w.group.Identities = []pull.Identity{id}
	r := w.expect("", "")
	if r.Image.Digest != w.image.Manifest.Digest || r.Image.Resolved != appV1 || len(r.Fix)+len(r.AlsoWrong) != 0 {
		t.Errorf("report %+v", r)
	}
	if c := r.Credential; c.Source != "managedIdentity" || c.From != "imageRegistryCredentials[1].identity" || len(c.Skipped) != 1 {
		t.Errorf("credential %+v", c)
	}
	if i := r.Identity; i.Name != "web-id" || i.ClientID != id.ClientID || i.PrincipalID != id.PrincipalID || i.TenantID != tenant || !*i.Attached {
		t.Errorf("identity %+v", i)
	}
	if r.Token == nil || r.Token.Status != "issued" || r.Token.ExpiresAt == "" {
		t.Errorf("token %+v", r.Token)
	}
	if a := r.Authorization; a == nil || len(a.Considered) == 0 || a.Considered[0].Result != "accepted" {
		t.Errorf("authorization %+v", a)
	}
}

func TestReference(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.assign("AcrPull", id.PrincipalID, myacr)
	for _, c := range []struct{ image, code, stage string }{
		{"https://myacr.azurecr.io/app:v1", "REF_INVALID", "parse"},
		{"myacrr.azurecr.io/app:v1", "REF_HOST_UNKNOWN", "find"},
		{"myacr.azureacr.io/app:v1", "REF_HOST_UNKNOWN", "find"},
		{"app:v1", "REF_HOST_DEFAULTED", "find"},
		{"myacr.azurecr.io/team/app:v1", "REPO_UNKNOWN", "manifest"},
		{"myacr.azurecr.io/app:v2", "TAG_UNKNOWN", "manifest"},
		{"myacr.azurecr.io/app", "TAG_UNKNOWN", "manifest"},
		{"myacr.azurecr.io/app@" + string(content.FromBytes([]byte("gone"))), "DIGEST_UNKNOWN", "manifest"},
	} {
		t.Run(c.image, func(t *testing.T) {
			w := *w
			w.t = t
			w.explainer = explain.New(func() explain.Deps { d := w.explainer.Deps; d.Groups = &w; return d }())
			w.containerGroup(c.image, byIdentity(id))
			w.group.Identities = []pull.Identity{id}
			w.mend(w.expect(c.code, c.stage))
		})
	}
}

func TestNothingToSuggest(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.assign("AcrPull", id.PrincipalID, myacr)
	for _, c := range []struct{ image, code, stage string }{
		{"myacr.azurecr.io/<repository>:v1", "REF_INVALID", "parse"},
		{"quite-elsewhere.example/app:v1", "REF_HOST_UNKNOWN", "find"},
		{"nothing-like-it:v1", "REF_HOST_DEFAULTED", "find"},
		{"myacr.azurecr.io/nothing-like-it:v1", "REPO_UNKNOWN", "manifest"},
	} {
		w.containerGroup(c.image, byIdentity(id))
		w.group.Identities = []pull.Identity{id}
		if r := w.expect(c.code, c.stage); len(r.Fix) != 0 {
			t.Errorf("%s: fix %+v", c.image, r.Fix)
		}
		for _, s := range w.why(w.person("Reader", w.group.ID)).Stages {
			if strings.Contains(s.Outcome, "hidden") && strings.HasSuffix(s.Outcome, " ") {
				t.Errorf("%s: stage %s is %q", c.image, s.Name, s.Outcome)
			}
		}
	}
}

func TestCredentials(t *testing.T) {
	for name, c := range map[string]struct {
		prepare     func(w *world)
		code, stage string
		fixes       int
	}{
		"nothing configured": {func(w *world) { w.containerGroup(appV1) }, "CRED_NONE", "credential", 3},
		"attached but not named": {func(w *world) {
			id := w.managed("web-id")
			w.assign("AcrPull", id.PrincipalID, myacr)
			w.containerGroup(appV1)
			w.group.Identities = []pull.Identity{w.managed("unfit"), id}
		}, "CRED_NONE", "credential", 1},
		"for another registry": {func(w *world) {
			_, _, password := w.application("puller", time.Time{})
			w.containerGroup(appV1, run.Credential{Server: "other.azurecr.io", Username: "u", Password: password})
			w.group.Identities = []pull.Identity{w.managed("web-id")}
			w.group.Credentials = nil
		}, "CRED_NONE", "credential", 2},
		"named but not attached": {func(w *world) {
			id := w.managed("web-id")
			w.assign("AcrPull", id.PrincipalID, myacr)
			w.containerGroup(appV1, byIdentity(id))
		}, "CRED_IDENTITY_NOT_ATTACHED", "credential", 1},
		"named but does not exist": {func(w *world) {
			w.containerGroup(appV1, run.Credential{Server: "myacr.azurecr.io", Identity: identityID("never-made")})
		}, "CRED_IDENTITY_NOT_ATTACHED", "credential", 3},
		"web app without anything": {func(w *world) { w.site(appV1, run.Web{}) }, "CRED_NONE", "credential", 3},
		"not enabled": {func(w *world) {
			id := w.managed("web-id")
			w.assign("AcrPull", id.PrincipalID, myacr)
			w.site(appV1, run.Web{}, id)
		}, "CRED_MI_NOT_ENABLED", "credential", 1},
		"enabled without an identity": {func(w *world) { w.site(appV1, run.Web{UseManagedIdentity: true}) }, "CRED_IDENTITY_NOT_ATTACHED", "credential", 3},
		"principal id for client id": {func(w *world) {
			id := w.managed("web-id")
			w.assign("AcrPull", id.PrincipalID, myacr)
			w.site(appV1, run.Web{UseManagedIdentity: true, UserManagedIdentityClientID: id.PrincipalID}, w.managed("unfit"), id)
		}, "CRED_WRONG_CLIENT_ID", "credential", 1},
		"resource id for client id": {func(w *world) {
			id := w.managed("web-id")
			w.assign("AcrPull", id.PrincipalID, myacr)
			w.site(appV1, run.Web{UseManagedIdentity: true, UserManagedIdentityClientID: id.Resource.String()}, id)
		}, "CRED_WRONG_CLIENT_ID", "credential", 1},
		"client id of an identity that is not attached": {func(w *world) {
			id := w.managed("web-id")
			w.assign("AcrPull", id.PrincipalID, myacr)
			w.site(appV1, run.Web{UseManagedIdentity: true, UserManagedIdentityClientID: id.ClientID}, w.managed("unfit"))
		}, "CRED_WRONG_CLIENT_ID", "credential", 1},
		"settings of another registry": {func(w *world) {
			id := w.managed("web-id")
			w.assign("AcrPull", id.PrincipalID, myacr)
			w.site(appV1, run.Web{Server: "https://other.azurecr.io", Username: "u", Password: w.secretOf(secret.New("stale-password"))}, id)
		}, "CRED_STALE_SETTINGS", "credential", 1},
		"identity deleted": {func(w *world) {
			id := w.managed("web-id")
			w.containerGroup(appV1, byIdentity(id))
			w.group.Identities = []pull.Identity{id}
			must(w.t, w.directory.DeleteManaged(w.t.Context(), id.Resource))
		}, "CRED_NODE_IDENTITY_GONE", "identity", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.prepare(w)
			r := w.expect(c.code, c.stage)
			if len(r.Fix) != c.fixes {
				t.Errorf("%d steps, want %d: %+v", len(r.Fix), c.fixes, r.Fix)
			}
			w.mend(r)
		})
	}
}

func TestPasswords(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(w *world) run.Credential
		code    string
		stage   string
	}{
		"wrong": {func(w *world) run.Credential {
			app, p, _ := w.application("puller", time.Time{})
			w.assign("AcrPull", p.ID(), myacr)
			return byPassword(app.ClientID, w.secretOf(secret.New("mistyped-password")))
		}, "AUTH_BAD_PASSWORD", "token"},
		"wrong, and without a role": {func(w *world) run.Credential {
			app, _, _ := w.application("puller", time.Time{})
			return byPassword(app.ClientID, w.secretOf(secret.New("mistyped-password")))
		}, "AUTH_BAD_PASSWORD", "token"},
		"expired": {func(w *world) run.Credential {
			app, p, value := w.application("puller", time.Now().Add(-time.Hour))
			w.assign("AcrPull", p.ID(), myacr)
			return byPassword(app.ClientID, value)
		}, "AUTH_CLIENT_SECRET_EXPIRED", "token"},
		"the secret's id": {func(w *world) run.Credential {
			app, p, _ := w.application("puller", time.Time{})
			w.assign("AcrPull", p.ID(), myacr)
			return byPassword(app.ClientID, secret.New(app.Secrets[0].KeyID))
		}, "AUTH_CLIENT_SECRET_WRONG", "token"},
		"no such application": {func(w *world) run.Credential {
			return byPassword("99999999-8888-7777-6666-555555555555", w.secretOf(secret.New("whatever-password")))
		}, "AUTH_APP_UNKNOWN", "token"},
		"disabled": {func(w *world) run.Credential {
			app, p, value := w.application("puller", time.Time{})
			w.assign("AcrPull", p.ID(), myacr)
			must(w.t, w.directory.SetEnabled(w.t.Context(), p.ID(), false))
			return byPassword(app.ClientID, value)
		}, "AUTH_APP_UNKNOWN", "token"},
		"admin user off": {func(w *world) run.Credential {
			return byPassword("myacr", w.secretOf(secret.New("whatever-password")))
		}, "AUTH_ADMIN_DISABLED", "token"},
		"admin password regenerated": {func(w *world) run.Credential {
			must(w.t, w.directory.SetAdmin(w.t.Context(), myacr, true))
			passwords, err := w.directory.AdminPasswords(w.t.Context(), myacr)
			must(w.t, err)
			must(w.t, w.directory.RegenerateAdmin(w.t.Context(), myacr, 0))
			return byPassword("myacr", w.secretOf(passwords[0]))
		}, "AUTH_BAD_PASSWORD", "token"},
		"an old registry token": {func(w *world) run.Credential {
			return byPassword("00000000-0000-0000-0000-000000000000", w.secretOf(secret.New("not.a.token")))
		}, "AUTH_TOKEN_EXPIRED", "token"},
		"right, but without a role": {func(w *world) run.Credential {
			app, _, value := w.application("puller", time.Time{})
			return byPassword(app.ClientID, value)
		}, "ROLE_MISSING", "role"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.containerGroup(appV1, c.prepare(w))
			r := w.expect(c.code, c.stage)
			if c.stage == "token" && (r.Token == nil || r.Token.Status != "refused") {
				t.Errorf("token %+v", r.Token)
			}
			w.mend(r)
		})
	}
}

func TestRoles(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(w *world, id pull.Identity)
		code    string
	}{
		"none":         {func(*world, pull.Identity) {}, "ROLE_MISSING"},
		"another role": {func(w *world, id pull.Identity) { w.assign("AcrDelete", id.PrincipalID, myacr) }, "ROLE_MISSING"},
		"to the client id": {func(w *world, id pull.Identity) {
			w.assign("AcrPull", id.PrincipalID, other)
			w.assign("AcrPull", id.ClientID, myacr)
		}, "ROLE_WRONG_PRINCIPAL"},
		"to a sibling": {func(w *world, id pull.Identity) {
			sibling := w.managed("sibling")
			w.group.Identities = append(w.group.Identities, sibling)
			w.assign("AcrPull", sibling.PrincipalID, resource.MustParseID(rg))
		}, "ROLE_WRONG_PRINCIPAL"},
		"on another registry": {func(w *world, id pull.Identity) { w.assign("AcrPush", id.PrincipalID, other) }, "ROLE_WRONG_SCOPE"},
		"to the identity that was": {func(w *world, id pull.Identity) {
			w.assign("AcrPull", id.PrincipalID, myacr)
			must(w.t, w.directory.DeleteManaged(w.t.Context(), id.Resource))
			w.group.Identities = []pull.Identity{w.managed("web-id")}
		}, "ROLE_ORPHANED"},
		"to somebody who never was": {func(w *world, id pull.Identity) {
			w.assign("AcrPull", "12121212-3434-5656-7878-909090909090", myacr)
		}, "ROLE_MISSING"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id := w.managed("web-id")
			w.containerGroup(appV1, byIdentity(id))
			w.group.Identities = []pull.Identity{id}
			c.prepare(w, id)
			r := w.expect(c.code, "role")
			if r.Authorization == nil || r.Authorization.Needed != "Microsoft.ContainerRegistry/registries/pull/read" {
				t.Fatalf("authorization %+v", r.Authorization)
			}
			if slices.ContainsFunc(r.Authorization.Considered, func(c explain.Considered) bool { return c.Result != "rejected" || c.Why == "" }) {
				t.Errorf("considered %+v", r.Authorization.Considered)
			}
			w.mend(r)
		})
	}
}

// An application's object id is not its service principal's.
func TestRoleForApplicationObject(t *testing.T) {
	w := newWorld(t)
	app, _, value := w.application("puller", time.Time{})
	w.assign("AcrPull", app.ObjectID, myacr)
	w.containerGroup(appV1, byPassword(app.ClientID, value))
	w.mend(w.expect("ROLE_WRONG_PRINCIPAL", "role"))
}

func TestPlatformAbsent(t *testing.T) {
	w := newWorld(t)
	id := w.managed("web-id")
	w.assign("AcrPull", id.PrincipalID, myacr)
	foreign := pulltest.NewImage(t, content.Platform{OS: "linux", Architecture: "s390x"}, "elsewhere")
	w.push(myacr, "single", "v1", foreign)
	w.push(myacr, "multi", "part", foreign)
	index := pulltest.NewIndex(t, map[string]pulltest.Image{"linux/s390x": foreign})
	_, err := w.view(myacr).PutManifest(t.Context(), "multi", "v1", index.MediaType, index.Body)
	must(t, err)
	for _, image := range []string{"myacr.azurecr.io/single:v1", "myacr.azurecr.io/multi:v1"} {
		w.containerGroup(image, byIdentity(id))
		w.group.Identities = []pull.Identity{id}
		if r := w.expect("PLATFORM_ABSENT", "platform"); !strings.Contains(r.Summary, "s390x") || len(r.Fix) != 0 {
			t.Errorf("%s: %s, fix %+v", image, r.Summary, r.Fix)
		}
	}
}
