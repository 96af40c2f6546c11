package compute

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/internal/driver/kubernetes/secrets"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// Annotations of pull secrets.
const (
	noteContainers = "fairlead.dev/containers" // whose images it fetches
	noteRenew      = "fairlead.dev/renew"      // when it is to be minted anew
)

// Times between looks at pull secrets.
const (
	renewMost  = time.Minute
	renewAgain = 10 * time.Second // after it went wrong
)

// lend asks the right to pull for each container and gives what their images are fetched with, by host.
func (d *Driver) lend(ctx context.Context, workload string, containers []string) (map[string]pull.Login, error) {
	id, err := resource.ParseID(workload)
	if err != nil {
		return nil, err
	}
	logins := map[string]pull.Login{}
	for _, name := range containers {
		login, err := d.cfg.Lend(ctx, id, name)
		if err != nil {
			return nil, err
		}
		if login.Username != "" {
			logins[d.cfg.Registry(login.Host)] = login
		}
	}
	return logins, nil
}

// pullSecret is what the kubelet fetches a pod's images with.
func (d *Driver) pullSecret(box *corev1.Service, containers []string, logins map[string]pull.Login) *corev1.Secret {
	s := d.secretOf(box, secretPull, corev1.SecretTypeDockerConfigJson)
	s.Annotations[noteContainers] = strings.Join(containers, ",")
	fill(s, logins, time.Now())
	return s
}

// fill writes logins to a pull secret, and when the first of them has had half its life.
func fill(s *corev1.Secret, logins map[string]pull.Login, now time.Time) {
	renew := time.Time{}
	for _, l := range logins {
		if half := now.Add(l.Expires.Sub(now) / 2); !l.Expires.IsZero() && (renew.IsZero() || half.Before(renew)) {
			renew = half
		}
	}
	s.Data = secrets.Data(logins)
	delete(s.Annotations, noteRenew)
	if !renew.IsZero() {
		s.Annotations[noteRenew] = renew.UTC().Format(time.RFC3339Nano)
	}
}

// putSecret makes a secret, or makes one that is there like it.
func (d *Driver) putSecret(ctx context.Context, s *corev1.Secret) error {
	there := d.client.CoreV1().Secrets(s.Namespace)
	_, err := there.Create(ctx, s, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = there.Update(ctx, s, metav1.UpdateOptions{})
	}
	return failed("writing the workload's secrets", err)
}

// Run mints pull secrets anew before they end, and takes away what is in them when the right to pull goes, until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	next := time.Now()
	for {
		changed := d.cfg.Changed()
		timer := time.NewTimer(min(time.Until(next), renewMost))
		all := false
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-d.minted:
		case <-changed:
			all = true
		}
		timer.Stop()
		var err error
		if next, err = d.renew(ctx, all); err != nil && ctx.Err() == nil {
			d.log.WarnContext(ctx, "pull secrets are not renewed for now", "error", err)
		}
	}
}

// renew mints anew what is due, or all, and tells when it is to be called again.
func (d *Driver) renew(ctx context.Context, all bool) (next time.Time, err error) {
	next = time.Now().Add(renewMost)
	list, err := d.client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{
		LabelSelector: labelInstallation + "=" + d.cfg.Installation + "," + labelSecret + "=" + secretPull,
	})
	if err != nil {
		return time.Now().Add(renewAgain), err
	}
	for i := range list.Items {
		s := &list.Items[i]
		if due := dueAt(s); all || time.Now().After(due) {
			if err := d.renewOne(ctx, s); err != nil {
				d.log.WarnContext(ctx, "a pull secret is not renewed for now", "namespace", s.Namespace, "secret", s.Name, "error", err)
				next = time.Now().Add(renewAgain)
			}
		}
		if due := dueAt(s); due.Before(next) && due.After(time.Now()) {
			next = due
		}
	}
	return next, nil
}

// dueAt tells when a secret is to be minted anew: far away when what is in it does not end.
func dueAt(s *corev1.Secret) time.Time {
	due, err := time.Parse(time.RFC3339Nano, s.Annotations[noteRenew])
	if err != nil {
		return time.Now().Add(renewMost)
	}
	return due
}

// renewOne fills a secret anew: with nothing, when the right to pull is refused.
func (d *Driver) renewOne(ctx context.Context, s *corev1.Secret) error {
	logins, err := d.lend(ctx, s.Annotations[noteWorkload], strings.Split(s.Annotations[noteContainers], ","))
	if kind := fault.KindOf(err); err != nil && (kind == fault.Unavailable || kind == fault.Internal) {
		return err
	}
	before := string(s.Data[corev1.DockerConfigJsonKey])
	fill(s, logins, time.Now())
	if before == string(s.Data[corev1.DockerConfigJsonKey]) {
		return nil
	}
	if _, err := d.client.CoreV1().Secrets(s.Namespace).Update(ctx, s, metav1.UpdateOptions{}); !apierrors.IsNotFound(err) {
		return err
	}
	return nil // it went with its workload
}
