package kubernetes

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/secret"
)

// identityAnnotations are the prefixes of a service account's annotations that say which identity it has.
func identityAnnotations() []string {
	return []string{"azure.workload.identity/", "kubernetes.azure.com/acr-"}
}

// readAccounts reads the pods' service accounts.
func (g *gathering) readAccounts(ctx context.Context) error {
	for _, p := range g.evidence.Pods {
		if _, known := g.evidence.Account(p.Account); known || p.Account == "" {
			continue
		}
		out := evidence.Account{Name: p.Account, State: evidence.Found}
		a, err := g.client.CoreV1().ServiceAccounts(g.namespace).Get(ctx, p.Account, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			out.State = evidence.Absent
		case err != nil:
			out.State = evidence.Hidden
			if err := g.unread("the service account "+p.Account, err); err != nil {
				return err
			}
		default:
			addAccount(&out, a)
		}
		g.evidence.Accounts = append(g.evidence.Accounts, out)
	}
	return nil
}

func addAccount(out *evidence.Account, a *corev1.ServiceAccount) {
	for _, s := range a.ImagePullSecrets {
		out.PullSecrets = append(out.PullSecrets, s.Name)
	}
	for name, value := range a.Annotations {
		for _, prefix := range identityAnnotations() {
			if strings.HasPrefix(name, prefix) {
				if out.Annotations == nil {
					out.Annotations = map[string]string{}
				}
				out.Annotations[name] = value
			}
		}
	}
}

// readSecrets reads the secrets that are named for pulling, looks for those that are absent in other namespaces, and reads
// the namespace's other pull secrets, which may have been meant.
func (g *gathering) readSecrets(ctx context.Context) error {
	for _, name := range g.namedSecrets() {
		s, err := g.client.CoreV1().Secrets(g.namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			if err := g.addAbsent(ctx, name); err != nil {
				return err
			}
		case err != nil:
			g.evidence.Secrets = append(g.evidence.Secrets, evidence.Secret{Name: name, State: evidence.Hidden})
			if err := g.unread("the secret "+name, err); err != nil {
				return err
			}
		default:
			g.addSecret(s)
		}
	}
	for _, t := range []string{evidence.TypeDockerConfigJSON, evidence.TypeDockerCfg} {
		list, err := g.client.CoreV1().Secrets(g.namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + t, Limit: evidence.MaxSecrets})
		if err != nil {
			return g.unread("the other pull secrets of namespace "+g.namespace, err)
		}
		for _, s := range list.Items {
			if _, known := g.evidence.Secret(s.Name); !known && string(s.Type) == t && len(g.evidence.Secrets) < evidence.MaxSecrets {
				g.addSecret(&s)
			}
		}
	}
	return nil
}

// namedSecrets gives the secrets that pods and service accounts name, each once.
func (g *gathering) namedSecrets() []string {
	var names []string
	for _, p := range g.evidence.Pods {
		names = append(names, p.PullSecrets...)
	}
	for _, a := range g.evidence.Accounts {
		names = append(names, a.PullSecrets...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// addSecret writes a secret down, with the passwords that fit an image and no others.
func (g *gathering) addSecret(s *corev1.Secret) {
	out := evidence.ReadSecret(s.Name, string(s.Type), s.Data)
	repositories := g.repositories()
	for i := range out.Entries {
		if !slices.ContainsFunc(repositories, out.Entries[i].Fits) {
			out.Entries[i].Password = secret.Text{}
		}
	}
	g.evidence.Secrets = append(g.evidence.Secrets, out)
}

// addAbsent writes down that a secret is not there, and where one of its name is.
func (g *gathering) addAbsent(ctx context.Context, name string) error {
	out := evidence.Secret{Name: name, State: evidence.Absent}
	list, err := g.client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err == nil {
		for _, s := range list.Items {
			if s.Name == name && evidence.ReadSecret(s.Name, string(s.Type), s.Data).Broken == "" {
				out.Elsewhere = append(out.Elsewhere, s.Namespace)
			}
		}
		slices.Sort(out.Elsewhere)
	}
	g.evidence.Secrets = append(g.evidence.Secrets, out)
	return g.unread("the secrets of other namespaces", err)
}
