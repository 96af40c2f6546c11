//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/run"
)

const (
	snapshotter = "overlayfs"
	shimRuntime = "io.containerd.runc.v2"

	labelSandbox    = "fairlead.dev/sandbox"
	labelName       = "fairlead.dev/name"
	labelStopSignal = "fairlead.dev/stop-signal"
	labelRoot       = "containerd.io/gc.root" // keeps what has it from being collected
)

// Errors of Start.
var (
	// ErrSandboxMissing: the container's sandbox does not exist.
	ErrSandboxMissing = fault.New(fault.Conflict, "SANDBOX_MISSING", "the container's sandbox does not exist")
	// ErrImageMissing: the image's layers are not on the node, or not any more.
	ErrImageMissing = fault.New(fault.Conflict, "IMAGE_NOT_ON_NODE", "the image is not on this node any more")
	// ErrCommandInvalid: the OCI runtime could not start the command.
	ErrCommandInvalid = fault.New(fault.Invalid, "COMMAND_INVALID", "the command cannot be started")
)

// Start implements run.Runtime.
func (d *Driver) Start(ctx context.Context, specs ...run.ContainerSpec) []run.Started {
	started := make([]run.Started, len(specs))
	for i, spec := range specs {
		var err error
		started[i], err = d.start(ctx, spec, spec.Image.Config(), spec.Image.ChainID())
		started[i].Err = err
	}
	return started
}

func (d *Driver) start(ctx context.Context, spec run.ContainerSpec, image content.ImageConfig, chain content.Digest) (run.Started, error) {
	if err := checkID(spec.ID); err != nil {
		return run.Started{}, err
	}
	if !d.network.Alive(spec.Sandbox) {
		return run.Started{}, ErrSandboxMissing
	}
	pid, err := d.create(d.in(ctx), spec, image, chain)
	if err != nil {
		return run.Started{}, errors.Join(err, d.Remove(context.WithoutCancel(ctx), spec.ID))
	}
	return run.Started{PID: pid, At: time.Now()}, nil
}

// create makes the container's file system, record and process, and lets the process go.
func (d *Driver) create(ctx context.Context, spec run.ContainerSpec, image content.ImageConfig, chain content.Digest) (pid uint32, err error) {
	rootfs, err := d.client.SnapshotService(snapshotter).Prepare(ctx, spec.ID, string(chain),
		snapshots.WithLabels(map[string]string{labelRoot: time.Now().UTC().Format(time.RFC3339)}))
	if errdefs.IsNotFound(err) {
		return 0, ErrImageMissing.WithCause(err)
	}
	if err != nil {
		return 0, fmt.Errorf("prepare the container's file system: %w", err)
	}
	at := place{
		netns: d.network.Namespace(spec.Sandbox), files: d.names.sandboxDir(spec.Sandbox),
		cgroup: d.names.containerGroup(spec.Sandbox, spec.ID), swap: d.cgroups.LimitsSwap(d.names.sandboxGroup(spec.Sandbox)),
	}
	at.openFiles, at.oomScore = limitsOfOurs()
	if at.user, err = d.user(ctx, spec.ID, image.User); err != nil {
		return 0, err
	}
	built, err := buildSpec(image, spec, at)
	if err != nil {
		return 0, err
	}
	if err := d.recordContainer(ctx, spec, built, image.StopSignal); err != nil {
		return 0, fmt.Errorf("record the container: %w", err)
	}
	return d.run(ctx, spec, rootfs)
}

// recordContainer tells containerd of the container, with our labels to know it by.
func (d *Driver) recordContainer(ctx context.Context, spec run.ContainerSpec, built *specs.Spec, stopSignal string) error {
	raw, err := typeurl.MarshalAny(built)
	if err != nil {
		return err
	}
	opts, err := typeurl.MarshalAny(&options.Options{BinaryName: string(d.runtime), Root: filepath.Join(d.names.run, "oci")})
	if err != nil {
		return err
	}
	// containerd, when it starts, ends the shims of containers that have ended meanwhile, and forgets how; but it lets be
	// those whose id is a sandbox's.
	keep := sandbox.Sandbox{ID: spec.ID, Runtime: sandbox.RuntimeOpts{Name: shimRuntime}}
	if _, err := d.client.SandboxStore().Create(ctx, keep); err != nil {
		return err
	}
	_, err = d.client.ContainerService().Create(ctx, containers.Container{
		ID:          spec.ID,
		Labels:      map[string]string{labelSandbox: spec.Sandbox, labelName: spec.Name, labelStopSignal: stopSignal},
		Spec:        raw,
		Snapshotter: snapshotter,
		SnapshotKey: spec.ID,
		Runtime:     containers.RuntimeInfo{Name: shimRuntime, Options: opts},
	})
	return err
}

// run makes the process and lets it go. Its output goes to the log file by the shim's hand, so that it goes on while we
// are down.
func (d *Driver) run(ctx context.Context, spec run.ContainerSpec, rootfs []mount.Mount) (pid uint32, err error) {
	out, errOut, forget, err := d.nameLog(spec)
	if err != nil {
		return 0, fmt.Errorf("open the container's log: %w", err)
	}
	defer forget()
	req := &tasks.CreateTaskRequest{ContainerID: spec.ID, Stdout: out, Stderr: errOut}
	if d.supervisor != nil { // a containerd of others has a shim of its own
		if req.RuntimePath, err = os.Executable(); err != nil {
			return 0, err
		}
	}
	for _, m := range rootfs {
		req.Rootfs = append(req.Rootfs, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	created, err := d.client.TaskService().Create(ctx, req)
	if err != nil {
		return 0, commandFault(errgrpc.ToNative(err))
	}
	if _, err := d.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: spec.ID}); err != nil {
		return 0, commandFault(errgrpc.ToNative(err))
	}
	return created.Pid, nil
}

// nameLog makes the log file and gives two names for it, one for each stream, until forget. A shim that writes both
// streams to one name closes the file when the first of them ends, and what comes on the other is lost (containerd 2.4,
// and so with file:// URIs always); it parses the names as URLs, so they are plain ones of ours.
func (d *Driver) nameLog(spec run.ContainerSpec) (out, errOut string, forget func(), err error) {
	f, err := os.OpenFile(spec.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return "", "", nil, err
	}
	dir := filepath.Join(d.names.run, "logs", spec.ID)
	out, errOut = filepath.Join(dir, "stdout"), filepath.Join(dir, "stderr")
	forget = func() { _ = os.RemoveAll(dir) }
	forget() // what a crash left
	err = errors.Join(f.Close(), os.MkdirAll(dir, 0o700), os.Symlink(spec.LogPath, out), os.Symlink(spec.LogPath, errOut))
	return out, errOut, forget, err
}

// commandFault tells a command that cannot be started, which is the user's to mend, from a failure of ours. The OCI
// runtimes tell it only by their words.
func commandFault(err error) error {
	text := err.Error()
	_, reason, ok := strings.Cut(text, "OCI runtime ")
	if !ok {
		return fmt.Errorf("start the container: %w", err)
	}
	for _, sign := range []string{"executable file", "open executable", "o such file or directory", "ermission denied", "xec format error", "s a directory", "ot a directory", "chdir"} {
		if strings.Contains(reason, sign) {
			return ErrCommandInvalid.WithMessage("the command cannot be started: %s", strings.TrimSuffix(shorten(reason), ": unknown")).WithCause(err)
		}
	}
	return fmt.Errorf("start the container: %w", err)
}

// shorten takes the runtimes' prefixes off their messages; some come twice.
func shorten(reason string) string {
	prefixes := []string{"create failed: ", "start failed: ", "exec failed: ", "runc create failed: ", "runc exec failed: ", "unable to start container process: "}
	for i := 0; i < len(prefixes); i++ {
		if rest, ok := strings.CutPrefix(reason, prefixes[i]); ok {
			reason, i = rest, -1
		}
	}
	return reason
}

// ErrUserUnknown is returned for an image whose user its own files do not know.
var ErrUserUnknown = fault.New(fault.Invalid, "USER_UNKNOWN", "the image's user does not exist in it")

// user gives who "user", "user:group", as names or numbers, is by the container's own passwd and group files.
func (d *Driver) user(ctx context.Context, id, name string) (specs.User, error) {
	if name == "" {
		name = "0"
	}
	s := specs.Spec{Linux: &specs.Linux{}}
	c := &containers.Container{ID: id, Snapshotter: snapshotter, SnapshotKey: id}
	if err := oci.WithUser(name)(ctx, d.client, c, &s); err != nil {
		return specs.User{}, ErrUserUnknown.WithMessage("the image's user %q does not exist in it", name).WithCause(err)
	}
	u := s.Process.User
	alone, _, _ := strings.Cut(name, ":")
	if err := oci.WithAdditionalGIDs(alone)(ctx, d.client, c, &s); err != nil {
		return specs.User{}, fmt.Errorf("read the groups of the image's user: %w", err)
	}
	u.AdditionalGids = s.Process.User.AdditionalGids
	return u, nil
}
