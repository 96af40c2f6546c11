package compute

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/internal/run"
)

// Patience with the cluster.
const (
	seePatience = 10 * time.Second // until what we wrote is seen
	endPatience = time.Minute      // beyond a pod's grace, until its node says that it has ended
)

// CreateSandbox implements run.Runtime.
func (d *Driver) CreateSandbox(ctx context.Context, spec run.SandboxSpec) (run.Sandbox, error) {
	want, err := d.serviceOf(spec)
	if err != nil {
		return run.Sandbox{}, err
	}
	_, err = d.client.CoreV1().Namespaces().Create(ctx, d.namespace(spec.Workload), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return run.Sandbox{}, failed("making the resource group's namespace", err)
	}
	_, err = d.client.CoreV1().ServiceAccounts(want.Namespace).Create(ctx, d.account(spec.Workload), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return run.Sandbox{}, failed("making the namespace's service account", err)
	}
	made, err := d.client.CoreV1().Services(want.Namespace).Create(ctx, want, metav1.CreateOptions{})
	if err != nil {
		return run.Sandbox{}, failed("making the workload's service", err)
	}
	err = d.seen.wait(ctx, seePatience, func() bool { return d.box(spec.ID) != nil })
	return boxOf(made), failed("waiting for the workload's service", err)
}

// box gives a sandbox's service, or nil.
func (d *Driver) box(sandbox string) *corev1.Service {
	return d.service(func(s *corev1.Service) bool { return s.Labels[labelSandbox] == sandbox })
}

// RemoveSandbox implements run.Runtime. The resource group's namespace stays.
func (d *Driver) RemoveSandbox(ctx context.Context, id string) error {
	if pod := d.pod(id); pod != nil {
		if err := d.endPod(ctx, pod, 0); err != nil {
			return err
		}
	}
	box := d.box(id)
	if box == nil {
		return nil
	}
	if err := d.dropSecrets(ctx, box); err != nil {
		return err
	}
	err := d.client.CoreV1().Services(box.Namespace).Delete(ctx, box.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return failed("removing the workload's service", err)
	}
	return failed("waiting for the end of the workload's service", d.seen.wait(ctx, seePatience, func() bool { return d.box(id) == nil }))
}

func (d *Driver) dropSecrets(ctx context.Context, box *corev1.Service) error {
	for _, kind := range []string{secretEnv, secretPull} {
		err := d.client.CoreV1().Secrets(box.Namespace).Delete(ctx, box.Name+"-"+kind, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return failed("removing the workload's secrets", err)
		}
	}
	return nil
}

// Stop implements run.Runtime: the containers of a pod end together. One that has ended already is let be.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	pod, name, found := d.container(id)
	if !found || look(pod, name, bindings(pod)[name].Instance).phase == ends {
		return nil
	}
	return d.endPod(ctx, pod, grace)
}

// Remove implements run.Runtime. A pod that restarts the container by itself stays for that.
func (d *Driver) Remove(ctx context.Context, id string) error {
	pod, name, found := d.container(id)
	if !found {
		return nil
	}
	v := look(pod, name, bindings(pod)[name].Instance)
	if v.phase == ends && restarts(pod, v) {
		return d.release(ctx, pod, name)
	}
	if v.phase == ends && others(pod, []run.ContainerSpec{{Name: name}}) {
		return d.release(ctx, pod, name)
	}
	return d.endPod(ctx, pod, 0)
}

// release has nobody wait for a container any more.
func (d *Driver) release(ctx context.Context, pod *corev1.Pod, name string) error {
	b := bindings(pod)[name]
	id := b.ID
	b.ID = ""
	if err := d.bind(ctx, pod, map[string]binding{name: b}); err != nil && !apierrors.IsNotFound(err) {
		return failed("letting go of a container", err)
	}
	return failed("letting go of a container", d.seen.wait(ctx, seePatience, func() bool {
		_, _, found := d.container(id)
		return !found
	}))
}

// endPod ends a pod and waits until its node has confirmed it and all that it wrote is in its logs.
func (d *Driver) endPod(ctx context.Context, pod *corev1.Pod, grace time.Duration) error {
	d.drain(ctx, pod, false)
	seconds := max(1, int64((grace+time.Second-1)/time.Second)) // 0 would not ask the node
	err := d.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &seconds, Preconditions: &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return failed("ending the workload's pod", err)
	}
	sandbox := pod.Labels[labelSandbox]
	err = d.seen.wait(ctx, grace+endPatience, func() bool {
		now := d.pod(sandbox)
		return now == nil || now.UID != pod.UID
	})
	if err != nil && ctx.Err() == nil {
		return ErrCluster.WithMessage("the node %s does not say that the pod %s/%s has ended", pod.Spec.NodeName, pod.Namespace, pod.Name)
	}
	d.drain(ctx, pod, true)
	return err
}
