package terminal

import (
	"fmt"
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Progress shows how far transfers have come: one bar each on a terminal, elsewhere one line at the end of each.
// It is safe for concurrent use.
type Progress struct {
	err  io.Writer
	bars *mpb.Progress // nil when Err is no terminal

	mu    sync.Mutex
	known map[string]*transfer
}

type transfer struct {
	bar   *mpb.Bar
	label string
	total int64
	ended bool
}

// NewProgress starts showing on Err.
func (s Streams) NewProgress() *Progress {
	p := &Progress{err: s.Err, known: map[string]*transfer{}}
	if IsTerminal(s.Err) {
		p.bars = mpb.New(mpb.WithOutput(s.Err), mpb.WithWidth(40))
	}
	return p
}

// Set shows that done of total bytes of the transfer called key are there. Reaching the total ends it.
func (p *Progress) Set(key, label string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.transfer(key, label, total)
	if t.ended {
		return
	}
	if t.bar != nil {
		t.bar.SetCurrent(min(done, total))
	}
	if done >= total {
		p.finish(t, Bytes(total))
	}
}

// End ends the transfer called key with a remark: "exists", "failed".
func (p *Progress) End(key, label, remark string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.transfer(key, label, 0)
	if !t.ended {
		p.finish(t, remark)
	}
}

// Notef writes a line above the bars.
func (p *Progress) Notef(format string, args ...any) {
	if p.bars != nil {
		fmt.Fprintf(p.bars, format+"\n", args...)
		return
	}
	fmt.Fprintf(p.err, format+"\n", args...)
}

// Close takes the bars away and leaves what was noted.
func (p *Progress) Close() {
	if p.bars == nil {
		return
	}
	p.mu.Lock()
	for _, t := range p.known {
		if t.bar != nil && !t.ended {
			t.bar.Abort(false)
		}
	}
	p.mu.Unlock()
	p.bars.Wait()
}

func (p *Progress) transfer(key, label string, total int64) *transfer {
	t, ok := p.known[key]
	if ok {
		return t
	}
	t = &transfer{label: label, total: total}
	if p.bars != nil {
		t.bar = p.bars.AddBar(max(total, 1),
			mpb.PrependDecorators(decor.Name(label, decor.WCSyncSpaceR), decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5})))
	}
	p.known[key] = t
	return t
}

func (p *Progress) finish(t *transfer, remark string) {
	t.ended = true
	if t.bar != nil {
		t.bar.SetTotal(-1, true)
		return
	}
	fmt.Fprintf(p.err, "%s\t%s\n", t.label, remark)
}

// Bytes writes a number of bytes for people.
func Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
