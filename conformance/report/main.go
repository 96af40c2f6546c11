// Command report reads what runs of upstream's Conformance suite wrote, and says whether the suite passed. It fails unless
// every spec of every run has passed, none was skipped, and as many ran as are asked for.
//
//	report [-want N] [-sigs] [-write FILE -fact 'NAME=VALUE' …] RUN=FILE.json …
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

func main() {
	passed, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	if !passed {
		os.Exit(1)
	}
}

func run(args []string) (passed bool, err error) {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	want := flags.Int("want", 0, "how many specs have to run; 0: as many as the runs selected, and at least one of every sig")
	page := flags.String("write", "", "the page to write")
	var facts []fact
	flags.Func("fact", "NAME=VALUE for the page; may be repeated", func(text string) error {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("it is not NAME=VALUE")
		}
		facts = append(facts, fact{name, value})
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	result := newResult()
	for _, each := range flags.Args() {
		name, file, ok := strings.Cut(each, "=")
		if !ok {
			return false, fmt.Errorf("%q is not RUN=FILE", each)
		}
		if err := result.read(name, file); err != nil {
			return false, err
		}
	}
	if *page != "" {
		if err := os.WriteFile(*page, []byte(result.page(facts, *want)), 0o644); err != nil {
			return false, err
		}
	}
	fmt.Print(result.summary(*want))
	return result.passed(*want), nil
}

// read adds one run's file, a list of ginkgo's reports.
func (r *result) read(name, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var reports []types.Report
	if err := json.Unmarshal(text, &reports); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, each := range reports {
		r.add(name, each)
	}
	return nil
}
