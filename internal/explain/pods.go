package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// ErrTooMuch: the evidence holds more credentials than are tried at once.
var ErrTooMuch = fault.New(fault.Exhausted, "TooManyCredentials", "the evidence holds more credentials than are tried at once")

// Clusters is what is known of managed clusters.
type Clusters interface {
	// Identities gives the identity that a cluster's nodes pull with and that of its control plane, each zero where there is
	// none; an error of kind NotFound when there is no such cluster. An identity that was deleted is given all the same.
	Identities(ctx context.Context, cluster resource.ID) (kubelet, controlPlane pull.Identity, err error)
	// Issuer gives the issuer of the tokens of its service accounts; "" when it is not known.
	Issuer(ctx context.Context, cluster resource.ID) (string, error)
	// ProviderError gives what the credential provider of a node failed with last for a registry host, and for a service
	// account "namespace/name" or, with "", for the node's own identity; zero when it did not fail.
	ProviderError(ctx context.Context, cluster resource.ID, node, host, account string) (ProviderError, error)
}

// ProviderError is what a node's credential provider failed with last.
type ProviderError struct {
	Message string
	Time    time.Time
}

// PodsReport says why the pods of one workload can or cannot pull.
type PodsReport struct {
	Kind      string            `json:"kind"`
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Summary   string            `json:"summary"` // "3 of 3 replicas cannot pull, for one reason"
	Pods      int               `json:"pods"`    // looked at
	Unable    int               `json:"unable"`  // of them, those that cannot pull
	LeftOut   int               `json:"leftOut,omitempty"`
	Reports   []PodReport       `json:"reports"`
	Unread    []evidence.Unread `json:"unread"` // what the caller may not read in the cluster
}

// PodReport is the report about a container of one pod, or of several that it holds for alike.
type PodReport struct {
	Report
	Pods []string `json:"pods"`
}

// maxTries is how many times registries are asked for one question.
const maxTries = 200

// WhyPods explains the pods of a workload in a cluster to caller, who has read the evidence. cluster is the managed cluster
// that it was read in; zero leaves it to the evidence to say. Each credential is tried for real, in the kubelet's order.
// What the caller claims opens nothing: of identities, roles and registries it is told what it may read. ErrDenied,
// ErrStopped, ErrTooMuch.
func (e *Explainer) WhyPods(ctx context.Context, caller identity.Principal, cluster resource.ID, ev evidence.Evidence) (PodsReport, error) {
	s := &survey{Explainer: e, caller: caller, evidence: ev, tried: map[tryKey]outcome{}}
	var err error
	if s.directory, err = e.may(ctx, caller, directoryRead, resource.Root); err != nil {
		return PodsReport{}, err
	}
	if err := s.inCluster(ctx, cluster); err != nil {
		return PodsReport{}, err
	}
	if len(ev.Pods) == 0 {
		why := cmp.Or(ev.NoPods, "nothing is pulled for it")
		return PodsReport{}, ErrStopped.WithMessage("the %s %s has no pods: %s", strings.ToLower(ev.Asked.Kind), ev.Asked.Name, why)
	}
	out := PodsReport{Kind: ev.Asked.Kind, Namespace: ev.Namespace, Name: ev.Asked.Name, Pods: len(ev.Pods), LeftOut: ev.LeftOut, Reports: []PodReport{}, Unread: []evidence.Unread{}}
	out.Unread = append(out.Unread, ev.Unread...)
	for _, q := range s.questions() {
		r, err := s.answer(ctx, q)
		if err != nil {
			return PodsReport{}, err
		}
		out.add(r, q.podNames())
	}
	out.conclude()
	return out, nil
}

// survey is the question about one workload.
type survey struct {
	*Explainer
	caller       identity.Principal
	evidence     evidence.Evidence
	cluster      resource.ID // zero: none of ours, or none that the caller may read
	kubelet      pull.Identity
	controlPlane pull.Identity
	directory    bool // the caller may read the directory
	tried        map[tryKey]outcome
}

// tryKey is what decides how a try goes. From tells credentials apart within one evidence.
type tryKey struct {
	container, image, platform, from, server, username string
}

// outcome is how a try went.
type outcome struct {
	q     inquiry
	found *finding
}

// inCluster finds out which cluster it is, and what it pulls with.
func (s *survey) inCluster(ctx context.Context, cluster resource.ID) error {
	claimed := cluster.IsZero()
	if claimed {
		cluster = s.claimedCluster()
	}
	if cluster.IsZero() {
		return nil
	}
	ok, err := s.may(ctx, s.caller, clusterRead, cluster)
	switch {
	case err != nil:
		return err
	case !ok && claimed:
		return nil
	case !ok:
		return ErrDenied
	}
	if s.Clusters == nil {
		return nil
	}
	kubelet, controlPlane, err := s.Clusters.Identities(ctx, cluster)
	if claimed && fault.KindOf(err) == fault.NotFound && err != nil {
		return nil // of another Fairlead, or gone
	}
	if err != nil {
		return err
	}
	s.cluster, s.kubelet, s.controlPlane = cluster, kubelet, controlPlane
	return nil
}

const (
	clusterRead   = "Microsoft.ContainerService/managedClusters/read"
	directoryRead = "Microsoft.Authorization/directory/read"
)

// claimedCluster gives the managed cluster that nodes say they are of, by their provider id: "azure://" with the
// cluster's resource id at its head.
func (s *survey) claimedCluster() resource.ID {
	for _, n := range s.evidence.Nodes {
		text, ok := strings.CutPrefix(n.ProviderID, "azure://")
		if !ok {
			continue
		}
		text, _, _ = strings.Cut(text, "/virtualMachineScaleSets/")
		if id, err := resource.ParseID(text); err == nil && id.Is("Microsoft.ContainerService/managedClusters") {
			return id
		}
	}
	return resource.ID{}
}

// question is one container as it stands alike in some pods.
type question struct {
	container evidence.Container
	node      evidence.Node
	onNode    bool // the image is on the node
	pods      []evidence.Pod
}

func (q question) podNames() []string {
	var names []string
	for _, p := range q.pods {
		names = append(names, p.Name)
	}
	return names
}

// questions puts alike containers together, in the order in which they stand.
func (s *survey) questions() []question {
	var out []question
	at := map[string]int{}
	for _, p := range s.evidence.Pods {
		node, _ := s.evidence.Node(p.Node)
		for _, c := range p.Containers {
			q := question{container: c, node: node, onNode: slices.Contains(node.Images, c.Image), pods: []evidence.Pod{p}}
			key := strings.Join(append([]string{
				c.Name, c.Image, c.Policy, plight(c), p.Account, node.OS, node.Architecture, fmt.Sprint(q.onNode, p.Node == "", c.ExitCode),
			}, p.PullSecrets...), "\x00")
			if i, known := at[key]; known {
				out[i].pods = append(out[i].pods, p)
				continue
			}
			at[key] = len(out)
			out = append(out, q)
		}
	}
	return out
}

// The kubelet's reasons for a container that waits.
const (
	reasonPull      = "ErrImagePull"
	reasonBackOff   = "ImagePullBackOff"
	reasonNeverPull = "ErrImageNeverPull"
	reasonCrashLoop = "CrashLoopBackOff"
	reasonCreating  = "ContainerCreating"
	reasonInit      = "PodInitializing"
)

// plight gives a container's state in one word: a pull that fails is one, whether it is tried or waited for.
func plight(c evidence.Container) string {
	switch {
	case c.Reason == reasonBackOff:
		return reasonPull
	case c.Running:
		return "Running"
	case c.Ended:
		return "Ended"
	}
	return c.Reason
}

// platform gives what images must be built for.
func (q question) platform() content.Platform {
	return content.Platform{OS: cmp.Or(q.node.OS, "linux"), Architecture: cmp.Or(q.node.Architecture, runtime.GOARCH)}
}

// inquiry prepares the question with one credential, or with none.
func (s *survey) inquiry(p *podInquiry, c *credential) inquiry {
	on := *s.Explainer
	on.Platform = p.platform()
	q := inquiry{Explainer: &on, caller: s.caller, kind: podKind{p}, entitled: true}
	q.group.ID = s.cluster
	q.container.Name, q.container.Image = p.container.Name, p.container.Image
	if c == nil {
		return q
	}
	q.candidates = []pull.Candidate{c.Candidate}
	if id := c.Identity; id != nil {
		q.group.Identities = []pull.Identity{*id} // it is attached, or it would be no candidate
		q.siblings = s.siblings(id.PrincipalID)
	}
	return q
}

// siblings are the cluster's identities beside the one that pulls.
func (s *survey) siblings(principalID string) []sibling {
	var out []sibling
	for _, other := range []struct {
		id   pull.Identity
		what string
	}{{s.controlPlane, "the identity of the cluster's control plane, " + s.controlPlane.Resource.Name()}, {s.kubelet, "the nodes' identity " + s.kubelet.Resource.Name()}} {
		if other.id.PrincipalID != "" && other.id.PrincipalID != principalID {
			out = append(out, sibling{other.id.PrincipalID, other.what})
		}
	}
	return out
}

// try tries one credential, or what a stranger gets; once for all containers that it is the same for.
func (s *survey) try(ctx context.Context, p *podInquiry, c *credential) (outcome, error) {
	key := tryKey{container: p.container.Name, image: p.container.Image, platform: p.platform().String()}
	if c != nil {
		key.from, key.server, key.username = c.From, c.Server, c.Username
	}
	if o, known := s.tried[key]; known {
		o.q.kind = podKind{p}
		return o, nil
	}
	if len(s.tried) >= maxTries {
		return outcome{}, ErrTooMuch.WithMessage("the evidence holds more than %d credentials to try: ask about one pod", maxTries)
	}
	o := outcome{q: s.inquiry(p, c)}
	if err := o.q.prepare(ctx); err != nil {
		return o, err
	}
	if err := o.q.try(ctx); err != nil {
		return o, err
	}
	var err error
	if o.found, err = o.q.find(ctx); err != nil {
		return o, err
	}
	if o.found != nil && o.found.stage == pull.StageToken && !s.directory {
		// The evidence is the caller's word: a user name in it opens nothing of the directory.
		o.q.principal, o.q.considered, o.found.summary = identity.Principal{}, nil, o.q.failure.Err.Message
	}
	s.tried[key] = o
	return o, nil
}

// add puts a report to those that say the same.
func (out *PodsReport) add(r Report, pods []string) {
	for i := range out.Reports {
		have := &out.Reports[i]
		if have.Container == r.Container && have.Verdict == r.Verdict && have.Code == r.Code && have.Summary == r.Summary && have.Image.Given == r.Image.Given {
			have.Pods = append(have.Pods, pods...)
			have.FirstSeen = earlier(have.FirstSeen, r.FirstSeen)
			have.NextRetry = earlier(have.NextRetry, r.NextRetry)
			if r.LastSeen.After(have.LastSeen) {
				have.LastSeen = r.LastSeen
			}
			return
		}
	}
	out.Reports = append(out.Reports, PodReport{r, pods})
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// conclude counts, and says it in one sentence.
func (out *PodsReport) conclude() {
	reasons, unable := 0, map[string]bool{}
	others := 0
	for _, r := range out.Reports {
		switch {
		case r.Verdict == CannotPull:
			reasons++
			for _, p := range r.Pods {
				unable[p] = true
			}
		case r.Code != "":
			others++
		}
	}
	out.Unable = len(unable)
	noun := "pods"
	switch out.Kind {
	case "Deployment", "ReplicaSet", "StatefulSet":
		noun = "replicas"
	}
	why := "one reason"
	if reasons > 1 {
		why = fmt.Sprintf("%d reasons", reasons)
	}
	switch {
	case out.Unable == 0 && out.Kind == "Pod":
		out.Summary = "the pod can pull"
	case out.Unable == 0:
		out.Summary = fmt.Sprintf("%d of %d %s can pull", out.Pods, out.Pods, noun)
	case out.Kind == "Pod":
		out.Summary = "the pod cannot pull, for " + why
	default:
		out.Summary = fmt.Sprintf("%d of %d %s cannot pull, for %s", out.Unable, out.Pods, noun, why)
	}
	if out.Unable == 0 && others > 0 {
		out.Summary += ", but not all is well"
	}
	if out.LeftOut > 0 {
		out.Summary += fmt.Sprintf("; %d more were not looked at", out.LeftOut)
	}
}

// byClientID gives the managed identity that a client id is of; nil when there is none.
func (s *survey) byClientID(ctx context.Context, clientID string) (*pull.Identity, error) {
	sp, err := s.Directory.ServicePrincipalByClientID(ctx, clientID)
	if errors.Is(err, identity.ErrNotFound) || err == nil && sp.Kind != identity.KindManaged {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, absent(err)
	}
	return &pull.Identity{Resource: sp.Resource, ClientID: sp.ClientID, PrincipalID: sp.ID, System: sp.System}, nil
}
