package pull

import (
	"maps"
	"slices"
	"sync"
	"time"

	"fairlead.dev/internal/content"
)

// byteInterval is the least time between two snapshots that differ in bytes only.
const byteInterval = 100 * time.Millisecond

// recorder keeps the Attempt while it happens and shows it to the observer.
type recorder struct {
	now     func() time.Time
	observe Observer // may be nil

	mu      sync.Mutex
	attempt Attempt
	shown   time.Time // when bytes were shown last
}

// begin opens a stage; the one before it has ended.
func (r *recorder) begin(name StageName) {
	r.change(func(a *Attempt) {
		a.Stages = append(a.Stages, Stage{Name: name, Outcome: Running, Started: r.now()})
	})
}

// end closes the present stage.
func (r *recorder) end(outcome Outcome) {
	r.change(func(a *Attempt) {
		s := &a.Stages[len(a.Stages)-1]
		s.Outcome, s.Ended = outcome, r.now()
	})
}

// fail closes the present stage and the attempt. A failure may belong to an earlier stage, or to one that was not
// reached by name: the present one is then no more than where it showed.
func (r *recorder) fail(e *Error) {
	r.change(func(a *Attempt) {
		now := r.now()
		present := &a.Stages[len(a.Stages)-1]
		present.Outcome, present.Ended = Skipped, now
		i := slices.IndexFunc(a.Stages, func(s Stage) bool { return s.Name == e.Stage })
		if i < 0 {
			i = len(a.Stages)
			a.Stages = append(a.Stages, Stage{Name: e.Stage, Started: present.Started, Ended: now})
		}
		a.Stages[i].Outcome, a.Stages[i].Code, a.Stages[i].Message = Failed, e.Code, e.Err.Message
		a.Code, a.Summary = e.Code, e.Err.Message
	})
}

// fact notes something in the present stage; an empty value notes nothing.
func (r *recorder) fact(key, value string) {
	if value == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.attempt.Stages) == 0 {
		return
	}
	s := &r.attempt.Stages[len(r.attempt.Stages)-1]
	if s.Facts == nil {
		s.Facts = map[string]string{}
	}
	s.Facts[key] = value
}

// resolved notes what the reference led to.
func (r *recorder) resolved(d content.Digest) {
	r.change(func(a *Attempt) { a.Digest = d })
}

// layers notes what has to be had.
func (r *recorder) layers(layers []content.Descriptor) {
	r.change(func(a *Attempt) {
		for _, l := range layers {
			a.Layers = append(a.Layers, LayerProgress{Digest: l.Digest, Size: l.Size, State: LayerWaiting})
		}
	})
}

// layer notes that the layer with this digest, which may stand in the image more than once, is in another state.
func (r *recorder) layer(d content.Digest, state LayerState) {
	r.change(func(a *Attempt) {
		first := true
		for i := range a.Layers {
			if l := &a.Layers[i]; l.Digest == d {
				if state == LayerDownloading {
					if first {
						a.Done -= l.Done // of a try that was thrown away
					}
					l.Done = 0
				}
				l.State, first = state, false
			}
		}
	})
}

// unpacked notes that the layer at index i has become files.
func (r *recorder) unpacked(i int) {
	r.change(func(a *Attempt) {
		if i >= 0 && i < len(a.Layers) {
			a.Layers[i].State = LayerUnpacked
		}
	})
}

// bytes counts n more bytes of a layer.
func (r *recorder) bytes(d content.Digest, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempt.Done += int64(n)
	for i := range r.attempt.Layers {
		if l := &r.attempt.Layers[i]; l.Digest == d {
			l.Done += int64(n)
		}
	}
	if now := r.now(); now.Sub(r.shown) >= byteInterval {
		r.shown = now
		r.show()
	}
}

// need counts bytes that have to be transferred.
func (r *recorder) need(n int64) {
	r.change(func(a *Attempt) { a.Bytes += n })
}

// close ends the attempt and gives the record.
func (r *recorder) close() Attempt {
	r.change(func(a *Attempt) { a.Ended = r.now() })
	return r.snapshot()
}

func (r *recorder) change(how func(*Attempt)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	how(&r.attempt)
	r.show()
}

// show is called with the lock held, so that snapshots are seen in order.
func (r *recorder) show() {
	if r.observe != nil {
		r.observe(r.attempt.clone())
	}
}

func (r *recorder) snapshot() Attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attempt.clone()
}

func (a Attempt) clone() Attempt {
	a.Stages = slices.Clone(a.Stages)
	for i := range a.Stages {
		a.Stages[i].Facts = maps.Clone(a.Stages[i].Facts)
	}
	a.Layers = slices.Clone(a.Layers)
	return a
}
