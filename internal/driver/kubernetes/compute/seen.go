package compute

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/internal/run"
)

// seen wakes who waits for the cluster to change.
type seen struct {
	mu sync.Mutex
	at chan struct{} // closed at the next change
}

func newSeen() *seen { return &seen{at: make(chan struct{})} }

func (s *seen) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.at)
	s.at = make(chan struct{})
}

func (s *seen) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// wait waits until done, or gives what ended the waiting.
func (s *seen) wait(ctx context.Context, limit time.Duration, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		changed := s.next()
		if done() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// changed takes in what the cluster tells of a pod or a service.
func (d *Driver) changed(object any, before bool) {
	if pod, ok := object.(*corev1.Pod); ok {
		d.follow(pod, before)
	}
	d.seen.tell()
}

// pod gives the pod of a sandbox as it was seen last, or nil.
func (d *Driver) pod(sandbox string) *corev1.Pod {
	for _, object := range d.pods.GetStore().List() {
		if pod, ok := object.(*corev1.Pod); ok && pod.Labels[labelSandbox] == sandbox {
			return pod
		}
	}
	return nil
}

// service gives the service of a sandbox as it was seen last, or nil.
func (d *Driver) service(holds func(*corev1.Service) bool) *corev1.Service {
	for _, object := range d.boxes.GetStore().List() {
		if service, ok := object.(*corev1.Service); ok && holds(service) {
			return service
		}
	}
	return nil
}

// container finds a container by the id that Start was given.
func (d *Driver) container(id string) (*corev1.Pod, string, bool) {
	for _, object := range d.pods.GetStore().List() {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			continue
		}
		for name, b := range bindings(pod) {
			if b.ID == id {
				return pod, name, true
			}
		}
	}
	return nil, "", false
}

// List implements run.Runtime.
func (d *Driver) List(context.Context) ([]run.Observed, []run.Sandbox, error) {
	var containers []run.Observed
	for _, object := range d.pods.GetStore().List() {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			continue
		}
		for name, b := range bindings(pod) {
			if v := look(pod, name, b.Instance); b.ID != "" && v.phase != waits {
				containers = append(containers, run.Observed{
					ID: b.ID, Sandbox: pod.Labels[labelSandbox], Running: v.phase == runs, StartedAt: v.started,
					ExitCode: v.code, OOM: v.oom, ExitedAt: v.ended,
				})
			}
		}
	}
	var boxes []run.Sandbox
	for _, object := range d.boxes.GetStore().List() {
		if service, ok := object.(*corev1.Service); ok {
			boxes = append(boxes, boxOf(service))
		}
	}
	return containers, boxes, nil
}

// Exits implements run.Runtime. What has ended before is told as well.
func (d *Driver) Exits(ctx context.Context) (<-chan run.Exit, error) {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(d.alive, cancel)
	out := make(chan run.Exit)
	told := map[string]bool{} // of the handler's one goroutine
	tell := func(object any, gone bool) {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return
		}
		for name, b := range bindings(pod) {
			v := look(pod, name, b.Instance)
			if b.ID == "" || told[b.ID] || v.phase != ends && !gone {
				continue
			}
			if v.phase != ends {
				v = vanished(v)
			}
			told[b.ID] = true
			select {
			case out <- run.Exit{ID: b.ID, Code: v.code, OOM: v.oom, At: v.ended}:
			case <-ctx.Done():
			}
		}
	}
	handle, err := d.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(now any) { tell(now, false) }, UpdateFunc: func(_, now any) { tell(now, false) },
		DeleteFunc: func(last any) {
			if unknown, ok := last.(cache.DeletedFinalStateUnknown); ok {
				last = unknown.Obj
			}
			tell(last, true)
		},
	})
	if err != nil {
		cancel()
		return nil, failed("watching pods", err)
	}
	d.all.Go(func() {
		<-ctx.Done()
		cancel()
		_ = d.pods.RemoveEventHandler(handle) // nobody listens any more
		close(out)
	})
	return out, nil
}
