// Package secrets owns what a pull secret holds, and the pull secrets that are kept in a cluster of others: it is
// connected.Remote. The core says which, and who logs in with them.
package secrets

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"fairlead.dev/internal/cluster/connected"
	"fairlead.dev/internal/driver/kubernetes/reach"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// labelOwner tells whose a secret is, by a digest of the connected cluster's id.
const labelOwner = "fairlead.dev/connected"

// Errors of pull secrets.
var (
	// ErrForeign: a secret of that name is somebody else's.
	ErrForeign = fault.New(fault.Conflict, "SecretExists", "a secret of this name is there already, and is not Fairlead's")
	// ErrAccountMissing: a service account is not there.
	ErrAccountMissing = fault.New(fault.NotFound, "ServiceAccountMissing", "a service account is not there")
	// ErrRefused: the cluster did not do it.
	ErrRefused = fault.New(fault.Unavailable, "ClusterRefused", "the cluster did not do it")
)

// Cluster is a cluster that is spoken to.
type Cluster struct {
	client   kubernetes.Interface
	owner    string
	registry func(host string) string
}

// Open speaks to the cluster of a kubeconfig that somebody sent. registry gives the name by which its nodes reach the
// registry of a login server.
func Open(id resource.ID, kubeconfig secret.Text, context string, registry func(host string) string) (*Cluster, error) {
	config, err := reach.Parse([]byte(kubeconfig.Reveal()), context)
	if err != nil {
		return nil, err
	}
	config.Dial = (&net.Dialer{Timeout: 10 * time.Second, Control: refuseLinkLocal}).DialContext
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, reach.ErrKubeconfig.WithMessage("the kubeconfig cannot be used: %v", err)
	}
	sum := sha256.Sum256([]byte(id.Key()))
	return &Cluster{client: client, owner: hex.EncodeToString(sum[:8]), registry: registry}, nil
}

// refuseLinkLocal keeps whoever connects a cluster from having us ask what only this machine may, such as the metadata
// service of a cloud that it runs in.
func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err == nil && at.Addr().Unmap().IsLinkLocalUnicast() {
		return ErrRefused.WithMessage("%s is a link-local address, where no cluster is", at.Addr())
	}
	return err
}

// Version implements connected.Remote.
func (c *Cluster) Version(ctx context.Context) (string, error) {
	raw, err := c.client.Discovery().RESTClient().Get().AbsPath("/version").DoRaw(ctx)
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok { // whose text is a stranger's
		return "", ErrRefused.WithMessage("it answers the question for its version with %d", status.ErrStatus.Code)
	}
	if err != nil {
		return "", err
	}
	var info version.Info
	err = json.Unmarshal(raw, &info)
	return info.GitVersion, err
}

// Data gives what is in a pull secret that logs in to these hosts: docker's configuration.
//
// Source: https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/
func Data(logins map[string]pull.Login) map[string][]byte {
	type auth struct {
		Username string `json:"username"`
		Password string `json:"password"`
		Auth     string `json:"auth"`
	}
	auths := map[string]auth{}
	for host, l := range logins {
		password := l.Password.Reveal()
		auths[host] = auth{l.Username, password, base64.StdEncoding.EncodeToString([]byte(l.Username + ":" + password))}
	}
	raw, _ := json.Marshal(map[string]any{"auths": auths}) // strings
	return map[string][]byte{corev1.DockerConfigJsonKey: raw}
}

// Put implements connected.Remote.
func (c *Cluster) Put(ctx context.Context, p connected.Pull, login pull.Login) error {
	want := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: p.Secret, Namespace: p.Namespace, Labels: map[string]string{labelOwner: c.owner}},
		Type:       corev1.SecretTypeDockerConfigJson, Data: Data(map[string]pull.Login{c.registry(login.Host): login}),
	}
	_, err := c.client.CoreV1().Secrets(p.Namespace).Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		err = c.replace(ctx, want)
	}
	if err != nil {
		return refused("writing the secret "+p.Namespace+"/"+p.Secret, err)
	}
	var errs []error
	for _, name := range p.Accounts {
		errs = append(errs, c.name(ctx, p, name, true))
	}
	return errors.Join(errs...)
}

// replace makes a secret of ours like want.
func (c *Cluster) replace(ctx context.Context, want *corev1.Secret) error {
	have, err := c.client.CoreV1().Secrets(want.Namespace).Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if have.Labels[labelOwner] != c.owner || have.Type != want.Type {
		return ErrForeign.WithMessage("the namespace %s has a secret %s already, and it is not Fairlead's: take it away, or name another with secretName", want.Namespace, want.Name)
	}
	have.Data = want.Data
	_, err = c.client.CoreV1().Secrets(want.Namespace).Update(ctx, have, metav1.UpdateOptions{})
	return err
}

// Remove implements connected.Remote.
func (c *Cluster) Remove(ctx context.Context, p connected.Pull) error {
	var errs []error
	for _, name := range p.Accounts {
		if err := c.name(ctx, p, name, false); !errors.Is(err, ErrAccountMissing) {
			errs = append(errs, err)
		}
	}
	have, err := c.client.CoreV1().Secrets(p.Namespace).Get(ctx, p.Secret, metav1.GetOptions{})
	if err == nil && have.Labels[labelOwner] == c.owner {
		err = c.client.CoreV1().Secrets(p.Namespace).Delete(ctx, p.Secret, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		errs = append(errs, refused("removing the secret "+p.Namespace+"/"+p.Secret, err))
	}
	return errors.Join(errs...)
}

// name has a service account name a secret, or not any more.
func (c *Cluster) name(ctx context.Context, p connected.Pull, account string, named bool) error {
	accounts := c.client.CoreV1().ServiceAccounts(p.Namespace)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		have, err := accounts.Get(ctx, account, metav1.GetOptions{})
		if err != nil {
			return err
		}
		is := func(r corev1.LocalObjectReference) bool { return r.Name == p.Secret }
		if slices.ContainsFunc(have.ImagePullSecrets, is) == named {
			return nil
		}
		if named {
			have.ImagePullSecrets = append(have.ImagePullSecrets, corev1.LocalObjectReference{Name: p.Secret})
		} else {
			have.ImagePullSecrets = slices.DeleteFunc(have.ImagePullSecrets, is)
		}
		_, err = accounts.Update(ctx, have, metav1.UpdateOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return ErrAccountMissing.WithMessage("the namespace %s has no service account %s", p.Namespace, account)
	}
	return refused("changing the service account "+p.Namespace+"/"+account, err)
}

// refused gives an error of the cluster its public face.
func refused(doing string, err error) error {
	if err == nil || fault.KindOf(err) != fault.Internal {
		return err
	}
	return ErrRefused.WithMessage("%s: %v", doing, err).WithCause(err)
}
