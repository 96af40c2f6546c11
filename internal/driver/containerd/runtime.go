//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/run"
)

// killed is the exit code of a process that SIGKILL ended, by us, by the kernel for want of memory, or with the machine.
const killed = 128 + int(unix.SIGKILL)

// shimGrace is how long a shim may take to end when its task was deleted.
const shimGrace = 2 * time.Second

// in puts the node's containerd namespace into ctx.
func (d *Driver) in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, d.names.namespace)
}

// Stop implements run.Runtime. The image may name another signal than SIGTERM.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	ctx = d.in(ctx)
	c, err := d.client.ContainerService().Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop container: %w", err)
	}
	sig := unix.SIGTERM
	if wanted, err := signal.ParseSignal(c.Labels[labelStopSignal]); err == nil {
		sig = wanted
	}
	if err := d.kill(ctx, id, sig, false); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := d.await(patience, id); err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	return d.killAndAwait(ctx, id)
}

func (d *Driver) killAndAwait(ctx context.Context, id string) error {
	if err := d.kill(ctx, id, unix.SIGKILL, true); err != nil {
		return err
	}
	return d.await(ctx, id)
}

// kill signals a container's first process, or all; that there is none is no error.
func (d *Driver) kill(ctx context.Context, id string, sig unix.Signal, all bool) error {
	return ignoreMissing("signal container", untilNoticed(ctx, func() error {
		_, err := d.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig), All: all})
		return err
	}))
}

// await waits until a container's processes have ended; those after the first end with it, for it is the first of
// their process namespace.
func (d *Driver) await(ctx context.Context, id string) error {
	return ignoreMissing("wait for container", untilNoticed(ctx, func() error {
		_, err := d.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
		return err
	}))
}

// untilNoticed asks containerd again while it still counts on a shim that has died: it tells of the container's end
// before it forgets the shim.
func untilNoticed(ctx context.Context, ask func() error) error {
	const patience, pause = 10 * time.Second, 10 * time.Millisecond
	for until := time.Now().Add(patience); ; {
		err := ask()
		if err == nil || !strings.Contains(err.Error(), "ttrpc: closed") || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// ignoreMissing makes nil of the errors that say that what should end has ended.
func ignoreMissing(doing string, err error) error {
	if err == nil || errdefs.IsNotFound(err) || errdefs.IsNotFound(errgrpc.ToNative(err)) {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Remove implements run.Runtime.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	ctx = d.in(ctx)
	shims, err := d.names.daemon().Shims(id)
	if err != nil {
		return err
	}
	defer shims.Close()
	if err := d.killAndAwait(ctx, id); err != nil {
		return err
	}
	err = untilNoticed(ctx, func() error {
		_, err := d.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		return err
	})
	if err := ignoreMissing("delete task", err); err != nil {
		return err
	}
	if err := shims.End(ctx, shimGrace); err != nil {
		return err
	}
	c, err := d.client.ContainerService().Get(ctx, id)
	if err := ignoreMissing("read container", err); err != nil {
		return err
	}
	if sandbox := c.Labels[labelSandbox]; sandbox != "" {
		if err := d.cgroups.RemovePatiently(ctx, d.names.containerGroup(sandbox, id)); err != nil {
			return err
		}
	}
	if err := ignoreMissing("delete snapshot", d.client.SnapshotService(snapshotter).Remove(ctx, id)); err != nil {
		return err
	}
	if err := ignoreMissing("delete the container's sandbox record", d.client.SandboxStore().Delete(ctx, id)); err != nil {
		return err
	}
	return ignoreMissing("delete container", d.client.ContainerService().Delete(ctx, id))
}

// List implements run.Runtime.
func (d *Driver) List(ctx context.Context) ([]run.Observed, []run.Sandbox, error) {
	ctx = d.in(ctx)
	all, err := d.client.ContainerService().List(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list containers: %w", err)
	}
	resp, err := d.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, nil, fmt.Errorf("list tasks: %w", errgrpc.ToNative(err))
	}
	running := map[string]*task.Process{}
	for _, t := range resp.Tasks {
		running[t.ID] = t
	}
	var observed []run.Observed
	for _, c := range all {
		observed = append(observed, d.observe(c, running[c.ID]))
	}
	records, err := d.records()
	if err != nil {
		return nil, nil, err
	}
	var sandboxes []run.Sandbox
	for _, r := range records {
		sandboxes = append(sandboxes, run.Sandbox{ID: r.ID, IP: r.IP})
	}
	return observed, sandboxes, nil
}

// observe joins what containerd keeps of a container with its task; without one, as after a restart of the machine, its
// end was not seen.
func (d *Driver) observe(c containers.Container, t *task.Process) run.Observed {
	o := run.Observed{ID: c.ID, Sandbox: c.Labels[labelSandbox], StartedAt: c.CreatedAt, ExitCode: killed}
	switch {
	case t == nil || t.Status == task.Status_CREATED:
	case t.Status == task.Status_STOPPED:
		o.ExitCode, o.ExitedAt = int(t.ExitStatus), t.ExitedAt.AsTime()
		o.OOM = d.outOfMemory(o.Sandbox, o.ID, o.ExitCode)
	default:
		o.Running, o.PID, o.ExitCode = true, t.Pid, 0
	}
	return o
}

// outOfMemory reports whether the kernel ended the container because its memory ran out. It asks the control group, which
// is there until Remove: containerd's own event may come late, or never when its daemon was down.
func (d *Driver) outOfMemory(sandbox, id string, code int) bool {
	if code != killed {
		return false
	}
	kills, err := d.cgroups.OOMKills(d.names.containerGroup(sandbox, id))
	return err == nil && kills > 0
}
