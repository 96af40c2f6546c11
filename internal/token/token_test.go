package token_test

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/driver/sql"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
	"fairlead.dev/internal/token"
)

const (
	tenant = "11111111-2222-3333-4444-555555555555"
	arm    = "https://management.fairlead.localhost:8443/"
)

var acme = resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/Acme")

// fixture is a token service over real stores, with a clock that tests move.
type fixture struct {
	t         testing.TB
	now       time.Time
	db        *sql.DB
	sealer    *secret.Sealer
	directory *identity.Directory
	tokens    *token.Service
}

func open(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	var err error
	f.db, err = sql.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	must(t, err)
	t.Cleanup(func() { must(t, f.db.Close()) })
	f.sealer, err = secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	must(t, err)
	f.directory = identity.NewDirectory(sql.NewDirectory(f.db, tenant), f.sealer, tenant, f.clock)
	f.tokens = f.service("fairlead.localhost", "fairlead.internal")
	return f
}

func (f *fixture) clock() time.Time { return f.now }

// service opens the token service anew, as a restart or a neighbour does.
func (f *fixture) service(domains ...string) *token.Service {
	return token.NewService(sql.NewKeys(f.db, tenant), f.sealer, resource.Origin{Domains: domains, Port: 8443}, tenant, f.clock)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error is %v, want %v", what, got, want)
	}
}

func (f *fixture) program() identity.Principal {
	f.t.Helper()
	app, err := f.directory.CreateApplication(f.t.Context(), "program")
	must(f.t, err)
	sp, err := f.directory.CreateServicePrincipal(f.t.Context(), app.ClientID)
	must(f.t, err)
	return f.principal(sp.ID)
}

func (f *fixture) principal(id string) identity.Principal {
	f.t.Helper()
	p, err := f.directory.Principal(f.t.Context(), id)
	must(f.t, err)
	return p
}

func (f *fixture) issue(p identity.Principal, audience string, version int) secret.Text {
	f.t.Helper()
	raw, _, err := f.tokens.IssueAccess(f.t.Context(), p, audience, version)
	must(f.t, err)
	return raw
}

func (f *fixture) verify(raw string) error {
	_, err := f.tokens.VerifyAccess(context.Background(), secret.New(raw), func(aud string) bool { return aud == arm })
	return err
}

// body decodes a token without looking at its signature.
func body(t testing.TB, raw secret.Text) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(raw.Reveal(), ".")[1])
	must(t, err)
	var claims map[string]any
	must(t, json.Unmarshal(text, &claims))
	return claims
}

func TestClaimsOfAccessTokens(t *testing.T) {
	f := open(t)
	p := f.program()
	owner := resource.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id")
	sp, err := f.directory.EnsureManaged(t.Context(), owner, false, "id")
	must(t, err)
	sts, login := "https://sts.fairlead.localhost/"+tenant+"/", "https://login.fairlead.localhost/"+tenant+"/v2.0"
	managed := f.principal(sp.ID)
	now := float64(f.now.Unix())
	for _, c := range []struct {
		name    string
		p       identity.Principal
		version int
		want    map[string]any
	}{
		{"application, version 1", p, 1, map[string]any{"iss": sts, "ver": "1.0", "appid": p.ClientID(), "appidacr": "1", "exp": now + 3600}},
		{"application, version 2", p, 2, map[string]any{"iss": login, "ver": "2.0", "azp": p.ClientID(), "azpacr": "1", "exp": now + 3600}},
		{"managed identity", managed, 1, map[string]any{"iss": sts, "ver": "1.0", "appid": managed.ClientID(), "appidacr": "2", "exp": now + 86400, "xms_mirid": owner.String()}},
	} {
		raw := f.issue(c.p, arm, c.version)
		got := body(t, raw)
		uti, _ := got["uti"].(string)
		if len(uti) != 22 {
			t.Errorf("%s: uti is %q", c.name, uti)
		}
		delete(got, "uti")
		maps.Copy(c.want, map[string]any{
			"aud": arm, "iat": now, "nbf": now, "idp": sts, "idtyp": "app", "oid": c.p.ID(), "sub": c.p.ID(), "tid": tenant,
		})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
		claims, err := f.tokens.VerifyAccess(t.Context(), raw, func(aud string) bool { return aud == arm })
		if err != nil || claims.ObjectID != c.p.ID() || claims.ClientID != c.p.ClientID() || claims.Tenant != tenant {
			t.Errorf("%s: verified as %+v, %v", c.name, claims, err)
		}
	}
}

func TestAccessTokensEnd(t *testing.T) {
	f := open(t)
	raw, expires, err := f.tokens.IssueAccess(t.Context(), f.program(), arm, 1)
	must(t, err)
	must(t, f.verify(raw.Reveal()))
	issued := f.now
	f.now = expires.Add(-time.Nanosecond)
	must(t, f.verify(raw.Reveal()))
	f.now = expires
	wantErr(t, "at its end", f.verify(raw.Reveal()), token.ErrExpired)
	f.now = issued.Add(-time.Minute)
	must(t, f.verify(raw.Reveal()))
	f.now = issued.Add(-time.Minute - time.Second)
	wantErr(t, "before its beginning", f.verify(raw.Reveal()), token.ErrExpired)
}

func TestOtherAudiencesAreRefused(t *testing.T) {
	f := open(t)
	wantErr(t, "another audience", f.verify(f.issue(f.program(), "https://graph.fairlead.localhost:8443", 1).Reveal()), token.ErrAudience)
}

// forge signs claims with a key of its own, or of ours, under whatever header.
func forge(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, extra map[jose.HeaderKey]any, claims map[string]any) string {
	t.Helper()
	text, err := json.Marshal(claims)
	must(t, err)
	opts := (&jose.SignerOptions{ExtraHeaders: extra}).WithHeader("kid", kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	must(t, err)
	signed, err := signer.Sign(text)
	must(t, err)
	raw, err := signed.CompactSerialize()
	must(t, err)
	return raw
}

func (f *fixture) ownKey() (kid string, key *rsa.PrivateKey) {
	f.t.Helper()
	boxes, err := sql.NewKeys(f.db, tenant).Keys(f.t.Context())
	must(f.t, err)
	der, err := f.sealer.Open(boxes[0].Sealed, "key/"+boxes[0].ID)
	must(f.t, err)
	opened, err := x509.ParsePKCS8PrivateKey(der)
	must(f.t, err)
	return boxes[0].ID, opened.(*rsa.PrivateKey)
}

// TestForgedTokens is the list of known attacks on JWT verifiers.
func TestForgedTokens(t *testing.T) {
	f := open(t)
	good := f.issue(f.program(), arm, 1)
	claims := body(t, good)
	kid, own := f.ownKey()
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	der, err := x509.MarshalPKIXPublicKey(&own.PublicKey)
	must(t, err)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	parts := strings.Split(good.Reveal(), ".")
	header := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	mac := hmac.New(sha256.New, public)
	hs := header(`{"alg":"HS256","kid":"`+kid+`"}`) + "." + parts[1]
	mac.Write([]byte(hs))

	must(t, f.verify(forge(t, jose.RS256, own, kid, nil, claims))) // the forger itself works
	for name, raw := range map[string]string{
		"another key":                  forge(t, jose.RS256, stranger, kid, nil, claims),
		"another key under its own id": forge(t, jose.RS256, stranger, "stranger", nil, claims),
		"no key id":                    forge(t, jose.RS256, own, "", nil, claims),
		"key in the header":            forge(t, jose.RS256, stranger, "x", map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: &stranger.PublicKey}}, claims),
		"key url in the header":        forge(t, jose.RS256, stranger, "x", map[jose.HeaderKey]any{"jku": "https://evil.example/keys"}, claims),
		"another algorithm":            forge(t, jose.RS512, own, kid, nil, claims),
		"PSS":                          forge(t, jose.PS256, own, kid, nil, claims),
		"public key as HMAC secret":    hs + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"none":                         header(`{"alg":"none","kid":"`+kid+`"}`) + "." + parts[1] + ".",
		"none in other letters":        header(`{"alg":"nOnE","kid":"`+kid+`"}`) + "." + parts[1] + ".",
		"no signature":                 parts[0] + "." + parts[1] + ".",
		"two parts":                    parts[0] + "." + parts[1],
		"signature of another body":    parts[0] + "." + header(`{"oid":"x"}`) + "." + parts[2],
		"path in the key id":           forge(t, jose.RS256, own, "../../key/"+kid, nil, claims),
		"empty":                        "",
		"very long":                    strings.Repeat("a", 20<<10),
	} {
		wantErr(t, name, f.verify(raw), token.ErrInvalid)
	}
	for name, change := range map[string]func(map[string]any){
		"another tenant":              func(c map[string]any) { c["tid"] = "22222222-2222-3333-4444-555555555555" },
		"another issuer":              func(c map[string]any) { c["iss"] = "https://sts.windows.net/" + tenant + "/" },
		"issuer of the other version": func(c map[string]any) { c["ver"] = "2.0" },
		"no version":                  func(c map[string]any) { delete(c, "ver"); c["iss"] = "" },
		"no object id":                func(c map[string]any) { delete(c, "oid") },
		"many audiences":              func(c map[string]any) { c["aud"] = []string{arm, "https://evil.example"} },
		"registry token":              func(c map[string]any) { c["iss"] = "Azure Container Registry" },
	} {
		changed := map[string]any{}
		maps.Copy(changed, claims)
		change(changed)
		wantErr(t, name, f.verify(forge(t, jose.RS256, own, kid, nil, changed)), token.ErrInvalid)
	}
	noExpiry := map[string]any{}
	for k, v := range claims {
		if k != "exp" {
			noExpiry[k] = v
		}
	}
	wantErr(t, "no expiry", f.verify(forge(t, jose.RS256, own, kid, nil, noExpiry)), token.ErrExpired)
}

func TestKeysRotate(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p := f.program()
	kids := func(s *token.Service) (ids []string) {
		t.Helper()
		set, err := s.JWKS(ctx)
		must(t, err)
		for _, k := range set.Keys {
			if !k.IsPublic() || k.Algorithm != "RS256" || k.Use != "sig" {
				t.Errorf("key %+v is published", k)
			}
			ids = append(ids, k.KeyID)
		}
		return ids
	}
	neighbour := f.service("fairlead.localhost")
	old := f.issue(p, arm, 1)
	first := kids(f.tokens)
	must(t, f.tokens.Rotate(ctx))
	second := kids(f.tokens)
	if len(first) != 1 || len(second) != 2 || second[1] != first[0] {
		t.Errorf("keys %v, after rotation %v", first, second)
	}
	fresh := f.issue(p, arm, 1)
	must(t, errors.Join(f.verify(old.Reveal()), f.verify(fresh.Reveal())))
	accept := func(string) bool { return true }
	if _, err := neighbour.VerifyAccess(ctx, fresh, accept); err != nil {
		t.Errorf("a neighbour does not learn of the new key: %v", err)
	}

	f.now = f.now.Add(24*time.Hour + 2*time.Minute)
	wantErr(t, "the old key when its last token has run out", f.verify(old.Reveal()), token.ErrInvalid)
	if got := kids(f.tokens); len(got) != 1 || got[0] != second[0] {
		t.Errorf("keys %v, want only %v", got, second[0])
	}
	must(t, f.tokens.Rotate(ctx))
	boxes, err := sql.NewKeys(f.db, tenant).Keys(ctx)
	if err != nil || len(boxes) != 2 {
		t.Errorf("%d keys are stored, %v, want 2: the spent one is removed", len(boxes), err)
	}

	f.now = f.now.Add(90 * 24 * time.Hour)
	again := f.issue(p, arm, 1)
	if got := kids(f.service("fairlead.localhost")); len(got) != 2 {
		t.Errorf("after 90 days the keys are %v, want a new one beside the last", got)
	}
	must(t, f.verify(again.Reveal()))
}

func TestTokensOutliveARestart(t *testing.T) {
	f := open(t)
	raw := f.issue(f.program(), arm, 1)
	f.tokens = f.service("fairlead.localhost")
	must(t, f.verify(raw.Reveal()))
}

func TestKeysAreSealed(t *testing.T) {
	f := open(t)
	f.issue(f.program(), arm, 1)
	_, own := f.ownKey()
	boxes, err := sql.NewKeys(f.db, tenant).Keys(t.Context())
	must(t, err)
	if strings.Contains(string(boxes[0].Sealed), string(own.D.Bytes()[:16])) {
		t.Error("the private key is stored in the clear")
	}
	sum := sha256.Sum256([]byte("x"))
	if _, err := rsa.SignPKCS1v15(rand.Reader, own, crypto.SHA256, sum[:]); err != nil {
		t.Error(err)
	}
}

func FuzzVerify(f *testing.F) {
	fx := open(f)
	good := fx.issue(fx.program(), arm, 1).Reveal()
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("a.b.c")
	f.Add(`{"payload":"e30","signatures":[{"protected":"e30","signature":"e30"}]}`)
	f.Fuzz(func(t *testing.T, raw string) {
		err := fx.verify(raw)
		if err == nil && strings.TrimSpace(raw) != good {
			// Base64 has spellings of the same bytes; nothing else may pass.
			a, b := strings.Split(strings.TrimSpace(raw), "."), strings.Split(good, ".")
			if len(a) != 3 || a[0] != b[0] || a[1] != b[1] {
				t.Errorf("%q is verified", raw)
			}
		}
		if err != nil && !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%q: %v", raw, err)
		}
	})
}

func ExampleParseScopes() {
	scopes, err := token.ParseScopes("repository:app/web:pull,push registry:catalog:*")
	fmt.Println(scopes, err)
	// Output: [repository:app/web:pull,push registry:catalog:*] <nil>
}
