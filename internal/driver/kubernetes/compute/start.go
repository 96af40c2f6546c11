package compute

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/run"
)

// Errors of Start.
var (
	// ErrSandboxMissing: the containers' sandbox does not exist.
	ErrSandboxMissing = fault.New(fault.Conflict, "SANDBOX_MISSING", "the containers' sandbox does not exist")
	// ErrSandboxFull: a pod takes in no further container, nor another restart policy.
	ErrSandboxFull = fault.New(fault.Conflict, "PodUnchangeable", "the group runs as one pod, which takes in no container and no restartPolicy but those that it was made with: restart the group")
	// ErrCannotStart: the image or command cannot be started.
	ErrCannotStart = fault.New(fault.Invalid, "COMMAND_INVALID", "the container cannot be started")
	// ErrNodePull: the right to pull was granted, and the cluster's node cannot fetch the image all the same.
	ErrNodePull = fault.New(fault.Unavailable, "NODE_PULL_FAILED", "the cluster's node cannot fetch the image")
	// ErrNotScheduled: no node of the cluster takes the pod.
	ErrNotScheduled = fault.New(fault.Unavailable, "PodUnschedulable", "no node of the cluster takes the pod")
)

// Patience with a start.
const (
	startPatience    = 10 * time.Minute // for nodes that fetch large images
	schedulePatience = 30 * time.Second
	restartPatience  = 30 * time.Second // with the kubelet's back-off, which is the same as ours but begins a little later
)

// Start implements run.Runtime.
func (d *Driver) Start(ctx context.Context, specs ...run.ContainerSpec) []run.Started {
	out := make([]run.Started, len(specs))
	pod, err := d.begin(ctx, specs)
	for i := range specs {
		out[i].Err = err
	}
	if err != nil {
		return out
	}
	patience := startPatience
	if specs[0].Again {
		patience = restartPatience
	}
	for i, spec := range specs {
		out[i] = d.begun(ctx, pod.UID, spec, patience)
	}
	d.giveUp(ctx, specs, out)
	return out
}

// begin has the cluster make the containers, or bind them to what its kubelet restarts.
func (d *Driver) begin(ctx context.Context, specs []run.ContainerSpec) (*corev1.Pod, error) {
	box := d.box(specs[0].Sandbox)
	if box == nil {
		return nil, ErrSandboxMissing
	}
	pod := d.pod(specs[0].Sandbox)
	if pod == nil {
		return d.makePod(ctx, box, specs)
	}
	lives := others(pod, specs)
	switch again := slices.ContainsFunc(specs, func(s run.ContainerSpec) bool { return s.Again }); {
	case (again || lives) && adoptable(pod, specs):
		return pod, d.adopt(ctx, pod, specs)
	case lives:
		return nil, ErrSandboxFull
	}
	if err := d.endPod(ctx, pod, 0); err != nil {
		return nil, err
	}
	return d.makePod(ctx, box, specs)
}

// others reports whether the pod has containers beside specs that run, or will again.
func others(pod *corev1.Pod, specs []run.ContainerSpec) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for name := range bindings(pod) {
		v := look(pod, name, latest(pod, name))
		ours := slices.ContainsFunc(specs, func(s run.ContainerSpec) bool { return s.Name == name })
		if !ours && (v.phase != ends || restarts(pod, v)) {
			return true
		}
	}
	return false
}

// adoptable reports whether the pod's kubelet restarts all of specs by itself, as they want to be.
func adoptable(pod *corev1.Pod, specs []run.ContainerSpec) bool {
	have := bindings(pod)
	for _, spec := range specs {
		b, found := have[spec.Name]
		if !found || b.ID != "" || policyOf(spec) != pod.Spec.RestartPolicy {
			return false
		}
		if v := look(pod, spec.Name, latest(pod, spec.Name)); v.phase == ends && !restarts(pod, v) {
			return false
		}
	}
	return pod.DeletionTimestamp == nil
}

// latest gives the newest instance that is known.
func latest(pod *corev1.Pod, name string) int32 {
	if status := statusOf(pod, name); status != nil {
		return status.RestartCount
	}
	return 0
}

// adopt binds specs to the instances that run, or come next.
func (d *Driver) adopt(ctx context.Context, pod *corev1.Pod, specs []run.ContainerSpec) error {
	to := map[string]binding{}
	for _, spec := range specs {
		b := binding{ID: spec.ID, Instance: latest(pod, spec.Name), Log: spec.LogPath}
		if look(pod, spec.Name, b.Instance).phase == ends {
			b.Instance++
		}
		to[spec.Name] = b
	}
	return failed("taking over a restarted container", d.bind(ctx, pod, to))
}

// bind writes to a pod which containers its are.
func (d *Driver) bind(ctx context.Context, pod *corev1.Pod, to map[string]binding) error {
	notes := map[string]string{}
	for name, b := range to {
		notes[noteContainer+name] = b.note()
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID, "annotations": notes}})
	if err != nil {
		return err
	}
	_, err = d.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// makePod makes secrets and pod of a sandbox. Its name is the sandbox's, so that nobody makes a second one.
func (d *Driver) makePod(ctx context.Context, box *corev1.Service, specs []run.ContainerSpec) (*corev1.Pod, error) {
	logins, err := d.lend(ctx, box.Annotations[noteWorkload], names(specs))
	if err != nil {
		return nil, err
	}
	for _, secret := range []*corev1.Secret{d.envSecret(box, specs), d.pullSecret(box, names(specs), logins)} {
		if err := d.putSecret(ctx, secret); err != nil {
			return nil, err
		}
	}
	select {
	case d.minted <- struct{}{}:
	default: // Run looks anyway
	}
	pod, err := d.client.CoreV1().Pods(box.Namespace).Create(ctx, d.podOf(box, specs), metav1.CreateOptions{})
	return pod, failed("making the workload's pod", err)
}

func names(specs []run.ContainerSpec) []string {
	out := make([]string, len(specs))
	for i, spec := range specs {
		out[i] = spec.Name
	}
	return out
}

// begun waits until a container runs, has run, or cannot.
func (d *Driver) begun(ctx context.Context, uid types.UID, spec run.ContainerSpec, patience time.Duration) run.Started {
	var v view
	var refused error
	began := time.Now()
	known := func() bool {
		pod := d.pod(spec.Sandbox)
		if pod == nil || pod.UID != uid || bindings(pod)[spec.Name].ID != spec.ID {
			return false
		}
		v = look(pod, spec.Name, bindings(pod)[spec.Name].Instance)
		refused = refusal(spec, v)
		return v.phase != waits || refused != nil
	}
	err := d.seen.wait(ctx, min(patience, schedulePatience), known)
	if err != nil && v.reason == corev1.PodReasonUnschedulable {
		refused = ErrNotScheduled.WithMessage("no node of the cluster takes the pod: %s", v.message)
	}
	if err != nil && refused == nil && ctx.Err() == nil {
		err = d.seen.wait(ctx, patience-time.Since(began), known)
	}
	switch {
	case refused != nil:
		return run.Started{Err: refused}
	case err != nil && ctx.Err() == nil:
		return run.Started{Err: ErrCluster.WithMessage("the container %s was not started after %v: %s %s", spec.Name, time.Since(began).Round(time.Second), v.reason, v.message)}
	case err != nil:
		return run.Started{Err: err}
	case v.started.IsZero():
		v.started = v.ended // with its pod, before anybody saw it run
	}
	return run.Started{At: v.started}
}

// refusal reads why a container cannot be started; nil when it has or may yet be.
func refusal(spec run.ContainerSpec, v view) error {
	switch v.reason {
	case reasonStartError, "ContainerCannotRun", "CreateContainerError", "RunContainerError", "InvalidImageName":
		return ErrCannotStart.WithMessage("%s", plain(spec, v.message))
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "ErrImageNeverPull", "RegistryUnavailable", "SignatureValidationFailed":
		return ErrNodePull.WithMessage("the right to pull was granted, but the cluster's node cannot fetch the image: %s", v.message)
	}
	return nil
}

// plain gives the end of a runtime's message, which says what is wrong, with the command that it is about.
func plain(spec run.ContainerSpec, message string) string {
	if at := strings.LastIndex(message, "exec: "); at >= 0 {
		message = message[at:]
	}
	if len(spec.Command) > 0 && !strings.Contains(message, spec.Command[0]) {
		message = fmt.Sprintf("%s: %s", spec.Command[0], message)
	}
	return strings.TrimSuffix(message, ": unknown")
}

// giveUp takes away what is left of the containers that did not start: the pod, when none of it did.
func (d *Driver) giveUp(ctx context.Context, specs []run.ContainerSpec, out []run.Started) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	for i, spec := range specs {
		if out[i].Err == nil || fault.KindOf(out[i].Err) == fault.Internal { // ended by ctx: what became of it is seen later
			continue
		}
		if err := d.drop(ctx, spec); err != nil {
			d.log.WarnContext(ctx, "a container that did not start is left on the cluster", "container", spec.ID, "error", err)
		}
	}
}

func (d *Driver) drop(ctx context.Context, spec run.ContainerSpec) error {
	pod, name, found := d.container(spec.ID)
	switch {
	case !found:
		return nil
	case others(pod, []run.ContainerSpec{spec}), spec.Again && restarts(pod, view{code: 1}):
		return d.release(ctx, pod, name)
	}
	return d.endPod(ctx, pod, 0)
}
