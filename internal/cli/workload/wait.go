package workload

import (
	"context"
	"strings"
	"time"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
)

// Waiter waits for a workload and shows its pull meanwhile.
type Waiter struct {
	Client   *client.Client
	Progress *terminal.Progress
	// Patient passes over failures that the server tries again by itself, until the context ends the waiting.
	Patient bool
	// Finish waits until everything has ended, not only until it runs.
	Finish bool
	// Before are the pull records from before the change that is waited for: they tell nothing about it.
	Before []client.Attempts

	shown  map[string]bool
	newest map[string]time.Time // by container: when the newest pull that was shown began
	since  time.Time            // when the workload was first seen running
}

const (
	pollInterval = 100 * time.Millisecond
	// graceForNew is how long after a change the record of an older pull is not believed.
	graceForNew = 5 * time.Second
	// settle is how long a workload that may end must have run to pass for running: a job that is done at once shall be
	// shown as done, and one that fails at once as failed.
	settle = time.Second
)

// Attempts reads the pull records of a workload that may not be there yet.
func Attempts(ctx context.Context, c *client.Client, id string) ([]client.Attempts, error) {
	attempts, err := c.Attempts(ctx, id)
	if client.NotFound(err) {
		return nil, nil
	}
	return attempts, err
}

// Until waits until the workload runs, or will not. The condition it returns is Running, Finished, Failed or Stopped,
// with an error the last one that was seen.
func (w *Waiter) Until(ctx context.Context, target lookup.Workload) (Condition, error) {
	begin := time.Now()
	var last Condition
	for {
		attempts, err := Attempts(ctx, w.Client, target.ID)
		if err != nil {
			return last, err
		}
		w.Show(attempts)
		condition, err := Observe(ctx, w.Client, target, attempts)
		if err != nil {
			return last, err
		}
		last = condition
		stale := w.stale(attempts) && time.Since(begin) < graceForNew
		if !stale && w.satisfied(condition) {
			return condition, nil
		}
		if err := Sleep(ctx, pollInterval); err != nil {
			return last, err
		}
	}
}

// stale reports whether the last pull is one from before the change.
func (w *Waiter) stale(attempts []client.Attempts) bool {
	before, now := lastOf(w.Before), lastOf(attempts)
	return before != nil && now != nil && before.ID == now.ID
}

func (w *Waiter) satisfied(c Condition) bool {
	switch c.Phase {
	case Running:
		if w.since.IsZero() {
			w.since = time.Now()
		}
		return !w.Finish && (!c.MayEnd || time.Since(w.since) >= settle)
	case Finished, Stopped:
		return true
	case Failed:
		return !w.Patient || c.Final
	}
	return false
}

// Observe reads the condition of a workload whose pull records are attempts.
func Observe(ctx context.Context, c *client.Client, target lookup.Workload, attempts []client.Attempts) (Condition, error) {
	if target.Site {
		var site client.Site
		err := c.Get(ctx, target.ID, &site)
		return OfSite(site, attempts), err
	}
	var group client.ContainerGroup
	err := c.Get(ctx, target.ID, &group)
	return OfGroup(group), err
}

// Follow shows the pull of a workload until ctx ends: while the request that makes it has not been answered.
func (w *Waiter) Follow(ctx context.Context, id string) {
	for Sleep(ctx, pollInterval) == nil {
		if attempts, err := Attempts(ctx, w.Client, id); err == nil && !w.stale(attempts) {
			w.Show(attempts)
		}
	}
}

// Show brings the progress bars up to the records. Records from before the change are passed over.
func (w *Waiter) Show(attempts []client.Attempts) {
	if w.shown == nil {
		w.shown, w.newest = map[string]bool{}, map[string]time.Time{}
		for _, a := range w.Before {
			if a.Last != nil {
				w.shown[a.Last.ID] = true
			}
		}
	}
	for _, a := range attempts {
		if a.Last == nil || w.shown[a.Last.ID] || a.Last.Started.Before(w.newest[a.Container]) {
			continue
		}
		w.newest[a.Container] = a.Last.Started
		w.show(a.Container, *a.Last)
		w.shown[a.Last.ID] = !a.Last.Ended.IsZero()
	}
}

func (w *Waiter) show(container string, a client.Attempt) {
	once := func(key, format string, args ...any) {
		if !w.shown[key] {
			w.shown[key] = true
			w.Progress.Notef(format, args...)
		}
	}
	once(a.ID+"/pull", "%s: pulling %s", terminal.Clean(container), terminal.Clean(a.Image))
	for _, l := range a.Layers {
		key, label := a.ID+l.Digest, container+": layer "+shortDigest(l.Digest)
		switch l.State {
		case "present":
			w.Progress.End(key, label, "is on the node already")
		case "downloaded", "unpacked":
			w.Progress.Set(key, label, l.Size, l.Size)
		case "downloading":
			w.Progress.Set(key, label, min(l.Done, l.Size-1), l.Size) // complete only when it is verified
		}
	}
	switch {
	case a.Ended.IsZero():
	case a.Failed():
		once(a.ID+"/end", "%s: %s", terminal.Clean(container), terminal.Clean(strings.TrimPrefix(a.Code+": "+a.Summary, ": ")))
	default:
		once(a.ID+"/end", "%s: pulled %s", terminal.Clean(container), a.Digest)
	}
}

func shortDigest(digest string) string {
	const prefix = len("sha256:")
	if len(digest) < prefix+12 {
		return digest
	}
	return terminal.Clean(digest[prefix : prefix+12])
}

// Sleep waits, or returns ctx's error when that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
