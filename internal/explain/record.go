package explain

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// Record shows the record of a pull to a caller who may read the workload. What the registry answered is for those who
// may read the registry; to others every stage from the token on looks the same, whichever of them failed or was not
// reached, and no layer is named. A nil record stays nil.
func (e *Explainer) Record(ctx context.Context, caller identity.Principal, a *pull.Attempt) (*pull.Attempt, error) {
	if a == nil {
		return nil, nil //nolint:nilnil // no record is an answer
	}
	hidden, err := e.hiddenFrom(ctx, caller, a.Image)
	if err != nil || hidden == "" {
		return a, err
	}
	shown := *a
	shown.Stages, shown.Digest, shown.Bytes, shown.Done, shown.Layers = nil, "", 0, 0, nil
	asked := false
	for _, s := range a.Stages {
		if !registrys(s.Name) {
			shown.Stages = append(shown.Stages, s)
			continue
		}
		if !asked {
			shown.Stages = append(shown.Stages, hiddenStages(hidden)...)
			asked = true
		}
		if s.Outcome == pull.Failed {
			shown.Code, shown.Summary = "", "what the registry answered to this workload is "+hidden
		}
	}
	return &shown, nil
}

// Events shows a container's events to a caller who may read the workload, without the reasons of pulls that failed
// where the registry is not for the caller.
func (e *Explainer) Events(ctx context.Context, caller identity.Principal, events []run.Event) ([]run.Event, error) {
	shown := make([]run.Event, 0, len(events))
	for _, event := range events {
		if before, image, ok := pullFailed(event); ok {
			hidden, err := e.hiddenFrom(ctx, caller, image)
			if err != nil {
				return nil, err
			}
			if hidden != "" {
				event.Message = before + ": the reason is " + hidden
			}
		}
		shown = append(shown, event)
	}
	return shown, nil
}

// pullFailed takes the event of a pull that failed apart: what stands before the reason, and the image.
func pullFailed(e run.Event) (before, image string, ok bool) {
	rest, ok := strings.CutPrefix(e.Message, run.PullFailedPrefix)
	if e.Name != run.EventFailed || !ok {
		return "", "", false
	}
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return "", "", false
	}
	image, err = strconv.Unquote(quoted)
	return run.PullFailedPrefix + quoted, image, err == nil
}

// hiddenFrom says that caller may not see what the registry of an image answers; "" when the caller may, or when no
// registry of ours is asked for it.
func (e *Explainer) hiddenFrom(ctx context.Context, caller identity.Principal, image string) (string, error) {
	ref, err := content.ParseReference(image)
	if err != nil {
		return "", nil //nolint:nilerr // refused before anybody was asked
	}
	endpoint, err := e.Registries.Endpoint(ctx, ref.Host)
	if errors.Is(err, pull.ErrHostUnknown) {
		return "", nil
	}
	if err != nil || endpoint.Registry.IsZero() {
		return "", err
	}
	ok, err := e.may(ctx, caller, registryRead, endpoint.Registry)
	if err != nil || ok {
		return "", err
	}
	return hiddenBy(endpoint.Registry), nil
}

func hiddenBy(registry resource.ID) string { return "hidden: you lack read on " + registry.String() }

// registrys reports whether a stage's outcome is what the registry answered. The token is one: that it was refused says
// of a valid password that it has no role.
func registrys(s pull.StageName) bool {
	return !before(s, pull.StageToken) && rank(s) < len(stages())
}

func hiddenStages(hidden string) []pull.Stage {
	var out []pull.Stage
	for _, name := range stages() {
		if registrys(name) {
			out = append(out, pull.Stage{Name: name, Outcome: pull.Outcome(hidden)})
		}
	}
	return out
}
