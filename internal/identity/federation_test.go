package identity_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

const exchange = "api://AzureADTokenExchange"

var puller = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller")

func federation() identity.Federation {
	return identity.Federation{Name: "cluster", Issuer: "https://oidc.example/t/c/", Subject: "system:serviceaccount:shop:web", Audiences: []string{exchange}}
}

// claims gives a true assertion for what federation says.
func claims(clientID string) identity.Assertion {
	f := federation()
	return identity.Assertion{
		ClientID: clientID, Issuer: f.Issuer, Subject: f.Subject, Audiences: []string{"other", exchange},
		Verify: func(context.Context) error { return nil },
	}
}

func TestAssertions(t *testing.T) {
	d, _ := open(t)
	ctx := t.Context()
	sp, err := d.EnsureManaged(ctx, puller, false, "puller")
	must(t, err)
	_, err = d.Authenticate(ctx, claims(sp.ClientID))
	wantErr(t, "before there is a federation", err, identity.ErrFederationUnknown)
	_, created, err := d.Federate(ctx, puller, federation())
	must(t, err)
	if !created {
		t.Error("the first federation is not told as new")
	}
	p, err := d.Authenticate(ctx, claims(strings.ToUpper(sp.ClientID)))
	must(t, err)
	if p.ID() != sp.ID || p.Kind() != identity.KindManaged || !p.Resource().Equal(puller) {
		t.Errorf("proved to be %+v", p)
	}

	refusal := errors.New("not signed by the issuer")
	for name, c := range map[string]struct {
		change func(*identity.Assertion)
		want   error
	}{
		"unknown client":         {func(a *identity.Assertion) { a.ClientID = "c" }, identity.ErrAppUnknown},
		"other issuer":           {func(a *identity.Assertion) { a.Issuer = "https://evil.example/t/c/" }, identity.ErrFederationUnknown},
		"issuer without a slash": {func(a *identity.Assertion) { a.Issuer = strings.TrimSuffix(a.Issuer, "/") }, identity.ErrFederationUnknown},
		"subject in other case":  {func(a *identity.Assertion) { a.Subject = "system:serviceaccount:shop:Web" }, identity.ErrFederationUnknown},
		"audience in other case": {func(a *identity.Assertion) { a.Audiences = []string{strings.ToLower(exchange)} }, identity.ErrFederationAudience},
		"no audience":            {func(a *identity.Assertion) { a.Audiences = nil }, identity.ErrFederationAudience},
		"no true signature":      {func(a *identity.Assertion) { a.Verify = func(context.Context) error { return refusal } }, refusal},
	} {
		a, asked := claims(sp.ClientID), false
		verify := a.Verify
		a.Verify = func(ctx context.Context) error { asked = true; return verify(ctx) }
		c.change(&a)
		_, err := d.Authenticate(ctx, a)
		wantErr(t, name, err, c.want)
		if asked {
			t.Errorf("%s: the issuer is asked although nothing fits", name)
		}
	}
	a := claims(sp.ClientID)
	a.Subject = strings.ToUpper(a.Subject)
	_, err = d.Authenticate(ctx, a)
	if !strings.Contains(fault.From(err).Hint, "'cluster' differs only in letter case") {
		t.Errorf("a near miss says %+v", fault.From(err))
	}

	must(t, d.SetEnabled(ctx, sp.ID, false))
	_, err = d.Authenticate(ctx, claims(sp.ClientID))
	wantErr(t, "disabled", err, identity.ErrPrincipalDisabled)
	must(t, d.SetEnabled(ctx, sp.ID, true))
	must(t, d.Unfederate(ctx, puller, "CLUSTER"))
	_, err = d.Authenticate(ctx, claims(sp.ClientID))
	wantErr(t, "after it was taken away", err, identity.ErrFederationUnknown)
	wantErr(t, "taking it away again", d.Unfederate(ctx, puller, "cluster"), identity.ErrNotFound)
}

// TestTakenAwayWhileTheIssuerIsAsked: asking an issuer takes time, in which an administrator may have acted.
func TestTakenAwayWhileTheIssuerIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(*identity.Directory, identity.ServicePrincipal) error
		want error
	}{
		"federation removed": {func(d *identity.Directory, _ identity.ServicePrincipal) error {
			return d.Unfederate(context.Background(), puller, "cluster")
		}, identity.ErrFederationUnknown},
		"identity removed": {func(d *identity.Directory, _ identity.ServicePrincipal) error {
			return d.DeleteManaged(context.Background(), puller)
		}, identity.ErrAppUnknown},
		"identity disabled": {func(d *identity.Directory, sp identity.ServicePrincipal) error {
			return d.SetEnabled(context.Background(), sp.ID, false)
		}, identity.ErrPrincipalDisabled},
	} {
		d, _ := open(t)
		sp, err := d.EnsureManaged(t.Context(), puller, false, "puller")
		must(t, err)
		_, _, err = d.Federate(t.Context(), puller, federation())
		must(t, err)
		a := claims(sp.ClientID)
		a.Verify = func(context.Context) error { return c.act(d, sp) }
		_, err = d.Authenticate(t.Context(), a)
		wantErr(t, name, err, c.want)
	}
}

func TestFederationsAreChecked(t *testing.T) {
	d, _ := open(t)
	ctx := t.Context()
	_, _, err := d.Federate(ctx, puller, federation())
	wantErr(t, "without an identity", err, identity.ErrPrincipalUnknown)
	_, err = d.Federations(ctx, puller)
	wantErr(t, "without an identity", err, identity.ErrPrincipalUnknown)
	_, err = d.EnsureManaged(ctx, puller, false, "puller")
	must(t, err)
	long := strings.Repeat("x", 601)
	for name, c := range map[string]struct {
		change func(*identity.Federation)
		target string
	}{
		"short name":     {func(f *identity.Federation) { f.Name = "ab" }, "name"},
		"odd name":       {func(f *identity.Federation) { f.Name = "-abc" }, "name"},
		"long name":      {func(f *identity.Federation) { f.Name = strings.Repeat("a", 121) }, "name"},
		"http":           {func(f *identity.Federation) { f.Issuer = "http://oidc.example" }, "issuer"},
		"no host":        {func(f *identity.Federation) { f.Issuer = "https:///x" }, "issuer"},
		"query":          {func(f *identity.Federation) { f.Issuer += "?x=y" }, "issuer"},
		"user":           {func(f *identity.Federation) { f.Issuer = "https://u:p@oidc.example" }, "issuer"},
		"no issuer":      {func(f *identity.Federation) { f.Issuer = "" }, "issuer"},
		"long issuer":    {func(f *identity.Federation) { f.Issuer += long }, "issuer"},
		"no subject":     {func(f *identity.Federation) { f.Subject = "" }, "subject"},
		"long subject":   {func(f *identity.Federation) { f.Subject = long }, "subject"},
		"wildcard":       {func(f *identity.Federation) { f.Subject = "system:serviceaccount:*:web" }, "subject"},
		"control":        {func(f *identity.Federation) { f.Subject = "a\nb" }, "subject"},
		"no audience":    {func(f *identity.Federation) { f.Audiences = nil }, "audiences"},
		"two audiences":  {func(f *identity.Federation) { f.Audiences = []string{"a", "b"} }, "audiences"},
		"empty audience": {func(f *identity.Federation) { f.Audiences = []string{""} }, "audiences"},
	} {
		f := federation()
		c.change(&f)
		_, _, err := d.Federate(ctx, puller, f)
		wantErr(t, name, err, identity.ErrInvalid)
		if got := fault.From(err).Target; got != c.target {
			t.Errorf("%s: target is %q, want %q", name, got, c.target)
		}
	}
	for i := range identity.MaxFederations {
		f := federation()
		f.Name, f.Subject = fmt.Sprint("fed-", i), fmt.Sprint(i)
		_, _, err := d.Federate(ctx, puller, f)
		must(t, err)
	}
	_, _, err = d.Federate(ctx, puller, federation())
	wantErr(t, "the 21st", err, identity.ErrFederationsFull)
	same := federation()
	same.Name, same.Subject = "fed-1", "2"
	_, _, err = d.Federate(ctx, puller, same)
	wantErr(t, "the subject of another", err, identity.ErrDuplicate)
	all, err := d.Federations(ctx, puller)
	if err != nil || len(all) != identity.MaxFederations {
		t.Errorf("%d federations, %v", len(all), err)
	}
}
