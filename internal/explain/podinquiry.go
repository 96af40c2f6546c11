package explain

import (
	"context"
	"fmt"
	"slices"

	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/pull"
)

// podInquiry is the question about one container of pods.
type podInquiry struct {
	*survey
	question
	have  []credential
	tries []outcome // of those that were tried, in the kubelet's order
}

// pod is one of those that the question is about; in what counts here they are alike.
func (p *podInquiry) pod() evidence.Pod { return p.pods[0] }

// answer tries every credential and puts the report together.
func (s *survey) answer(ctx context.Context, q question) (Report, error) {
	p := &podInquiry{survey: s, question: q}
	base := s.inquiry(p, nil)
	if err := base.prepare(ctx); err != nil {
		return Report{}, err
	}
	ours := !base.endpoint.Registry.IsZero()
	if ours {
		var err error
		if p.have, err = p.credentials(ctx, &base); err != nil {
			return Report{}, err
		}
	}
	if err := p.tryAll(ctx); err != nil {
		return Report{}, err
	}
	chosen, found, also, err := p.choose(ctx, &base)
	if err != nil {
		return Report{}, err
	}
	later, err := chosen.findAlso(ctx, found)
	if err != nil {
		return Report{}, err
	}
	r, err := chosen.write(ctx, found, unlike(found, append(also, later...)))
	if err != nil {
		return Report{}, err
	}
	p.writeCredentials(chosen, &r)
	return r, p.writeNode(ctx, chosen, &r)
}

// unlike leaves out what is said already.
func unlike(found *finding, also []finding) []finding {
	var out []finding
	for _, f := range also {
		same := func(o finding) bool { return o.code == f.code && o.summary == f.summary }
		if found != nil && same(*found) || slices.ContainsFunc(out, same) {
			continue
		}
		out = append(out, f)
	}
	return out
}

// tryAll tries the credentials as the kubelet does: one after the other until one can pull, and as a stranger only when it
// has none.
func (p *podInquiry) tryAll(ctx context.Context) error {
	for i := range p.have {
		c := &p.have[i]
		if c.problem != nil || c.hidden != "" {
			continue
		}
		o, err := p.try(ctx, p, c)
		if err != nil {
			return err
		}
		p.tries = append(p.tries, o)
		if o.q.failure == nil {
			return nil
		}
	}
	if len(p.tries) > 0 {
		return nil
	}
	o, err := p.try(ctx, p, nil)
	p.tries = append(p.tries, o)
	return err
}

// choose finds the one thing that is wrong, and what else is. What stops the kubelet altogether comes first; then what it
// met with a credential that the registry accepts; then what is wrong with the secrets that the pod names, for whoever
// names one means it; then a secret that nobody names; then the identity.
func (p *podInquiry) choose(ctx context.Context, base *inquiry) (*inquiry, *finding, []finding, error) {
	best, problems := p.tries[0], p.problems()
	for _, o := range p.tries[1:] {
		if o.q.failure == nil || o.q.entitled && best.q.failure != nil && before(best.q.failure.Stage, pull.StageManifest) && !before(o.q.failure.Stage, pull.StageManifest) {
			best = o
		}
	}
	others := p.otherTries(best)
	if at := slices.IndexFunc(p.have, func(c credential) bool { return c.fatal }); at >= 0 {
		f := *p.have[at].problem
		if best.q.failure == nil { // nothing is missing but that this secret goes
			f.fix = f.fix[:1]
		}
		return &best.q, &f, append(problems, others...), nil
	}
	// A stage from the manifest on is reached only with a credential that the registry accepts.
	accepted := best.q.failure == nil || best.q.entitled && !before(best.q.failure.Stage, pull.StageManifest)
	if accepted || base.endpoint.Registry.IsZero() {
		return &best.q, best.found, append(slices.DeleteFunc(problems, p.harmless), others...), nil
	}
	if first := p.mostMeant(problems); first != nil {
		all := append(problems, others...)
		if best.found != nil && best.found.stage != pull.StageCredential {
			all = append(all, *best.found)
		}
		return &best.q, first, all, nil
	}
	if len(p.secretTries()) == 0 {
		spare, err := p.unused(ctx, base)
		if err != nil {
			return nil, nil, nil, err
		}
		if spare != nil {
			if best.found != nil && best.found.stage != pull.StageCredential {
				others = append(others, *best.found)
			}
			return &best.q, spare, append(problems, others...), nil
		}
	}
	return &best.q, best.found, append(problems, others...), nil
}

// problems are what is wrong with the credentials that could not be tried.
func (p *podInquiry) problems() []finding {
	var out []finding
	for _, c := range p.have {
		if c.problem != nil {
			out = append(out, *c.problem)
		}
	}
	return out
}

// harmless reports whether a problem is none while another credential works: a secret for another registry is for another
// image.
func (p *podInquiry) harmless(f finding) bool { return f.code == credSecretOtherHost }

// mostMeant gives the first of the problems, those aside that are none where a login for this registry was tried.
func (p *podInquiry) mostMeant(problems []finding) *finding {
	for i := range problems {
		if len(p.secretTries()) == 0 || !p.harmless(problems[i]) {
			return &problems[i]
		}
	}
	return nil
}

// secretTries are the tries with a pull secret.
func (p *podInquiry) secretTries() []outcome {
	var out []outcome
	for _, o := range p.tries {
		if used := o.q.used(); used != nil && used.Source == sourcePullSecret {
			out = append(out, o)
		}
	}
	return out
}

// otherTries is what was found with the other credentials, as far as the caller may know it.
func (p *podInquiry) otherTries(best outcome) []finding {
	var out []finding
	for _, o := range p.tries {
		if o.found == nil || o.q.used() == best.q.used() || o.q.hides(o.found.stage) {
			continue
		}
		out = append(out, *o.found)
	}
	return out
}

// writeCredentials says which credentials there are and why each was not used.
func (p *podInquiry) writeCredentials(q *inquiry, r *Report) {
	if r.Credential == nil {
		return
	}
	r.Credential.Skipped = []Skipped{}
	for _, c := range p.have {
		used := q.used()
		switch {
		case used != nil && used.From == c.From && used.Server == c.Server && used.Username == c.Username:
		case c.problem != nil || c.hidden != "":
			r.Credential.Skipped = append(r.Credential.Skipped, c.skipped())
		default:
			r.Credential.Skipped = append(r.Credential.Skipped, Skipped{c.Source, c.From, p.fate(c)})
		}
	}
	if len(p.have) == 0 && p.cluster.IsZero() && !q.endpoint.Registry.IsZero() {
		r.Credential.Skipped = append(r.Credential.Skipped, Skipped{sourceNode, "the cluster's nodes", "this is no managed cluster that you may read: whether its nodes have credentials of their own cannot be seen"})
	}
	if hidden := p.unknowable(); hidden != "" && r.Verdict == CannotPull && r.Stage == string(pull.StageCredential) && r.Code == pull.ErrNoCredential.Code {
		r.Code, r.Summary, r.Fix = "", "what the pull goes with cannot be told: "+hidden, []Fix{}
		if !p.failing() {
			r.Verdict = CanPull
			r.Summary += "; the kubelet reports no trouble with the image"
		}
		for i := range r.Stages {
			if r.Stages[i].Name == pull.StageCredential {
				r.Stages[i] = Stage{Name: pull.StageCredential, Outcome: hidden}
			}
		}
	}
}

// unknowable says what the caller may not read and the pull depends on.
func (p *podInquiry) unknowable() string {
	for _, c := range p.have {
		if c.hidden != "" {
			return c.hidden
		}
	}
	return ""
}

// fate says what became of a credential that was tried beside the one of the report.
func (p *podInquiry) fate(c credential) string {
	for _, o := range p.tries {
		used := o.q.used()
		if used == nil || used.From != c.From || used.Server != c.Server || used.Username != c.Username {
			continue
		}
		switch {
		case o.q.failure == nil:
			return "it can pull"
		case o.found == nil || o.q.hides(o.found.stage):
			return "the registry did not give it the image"
		}
		return fmt.Sprintf("%s: %s", o.found.code, o.found.summary)
	}
	return "an earlier one can pull"
}
