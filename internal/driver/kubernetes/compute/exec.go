package compute

import (
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/run"
)

// Errors of Exec.
var (
	// ErrNotRunning: the container does not run.
	ErrNotRunning = fault.New(fault.NotFound, "CONTAINER_NOT_RUNNING", "the container does not run")
	// ErrCommandInvalid: the command cannot be started.
	ErrCommandInvalid = fault.New(fault.Invalid, "COMMAND_INVALID", "the command cannot be started")
)

// Exec implements run.Execer. When ctx ends nobody listens to the command any more; the cluster has no way to end it.
func (d *Driver) Exec(ctx context.Context, id string, spec run.ExecSpec) (int, error) {
	pod, name, found := d.container(id)
	if !found || look(pod, name, bindings(pod)[name].Instance).phase != runs {
		return 0, ErrNotRunning
	}
	request := d.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: name, Command: spec.Command, TTY: spec.TTY, Stdin: spec.Stdin != nil, Stdout: true, Stderr: !spec.TTY,
		}, scheme.ParameterCodec)
	executor, err := d.executor(request)
	if err != nil {
		return 0, failed("running a command", err)
	}
	options := remotecommand.StreamOptions{Stdin: spec.Stdin, Stdout: spec.Stdout, Tty: spec.TTY}
	if !spec.TTY {
		options.Stderr = spec.Stderr
	}
	if spec.TTY {
		options.TerminalSizeQueue = &sizes{ctx: ctx, first: &remotecommand.TerminalSize{Width: spec.Cols, Height: spec.Rows}, next: spec.Resize}
	}
	err = executor.StreamWithContext(ctx, options)
	if code, ok := errors.AsType[exec.CodeExitError](err); ok {
		return code.Code, nil
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return 0, ctx.Err()
	case strings.Contains(err.Error(), "exec failed") || strings.Contains(err.Error(), "failed to start exec"):
		message := err.Error()
		return 0, ErrCommandInvalid.WithMessage("%s", plain(run.ContainerSpec{Command: spec.Command}, message))
	}
	return 0, failed("running a command", err)
}

// executor speaks WebSocket, or SPDY with what lies between that does not.
func (d *Driver) executor(r *rest.Request) (remotecommand.Executor, error) {
	modern, err := remotecommand.NewWebSocketExecutor(d.rest, "GET", r.URL().String())
	if err != nil {
		return nil, err
	}
	old, err := remotecommand.NewSPDYExecutor(d.rest, "POST", r.URL())
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(modern, old, httpstream.IsUpgradeFailure)
}

// sizes gives the sizes of a terminal, the first at once.
type sizes struct {
	ctx   context.Context //nolint:containedctx // the interface has no other way to learn of the end
	first *remotecommand.TerminalSize
	next  <-chan [2]uint16
}

// Next implements remotecommand.TerminalSizeQueue.
func (s *sizes) Next() *remotecommand.TerminalSize {
	if first := s.first; first != nil {
		s.first = nil
		if first.Width > 0 && first.Height > 0 {
			return first
		}
	}
	select {
	case size, ok := <-s.next:
		if ok {
			return &remotecommand.TerminalSize{Height: size[0], Width: size[1]}
		}
	case <-s.ctx.Done():
	}
	return nil
}
