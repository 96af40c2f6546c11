package compute

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// phase is how far one instance of a container is.
type phase int

const (
	waits phase = iota // not begun yet
	runs
	ends
)

// killed is the exit code of what SIGKILL ended.
const killed = 137

// Reasons that the kubelet gives (pkg/kubelet/container and kuberuntime of Kubernetes).
const (
	reasonOOM        = "OOMKilled"
	reasonStartError = "StartError" // containerd's CRI, of a command that cannot be started
)

// view is what a pod's status says of one instance of a container.
type view struct {
	phase          phase
	code           int
	oom            bool
	started, ended time.Time
	reason         string // why it waits, or how it ended
	message        string
}

// look reads what became of an instance: a container's instances are counted by its restarts. The kubelet tells of the
// last two only, so that the end of an earlier one is taken to have been as the last end that is known.
func look(pod *corev1.Pod, name string, instance int32) view {
	status := statusOf(pod, name)
	switch {
	case status == nil || status.RestartCount < instance:
		return podView(pod, status)
	case status.RestartCount > instance:
		return ended(status.LastTerminationState.Terminated, pod)
	}
	state, last := status.State, status.LastTerminationState.Terminated
	switch {
	case state.Running != nil:
		return view{phase: runs, started: state.Running.StartedAt.Time}
	case state.Terminated != nil:
		return ended(state.Terminated, pod)
	case last != nil && last.ContainerID == status.ContainerID && last.ContainerID != "":
		return ended(last, pod) // it waits to be restarted
	}
	return podView(pod, status)
}

func statusOf(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; s.Name == name {
			return s
		}
	}
	return nil
}

func ended(t *corev1.ContainerStateTerminated, pod *corev1.Pod) view {
	if t == nil {
		return vanished(view{message: pod.Status.Message})
	}
	return view{
		phase: ends, code: int(t.ExitCode), oom: t.Reason == reasonOOM, started: t.StartedAt.Time, ended: t.FinishedAt.Time,
		reason: t.Reason, message: t.Message,
	}
}

// podView is what is known of an instance that has not begun: what it waits for, or that its pod has ended without it.
func podView(pod *corev1.Pod, status *corev1.ContainerStatus) view {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return vanished(view{reason: pod.Status.Reason, message: pod.Status.Message})
	}
	if status != nil && status.State.Waiting != nil {
		return view{reason: status.State.Waiting.Reason, message: status.State.Waiting.Message}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return view{reason: c.Reason, message: c.Message}
		}
	}
	return view{}
}

// vanished is the end of what nobody saw end, with its pod or its node.
func vanished(v view) view {
	v.phase, v.code, v.ended = ends, killed, time.Now().UTC()
	return v
}

// restarts reports whether the kubelet starts a container of the pod again that ended so.
func restarts(pod *corev1.Pod, v view) bool {
	switch {
	case pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
		return false
	case pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure:
		return v.code != 0
	}
	return pod.Spec.RestartPolicy == corev1.RestartPolicyAlways
}
