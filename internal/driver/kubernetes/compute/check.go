package compute

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	authv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"
)

// Problem is what a cluster lacks.
type Problem struct {
	What, Remedy string
}

// rights are what the driver does on a cluster, by group and resource.
var rights = []struct { //nolint:gochecknoglobals // a table
	group, resource, sub string
	verbs                []string
}{
	{"", "namespaces", "", []string{"create", "list", "delete"}},
	{"", "serviceaccounts", "", []string{"create"}},
	{"", "services", "", []string{"list", "watch", "create", "delete"}},
	{"", "pods", "", []string{"list", "watch", "create", "patch", "delete"}},
	{"", "pods", "log", []string{"get"}},
	{"", "pods", "exec", []string{"get", "create"}},
	{"", "pods", "portforward", []string{"get", "create"}},
	{"", "secrets", "", []string{"list", "create", "update", "delete"}},
	{"coordination.k8s.io", "leases", "", []string{"get", "create", "update"}},
}

// checkPatience bounds a look at a cluster.
const checkPatience = 20 * time.Second

// Check tells which release a cluster runs, and what it lacks for workloads. It changes nothing.
func Check(ctx context.Context, cluster Cluster) (release string, problems []Problem) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	config, client, err := cluster.connect()
	if err != nil {
		return "", []Problem{{err.Error(), "name a kubeconfig with --kubeconfig, and its context with --context"}}
	}
	found, err := serverVersion(ctx, client)
	switch {
	case apierrors.IsUnauthorized(err):
		return "", []Problem{{"the cluster " + config.Host + " takes the kubeconfig's credential for nobody's", "get a kubeconfig that is not over"}}
	case err != nil:
		return "", []Problem{{fmt.Sprintf("the cluster %s does not answer: %v", config.Host, err), "see that it runs, and that this machine reaches it"}}
	}
	for _, r := range rights {
		for _, verb := range r.verbs {
			if p, ok := may(ctx, client, authv1.ResourceAttributes{Group: r.group, Resource: r.resource, Subresource: r.sub, Verb: verb}); !ok {
				problems = append(problems, p)
			}
		}
	}
	return found.GitVersion, problems
}

// serverVersion asks for the release, within ctx, which the library's own way knows nothing of.
func serverVersion(ctx context.Context, client kubernetes.Interface) (*version.Info, error) {
	raw, err := client.Discovery().RESTClient().Get().AbsPath("/version").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var info version.Info
	return &info, json.Unmarshal(raw, &info)
}

// may asks whether the kubeconfig's user has a right in all namespaces.
func may(ctx context.Context, client kubernetes.Interface, what authv1.ResourceAttributes) (Problem, bool) {
	name := what.Resource
	if what.Subresource != "" {
		name += "/" + what.Subresource
	}
	if what.Group != "" {
		name += "." + what.Group
	}
	review := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	switch {
	case err != nil:
		return Problem{fmt.Sprintf("the cluster does not say whether one may %s %s: %v", what.Verb, name, err), "ask the cluster's administrator"}, false
	case !answer.Status.Allowed:
		return Problem{fmt.Sprintf("the kubeconfig's user may not %s %s", what.Verb, name), "have the cluster's administrator bind a ClusterRole with this right to it (docs/kubernetes/compute.md has one)"}, false
	}
	return Problem{}, true
}

// purgePatience bounds the end of everything.
const purgePatience = 5 * time.Minute

// Purge ends everything that an installation has on a cluster: its namespaces with all that is in them.
func Purge(ctx context.Context, cluster Cluster, installation string) error {
	ctx, cancel := context.WithTimeout(ctx, purgePatience)
	defer cancel()
	_, client, err := cluster.connect()
	if err != nil {
		return err
	}
	for {
		mine, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: labelInstallation + "=" + installation})
		if err != nil {
			return failed("listing Fairlead's namespaces", err)
		}
		if len(mine.Items) == 0 {
			return nil
		}
		for _, ns := range mine.Items {
			if ns.DeletionTimestamp != nil {
				continue
			}
			if err := client.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return failed("removing the namespace "+ns.Name, err)
			}
		}
		select {
		case <-ctx.Done():
			return ErrCluster.WithMessage("%d namespaces of Fairlead's are not gone yet", len(mine.Items))
		case <-time.After(time.Second):
		}
	}
}
