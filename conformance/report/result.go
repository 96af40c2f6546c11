package main

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// sigs are the groups that own specs of the suite.
var sigs = []string{ //nolint:gochecknoglobals // a table
	"sig-node", "sig-api-machinery", "sig-storage", "sig-apps", "sig-network", "sig-auth", "sig-cli", "sig-scheduling",
	"sig-instrumentation", "sig-architecture",
}

// result is what all runs together came to.
type result struct {
	specs map[string]*spec // by name
	runs  []oneRun
}

type oneRun struct {
	name string
	time time.Duration
	ran  int
}

// spec is one spec of the suite. One that no run selected has no state.
type spec struct {
	name, sig string
	state     types.SpecState
	time      time.Duration
	failure   string
}

func newResult() *result { return &result{specs: map[string]*spec{}} }

var sigOf = regexp.MustCompile(`\[(sig-[a-z-]+)\]`)

// add adds the specs of one report. A report names every spec of the suite, also those that its run did not select: such
// a one is skipped without a message.
func (r *result) add(run string, report types.Report) {
	this := oneRun{name: run, time: report.RunTime}
	for _, each := range report.SpecReports {
		name := each.FullText()
		if each.LeafNodeType != types.NodeTypeIt || !strings.Contains(name, "[Conformance]") {
			continue
		}
		s := r.specs[name]
		if s == nil {
			s = &spec{name: name, sig: "none"}
			if sig := sigOf.FindStringSubmatch(name); sig != nil {
				s.sig = sig[1]
			}
			r.specs[name] = s
		}
		if each.State.Is(types.SpecStateSkipped|types.SpecStatePending|types.SpecStateInvalid) && each.Failure.Message == "" {
			continue
		}
		s.state, s.time, s.failure = each.State, each.RunTime, each.Failure.Message
		this.ran++
	}
	r.runs = append(r.runs, this)
}

// count is how many specs there are, ran, passed, failed and skipped themselves, and how long they took one after another.
type count struct {
	all, ran, passed, failed, skipped int
	time                              time.Duration
}

// count counts the specs of a sig, or of all with "".
func (r *result) count(sig string) count {
	var c count
	for _, s := range r.specs {
		if sig != "" && s.sig != sig {
			continue
		}
		c.all++
		c.time += s.time
		switch {
		case s.state == types.SpecStateInvalid:
			continue
		case s.state.Is(types.SpecStatePassed):
			c.passed++
		case s.state.Is(types.SpecStateSkipped | types.SpecStatePending):
			c.skipped++
		default:
			c.failed++
		}
		c.ran++
	}
	return c
}

// passed reports whether all is as it must be.
func (r *result) passed(want int) bool {
	c := r.count("")
	if c.passed != c.ran || c.ran == 0 {
		return false
	}
	if want > 0 {
		return c.ran == want && c.all == want
	}
	return !slices.ContainsFunc(sigs, func(sig string) bool { return r.count(sig).ran == 0 })
}

// faults gives the specs that ran and did not pass, by name; with all also those that did not run.
func (r *result) faults(all bool) []*spec {
	var faults []*spec
	for _, name := range slices.Sorted(maps.Keys(r.specs)) {
		s := r.specs[name]
		if s.state.Is(types.SpecStatePassed) || (s.state == types.SpecStateInvalid && !all) {
			continue
		}
		faults = append(faults, s)
	}
	return faults
}

// slowest gives the n specs that took longest.
func (r *result) slowest(n int) []*spec {
	all := slices.SortedFunc(maps.Values(r.specs), func(a, b *spec) int { return int(b.time - a.time) })
	return all[:min(n, len(all))]
}
