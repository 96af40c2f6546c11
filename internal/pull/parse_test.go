package pull

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/content"
)

func TestBearerChallenge(t *testing.T) {
	for header, want := range map[string]map[string]string{
		`Bearer realm="https://r/oauth2/token",service="r"`: {"realm": "https://r/oauth2/token", "service": "r"},
		`bearer REALM=x , , scope="repository:a:pull,push"`: {"realm": "x", "scope": "repository:a:pull,push"},
		`Basic realm="one", Bearer realm="two"`:             {"realm": "two"},
		`Negotiate, Bearer realm="a \"quoted\" \\ one"`:     {"realm": `a "quoted" \ one`},
		`Bearer`:                                    {},
		`Basic realm="Azure Container Registry"`:    nil,
		`Bearer realm="never closed`:                nil,
		`Bearer realm="twice", realm="differently"`: nil,
		`Bearer realm=`:                             nil,
		``:                                          nil,
		`Bearer realm="https://r/\`:                 nil,
		`Basic realm="one", Bearer realm="t", Digest nonce="x"`: {"realm": "t"},
	} {
		got, ok := bearerChallenge([]string{header})
		if ok != (want != nil) {
			t.Errorf("%s: found %v", header, ok)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", header, diff)
		}
	}
}

func FuzzBearerChallenge(f *testing.F) {
	f.Add(`Bearer realm="https://r/oauth2/token",service="r",scope="repository:a:pull"`)
	f.Add(`Basic realm="a\"b", Bearer realm=x`)
	f.Add(`Negotiate dG9rZW4=, Bearer realm="x"`)
	base, _ := url.Parse("https://registry.example:8443")
	r := &remote{base: base}
	f.Fuzz(func(t *testing.T, header string) {
		for _, c := range parseChallenges(header) {
			if c.scheme != strings.ToLower(c.scheme) || strings.ContainsAny(c.scheme, " \t,=\"") {
				t.Errorf("scheme %q", c.scheme)
			}
		}
		params, _ := bearerChallenge([]string{header})
		realm, err := url.Parse(params["realm"])
		if err == nil && r.own(realm) && !strings.EqualFold(realm.Host, "registry.example:8443") {
			t.Errorf("realm %q passes for the registry's own", params["realm"])
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add([]byte(`{"access_token":"abc"}`))
	f.Add([]byte(`{"token":"a\nb"}`))
	f.Add([]byte(`{"access_token":"","token":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		token, ok := parseToken(body, "access_token", "token")
		if !ok {
			return
		}
		req, _ := http.NewRequest(http.MethodGet, "https://r/", nil)
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		var out strings.Builder
		if err := req.Write(&out); err != nil || strings.Count(out.String(), "\r\n") != 5 {
			t.Errorf("the token %q makes the request %q (%v)", token.Reveal(), out.String(), err)
		}
	})
}

func TestOwn(t *testing.T) {
	base, _ := url.Parse("https://registry.example")
	r := &remote{base: base}
	for target, want := range map[string]bool{
		"https://registry.example/oauth2/token":        true,
		"https://registry.example:443/oauth2/token":    true,
		"https://REGISTRY.example/oauth2/token":        true,
		"https://registry.example:8443/oauth2/token":   false,
		"http://registry.example/oauth2/token":         false,
		"https://registry.example.evil.example/oauth2": false,
		"https://registry.example@evil.example/oauth2": false,
		"https://user@registry.example/oauth2/token":   false,
		"//registry.example/oauth2/token":              false,
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.own(u); got != want {
			t.Errorf("own(%s) is %v", target, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]string{"": "0s", "7": "7s", "-1": "0s", "soon": "0s", "Wed, 21 Oct 2015 07:28:00 GMT": "0s", "99999999999999": "0s"} {
		if got := retryAfter(header).String(); got != want {
			t.Errorf("Retry-After %q is %s, want %s", header, got, want)
		}
	}
}

// Who waits for another's download shows that it is alive, and gives up with its own context.
func TestFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		d := flight{"registry.example", content.FromBytes([]byte("x"))}
		leave, err := f.enter(t.Context(), d, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		alive := 0
		if _, err := f.enter(ctx, d, func() { alive++ }); !errors.Is(err, context.DeadlineExceeded) || alive < 10 {
			t.Errorf("waiting ended with %v after %d signs of life", err, alive)
		}
		leave()
		again, err := f.enter(t.Context(), d, nil)
		if err != nil {
			t.Fatal(err)
		}
		again()
	})
}
