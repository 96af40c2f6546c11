package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/internal/access"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/registry"
)

// maxConsidered is how many assignments a report lists; the principal's own come first.
const maxConsidered = 50

// consider has access explain whether the principal may pull. Assignments that the caller may not see are left out.
func (q *inquiry) consider(ctx context.Context) error {
	q.considered, q.allowed = nil, false
	if q.principal.IsZero() || q.endpoint.Registry.IsZero() {
		return nil
	}
	d, err := q.Access.Explain(ctx, q.principal, registry.ActionPull, q.endpoint.Registry)
	if err != nil {
		return err
	}
	q.allowed = d.Allowed
	for _, c := range d.Considered {
		visible := c.Scope.Covers(q.endpoint.Registry)
		if !visible {
			if visible, err = q.may(ctx, q.caller, "Microsoft.Authorization/roleAssignments/read", c.Scope); err != nil {
				return err
			}
		}
		if visible {
			q.considered = append(q.considered, c)
		}
	}
	slices.SortStableFunc(q.considered, func(a, b access.Considered) int { return q.distance(a) - q.distance(b) })
	return nil
}

// distance orders assignments: the principal's own, then those for its client id, then those of others.
func (q *inquiry) distance(c access.Considered) int {
	switch c.PrincipalID {
	case q.principal.ID():
		return 0
	case q.principal.ClientID():
		return 1
	}
	return 2
}

// denied is the refusal of a credential that is valid in itself.
func (q *inquiry) denied(ctx context.Context) (*finding, error) {
	if q.principal.IsZero() || q.allowed {
		return &finding{code: pull.ErrDenied.Code, stage: pull.StageRole, summary: q.failure.Err.Message}, nil
	}
	return q.role(ctx)
}

// role says why the principal, who may not pull, may not.
func (q *inquiry) role(ctx context.Context) (*finding, error) {
	f := &finding{stage: pull.StageRole, code: pull.ErrDenied.Code, fix: []Fix{q.assign(q.principal.ID())}}
	who := noun(q.principal) + " " + q.principal.Name()
	what := q.endpoint.Registry.Name() + "/" + q.ref.Repository
	f.summary = fmt.Sprintf("%s may not read %s: no role that grants pull covers this registry", who, what)
	near, err := q.near(ctx)
	if err != nil {
		return nil, err
	}
	likeliest := []string{pull.ErrDenied.Code, roleOrphaned, roleWrongScope, roleWrongPrincipal}
	for _, c := range near {
		code, why, err := q.nearMiss(ctx, c)
		if err != nil {
			return nil, err
		}
		if slices.Index(likeliest, code) > slices.Index(likeliest, f.code) {
			f.code, f.summary = code, fmt.Sprintf("%s may not read %s: %s", who, what, why)
		}
	}
	return f, nil
}

// near gives the assignments whose role grants pull, though not to this principal or not here.
func (q *inquiry) near(ctx context.Context) ([]access.Considered, error) {
	var near []access.Considered
	for _, c := range q.considered {
		role, err := q.Access.Role(ctx, c.RoleGUID)
		if errors.Is(err, access.ErrRoleUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if role.Allows(registry.ActionPull) {
			near = append(near, c)
		}
	}
	return near, nil
}

// nearMiss says what is wrong with an assignment that somebody may have meant for the principal; "" when nobody did.
func (q *inquiry) nearMiss(ctx context.Context, c access.Considered) (code, why string, err error) {
	here := c.Scope.Covers(q.endpoint.Registry)
	switch {
	case c.PrincipalID == q.principal.ID():
		return roleWrongScope, fmt.Sprintf("%s is assigned on %s, which does not cover this registry", c.Role, c.Scope), nil
	case !here:
		return "", "", nil
	case c.PrincipalID == q.principal.ClientID():
		return roleWrongPrincipal, fmt.Sprintf("%s is assigned to the client id %s instead of the principal id %s", c.Role, c.PrincipalID, q.principal.ID()), nil
	}
	for _, sibling := range q.siblings {
		if strings.EqualFold(sibling.principalID, c.PrincipalID) {
			return roleWrongPrincipal, fmt.Sprintf("%s is assigned to %s, but not to the one that it pulls with", c.Role, sibling.what), nil
		}
	}
	return q.strangersMiss(ctx, c)
}

// strangersMiss looks at an assignment to somebody else: the application in place of its service principal, or an
// identity that was deleted before the one of today was made.
func (q *inquiry) strangersMiss(ctx context.Context, c access.Considered) (code, why string, err error) {
	if q.principal.Kind() == identity.KindApplication {
		app, err := q.Directory.ApplicationByClientID(ctx, q.principal.ClientID())
		if err == nil && app.ObjectID == c.PrincipalID {
			return roleWrongPrincipal, fmt.Sprintf("%s is assigned to the application's object id %s instead of the service principal's id %s", c.Role, c.PrincipalID, q.principal.ID()), nil
		}
		return "", "", ignore(err, identity.ErrNotFound)
	}
	_, err = q.Directory.ServicePrincipal(ctx, c.PrincipalID)
	if !errors.Is(err, identity.ErrNotFound) {
		return "", "", err
	}
	mine, err := q.Directory.ServicePrincipal(ctx, q.principal.ID())
	if err != nil {
		return "", "", ignore(err, identity.ErrNotFound)
	}
	assignment, err := q.Access.Assignment(ctx, c.Assignment)
	if err != nil || !mine.Created.After(assignment.Created) {
		return "", "", ignore(err, access.ErrAssignmentUnknown)
	}
	return roleOrphaned, fmt.Sprintf("%s is assigned to %s, who no longer exists: the identity was probably deleted and made again", c.Role, c.PrincipalID), nil
}

func ignore(err, known error) error {
	if errors.Is(err, known) {
		return nil
	}
	return err
}

// noun says what a principal is.
func noun(p identity.Principal) string {
	switch p.Kind() {
	case identity.KindManaged:
		return "identity"
	case identity.KindRegistryAdmin:
		return "admin user"
	}
	return "service principal"
}

// writeAuthorization puts what was considered into the report.
func (q *inquiry) writeAuthorization() *Authorization {
	if q.principal.IsZero() || q.endpoint.Registry.IsZero() || !q.entitled {
		return nil
	}
	a := &Authorization{Needed: registry.ActionPull.Name, Mode: "LegacyRegistryPermissions", Considered: []Considered{}}
	for _, c := range q.considered[:min(len(q.considered), maxConsidered)] {
		out := Considered{Role: c.Role, Scope: c.Scope.String(), PrincipalID: c.PrincipalID, Result: "rejected", Why: c.Why}
		if c.Accepted {
			out.Result = "accepted"
		}
		a.Considered = append(a.Considered, out)
	}
	return a
}
