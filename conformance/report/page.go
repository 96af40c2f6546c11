package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

type fact struct{ name, value string }

// summary says in a few lines what came out, faults with their messages. Its last line is one that CI counts.
func (r *result) summary(want int) string {
	var b strings.Builder
	for _, s := range r.faults(want > 0) {
		fmt.Fprintf(&b, "%s: %s\n    %s\n", stateOf(s), s.name, strings.ReplaceAll(cut(s.failure, 600), "\n", "\n    "))
	}
	for _, run := range r.runs {
		fmt.Fprintf(&b, "%s: %d specs in %s\n", run.name, run.ran, run.time.Round(time.Second))
	}
	for _, sig := range sigs {
		if r.count(sig).ran == 0 {
			fmt.Fprintf(&b, "no spec of %s ran\n", sig)
		}
	}
	c := r.count("")
	if want > 0 && c.ran != want {
		fmt.Fprintf(&b, "%d specs ran, not %d\n", c.ran, want)
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	return b.String()
}

// page gives the page for docs/conformance.
func (r *result) page(facts []fact, want int) string {
	var b strings.Builder
	c := r.count("")
	fmt.Fprintf(&b, "# Kubernetes: upstream's Conformance suite\n\n")
	fmt.Fprintf(&b, "**%d of %d passed**, %d failed, %d skipped, %d not run. Written by `make conformance-kube`; nothing here is edited by hand.\n\n",
		c.passed, max(want, c.all), c.failed, c.skipped, c.all-c.ran)
	fmt.Fprintf(&b, "The specs are those of upstream's `e2e.test` whose names hold `[Conformance]`, on a cluster that `fairlead kube create` made. Every image\n"+
		"is built from source or of Debian's programs, lies in a private registry, and is pulled with the nodes' managed identity (`--attach-acr`): no\n"+
		"pod has a secret, and the registry lets nobody pull anonymously.\n\n")
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	for _, f := range facts {
		fmt.Fprintf(&b, "| %s | %s |\n", f.name, f.value)
	}
	fmt.Fprintf(&b, "\n| sig | specs | passed | failed | skipped | seconds, one after another |\n|---|---|---|---|---|---|\n")
	for _, sig := range sigs {
		row(&b, sig, r.count(sig))
	}
	row(&b, "**all**", c)
	fmt.Fprintf(&b, "\n| run | specs | time |\n|---|---|---|\n")
	for _, run := range r.runs {
		fmt.Fprintf(&b, "| %s | %d | %s |\n", run.name, run.ran, run.time.Round(time.Second))
	}
	if faults := r.faults(true); len(faults) > 0 {
		fmt.Fprintf(&b, "\n## Not passed\n\n")
		for _, s := range faults {
			fmt.Fprintf(&b, "- %s (%s): %s\n", s.name, stateOf(s), strings.Join(strings.Fields(cut(s.failure, 300)), " "))
		}
	}
	fmt.Fprintf(&b, "\n## The slowest\n\n| spec | seconds |\n|---|---|\n")
	for _, s := range r.slowest(10) {
		fmt.Fprintf(&b, "| %s | %.0f |\n", s.name, s.time.Seconds())
	}
	return b.String()
}

func row(b *strings.Builder, name string, c count) {
	fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %.0f |\n", name, c.all, c.passed, c.failed, c.skipped, c.time.Seconds())
}

func stateOf(s *spec) string {
	if s.state == types.SpecStateInvalid {
		return "not run"
	}
	return s.state.String()
}

func cut(text string, limit int) string {
	if len(text) > limit {
		return text[:limit] + "…"
	}
	return text
}
