package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
)

const (
	passed  = types.SpecStatePassed
	failed  = types.SpecStateFailed
	skipped = types.SpecStateSkipped
)

func it(text string, state types.SpecState, message string) types.SpecReport {
	return types.SpecReport{
		LeafNodeType: types.NodeTypeIt, LeafNodeText: text + " [Conformance]", State: state, Failure: types.Failure{Message: message},
	}
}

// write writes a run's file as ginkgo does, and gives the argument that names it.
func write(t *testing.T, run string, specs ...types.SpecReport) string {
	t.Helper()
	text, err := json.Marshal([]types.Report{{SpecReports: specs}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), run+".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return run + "=" + file
}

func TestASuiteInTwoRunsPasses(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	main := write(t, "main", it("[sig-node] a", passed, ""), it("[sig-apps] b", skipped, ""),
		types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: "[sig-node] of another suite", State: failed})
	serial := write(t, "serial", it("[sig-node] a", skipped, ""), it("[sig-apps] b", passed, ""))
	ok, err := run([]string{"-want", "2", "-write", page, "-fact", "date=today", main, serial})
	if err != nil || !ok {
		t.Fatalf("passed: %v, %v", ok, err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"**2 of 2 passed**, 0 failed, 0 skipped, 0 not run", "| sig-node | 1 | 1 | 0 | 0 |", "| serial | 1 |", "| date | today |"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page has no %q:\n%s", want, text)
		}
	}
}

func TestWhatIsNotPassed(t *testing.T) {
	var every []types.SpecReport
	for _, sig := range sigs {
		every = append(every, it("["+sig+"] a", passed, ""))
	}
	for name, c := range map[string]struct {
		want  int
		specs []types.SpecReport
		says  string
	}{
		"a spec fails":           {0, append(slices.Clip(every), it("[sig-node] b", failed, "no such pod")), "failed: [sig-node] b [Conformance]\n    no such pod\n"},
		"a spec skips itself":    {0, append(slices.Clip(every), it("[sig-node] b", skipped, "needs a GPU")), "10 passed, 0 failed, 1 skipped\n"},
		"a sig has no spec":      {0, every[1:], "no spec of sig-node ran\n"},
		"a spec did not run":     {11, append(slices.Clip(every), it("[sig-node] b", skipped, "")), "not run: [sig-node] b"},
		"the suite is not whole": {11, every, "10 specs ran, not 11\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResult()
			_, file, _ := strings.Cut(write(t, "run", c.specs...), "=")
			if err := r.read("run", file); err != nil {
				t.Fatal(err)
			}
			if r.passed(c.want) {
				t.Error("it counts as passed")
			}
			if said := r.summary(c.want); !strings.Contains(said, c.says) {
				t.Errorf("no %q in:\n%s", c.says, said)
			}
		})
	}
	r := newResult()
	r.add("run", types.Report{SpecReports: every})
	if !r.passed(0) {
		t.Errorf("every sig has a spec that passed, but:\n%s", r.summary(0))
	}
}
