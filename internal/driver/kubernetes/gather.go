// Package kubernetes owns how clusters are spoken to that run Kubernetes: by client-go, with the rights of whoever asks.
// This part reads what explains why a workload cannot pull, and writes it down as evidence; what it means is package
// explain's business. What may not be read is written down too, instead of being guessed.
package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/explain/evidence"
)

// Named errors of this package.
var (
	// ErrNotFound: the cluster has no such workload.
	ErrNotFound = errors.New("there is no such workload")
	// ErrDenied: whoever asks may not read the workload itself.
	ErrDenied = errors.New("you may not read this workload")
	// ErrKind: the kind is none of those that make pods and that are known here.
	ErrKind = errors.New("not a kind of workload that is known here")
)

// Question says which workload of which cluster is asked about.
type Question struct {
	// Kubeconfig is a document that says how the cluster is reached, with Token as the credential in place of its own. When
	// it is nil, File is read, or where kubectl would look when that is "" too.
	Kubeconfig []byte
	Token      string
	File       string
	Context    string   // of the kubeconfig; "" for the current one
	Namespace  string   // "" for the context's
	Kind, Name string   // "Deployment", "web"
	Kubectl    []string // how whoever asks runs kubectl
}

// Read reads the evidence about a workload and gives it as the document that is sent to Fairlead.
func Read(ctx context.Context, q Question) (json.RawMessage, error) {
	config, namespace, err := q.config()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.UserAgent = "fairlead"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if q.Namespace != "" {
		namespace = q.Namespace
	}
	e, err := Gather(ctx, client, namespace, evidence.Object{Kind: q.Kind, Name: q.Name})
	if err != nil {
		return nil, err
	}
	e.Kubectl = q.Kubectl
	return json.Marshal(e)
}

func (q Question) config() (config *rest.Config, namespace string, err error) {
	var found clientcmd.ClientConfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: q.Context}
	if q.Kubeconfig == nil {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = q.File
		found = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	} else {
		parsed, err := clientcmd.Load(q.Kubeconfig)
		if err != nil {
			return nil, "", err
		}
		found = clientcmd.NewDefaultClientConfig(*parsed, overrides)
	}
	if config, err = found.ClientConfig(); err != nil {
		return nil, "", err
	}
	if q.Token != "" {
		config.BearerToken, config.BearerTokenFile, config.ExecProvider, config.AuthProvider = q.Token, "", nil, nil
	}
	namespace, _, err = found.Namespace()
	return config, namespace, err
}

// Gather reads the evidence about a workload. ErrNotFound, ErrDenied, ErrKind; whatever else may not be read is noted.
func Gather(ctx context.Context, client kubernetes.Interface, namespace string, asked evidence.Object) (evidence.Evidence, error) {
	g := &gathering{client: client, namespace: namespace, evidence: evidence.Evidence{Namespace: namespace, Asked: asked, Controller: asked}}
	if err := g.readPods(ctx); err != nil {
		return evidence.Evidence{}, err
	}
	for _, read := range []func(context.Context) error{g.readEvents, g.readAccounts, g.readSecrets, g.readNodes} {
		if err := read(ctx); err != nil {
			return evidence.Evidence{}, err
		}
	}
	return g.evidence, nil
}

// gathering is one reading.
type gathering struct {
	client    kubernetes.Interface
	namespace string
	pods      []corev1.Pod
	evidence  evidence.Evidence
}

// unread notes what may not be read; other errors end the reading.
func (g *gathering) unread(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		g.evidence.Unread = append(g.evidence.Unread, evidence.Unread{What: what, Why: err.Error()})
		return nil
	}
	return fmt.Errorf("reading %s: %w", what, err)
}

// add writes a pod down.
func (g *gathering) add(p corev1.Pod) {
	out := evidence.Pod{Name: p.Name, Node: p.Spec.NodeName, Account: p.Spec.ServiceAccountName}
	for _, s := range p.Spec.ImagePullSecrets {
		if s.Name != "" { // as the kubelet
			out.PullSecrets = append(out.PullSecrets, s.Name)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			out.Waits = c.Message
		}
	}
	for _, of := range []struct {
		init       bool
		containers []corev1.Container
		statuses   []corev1.ContainerStatus
	}{{true, p.Spec.InitContainers, p.Status.InitContainerStatuses}, {false, p.Spec.Containers, p.Status.ContainerStatuses}} {
		for _, c := range of.containers {
			written := evidence.Container{Name: c.Name, Image: c.Image, Policy: string(c.ImagePullPolicy), Init: of.init}
			if i := slices.IndexFunc(of.statuses, func(s corev1.ContainerStatus) bool { return s.Name == c.Name }); i >= 0 {
				addState(&written, of.statuses[i])
			}
			out.Containers = append(out.Containers, written)
		}
	}
	g.evidence.Pods = append(g.evidence.Pods, out)
}

func addState(c *evidence.Container, s corev1.ContainerStatus) {
	c.Restarts = s.RestartCount
	switch {
	case s.State.Waiting != nil:
		c.Reason, c.Message = s.State.Waiting.Reason, s.State.Waiting.Message
		if last := s.LastTerminationState.Terminated; last != nil {
			c.ExitCode = last.ExitCode
		}
	case s.State.Terminated != nil:
		c.Ended, c.ExitCode, c.Reason, c.Message = true, s.State.Terminated.ExitCode, s.State.Terminated.Reason, s.State.Terminated.Message
	case s.State.Running != nil:
		c.Running = true
	}
}

// maxEvents bounds one page of events; the API server gives the rest page by page.
const maxEvents = 500

func (g *gathering) readEvents(ctx context.Context) error {
	at := map[string]int{} // pods by uid
	for i, p := range g.pods {
		at[string(p.UID)] = i
	}
	options := metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod", Limit: maxEvents}
	for {
		list, err := g.client.CoreV1().Events(g.namespace).List(ctx, options)
		if err != nil {
			return g.unread("the events of namespace "+g.namespace, err)
		}
		for _, e := range list.Items {
			i, ours := at[string(e.InvolvedObject.UID)]
			if !ours {
				continue
			}
			pod := &g.evidence.Pods[i]
			pod.Events = append(pod.Events, eventOf(e))
		}
		if options.Continue = list.Continue; options.Continue == "" {
			break
		}
	}
	for i := range g.evidence.Pods {
		slices.SortStableFunc(g.evidence.Pods[i].Events, func(a, b evidence.Event) int { return a.Last.Compare(b.Last) })
	}
	return nil
}

func eventOf(e corev1.Event) evidence.Event {
	out := evidence.Event{Reason: e.Reason, Message: e.Message, Count: max(e.Count, 1), First: e.FirstTimestamp.Time, Last: e.LastTimestamp.Time}
	if out.First.IsZero() {
		out.First = e.EventTime.Time
	}
	if e.Series != nil {
		out.Count, out.Last = e.Series.Count, e.Series.LastObservedTime.Time
	}
	if out.Last.IsZero() {
		out.Last = out.First
	}
	out.First, out.Last = out.First.UTC(), out.Last.UTC()
	return out
}

// readNodes reads the nodes that pods are on.
func (g *gathering) readNodes(ctx context.Context) error {
	var names []string
	for _, p := range g.evidence.Pods {
		if p.Node != "" && !slices.Contains(names, p.Node) {
			names = append(names, p.Node)
		}
	}
	for _, name := range names {
		n, err := g.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			if err := g.unread("the node "+name, err); err != nil {
				return err
			}
			continue
		}
		g.evidence.Nodes = append(g.evidence.Nodes, evidence.Node{
			Name: name, OS: n.Status.NodeInfo.OperatingSystem, Architecture: n.Status.NodeInfo.Architecture, ProviderID: n.Spec.ProviderID,
			Images: g.imagesOn(n),
		})
	}
	return nil
}

// imagesOn gives the images of the pods, as they are written there, that a node says it has.
func (g *gathering) imagesOn(n *corev1.Node) []string {
	has := map[string]bool{}
	for _, i := range n.Status.Images {
		for _, name := range i.Names {
			has[name] = true
		}
	}
	var out []string
	for _, image := range g.images() {
		ref, err := content.ParseReference(image)
		if err != nil {
			continue
		}
		at := ref.Host + "/" + ref.Repository
		if has[at+":"+ref.Tag] && ref.Digest == "" || ref.Digest != "" && has[at+"@"+string(ref.Digest)] {
			out = append(out, image)
		}
	}
	return out
}

// images gives the images of all pods, each once.
func (g *gathering) images() []string {
	var out []string
	for _, p := range g.evidence.Pods {
		for _, c := range p.Containers {
			if !slices.Contains(out, c.Image) {
				out = append(out, c.Image)
			}
		}
	}
	return out
}

// repositories gives what the kubelet looks logins up by: the images without tag and digest.
func (g *gathering) repositories() []string {
	var out []string
	for _, image := range g.images() {
		if ref, err := content.ParseReference(image); err == nil {
			out = append(out, ref.Host+"/"+ref.Repository)
		}
	}
	return out
}

// missing tells a workload that is not there or may not be read from other errors.
func missing(namespace string, o evidence.Object, err error) error {
	what := strings.ToLower(o.Kind) + " " + o.Name + " in namespace " + namespace
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: no %s", ErrNotFound, what)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w, %s: %w", ErrDenied, what, err)
	}
	return fmt.Errorf("reading the %s: %w", what, err)
}
