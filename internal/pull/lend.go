package pull

import (
	"context"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// Elsewhere is a Session of a node that fetches layers by itself when a container starts, with what Lend gave it. It is
// asked for manifest and config only; the right to pull is asked all the same.
type Elsewhere interface {
	Session
	// Fetcher says who fetches, for the record.
	Fetcher() string
}

// TokenUser is the user name that goes with a registry's refresh token as password (Azure/acr, docs/AAD-OAuth.md).
const TokenUser = "00000000-0000-0000-0000-000000000000"

// Login is a credential that lets others fetch what a request may pull.
type Login struct {
	Host     string // the login server
	Username string // "" when the registry asks for none
	Password secret.Text
	Expires  time.Time // zero when it lasts until somebody changes it
}

// Lend asks the right to pull and gives what a node can log in with that fetches by itself: the workload's own name and
// password, or what a managed identity's token is exchanged for, which ends by itself. The error is an *Error.
func (p *Puller) Lend(ctx context.Context, r Request) (Login, error) {
	j := p.newJob(r, nil)
	if err := j.authorize(ctx); err != nil {
		return Login{}, err
	}
	login := Login{Host: j.endpoint.Service}
	switch c := j.candidate; {
	case c == nil || j.remote.token.IsZero():
	case c.Identity == nil:
		login.Username, login.Password = c.Username, c.Password
	default:
		lent, err := p.lendTo(ctx, j.remote, *c.Identity)
		if err != nil {
			return Login{}, j.failed(StageToken, err)
		}
		login.Username, login.Password, login.Expires = lent.Username, lent.Password, lent.Expires
	}
	return login, nil
}

// lendTo gives a refresh token of the registry for a managed identity.
func (p *Puller) lendTo(ctx context.Context, r *remote, id Identity) (Login, error) {
	_, service, err := r.ask(ctx)
	if err != nil {
		return Login{}, err
	}
	access, err := p.identities.Token(ctx, id, resource.AzureRegistry)
	if err != nil {
		return Login{}, identityGone(err)
	}
	refresh, err := r.refreshToken(ctx, service, access)
	if err != nil {
		return Login{}, err
	}
	login := Login{Username: TokenUser, Password: refresh}
	if expires := readClaims(refresh).Expires; expires > 0 {
		login.Expires = time.Unix(expires, 0)
	}
	return login, nil
}

// elsewhere notes that the node fetches by itself, and keeps what says how to run the image.
func (j *job) elsewhere(ctx context.Context, node Elsewhere) error {
	j.rec.fact("fetchedBy", node.Fetcher())
	for _, part := range []struct {
		content.Descriptor
		body []byte
	}{{*j.manifest.Config, j.configBody}, {j.target(), j.manifestBody}} {
		if err := j.keep(ctx, part.Descriptor, part.body); err != nil {
			return err
		}
	}
	return errSkip
}

// LendRegistry gives what a managed identity may fetch from a registry with: the exchange asks whether it has any right
// there. host is as in a reference. The error is an *Error.
func (p *Puller) LendRegistry(ctx context.Context, host string, id Identity) (Login, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limits.Ask)
	defer cancel()
	j := p.newJob(Request{}, nil)
	j.ref.Host = host
	var login Login
	err := j.take(ctx, []step{
		{StageFind, j.find},
		{StageToken, func(ctx context.Context) (err error) {
			if j.remote, err = newRemote(j.endpoint, "", p.limits); err != nil {
				return err
			}
			login, err = p.lendTo(ctx, j.remote, id)
			login.Host = j.endpoint.Service
			return err
		}},
	})
	return login, err
}
