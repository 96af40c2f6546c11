package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/registry"
)

// podKind are the pods of a cluster. Where a repair is a kubectl command there is no twin for az: it is the same in Azure.
type podKind struct{ p *podInquiry }

func (k podKind) useImage(_ *inquiry, why, image string) []Fix {
	return k.p.setImage(why, image)
}

// newIdentity has the pods pull in another way.
func (k podKind) newIdentity(q *inquiry) []Fix {
	if used := q.used(); used != nil && used.Source == sourcePullSecret {
		return k.p.anyCredential(q, used.From[len("secret/"):], false)
	}
	return k.p.anyCredential(q, "", true)
}

func (k podKind) newSecret(q *inquiry, c pull.Candidate) []Fix {
	var steps []Fix
	if !q.principal.IsZero() && q.entitled && k.p.directory {
		steps = q.assignIfNeeded(q.principal.ID())
	}
	return append(steps, k.p.makeSecret(q, strings.TrimPrefix(c.From, "secret/"), c.Username)...)
}

func (k podKind) stranger(_ context.Context, q *inquiry) (*finding, error) {
	f := q.asIs()
	f.summary = fmt.Sprintf("the pod has no credential for %s, which refuses strangers: it names no pull secret, and its nodes have none", q.ref.Host)
	f.fix = k.p.anyCredential(q, "", true)
	return f, nil
}

func (p *podInquiry) kubectl(words ...string) string {
	with := p.evidence.Kubectl
	if len(with) == 0 {
		with = []string{"kubectl"}
	}
	return line(append(slices.Clone(with), words...)...)
}

// in ends a kubectl command with the namespace.
func (p *podInquiry) in(words ...string) string {
	return p.kubectl(append(words, "-n", p.evidence.Namespace)...)
}

// controller names what has to be changed: "deployment/web".
func (p *podInquiry) controller() string {
	return strings.ToLower(p.evidence.Controller.Kind) + "/" + p.evidence.Controller.Name
}

func (p *podInquiry) logs() string {
	return p.in("logs", "pod/"+p.pod().Name, "-c", p.container.Name)
}

// rolls reports whether a change of the controller's template makes new pods.
func (p *podInquiry) rolls() bool {
	return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, p.evidence.Controller.Kind)
}

func (p *podInquiry) bare() bool { return p.evidence.Controller.Kind == "Pod" }

// change changes the pods' specification by a merge patch. Pods that nothing makes anew are made anew by the command.
func (p *podInquiry) change(why, spec string) []Fix {
	switch {
	case p.rolls():
		steps := []Fix{{Why: why, Command: p.in("patch", p.controller(), "-p", `{"spec":{"template":{"spec":`+spec+`}}}`)}}
		if p.evidence.Controller.Kind == "StatefulSet" { // it waits for its broken pod instead of replacing it
			steps = append(steps, p.retry()...)
		}
		return steps
	case p.bare():
		return []Fix{{Why: why + ", by making the pod anew", Command: strings.Join([]string{
			p.in("get", "pod", p.pod().Name, "-o", "json"),
			p.kubectl("patch", "--local", "-f", "-", "-p", `{"spec":`+spec+`}`, "-o", "json"),
			p.kubectl("replace", "--force", "-f", "-"),
		}, " | ")}}
	}
	return nil
}

// setImage has the container run another image.
func (p *podInquiry) setImage(why, image string) []Fix {
	if !p.rolls() && !p.bare() {
		return nil
	}
	steps := []Fix{{Why: why, Command: p.in("set", "image", p.controller(), p.container.Name+"="+image)}}
	if p.evidence.Controller.Kind == "StatefulSet" {
		steps = append(steps, p.retry()...)
	}
	return steps
}

// policy gives the container another pull policy.
func (p *podInquiry) policy(to string) []Fix {
	field := "containers"
	if p.container.Init {
		field = "initContainers"
	}
	return p.change("let the kubelet pull it", `{"`+field+`":[{"name":`+jsonText(p.container.Name)+`,"imagePullPolicy":"`+to+`"}]}`)
}

// retry ends the pause: what made the pods makes new ones, which are tried at once.
func (p *podInquiry) retry() []Fix {
	if p.bare() {
		return nil
	}
	return []Fix{{Why: "try again at once, with new pods", Command: p.in(append([]string{"delete", "pod"}, p.podNames()...)...)}}
}

// anew makes the pods anew.
func (p *podInquiry) anew() []Fix {
	if p.rolls() && p.evidence.Controller.Kind != "StatefulSet" {
		return []Fix{{Why: "make the pods anew", Command: p.in("rollout", "restart", p.controller())}}
	}
	return p.retry()
}

// nameSecret has the pods name a pull secret.
func (p *podInquiry) nameSecret(name string) []Fix {
	names := `{"imagePullSecrets":[{"name":` + jsonText(name) + `}]}`
	if steps := p.change("have the pods name the secret", names); steps != nil {
		return steps
	}
	return append([]Fix{{
		Why:     "have the service account name the secret for every pod that is made from now on",
		Command: p.in("patch", "serviceaccount", cmp.Or(p.pod().Account, "default"), "-p", names),
	}}, p.retry()...)
}

// attach gives the nodes' identity the right to pull: no secret at all is needed.
func (p *podInquiry) attach(q *inquiry) []Fix {
	group, name, acr := p.cluster.ResourceGroup(), p.cluster.Name(), q.endpoint.Registry.Name()
	return []Fix{{
		Why:     "have the cluster's nodes pull from this registry, without any secret",
		Command: line("fairlead", "kube", "update", name, "-g", group, "--attach-acr", acr),
		Az:      line("az", "aks", "update", "-g", group, "-n", name, "--attach-acr", acr),
	}}
}

// anyCredential gives the pods a way to pull that they do not have. secretName is the pull secret that they name already,
// if any; replace has it made anew.
func (p *podInquiry) anyCredential(q *inquiry, secretName string, mayName bool) []Fix {
	if !p.cluster.IsZero() {
		return p.attach(q)
	}
	name := cmp.Or(secretName, q.endpoint.Registry.Name()+"-pull")
	principal := p.evidence.Namespace + "-" + p.evidence.Controller.Name + "-pull"
	scope := q.endpoint.Registry.String()
	steps := []Fix{{
		Why: "make a service principal that may pull, and a pull secret for it, unseen",
		Command: strings.Join([]string{
			line("fairlead", "sp", "create", "--name", principal, "--role", "AcrPull", "--scope", scope, "--output", "secret"),
			line("fairlead", "kube", "pull-secret", name, "-n", p.evidence.Namespace, "--registry", q.endpoint.Registry.Name(), "--service-principal", principal, "--credential-stdin"),
			p.kubectl("apply", "-f", "-"),
		}, " | "),
	}}
	if secretName == "" && mayName {
		steps = append(steps, p.nameSecret(name)...)
	}
	return steps
}

// makeSecret makes a pull secret with a new secret of an application, which nobody sees.
func (p *podInquiry) makeSecret(q *inquiry, name, clientID string) []Fix {
	apply := p.kubectl("apply", "-f", "-")
	az := p.kubectl("create", "secret", "docker-registry", name, "-n", p.evidence.Namespace, "--docker-server", q.ref.Host, "--docker-username", clientID,
		"--dry-run=client", "-o", "yaml", "--docker-password") + ` "$(` + line("az", "ad", "sp", "credential", "reset", "--id", clientID, "--append", "--query", "password", "-o", "tsv") + `)" | ` + apply
	return []Fix{{
		Why: "make a new secret of the application and put it into the pull secret, unseen",
		Command: line("fairlead", "kube", "pull-secret", name, "-n", p.evidence.Namespace, "--registry", q.endpoint.Registry.Name(), "--service-principal", clientID) +
			" | " + apply,
		Az: az,
	}}
}

// copyTemplate writes a pull secret anew with nothing but what makes it one.
func copyTemplate(key string) string {
	return `{"apiVersion":"v1","kind":"Secret","type":"` + evidence.TypeDockerConfigJSON + `","metadata":{"name":"{{.metadata.name}}"},` +
		`"data":{".dockerconfigjson":"{{index .data ` + jsonText(key) + `}}"}}`
}

// bringSecret brings a secret that is absent: from another namespace where there is one.
func (p *podInquiry) bringSecret(q *inquiry, s evidence.Secret) []Fix {
	if len(s.Elsewhere) > 0 {
		return []Fix{{
			Why: "copy the secret from namespace " + s.Elsewhere[0],
			Command: p.kubectl("get", "secret", s.Name, "-n", s.Elsewhere[0], "-o", "go-template="+copyTemplate(".dockerconfigjson")) +
				" | " + p.in("apply", "-f", "-"),
		}}
	}
	return p.anyCredential(q, s.Name, false)
}

// mendSecret makes a pull secret of one that the kubelet takes nothing from: with the login that is in it if it is one for
// this registry, else with a new one.
func (p *podInquiry) mendSecret(q *inquiry, s evidence.Secret) []Fix {
	repository := q.ref.Host + "/" + q.ref.Repository
	if slices.ContainsFunc(s.Entries, func(e evidence.Entry) bool { return e.Fits(repository) }) {
		return []Fix{{
			Why:     "make it a pull secret, with the login that is in it",
			Command: p.in("get", "secret", s.Name, "-o", "go-template="+copyTemplate(s.Key)) + " | " + p.in("replace", "--force", "-f", "-"),
		}}
	}
	if !p.cluster.IsZero() && !s.Fatal {
		return p.attach(q)
	}
	return append([]Fix{{Why: "take the secret away, which is good for nothing", Command: p.in("delete", "secret", s.Name)}}, p.anyCredential(q, s.Name, false)...)
}

// addSecret is for pods that name a secret of another registry, which may be right for other images of theirs. Where its
// only login is an application's that may pull here, the server was only written wrongly.
func (p *podInquiry) addSecret(ctx context.Context, q *inquiry, s evidence.Secret) ([]Fix, error) {
	if len(s.Entries) == 1 && q.entitled {
		sp, err := p.Directory.ServicePrincipalByClientID(ctx, s.Entries[0].Username)
		if err == nil {
			var who identity.Principal
			if who, err = p.Directory.Principal(ctx, sp.ID); err == nil {
				if d, err := p.Access.Check(ctx, who, registry.ActionPull, q.endpoint.Registry); err != nil || d.Allowed {
					return p.makeSecret(q, s.Name, sp.ClientID), err
				}
			}
		}
		if absent(err) != nil {
			return nil, err
		}
	}
	return p.anyCredential(q, "", true), nil
}
