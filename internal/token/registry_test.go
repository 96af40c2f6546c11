package token_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/token"
)

func TestRegistryTokens(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p := f.program()
	login := "acme.azurecr.fairlead.localhost:8443"
	access := []token.ScopedAccess{{Type: "repository", Name: "a/b", Actions: []string{"pull"}}}
	raw, err := f.tokens.IssueRegistryAccess(ctx, p, login, access)
	must(t, err)
	claims, err := f.tokens.VerifyRegistryAccess(ctx, raw, "ACME")
	must(t, err)
	if claims.Subject != p.ID() || claims.AdminGeneration != 0 || claims.Expires.Sub(claims.Issued) != 75*time.Minute || cmp.Diff(access, claims.Access) != "" {
		t.Errorf("access token says %+v", claims)
	}
	got := body(t, raw)
	for claim, want := range map[string]any{
		"aud": login, "iss": "Azure Container Registry", "grant_type": "access_token", "version": "1.0", "tenant": tenant, "sub": p.ID(), "appid": p.ClientID(),
	} {
		if got[claim] != want {
			t.Errorf("claim %s is %v, want %v", claim, got[claim], want)
		}
	}
	refresh, err := f.tokens.IssueRegistryRefresh(ctx, p, login, "x/read")
	must(t, err)
	claims, err = f.tokens.VerifyRegistryRefresh(ctx, refresh, "acme")
	must(t, err)
	if claims.Subject != p.ID() || claims.Expires.Sub(claims.Issued) != 3*time.Hour {
		t.Errorf("refresh token says %+v", claims)
	}

	_, err = f.tokens.VerifyRegistryAccess(ctx, raw, "other")
	wantErr(t, "another registry", err, token.ErrAudience)
	_, err = f.tokens.VerifyRegistryAccess(ctx, refresh, "acme")
	wantErr(t, "refresh for access", err, token.ErrInvalid)
	_, err = f.tokens.VerifyRegistryRefresh(ctx, raw, "acme")
	wantErr(t, "access for refresh", err, token.ErrInvalid)
	_, err = f.tokens.VerifyRegistryAccess(ctx, f.issue(p, arm, 1), "acme")
	wantErr(t, "an Entra token", err, token.ErrInvalid)
	wantErr(t, "at the resource manager", f.verify(raw.Reveal()), token.ErrInvalid)
	f.now = f.now.Add(75 * time.Minute)
	_, err = f.tokens.VerifyRegistryAccess(ctx, raw, "acme")
	wantErr(t, "run out", err, token.ErrExpired)
}

func TestRegistryTokensHoldUnderAllNames(t *testing.T) {
	f := open(t)
	p := f.program()
	for login, want := range map[string]error{
		"acme.azurecr.fairlead.localhost:8443": nil,
		"acme.azurecr.fairlead.internal:9999":  nil,
		"ACME.azurecr.fairlead.localhost":      nil,
		"acme.azurecr.io":                      nil,
		"acme.azurewebsites.fairlead.internal": token.ErrAudience,
		"acme.azurecr.elsewhere.test":          token.ErrAudience,
		"acme.azurecr.io.evil.test":            token.ErrAudience,
		"acme":                                 token.ErrAudience,
		"":                                     token.ErrAudience,
	} {
		raw, err := f.tokens.IssueRegistryAccess(t.Context(), p, login, nil)
		must(t, err)
		claims, err := f.tokens.VerifyRegistryAccess(t.Context(), raw, "acme")
		wantErr(t, login, err, want)
		if want == nil && claims.Access == nil {
			t.Errorf("%s: the access of an access token is nil, which would mean no bounds", login)
		}
	}
}

func TestAdminTokensCarryTheirGeneration(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	must(t, f.directory.SetAdmin(ctx, acme, true))
	passwords, err := f.directory.AdminPasswords(ctx, acme)
	must(t, err)
	p, err := f.directory.Authenticate(ctx, identity.RegistryPassword{Registry: acme, Username: "acme", Password: passwords[1]})
	must(t, err)
	raw, err := f.tokens.IssueRegistryRefresh(ctx, p, "acme.azurecr.fairlead.localhost:8443")
	must(t, err)
	claims, err := f.tokens.VerifyRegistryRefresh(ctx, raw, "acme")
	must(t, err)
	if claims.AdminGeneration != p.Generation() || claims.AdminGeneration == 0 {
		t.Errorf("generation is %d, want %d", claims.AdminGeneration, p.Generation())
	}
}

func BenchmarkVerifyRegistryAccess(b *testing.B) {
	f := open(b)
	raw, err := f.tokens.IssueRegistryAccess(b.Context(), f.program(), "acme.azurecr.fairlead.localhost:8443", nil)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.tokens.VerifyRegistryAccess(b.Context(), raw, "acme"); err != nil {
			b.Fatal(err)
		}
	}
}
