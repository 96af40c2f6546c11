package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/registry"
	"fairlead.dev/internal/resource"
)

// principalOf finds who a credential stands for, whether or not it would be accepted; zero when that is nobody.
func (q *inquiry) principalOf(ctx context.Context, c pull.Candidate) (p identity.Principal, err error) {
	switch {
	case c.Identity != nil:
		p, err = q.managed(ctx, c.Identity.Resource)
	case q.isAdmin(c):
		p, err = q.Directory.Authenticate(ctx, identity.RegistryPassword{Registry: q.endpoint.Registry, Username: c.Username, Password: c.Password})
	default:
		var sp identity.ServicePrincipal
		if sp, err = q.Directory.ServicePrincipalByClientID(ctx, c.Username); err == nil {
			p, err = q.Directory.Principal(ctx, sp.ID)
		}
	}
	return p, absent(err)
}

// absent takes "there is none" for an answer.
func absent(err error) error {
	if err == nil {
		return nil
	}
	if k := fault.KindOf(err); k == fault.NotFound || k == fault.Unauthenticated {
		return nil
	}
	return err
}

func (q *inquiry) managed(ctx context.Context, id resource.ID) (identity.Principal, error) {
	sp, err := q.Directory.Managed(ctx, id)
	if err != nil {
		return identity.Principal{}, err
	}
	return q.Directory.Principal(ctx, sp.ID)
}

// isAdmin reports whether a credential is the registry's admin user, whose name is the registry's.
func (q *inquiry) isAdmin(c pull.Candidate) bool {
	return !q.endpoint.Registry.IsZero() && strings.EqualFold(c.Username, q.endpoint.Registry.Name())
}

// refused is a user name and password that the registry did not accept: they are wrong, or they have no right.
func (q *inquiry) refused(ctx context.Context) (*finding, error) {
	c := *q.used()
	f := &finding{stage: pull.StageToken}
	if q.isAdmin(c) || c.Username == pull.TokenUser {
		return f, q.refusedRegistryUser(ctx, c, f)
	}
	err := q.Directory.InspectSecret(ctx, c.Username, c.Password)
	app := "application " + c.Username
	switch {
	case err == nil:
		return q.denied(ctx)
	case errors.Is(err, identity.ErrAppUnknown):
		f.code, f.summary = authAppUnknown, fmt.Sprintf("no application has the client id %q, which is the user name at the registry", c.Username)
	case errors.Is(err, identity.ErrPrincipalUnknown), errors.Is(err, identity.ErrPrincipalDisabled):
		f.code, f.summary = authAppUnknown, "the "+app+" cannot sign in: "+fault.From(err).Message
	case errors.Is(err, identity.ErrSecretExpired):
		f.code, f.summary = authSecretExpired, "the password of the "+app+" has expired: "+fault.From(err).Message
	case errors.Is(err, identity.ErrSecretWrong):
		if f.code, f.summary, err = q.wrongSecret(ctx, c); err != nil {
			return nil, err
		}
	default:
		return nil, err
	}
	f.fix = q.kind.newSecret(q, c)
	if f.code == authAppUnknown {
		f.fix = q.kind.newIdentity(q)
	}
	return f, nil
}

// refusedRegistryUser is about users that only the registry knows. The admin user is never suggested as the way out.
func (q *inquiry) refusedRegistryUser(ctx context.Context, c pull.Candidate, f *finding) error {
	f.fix = q.kind.newIdentity(q)
	if c.Username == pull.TokenUser {
		f.code, f.summary = authTokenExpired, "the password is a registry token, which holds for three hours at most"
		return nil
	}
	enabled, err := q.Directory.AdminEnabled(ctx, q.endpoint.Registry)
	if err != nil {
		return err
	}
	if enabled {
		f.code, f.summary = authBadPassword, "the password is none of the two of the admin user of "+q.endpoint.Registry.Name()+": it was mistyped or regenerated"
		return nil
	}
	f.code, f.summary = authAdminDisabled, "the admin user of "+q.endpoint.Registry.Name()+" is switched off, and it is best left so"
	return nil
}

// wrongSecret tells a secret's id pasted in place of its value from any other wrong secret.
func (q *inquiry) wrongSecret(ctx context.Context, c pull.Candidate) (code, summary string, err error) {
	app, err := q.Directory.ApplicationByClientID(ctx, c.Username)
	if err != nil {
		return "", "", err
	}
	var last time.Time
	for _, s := range app.Secrets {
		if strings.EqualFold(s.KeyID, c.Password.Reveal()) {
			return authSecretWrong, fmt.Sprintf("the password is the id of a secret of the application %s, not its value", c.Username), nil
		}
		if s.Start.After(last) {
			last = s.Start
		}
	}
	summary = fmt.Sprintf("the password is no secret of the application %s, which has %d", c.Username, len(app.Secrets))
	if !last.IsZero() {
		summary += ", the newest of " + last.UTC().Format(time.RFC3339)
	}
	return authBadPassword, summary, nil
}

// identityGone is a managed identity that gets no token.
func (q *inquiry) identityGone(context.Context) (*finding, error) {
	f := q.asIs()
	f.summary = fmt.Sprintf("the identity %s gets no token: it was deleted or disabled", q.used().Identity.Resource.Name())
	f.fix = q.kind.newIdentity(q)
	return f, nil
}

// unusable is a pull that had to go as a stranger, for want of a credential that can be used.
func (q *inquiry) unusable(ctx context.Context) (*finding, error) {
	f := q.asIs()
	meant, err := q.meant(ctx, f.code)
	if err != nil {
		return nil, err
	}
	f.summary = q.unusableSummary(f, meant)
	if meant == nil {
		f.fix = q.kind.newIdentity(q)
		return f, nil
	}
	if q.principal, err = q.managed(ctx, meant.Resource); absent(err) != nil {
		return nil, err
	}
	if err := q.consider(ctx); err != nil {
		return nil, err
	}
	f.fix = q.useIdentity(*meant)
	return f, nil
}

func (q *inquiry) unusableSummary(f *finding, meant *pull.Identity) string {
	name, whole := "of its own", "an identity of its own"
	if meant != nil && !meant.System {
		name = meant.Resource.Name()
		whole = "the identity " + name
	}
	switch {
	case f.code == pull.ErrNoCredential.Code && meant != nil:
		return fmt.Sprintf("the identity %s is attached, but no imageRegistryCredentials entry for %s names it: the pull goes as a stranger, who is refused", name, q.ref.Host)
	case f.code == pull.ErrNotAttached.Code && meant != nil:
		return fmt.Sprintf("the identity %s is named as pull credential, but the workload does not have it", name)
	case f.code == pull.ErrNotEnabled.Code:
		return fmt.Sprintf("the web app has %s, but acrUseManagedIdentityCreds is off, so it is not used for pulling", whole)
	case f.code == pull.ErrWrongClientID.Code:
		return q.wrongClientID(meant)
	}
	return f.summary
}

// wrongClientID says what acrUserManagedIdentityID holds in place of a client id.
func (q *inquiry) wrongClientID(meant *pull.Identity) string {
	value := q.group.Web.UserManagedIdentityClientID
	s := fmt.Sprintf("acrUserManagedIdentityID is %q, which is the client id of no identity of this web app", value)
	switch {
	case meant == nil:
	case strings.EqualFold(value, meant.PrincipalID):
		s += fmt.Sprintf("; it is the principal id of %s, whose client id is %s", meant.Resource.Name(), meant.ClientID)
	case strings.EqualFold(value, meant.Resource.String()):
		s += fmt.Sprintf("; it is the resource id of %s, whose client id is %s", meant.Resource.Name(), meant.ClientID)
	case strings.EqualFold(value, meant.ClientID):
		s += fmt.Sprintf("; it is that of %s, which is not attached", meant.Resource.Name())
	}
	return s
}

// meant gives the managed identity that the workload was probably meant to pull with; nil when there is none.
func (q *inquiry) meant(ctx context.Context, code string) (*pull.Identity, error) {
	for _, c := range q.candidates {
		if code != pull.ErrNotAttached.Code || c.Skip != pull.SkipNotAttached || c.Identity.System {
			continue
		}
		if id, err := q.inDirectory(ctx, c.Identity.Resource); err != nil || id != nil {
			return id, err
		}
	}
	attached := slices.Clone(q.group.Identities)
	if q.group.Web == nil { // only user-assigned identities pull for a container group
		attached = slices.DeleteFunc(attached, func(id pull.Identity) bool { return id.System })
	}
	if code == pull.ErrWrongClientID.Code {
		value := q.group.Web.UserManagedIdentityClientID
		for _, id := range attached {
			if strings.EqualFold(value, id.PrincipalID) || strings.EqualFold(value, id.Resource.String()) {
				return &id, nil
			}
		}
		sp, err := q.Directory.ServicePrincipalByClientID(ctx, value)
		if err == nil && sp.Kind == identity.KindManaged && !sp.System {
			return &pull.Identity{Resource: sp.Resource, ClientID: sp.ClientID, PrincipalID: sp.ID}, nil
		}
		if absent(err) != nil {
			return nil, err
		}
	}
	return q.ablest(ctx, attached)
}

func (q *inquiry) inDirectory(ctx context.Context, id resource.ID) (*pull.Identity, error) {
	sp, err := q.Directory.Managed(ctx, id)
	if err != nil || sp.System {
		return nil, absent(err)
	}
	return &pull.Identity{Resource: sp.Resource, ClientID: sp.ClientID, PrincipalID: sp.ID}, nil
}

// ablest gives the first identity that may pull, else the first; which one may is told only to who may know.
func (q *inquiry) ablest(ctx context.Context, ids []pull.Identity) (*pull.Identity, error) {
	for _, id := range ids {
		if !q.entitled {
			break
		}
		p, err := q.managed(ctx, id.Resource)
		if absent(err) != nil {
			return nil, err
		}
		d, err := q.Access.Check(ctx, p, registry.ActionPull, q.endpoint.Registry)
		if err != nil {
			return nil, err
		}
		if d.Allowed {
			return &id, nil
		}
	}
	if len(ids) == 0 {
		return nil, nil //nolint:nilnil // none is an answer
	}
	return &ids[0], nil
}
