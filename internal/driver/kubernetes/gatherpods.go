package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.dev/internal/explain/evidence"
)

// Kinds of workloads.
const (
	kindPod         = "Pod"
	kindDeployment  = "Deployment"
	kindReplicaSet  = "ReplicaSet"
	kindStatefulSet = "StatefulSet"
	kindDaemonSet   = "DaemonSet"
	kindJob         = "Job"
)

// revision is the annotation by which a Deployment numbers its ReplicaSets.
const revision = "deployment.kubernetes.io/revision"

// readPods finds the workload's pods, and what has to be changed so that they change.
func (g *gathering) readPods(ctx context.Context) error {
	asked := g.evidence.Asked
	if asked.Kind == kindPod {
		p, err := g.client.CoreV1().Pods(g.namespace).Get(ctx, asked.Name, metav1.GetOptions{})
		if err != nil {
			return missing(g.namespace, asked, err)
		}
		g.pods = []corev1.Pod{*p}
		g.add(*p)
		return g.climb(ctx, p.OwnerReferences)
	}
	owner, err := g.owner(ctx, asked)
	if err != nil {
		return err
	}
	if asked.Kind == kindDeployment {
		if owner, err = g.newest(ctx, owner); err != nil {
			return err
		}
	} else if err := g.climb(ctx, owner.owners); err != nil {
		return err
	}
	if err := g.listPods(ctx, owner); err != nil {
		return err
	}
	if len(g.pods) == 0 {
		g.evidence.NoPods = owner.trouble
	}
	return nil
}

// owner is what makes pods.
type owner struct {
	uid      types.UID
	selector *metav1.LabelSelector
	owners   []metav1.OwnerReference
	trouble  string // why it makes none, if it says so
	children bool   // the pods are of its ReplicaSets, and which cannot be known
}

// owner reads a workload.
func (g *gathering) owner(ctx context.Context, o evidence.Object) (owner, error) {
	var out owner
	var object *metav1.ObjectMeta
	var err error
	switch o.Kind {
	case kindDeployment:
		var d *appsv1.Deployment
		if d, err = g.client.AppsV1().Deployments(g.namespace).Get(ctx, o.Name, metav1.GetOptions{}); err == nil {
			object, out.selector = &d.ObjectMeta, d.Spec.Selector
			for _, c := range d.Status.Conditions {
				if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
					out.trouble = c.Message
				}
			}
			out.trouble = none(out.trouble, d.Spec.Replicas)
		}
	case kindReplicaSet:
		var r *appsv1.ReplicaSet
		if r, err = g.client.AppsV1().ReplicaSets(g.namespace).Get(ctx, o.Name, metav1.GetOptions{}); err == nil {
			object, out.selector, out.trouble = &r.ObjectMeta, r.Spec.Selector, none("", r.Spec.Replicas)
		}
	case kindStatefulSet:
		var s *appsv1.StatefulSet
		if s, err = g.client.AppsV1().StatefulSets(g.namespace).Get(ctx, o.Name, metav1.GetOptions{}); err == nil {
			object, out.selector, out.trouble = &s.ObjectMeta, s.Spec.Selector, none("", s.Spec.Replicas)
		}
	case kindDaemonSet:
		var d *appsv1.DaemonSet
		if d, err = g.client.AppsV1().DaemonSets(g.namespace).Get(ctx, o.Name, metav1.GetOptions{}); err == nil {
			object, out.selector = &d.ObjectMeta, d.Spec.Selector
		}
	case kindJob:
		j, e := g.client.BatchV1().Jobs(g.namespace).Get(ctx, o.Name, metav1.GetOptions{})
		if err = e; err == nil {
			object, out.selector = &j.ObjectMeta, j.Spec.Selector
		}
	default:
		return out, fmt.Errorf("%q is %w: ask about a pod, deployment, replicaset, statefulset, daemonset or job", o.Kind, ErrKind)
	}
	if err != nil {
		return out, missing(g.namespace, o, err)
	}
	out.uid, out.owners = object.UID, object.OwnerReferences
	return out, nil
}

// none says that a workload is scaled to nothing.
func none(trouble string, replicas *int32) string {
	if trouble == "" && replicas != nil && *replicas == 0 {
		return "it is scaled to 0 replicas"
	}
	return trouble
}

// newest gives the ReplicaSet of a Deployment's present template: its pods are those that should pull.
func (g *gathering) newest(ctx context.Context, d owner) (owner, error) {
	list, err := g.client.AppsV1().ReplicaSets(g.namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.selector)})
	if err != nil {
		d.children = true
		return d, g.unread("the replicasets of namespace "+g.namespace, err)
	}
	out, highest := d, -1
	for _, r := range list.Items {
		n, err := strconv.Atoi(r.Annotations[revision])
		if metav1.GetControllerOf(&r) == nil || metav1.GetControllerOf(&r).UID != d.uid || err != nil || n <= highest {
			continue
		}
		out, highest = owner{uid: r.UID, selector: r.Spec.Selector, trouble: d.trouble}, n
	}
	return out, nil
}

// listPods reads the pods that o controls, those that wait first.
func (g *gathering) listPods(ctx context.Context, o owner) error {
	list, err := g.client.CoreV1().Pods(g.namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(o.selector)})
	if err != nil {
		return missing(g.namespace, g.evidence.Asked, err)
	}
	for _, p := range list.Items {
		c := metav1.GetControllerOf(&p)
		if c != nil && (c.UID == o.uid || o.children && c.Kind == kindReplicaSet) && p.DeletionTimestamp == nil {
			g.pods = append(g.pods, p)
		}
	}
	slices.SortStableFunc(g.pods, func(a, b corev1.Pod) int {
		if a, b := rankOf(a), rankOf(b); a != b {
			return a - b
		}
		return strings.Compare(a.Name, b.Name)
	})
	if n := len(g.pods); n > evidence.MaxPods {
		g.pods, g.evidence.LeftOut = g.pods[:evidence.MaxPods], n-evidence.MaxPods
	}
	for _, p := range g.pods {
		g.add(p)
	}
	return nil
}

func rankOf(p corev1.Pod) int {
	if p.Status.Phase == corev1.PodPending {
		return 0
	}
	return 1
}

// climb goes from what controls a pod to what controls that.
func (g *gathering) climb(ctx context.Context, owners []metav1.OwnerReference) error {
	at := slices.IndexFunc(owners, func(o metav1.OwnerReference) bool { return o.Controller != nil && *o.Controller })
	if at < 0 {
		return nil
	}
	g.evidence.Controller = evidence.Object{Kind: owners[at].Kind, Name: owners[at].Name}
	if owners[at].Kind != kindReplicaSet {
		return nil
	}
	r, err := g.client.AppsV1().ReplicaSets(g.namespace).Get(ctx, owners[at].Name, metav1.GetOptions{})
	if err != nil {
		return g.unread("the replicaset "+owners[at].Name, err)
	}
	return g.climb(ctx, r.OwnerReferences)
}
