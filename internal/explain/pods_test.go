package explain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/explain"
	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/pull/pulltest"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var demo = resource.MustParseID(rg + "/providers/Microsoft.ContainerService/managedClusters/demo")

// pods is a world with a workload in a cluster.
type pods struct {
	*world
	evidence            evidence.Evidence
	cluster             resource.ID // that it is asked about in; zero for a cluster by kubeconfig
	kubelet, controller pull.Identity
	said                explain.ProviderError
}

const issuer = "https://oidc.example/demo/"

func (p *pods) Identities(_ context.Context, id resource.ID) (kubelet, controlPlane pull.Identity, err error) {
	if !id.Equal(demo) {
		return pull.Identity{}, pull.Identity{}, resource.ErrNotFound
	}
	return p.kubelet, p.controller, nil
}

func (p *pods) Issuer(context.Context, resource.ID) (string, error) { return issuer, nil }

func (p *pods) ProviderError(_ context.Context, _ resource.ID, node, host, _ string) (explain.ProviderError, error) {
	if node == "node0" && host == "myacr.azurecr.io" {
		return p.said, nil
	}
	return explain.ProviderError{}, nil
}

// newPods makes a Deployment of three replicas that pull appV1 and cannot.
func newPods(t *testing.T) *pods {
	t.Helper()
	p := &pods{world: newWorld(t)}
	p.explainer = explain.New(func() explain.Deps { d := p.explainer.Deps; d.Clusters = p; return d }())
	p.evidence = evidence.Evidence{
		Namespace: "team", Asked: evidence.Object{Kind: "Deployment", Name: "web"}, Controller: evidence.Object{Kind: "Deployment", Name: "web"},
		Accounts: []evidence.Account{{Name: "default", State: evidence.Found}},
		Nodes:    []evidence.Node{{Name: "node0", OS: "linux", Architecture: "amd64"}},
	}
	for i := range 3 {
		p.evidence.Pods = append(p.evidence.Pods, evidence.Pod{
			Name: fmt.Sprintf("web-%d", i), Node: "node0", Account: "default",
			Containers: []evidence.Container{{Name: "app", Image: appV1, Policy: "IfNotPresent", Reason: "ImagePullBackOff", Message: "Back-off pulling image"}},
			Events: []evidence.Event{{
				Reason: "Failed", Count: 2, Message: `Failed to pull image "` + appV1 + `": failed to resolve image: 401 Unauthorized`,
				First: time.Date(2030, 1, 2, 3, 4, 0, 0, time.UTC), Last: time.Date(2030, 1, 2, 3, 4, 15, 0, time.UTC),
			}},
		})
	}
	return p
}

// managed makes it a managed cluster of ours.
func (p *pods) inCluster() {
	p.cluster = demo
	p.kubelet = p.managed("demo-agentpool")
	sp, err := p.directory.EnsureManaged(p.t.Context(), demo, true, "demo")
	must(p.t, err)
	p.controller = pull.Identity{Resource: sp.Resource, ClientID: sp.ClientID, PrincipalID: sp.ID, System: true}
}

// each changes all pods.
func (p *pods) each(change func(*evidence.Pod)) {
	for i := range p.evidence.Pods {
		change(&p.evidence.Pods[i])
	}
}

func (p *pods) image(name string) {
	p.each(func(o *evidence.Pod) {
		o.Events[0].Message = strings.Replace(o.Events[0].Message, o.Containers[0].Image, name, 1)
		o.Containers[0].Image = name
	})
}

// names has the pods name secrets.
func (p *pods) names(secrets ...string) {
	p.each(func(o *evidence.Pod) { o.PullSecrets = secrets })
}

// secret puts a pull secret into the namespace.
func (p *pods) secret(name, host, user string, password secret.Text) {
	config, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"username": user, "password": password.Reveal()}}})
	must(p.t, err)
	p.evidence.Secrets = append(p.evidence.Secrets, evidence.ReadSecret(name, evidence.TypeDockerConfigJSON, map[string][]byte{".dockerconfigjson": config}))
}

// good makes an application that may pull.
func (p *pods) good(name string) (identity.Application, secret.Text) {
	app, principal, value := p.application(name, time.Time{})
	p.assign("AcrPull", principal.ID(), myacr)
	return app, value
}

// ask explains to a caller and looks for secrets in what comes out.
func (p *pods) ask(caller identity.Principal) explain.PodsReport {
	p.t.Helper()
	// Over the wire, as it comes.
	text, err := json.Marshal(p.evidence)
	must(p.t, err)
	var ev evidence.Evidence
	must(p.t, json.Unmarshal(text, &ev))
	out, err := p.explainer.WhyPods(p.t.Context(), caller, p.cluster, ev)
	must(p.t, err)
	text, err = json.Marshal(out)
	must(p.t, err)
	for _, s := range p.secrets {
		if strings.Contains(string(text), s) {
			p.t.Errorf("a secret is in the report: %s", text)
		}
	}
	return out
}

var (
	guids   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times   = regexp.MustCompile(`202\d-[0-9T:.+-]*Z`)
	digests = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
)

// golden compares a report with the file of the test's name.
func (p *pods) golden(r explain.PodsReport) {
	p.t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	must(p.t, enc.Encode(r))
	seen := []string{}
	text := guids.ReplaceAllStringFunc(b.String(), func(g string) string {
		if g == tenant {
			return "TENANT"
		}
		if !slices.Contains(seen, g) {
			seen = append(seen, g)
		}
		return fmt.Sprintf("GUID%d", slices.Index(seen, g)+1)
	})
	text = digests.ReplaceAllString(times.ReplaceAllString(text, "TIME"), "DIGEST")
	name := p.t.Name()[strings.LastIndexByte(p.t.Name(), '/')+1:]
	path := filepath.Join("testdata", "pods", name+".json")
	if *update {
		must(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(p.t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	must(p.t, err)
	if d := cmp.Diff(string(want), text); d != "" {
		p.t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// TestPods has a golden report for each cause.
func TestPods(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(p *pods)
		code    string
		stage   string
		fix     string // a part of the first command
	}{
		"CRED_NONE": {func(*pods) {}, "CRED_NONE", "credential", "fairlead sp create --name team-web-pull --role AcrPull"},
		"CRED_NONE_managed": {func(p *pods) {
			p.cluster = demo
		}, "CRED_NONE", "credential", "fairlead kube update demo -g rg --attach-acr myacr"},
		"CRED_SECRET_MISSING": {func(p *pods) {
			p.names("regcred")
			p.evidence.Secrets = []evidence.Secret{{Name: "regcred", State: evidence.Absent}}
		}, "CRED_SECRET_MISSING", "credential", "fairlead sp create --name team-web-pull"},
		"CRED_SECRET_MISSING_elsewhere": {func(p *pods) {
			p.inCluster()
			p.names("regcred")
			p.evidence.Secrets = []evidence.Secret{{Name: "regcred", State: evidence.Absent, Elsewhere: []string{"default"}}}
		}, "CRED_SECRET_MISSING", "credential", "kubectl get secret regcred -n default -o 'go-template="},
		"CRED_SECRET_UNUSED": {func(p *pods) {
			app, value := p.good("puller")
			p.secret("regcred", "myacr.azurecr.io", app.ClientID, value)
		}, "CRED_SECRET_UNUSED", "credential", `kubectl patch deployment/web -p '{"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"regcred"}]}}}}' -n team`},
		"CRED_SECRET_UNUSED_since": {func(p *pods) {
			app, value := p.good("puller")
			p.secret("regcred", "myacr.azurecr.io", app.ClientID, value)
			p.evidence.Accounts[0].PullSecrets = []string{"regcred"}
		}, "CRED_SECRET_UNUSED", "credential", "kubectl rollout restart deployment/web -n team"},
		"CRED_SECRET_OTHER_HOST": {func(p *pods) {
			app, value := p.good("puller")
			p.names("regcred")
			p.secret("regcred", "myacr.azurecr.io:444", app.ClientID, value)
		}, "CRED_SECRET_OTHER_HOST", "credential", "fairlead kube pull-secret regcred -n team --registry myacr --service-principal"},
		"CRED_SECRET_BROKEN": {func(p *pods) {
			app, value := p.good("puller")
			p.names("regcred")
			config := `{"auths":{"myacr.azurecr.io":{"username":"` + app.ClientID + `","password":"` + value.Reveal() + `"}}}`
			p.evidence.Secrets = []evidence.Secret{evidence.ReadSecret("regcred", "Opaque", map[string][]byte{".dockerconfigjson": []byte(config)})}
		}, "CRED_SECRET_BROKEN", "credential", "kubectl get secret regcred -o 'go-template="},
		"CRED_SECRET_BROKEN_unreadable": {func(p *pods) {
			app, value := p.good("puller")
			p.names("good", "regcred")
			p.secret("good", "myacr.azurecr.io", app.ClientID, value)
			p.evidence.Secrets = append(p.evidence.Secrets, evidence.ReadSecret("regcred", evidence.TypeDockerConfigJSON,
				map[string][]byte{".dockerconfigjson": []byte(`{"auths":{"x":{"auth":"bm8tY29sb24="}}}`)}))
		}, "CRED_SECRET_BROKEN", "credential", "kubectl delete secret regcred -n team"},
		"AUTH_BAD_PASSWORD": {func(p *pods) {
			app, _ := p.good("puller")
			p.names("regcred")
			p.secret("regcred", "myacr.azurecr.io", app.ClientID, p.secretOf(secret.New("mistyped-password")))
		}, "AUTH_BAD_PASSWORD", "token", "fairlead kube pull-secret regcred -n team --registry myacr --service-principal"},
		"AUTH_BAD_PASSWORD_and_no_role_of_the_nodes": {func(p *pods) {
			p.inCluster()
			app, _ := p.good("puller")
			p.names("regcred")
			p.secret("regcred", "myacr.azurecr.io", app.ClientID, p.secretOf(secret.New("mistyped-password")))
		}, "AUTH_BAD_PASSWORD", "token", "fairlead kube pull-secret regcred"},
		"AUTH_CLIENT_SECRET_EXPIRED": {func(p *pods) {
			app, principal, value := p.application("puller", time.Now().Add(-time.Hour))
			p.assign("AcrPull", principal.ID(), myacr)
			p.names("regcred")
			p.secret("regcred", "myacr.azurecr.io", app.ClientID, value)
		}, "AUTH_CLIENT_SECRET_EXPIRED", "token", "fairlead kube pull-secret regcred"},
		"ROLE_MISSING": {func(p *pods) { p.inCluster() }, "ROLE_MISSING", "role", "fairlead role assign AcrPull --to"},
		"ROLE_MISSING_secret": {func(p *pods) {
			app, _, value := p.application("puller", time.Time{})
			p.names("regcred")
			p.secret("regcred", "myacr.azurecr.io", app.ClientID, value)
		}, "ROLE_MISSING", "role", "fairlead role assign AcrPull --to"},
		"ROLE_WRONG_PRINCIPAL": {func(p *pods) {
			p.inCluster()
			p.assign("AcrPull", p.controller.PrincipalID, myacr)
		}, "ROLE_WRONG_PRINCIPAL", "role", "fairlead role assign AcrPull --to"},
		"CRED_NODE_IDENTITY_GONE": {func(p *pods) {
			p.inCluster()
			must(p.t, p.directory.DeleteManaged(p.t.Context(), p.kubelet.Resource))
		}, "CRED_NODE_IDENTITY_GONE", "identity", "fairlead kube update demo -g rg --attach-acr myacr"},
		"CRED_NOT_FEDERATED": {func(p *pods) {
			p.inCluster()
			id := p.managed("web-id")
			p.assign("AcrPull", id.PrincipalID, myacr)
			p.evidence.Accounts[0].Annotations = map[string]string{"azure.workload.identity/client-id": id.ClientID}
		}, "CRED_NOT_FEDERATED", "identity", "fairlead identity federate"},
		"ROLE_WRONG_PRINCIPAL_service_account": {func(p *pods) {
			p.inCluster()
			p.assign("AcrPull", p.kubelet.PrincipalID, myacr) // which does not help: the service account's counts
			id := p.managed("web-id")
			_, _, err := p.directory.Federate(p.t.Context(), id.Resource, identity.Federation{
				Name: "team-default", Issuer: issuer, Subject: "system:serviceaccount:team:default", Audiences: []string{"api://AzureADTokenExchange"},
			})
			must(p.t, err)
			p.evidence.Accounts[0].Annotations = map[string]string{"azure.workload.identity/client-id": id.ClientID}
		}, "ROLE_WRONG_PRINCIPAL", "role", "fairlead role assign AcrPull --to"},
		"TAG_UNKNOWN": {func(p *pods) {
			p.inCluster()
			p.assign("AcrPull", p.kubelet.PrincipalID, myacr)
			p.image("myacr.azurecr.io/app:v2")
		}, "TAG_UNKNOWN", "manifest", "kubectl set image deployment/web app=myacr.azurecr.io/app:v1 -n team"},
		"REF_HOST_UNKNOWN": {func(p *pods) {
			p.image("myacr.azureacr.io/app:v1")
		}, "REF_HOST_UNKNOWN", "find", "kubectl set image deployment/web app=myacr.azurecr.fairlead.localhost/app:v1 -n team"},
		"PLATFORM_ABSENT": {func(p *pods) {
			p.inCluster()
			p.assign("AcrPull", p.kubelet.PrincipalID, myacr)
			p.push(myacr, "app", "foreign", pulltest.NewImage(p.t, content.Platform{OS: "linux", Architecture: "s390x"}, "elsewhere"))
			p.image("myacr.azurecr.io/app:foreign")
		}, "PLATFORM_ABSENT", "platform", "kubectl set image deployment/web app=myacr.azurecr.io/app:v1 -n team"},
		"POLICY_NEVER": {func(p *pods) {
			p.inCluster()
			p.assign("AcrPull", p.kubelet.PrincipalID, myacr)
			p.each(func(o *evidence.Pod) { o.Containers[0].Policy, o.Containers[0].Reason = "Never", "ErrImageNeverPull" })
		}, "POLICY_NEVER", "node", `kubectl patch deployment/web -p '{"spec":{"template":{"spec":{"containers":[{"name":"app","imagePullPolicy":"IfNotPresent"}]}}}}' -n team`},
		"CACHE_UNAUTHORISED": {func(p *pods) {
			p.inCluster()
			p.evidence.Nodes[0].Images = []string{appV1}
			p.each(func(o *evidence.Pod) { o.Containers[0].Policy, o.Containers[0].Reason = "Never", "ErrImageNeverPull" })
		}, "CACHE_UNAUTHORISED", "node", "fairlead role assign AcrPull --to"},
		"BACKOFF": {func(p *pods) {
			p.inCluster()
			p.assign("AcrPull", p.kubelet.PrincipalID, myacr)
		}, "BACKOFF", "node", "kubectl delete pod web-0 web-1 web-2 -n team"},
		"CRED_PROVIDER_FAILED": {func(p *pods) {
			p.inCluster()
			p.assign("AcrPull", p.kubelet.PrincipalID, myacr)
			p.said = explain.ProviderError{Message: "asking the instance metadata failed: no answer in time", Time: time.Date(2030, 1, 2, 3, 4, 15, 0, time.UTC)}
		}, "CRED_PROVIDER_FAILED", "node", ""},
		"NOT_A_PULL": {func(p *pods) {
			p.inCluster()
			p.assign("AcrPull", p.kubelet.PrincipalID, myacr)
			p.each(func(o *evidence.Pod) {
				o.Containers[0].Reason, o.Containers[0].Restarts, o.Containers[0].ExitCode = "CrashLoopBackOff", 3, 2
			})
		}, "NOT_A_PULL", "start", ""},
		"NOT_A_PULL_unscheduled": {func(p *pods) {
			p.inCluster()
			p.assign("AcrPull", p.kubelet.PrincipalID, myacr)
			p.each(func(o *evidence.Pod) {
				o.Node, o.Waits, o.Containers[0].Reason, o.Events = "", "0/1 nodes are available: 1 Insufficient cpu.", "", nil
			})
		}, "NOT_A_PULL", "start", ""},
		"healthy": {func(p *pods) {
			app, value := p.good("puller")
			p.names("gone", "regcred")
			p.secret("regcred", "https://myacr.azurecr.io/v2/", app.ClientID, value)
			p.evidence.Secrets = append(p.evidence.Secrets, evidence.Secret{Name: "gone", State: evidence.Absent})
			p.each(func(o *evidence.Pod) { o.Containers[0].Reason, o.Containers[0].Running, o.Events = "", true, nil })
		}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPods(t)
			c.prepare(p)
			out := p.ask(p.admin)
			p.golden(out)
			if len(out.Reports) != 1 || len(out.Reports[0].Pods) != 3 {
				t.Fatalf("%d reports for one and the same reason: %+v", len(out.Reports), out)
			}
			r := out.Reports[0]
			if r.Code != c.code || r.Stage != c.stage {
				t.Errorf("code %q at %q (%s), want %q at %q", r.Code, r.Stage, r.Summary, c.code, c.stage)
			}
			if c.fix == "" != (len(r.Fix) == 0) || c.fix != "" && !strings.HasPrefix(r.Fix[0].Command, c.fix) {
				t.Errorf("fix %+v, want %q", r.Fix, c.fix)
			}
		})
	}
}
