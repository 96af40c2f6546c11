package compute

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// drainPatience bounds the wait for the last that an ended container has written.
const (
	drainPatience = 10 * time.Second
	forever       = 1000 * time.Hour
)

// followers are those who copy what containers write to their log files, one for each container of a pod.
type followers struct {
	mu sync.Mutex
	by map[followed]*follower
}

type followed struct {
	pod  types.UID
	name string
}

// follower copies instance after instance.
type follower struct {
	next int32     // the first instance that is not copied to its end; guarded by followers.mu
	last time.Time // of the last line that was copied
}

// follow has what a pod's containers write copied. Of a pod that was there before us a part may have been copied.
func (d *Driver) follow(pod *corev1.Pod, before bool) {
	d.logs.mu.Lock()
	defer d.logs.mu.Unlock()
	for name, b := range bindings(pod) {
		key := followed{pod.UID, name}
		if d.logs.by[key] != nil || d.alive.Err() != nil {
			continue
		}
		f := &follower{}
		if info, err := os.Stat(b.Log); err == nil && before {
			f.last = info.ModTime()
		}
		d.logs.by[key] = f
		d.all.Go(func() {
			d.copyLogs(d.alive, pod, name, b.Log, f)
			d.logs.mu.Lock()
			delete(d.logs.by, key)
			d.logs.mu.Unlock()
			d.seen.tell()
		})
	}
}

// now gives a pod as it is, or nil when it is gone.
func (d *Driver) now(pod *corev1.Pod) *corev1.Pod {
	if now := d.pod(pod.Labels[labelSandbox]); now != nil && now.UID == pod.UID {
		return now
	}
	return nil
}

// copyLogs copies what the instances of a container write until its pod is gone.
func (d *Driver) copyLogs(ctx context.Context, pod *corev1.Pod, name, path string, f *follower) {
	for ctx.Err() == nil {
		now := d.now(pod)
		if now == nil {
			return
		}
		instance := latest(now, name)
		is := func(holds func(phase) bool) func() bool {
			return func() bool {
				now := d.now(pod)
				return now == nil || latest(now, name) > instance || holds(look(now, name, instance).phase)
			}
		}
		if is(func(p phase) bool { return p != waits })() {
			if err := d.copyLog(ctx, now, name, path, f); err != nil && ctx.Err() == nil {
				d.log.WarnContext(ctx, "what a container writes is not read for now", "pod", pod.Name, "container", name, "error", err)
			}
			over := is(func(p phase) bool { return p == ends })
			if over() {
				d.logs.mu.Lock()
				f.next = instance + 1
				d.logs.mu.Unlock()
				d.seen.tell()
				_ = d.seen.wait(ctx, forever, is(func(phase) bool { return false }))
			} else {
				_ = d.seen.wait(ctx, time.Second, over) // or the stream broke, and is taken up again
			}
			continue
		}
		_ = d.seen.wait(ctx, forever, is(func(p phase) bool { return p != waits }))
	}
}

// drain waits until all that ended containers of a pod have written is copied, or all that any has, when the pod is gone.
func (d *Driver) drain(ctx context.Context, pod *corev1.Pod, gone bool) {
	_ = d.seen.wait(ctx, drainPatience, func() bool { // what cannot be had within the time is lost
		d.logs.mu.Lock()
		defer d.logs.mu.Unlock()
		for name := range bindings(pod) {
			f, instance := d.logs.by[followed{pod.UID, name}], latest(pod, name)
			if f != nil && (gone || look(pod, name, instance).phase == ends && f.next <= instance) {
				return false
			}
		}
		return true
	})
}

// copyLog copies what the newest instance has written and writes, until it ends. Each line comes with its time, which
// the file keeps as that of its last change: so a Fairlead that was killed goes on where it was.
func (d *Driver) copyLog(ctx context.Context, pod *corev1.Pod, name, path string, f *follower) error {
	stream, err := d.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: name, Follow: true, Timestamps: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	out := &logFile{path: path, last: f.last}
	_, err = out.ReadFrom(stream)
	f.last = out.last
	return err
}

// logFile appends lines to a file.
type logFile struct {
	path string
	last time.Time // of the last line that is in it
}

// ReadFrom copies lines that begin with their time, without it, but for those that are in the file.
func (f *logFile) ReadFrom(r io.Reader) (int64, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		stamp, err := in.ReadString(' ')
		if err != nil {
			return 0, ignoreEOF(err)
		}
		at, err := time.Parse(time.RFC3339Nano, stamp[:len(stamp)-1])
		if err != nil {
			return 0, err
		}
		if err := f.line(in, at); err != nil {
			return 0, ignoreEOF(err)
		}
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// line copies one line, however long. The end of the stream is io.EOF.
func (f *logFile) line(in *bufio.Reader, at time.Time) error {
	known := !at.After(f.last)
	for {
		part, err := in.ReadSlice('\n')
		if !known && len(part) > 0 {
			if err := f.write(part, at); err != nil {
				return err
			}
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func (f *logFile) write(part []byte, at time.Time) error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(part)
	f.last = at
	return errors.Join(err, file.Close(), os.Chtimes(f.path, at, at))
}
