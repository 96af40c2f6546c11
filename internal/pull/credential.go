package pull

import (
	"strconv"
	"strings"

	"fairlead.dev/internal/fault"
)

// choose gives the first candidate that can be used, nil when the pull has to go as a stranger, and notes of every
// other one why it was not taken.
func choose(candidates []Candidate, rec *recorder) *Candidate {
	var chosen *Candidate
	skipped := 0
	for i, c := range candidates {
		why := c.Skip
		switch {
		case why == "" && chosen == nil:
			chosen = &candidates[i]
			rec.fact("source", c.Source)
			rec.fact("from", c.From)
			continue
		case why == "":
			why = "an earlier one is used"
		}
		rec.fact("skipped["+strconv.Itoa(skipped)+"]", c.From+": "+why)
		skipped++
	}
	if chosen == nil {
		rec.fact("source", "none")
	}
	return chosen
}

// strangerRefused is what it means that the registry refuses a stranger: a credential that the workload names and that
// cannot be used, if there is one.
func strangerRefused(candidates []Candidate, service string) *Error {
	named := map[string]*fault.Error{SkipNotAttached: ErrNotAttached, SkipNotEnabled: ErrNotEnabled, SkipWrongClientID: ErrWrongClientID}
	var others []string
	for _, c := range candidates {
		if c.Skip == SkipOtherHost && c.Source == SourceSettings {
			return &Error{StageCredential, ErrOtherHost.Code, ErrOtherHost.WithMessage("the web app's registry settings are for %q, not for %s", c.Server, service)}
		}
		if e, ok := named[c.Skip]; ok {
			return &Error{StageCredential, e.Code, e.WithMessage("%s (%s)", e.Message, c.From)}
		}
		if c.Skip == SkipOtherHost {
			others = append(others, c.From+" for "+strconv.Quote(c.Server))
		}
	}
	only := ""
	if len(others) > 0 {
		only = " (only " + strings.Join(others, ", ") + ")"
	}
	return &Error{StageCredential, ErrNoCredential.Code, ErrNoCredential.WithMessage("no credential is configured for %s%s, and it refuses strangers", service, only)}
}
