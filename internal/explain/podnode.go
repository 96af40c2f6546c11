package explain

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/pull"
)

// StageNode is what the kubelet does with the image: its pull policy, its pause between two tries, what it has already.
const StageNode pull.StageName = "node"

// Codes about the kubelet.
const (
	policyNever       = "POLICY_NEVER"
	backOff           = "BACKOFF"
	cacheUnauthorised = "CACHE_UNAUTHORISED"
)

// The kubelet's pause after a pull that failed: it doubles from the first to the longest.
const (
	firstBackOff   = 10 * time.Second
	longestBackOff = 5 * time.Minute
)

// failing reports whether the kubelet fails to get the image.
func (p *podInquiry) failing() bool {
	switch p.container.Reason {
	case reasonPull, reasonBackOff, reasonNeverPull, "InvalidImageName", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		return !p.container.Running && !p.container.Ended
	}
	return false
}

// has reports whether the kubelet has got the image: the container has been started at least once.
func (p *podInquiry) has() bool {
	c := p.container
	return c.Running || c.Ended || c.Restarts > 0 || c.Reason == reasonCrashLoop
}

// writeNode adds what the kubelet says to a report that says what the registry does.
func (p *podInquiry) writeNode(ctx context.Context, q *inquiry, r *Report) error {
	p.writeTries(r)
	node := Stage{Name: StageNode, Outcome: "not reached"}
	switch {
	case p.container.Reason == reasonNeverPull && !p.has():
		p.writeNever(r)
		node = Stage{Name: StageNode, Outcome: string(pull.Failed), Known: knownRead, Message: r.Summary}
	case q.endpoint.Registry.IsZero() && q.ref.Repository != "" && p.has():
		p.writeElsewhere(r)
	case r.Verdict == CannotPull:
		if p.container.Reason == reasonBackOff && !r.NextRetry.IsZero() {
			node = Stage{Name: StageNode, Outcome: "waiting", Known: knownRead, Message: "it tries again at about " + clock(r.NextRetry)}
		}
		if p.has() {
			r.Summary += "; the container runs from an image that is on the node"
		}
	case p.failing():
		if err := p.writeBackOff(ctx, q, r); err != nil {
			return err
		}
		node = Stage{Name: StageNode, Outcome: string(pull.Failed), Known: knownRead, Message: r.Summary}
		if r.Code == backOff {
			node.Outcome = "waiting"
		}
	default:
		if p.writeStart(r) {
			node = Stage{Name: StageNode, Outcome: string(pull.OK), Known: knownRead}
		}
	}
	r.Stages = append(r.Stages, node)
	return nil
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// writeTries tells when the kubelet failed to pull and when it tries again, by the pod's events.
func (p *podInquiry) writeTries(r *Report) {
	if !p.failing() {
		r.LastSeen = time.Time{}
		return
	}
	for _, pod := range p.pods {
		t := triesOf(pod, p.container)
		r.FirstSeen = earlier(r.FirstSeen, t.first)
		r.NextRetry = earlier(r.NextRetry, t.next)
		if t.last.After(r.LastSeen) || r.LastSeen.IsZero() {
			r.LastSeen = t.last
		}
		if r.FirstError == nil && t.firstText != t.lastText {
			r.FirstError = &Also{codeOf(t.firstText), t.firstText}
		}
	}
}

// tries is what events tell of the pulls of one image for one pod.
type tries struct {
	count               int32
	first, last, next   time.Time
	firstText, lastText string
}

func triesOf(pod evidence.Pod, c evidence.Container) tries {
	var t tries
	prefix := "Failed to pull image " + strconv.Quote(c.Image) + ": "
	for _, e := range pod.Events { // in the order of their last times
		text, ok := strings.CutPrefix(e.Message, prefix)
		if e.Reason != "Failed" || !ok {
			continue
		}
		t.count += e.Count
		if t.first.IsZero() || e.First.Before(t.first) {
			t.first, t.firstText = e.First, text
		}
		t.last, t.lastText = e.Last, text
	}
	if t.count == 0 || c.Reason == reasonNeverPull {
		return t
	}
	pause := longestBackOff
	if t.count < 6 {
		pause = min(firstBackOff<<(t.count-1), longestBackOff)
	}
	t.next = t.last.Add(pause)
	return t
}

// codeOf takes a container runtime's text for what it likeliest means.
func codeOf(text string) string {
	for _, known := range []struct{ part, code string }{
		{"no basic auth credentials", pull.ErrNoCredential.Code},
		{"anonymous token", pull.ErrNoCredential.Code},
		{"401 Unauthorized", pull.ErrRefused.Code},
		{"403 Forbidden", pull.ErrDenied.Code},
		{"no match for platform", pull.ErrPlatformAbsent.Code},
		{"no such host", pull.ErrHostUnknown.Code},
		{"x509:", pull.ErrTLS.Code},
		{"i/o timeout", pull.ErrUnreachable.Code},
		{"connection refused", pull.ErrUnreachable.Code},
		{"no space left on device", pull.ErrNoSpace.Code},
		{": not found", pull.ErrTagUnknown.Code},
	} {
		if strings.Contains(text, known.part) {
			return known.code
		}
	}
	return ""
}

// writeNever is a container that may not be pulled for. What the pull would meet is wrong besides, and repaired first.
func (p *podInquiry) writeNever(r *Report) {
	if r.Verdict == CannotPull && r.Code != "" {
		r.AlsoWrong = append([]Also{{r.Code, r.Summary}}, r.AlsoWrong...)
	}
	fix, node := p.policy("IfNotPresent"), strings.TrimSuffix("the node "+p.node.Name, " ")
	r.Verdict, r.Stage = CannotPull, string(StageNode)
	r.Code = policyNever
	r.Summary = "the image is not on " + node + ", and its pull policy Never forbids to pull it"
	if p.onNode {
		r.Code = cacheUnauthorised
		r.Summary = "the image is on " + node + ", but was pulled there with credentials that this pod does not have, and an image on the node is no permission; the pull policy Never forbids to ask for one"
	}
	r.Fix = append(r.Fix, fix...)
	r.NextRetry = time.Time{}
}

// writeElsewhere is an image of a registry that is none of ours: the kubelet's word is all there is.
func (p *podInquiry) writeElsewhere(r *Report) {
	r.Verdict, r.Code, r.Stage, r.Fix, r.AlsoWrong = CanPull, "", "", []Fix{}, []Also{}
	r.Summary = "the kubelet has the image; its registry is none of Fairlead's, so nothing more is known"
	for i := range r.Stages {
		if r.Stages[i].Outcome == string(pull.Failed) {
			r.Stages[i] = Stage{Name: r.Stages[i].Name, Outcome: string(pull.Skipped)}
		}
	}
}

// writeBackOff is an image that can be pulled now and that the kubelet could not pull when it tried last.
func (p *podInquiry) writeBackOff(ctx context.Context, q *inquiry, r *Report) error {
	said, err := p.providerError(ctx, q)
	if err != nil {
		return err
	}
	if said.Message != "" {
		r.Verdict, r.Code, r.Stage = CannotPull, credProviderFailed, string(StageNode)
		r.Summary = fmt.Sprintf("the identity may pull, but the credential provider of node %s could not get its login, at %s: %s", p.node.Name, clock(said.Time), said.Message)
		return nil
	}
	r.Code, r.Stage = backOff, string(StageNode)
	r.Summary += "; the kubelet's last try failed and it pauses"
	if !r.NextRetry.IsZero() {
		r.Summary += " until about " + clock(r.NextRetry)
	}
	if text := p.lastText(); text != "" {
		r.Summary += ". What it met then: " + text
	}
	r.Fix = p.retry()
	return nil
}

func (p *podInquiry) lastText() string {
	for _, pod := range p.pods {
		if t := triesOf(pod, p.container); t.lastText != "" {
			return t.lastText
		}
	}
	_, text, _ := strings.Cut(p.container.Message, "ErrImagePull: ")
	return text
}

// providerError gives what the node's credential provider said last, if the pull goes with what it gives.
func (p *podInquiry) providerError(ctx context.Context, q *inquiry) (ProviderError, error) {
	used := q.used()
	if used == nil || used.Identity == nil || p.node.Name == "" {
		return ProviderError{}, nil
	}
	account := ""
	if used.Source == sourceAccount {
		account = p.evidence.Namespace + "/" + p.pod().Account
	}
	return p.Clusters.ProviderError(ctx, p.cluster, p.node.Name, q.ref.Host, account)
}

// writeStart hands over to what comes after the pull; it reports whether the node has the image.
func (p *podInquiry) writeStart(r *Report) bool {
	c, trouble := p.container, ""
	switch {
	case p.pod().Node == "" && p.pod().Waits != "":
		trouble = "the pod is on no node: " + p.pod().Waits
	case c.Reason == reasonCrashLoop:
		trouble = fmt.Sprintf("the container ended with exit code %d and is restarted, %d times so far; see what it said with '%s'", c.ExitCode, c.Restarts, p.logs())
	case c.Ended && c.ExitCode != 0:
		trouble = fmt.Sprintf("the container ended with exit code %d (%s); see what it said with '%s'", c.ExitCode, c.Reason, p.logs())
	case c.Running:
		r.Summary += "; the container is running"
		return true
	case c.Ended:
		r.Summary += "; the container has done its work"
		return true
	case c.Reason == "" || c.Reason == reasonCreating || c.Reason == reasonInit:
		return false
	default:
		trouble = strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
	}
	r.Verdict, r.Code, r.Stage = NotAPull, notAPull, string(pull.StageStart)
	r.Summary += ", so this is no matter of pulling: " + trouble
	return p.has()
}
