//go:build linux

package containerd

import (
	"context"
	"fmt"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
	"github.com/google/uuid"

	"fairlead.dev/internal/run"
)

// Exits implements run.Runtime. The end of a container that Remove has killed is not told always: its shim may be gone
// before it has spoken.
func (d *Driver) Exits(ctx context.Context) (<-chan run.Exit, error) {
	ctx, cancel := context.WithCancel(d.in(ctx))
	hello := "/fairlead/hello/" + uuid.NewString()
	mine := fmt.Sprintf("namespace==%q", d.names.namespace)
	stream, failed := d.client.Subscribe(ctx, mine+`,topic=="/tasks/exit"`, mine+fmt.Sprintf(",topic==%q", hello))
	if err := d.awaitSubscription(ctx, hello, stream, failed); err != nil {
		cancel()
		return nil, fmt.Errorf("subscribe to containerd's events: %w", err)
	}
	exits := make(chan run.Exit)
	go func() {
		defer cancel()
		defer close(exits)
		d.tell(ctx, exits, stream, failed)
	}()
	return exits, nil
}

// tell turns events into exits until ctx ends or the connection is lost.
func (d *Driver) tell(ctx context.Context, exits chan<- run.Exit, stream <-chan *events.Envelope, failed <-chan error) {
	for {
		var e *events.Envelope
		select {
		case <-ctx.Done():
			return
		case err := <-failed:
			d.log.DebugContext(ctx, "containerd_events_lost", "error", err)
			return
		case e = <-stream:
		}
		exit, ok := d.exitOf(ctx, e)
		if !ok {
			continue
		}
		select {
		case exits <- exit:
		case <-ctx.Done():
			return
		}
	}
}

// awaitSubscription returns when events reach us: containerd confirms no subscription, so we send ourselves one until it
// arrives. Exits before that are not lost to the caller, who lists after subscribing.
func (d *Driver) awaitSubscription(ctx context.Context, hello string, stream <-chan *events.Envelope, failed <-chan error) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if err := d.client.EventService().Publish(ctx, hello, &eventtypes.NamespaceUpdate{Name: d.names.namespace}); err != nil {
			return err
		}
		select {
		case e := <-stream:
			if e != nil && e.Topic == hello {
				return nil
			}
		case err := <-failed:
			return err
		case <-again.C:
		}
	}
}

// exitOf reads an event; false when it is not the end of a container's first process.
func (d *Driver) exitOf(ctx context.Context, e *events.Envelope) (run.Exit, bool) {
	if e == nil || e.Event == nil || e.Topic != "/tasks/exit" {
		return run.Exit{}, false
	}
	decoded, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return run.Exit{}, false
	}
	exit, ok := decoded.(*eventtypes.TaskExit)
	if !ok || exit.ID != exit.ContainerID {
		return run.Exit{}, false
	}
	code := int(exit.ExitStatus)
	var oom bool
	if c, err := d.client.ContainerService().Get(ctx, exit.ContainerID); err == nil {
		oom = d.outOfMemory(c.Labels[labelSandbox], c.ID, code)
	}
	return run.Exit{ID: exit.ContainerID, Code: code, OOM: oom, At: exit.ExitedAt.AsTime()}, true
}
