package explain

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/pull"
)

// Where a kubelet has credentials from: values of Credential.Source.
const (
	sourcePullSecret = "imagePullSecrets"
	sourceNode       = "kubeletIdentity"
	sourceAccount    = "serviceAccountIdentity"
)

// Codes about the credentials of pods.
const (
	credSecretMissing   = "CRED_SECRET_MISSING"
	credSecretUnused    = "CRED_SECRET_UNUSED"
	credSecretOtherHost = "CRED_SECRET_OTHER_HOST"
	credSecretBroken    = "CRED_SECRET_BROKEN"
	credNotFederated    = "CRED_NOT_FEDERATED"
	credProviderFailed  = "CRED_PROVIDER_FAILED"
)

// credential is one that a kubelet has for a pod, or that it should have.
type credential struct {
	pull.Candidate
	secret  string   // its name; "" for identities
	problem *finding // why the kubelet gets nothing from it; nil when it is to be tried
	hidden  string   // why the caller is not told how it goes
	fatal   bool     // the kubelet does not pull at all for it
}

// skipped says why it was not used.
func (c credential) skipped() Skipped {
	why := c.hidden
	if c.problem != nil {
		why = c.problem.summary
	}
	return Skipped{c.Source, c.From, why}
}

// credentials gives those that the kubelet has, in its order: pull secrets, then what its credential provider says; and
// among them the secrets from which it gets nothing.
//
// Source: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/kubelet/images/image_manager.go
func (p *podInquiry) credentials(ctx context.Context, base *inquiry) ([]credential, error) {
	var named []evidence.Secret
	for _, name := range p.pod().PullSecrets {
		s, known := p.evidence.Secret(name)
		if !known {
			s = evidence.Secret{Name: name, State: evidence.Hidden}
		}
		named = append(named, s)
	}
	var out []credential
	for _, l := range evidence.Logins(named, base.ref.Host+"/"+base.ref.Repository) {
		out = append(out, loginOf(l))
	}
	for _, s := range named {
		if !slices.ContainsFunc(out, func(c credential) bool { return c.secret == s.Name }) {
			c, err := p.useless(ctx, s, base)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
	}
	provided, err := p.provided(ctx)
	if provided != nil {
		out = append(out, *provided)
	}
	return out, err
}

func loginOf(l evidence.Login) credential {
	return credential{secret: l.Secret, Candidate: pull.Candidate{
		Source: sourcePullSecret, From: "secret/" + l.Secret, Server: l.Server, Username: l.Username, Password: l.Password,
	}}
}

// useless is a secret that the pod names and that gives the kubelet nothing for this image.
func (p *podInquiry) useless(ctx context.Context, s evidence.Secret, base *inquiry) (c credential, err error) {
	c = credential{secret: s.Name, Candidate: pull.Candidate{Source: sourcePullSecret, From: "secret/" + s.Name}}
	f := &finding{stage: pull.StageCredential}
	switch {
	case s.State == evidence.Hidden:
		c.hidden = fmt.Sprintf("hidden: you may not read the secret %s in namespace %s", s.Name, p.evidence.Namespace)
		return c, nil
	case s.State == evidence.Absent:
		f.code, f.summary = credSecretMissing, fmt.Sprintf("the pull secret %s, which the pod names, is not in its namespace %s", s.Name, p.evidence.Namespace)
		if len(s.Elsewhere) > 0 {
			f.summary += "; there is one of that name in " + strings.Join(s.Elsewhere, ", ")
		}
		f.fix = p.bringSecret(base, s)
	case s.Broken != "":
		f.code, f.summary, c.fatal = credSecretBroken, fmt.Sprintf("the kubelet takes nothing from the pull secret %s: %s", s.Name, s.Broken), s.Fatal
		f.fix = p.mendSecret(base, s)
	default:
		f.code, f.summary = credSecretOtherHost, fmt.Sprintf("the pull secret %s is for %s, not for %s", s.Name, servers(s), base.ref.Host)
		f.fix, err = p.addSecret(ctx, base, s)
	}
	c.problem = f
	return c, err
}

// servers names what a secret is for.
func servers(s evidence.Secret) string {
	var names []string
	for _, e := range s.Entries {
		names = append(names, e.Server)
	}
	if len(names) == 0 {
		return "no registry at all"
	}
	const most = 5
	if n := len(names) - most; n > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(names, ", ")
}

// clientAnnotations are those that name a service account's identity to a credential provider, in order of precedence.
func clientAnnotations() []string {
	return []string{"kubernetes.azure.com/acr-client-id", "azure.workload.identity/client-id"}
}

// provided gives the credential that the nodes' credential provider asks for: that of the identity which the pod's service
// account names, or else the nodes' own. It is known of our managed clusters only; nil where it is not.
func (p *podInquiry) provided(ctx context.Context) (*credential, error) {
	if p.cluster.IsZero() {
		return nil, nil //nolint:nilnil // none is an answer
	}
	account, _ := p.evidence.Account(p.pod().Account)
	for _, name := range clientAnnotations() {
		if clientID := strings.TrimSpace(account.Annotations[name]); clientID != "" {
			return p.ofAccount(ctx, account, name, clientID)
		}
	}
	if account.State == evidence.Hidden {
		return &credential{
			Candidate: pull.Candidate{Source: sourceNode, From: "serviceaccount/" + account.Name},
			hidden:    "hidden: you may not read the service account " + account.Name + ", which may name an identity",
		}, nil
	}
	if p.kubelet.Resource.IsZero() {
		return nil, nil //nolint:nilnil // none is an answer
	}
	return &credential{Candidate: pull.Candidate{Source: sourceNode, From: "the cluster's nodes", Identity: &p.kubelet}}, nil
}

// ofAccount is the identity that a service account names. Who may not read the identity is not told what it may: a service
// account in a document is no proof of being that identity.
func (p *podInquiry) ofAccount(ctx context.Context, a evidence.Account, annotation, clientID string) (*credential, error) {
	c := &credential{Candidate: pull.Candidate{Source: sourceAccount, From: "serviceaccount/" + a.Name}}
	id, err := p.byClientID(ctx, clientID)
	if err != nil {
		return nil, err
	}
	if id != nil {
		ok, err := p.may(ctx, p.caller, id.Resource.Type()+"/read", id.Resource)
		if err != nil {
			return nil, err
		}
		if !ok {
			id = nil
		}
	}
	if id == nil {
		c.hidden = fmt.Sprintf("hidden: no identity that you may read has the client id %s, which the annotation %s names", clientID, annotation)
		return c, nil
	}
	c.Identity = id
	c.problem, err = p.federated(ctx, a, *id)
	return c, err
}

// federated tells whether an identity trusts the tokens of a service account; nil when it does.
func (p *podInquiry) federated(ctx context.Context, a evidence.Account, id pull.Identity) (*finding, error) {
	issuer, err := p.Clusters.Issuer(ctx, p.cluster)
	if err != nil {
		return nil, err
	}
	subject := "system:serviceaccount:" + p.evidence.Namespace + ":" + a.Name
	all, err := p.Directory.Federations(ctx, id.Resource)
	if err != nil {
		return nil, absent(err)
	}
	for _, f := range all {
		if f.Subject == subject && (issuer == "" || f.Issuer == issuer) {
			return nil, nil //nolint:nilnil // nothing is wrong
		}
	}
	f := &finding{code: credNotFederated, stage: pull.StageIdentity, summary: fmt.Sprintf(
		"the service account %s names the identity %s, which does not trust its tokens: none of its %d federated credentials is for %s", a.Name, id.Resource.Name(), len(all), subject)}
	if issuer != "" {
		f.fix = []Fix{{
			Why:     "let the service account be this identity",
			Command: line("fairlead", "identity", "federate", id.Resource.String(), "--issuer", issuer, "--service-account", p.evidence.Namespace+"/"+a.Name),
			Az: line("az", "identity", "federated-credential", "create", "-g", id.Resource.ResourceGroup(), "--identity-name", id.Resource.Name(),
				"-n", p.evidence.Namespace+"-"+a.Name, "--issuer", issuer, "--subject", subject, "--audiences", "api://AzureADTokenExchange"),
		}}
	}
	return f, nil
}

// unused looks among the namespace's other pull secrets for one that can pull; nil when there is none.
func (p *podInquiry) unused(ctx context.Context, base *inquiry) (*finding, error) {
	for _, s := range p.evidence.Secrets {
		if slices.Contains(p.pod().PullSecrets, s.Name) {
			continue
		}
		for _, l := range evidence.Logins([]evidence.Secret{s}, base.ref.Host+"/"+base.ref.Repository) {
			c := loginOf(l)
			o, err := p.try(ctx, p, &c)
			if err != nil {
				return nil, err
			}
			if o.q.failure != nil && before(o.q.failure.Stage, pull.StageManifest) {
				continue
			}
			return p.unusedSecret(s.Name), nil
		}
	}
	return nil, nil //nolint:nilnil // none is an answer
}

func (p *podInquiry) unusedSecret(name string) *finding {
	f := &finding{code: credSecretUnused, stage: pull.StageCredential}
	account, _ := p.evidence.Account(p.pod().Account)
	if slices.Contains(account.PullSecrets, name) {
		f.summary = fmt.Sprintf("the service account %s names the secret %s, which can pull, but the pod was made before it did: a pod gets its service account's pull secrets when it is made", account.Name, name)
		f.fix = p.anew()
		return f
	}
	f.summary = fmt.Sprintf("the secret %s in this namespace can pull, but neither the pod nor its service account %s names it", name, p.pod().Account)
	f.fix = p.nameSecret(name)
	return f
}
