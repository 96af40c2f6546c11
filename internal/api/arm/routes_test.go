package arm

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

var action = regexp.MustCompile(`^Microsoft\.[A-Za-z]+/[A-Za-z/]+/(read|write|delete|action)$`)

func TestEveryRouteDeclaresItsAction(t *testing.T) {
	h := New(Deps{})
	if len(h.routes) < 60 {
		t.Fatalf("only %d routes: the check would check nothing", len(h.routes))
	}
	open := []string{"GET subscriptions", "GET tenants", "POST microsoft.containerservice/why"}
	for name, r := range all(h) {
		if r.need == signedIn && slices.Contains(open, name) {
			continue
		}
		if !action.MatchString(string(r.need)) {
			t.Errorf("%s declares the action %q, which is none", name, r.need)
		}
		if r.partial && r.method != http.MethodGet {
			t.Errorf("%s may be called with a partial right, but does not only list", name)
		}
	}
}

// all gives every route under its method and shape.
func all(h *Handler) iter.Seq2[string, route] {
	return func(yield func(string, route) bool) {
		for name, routes := range h.routes {
			for _, r := range routes {
				if !yield(name, r) {
					return
				}
			}
		}
	}
}

// pathsOf gives a path of the route at each kind of scope that it has.
func pathsOf(r route) []string {
	shape := strings.ReplaceAll(r.shape, "*", "abcde")
	if !strings.HasPrefix(shape, "providers") && strings.Contains(strings.Split(shape, "/")[0], ".") {
		shape = "providers/" + shape
	}
	var out []string
	for at, scope := range map[places]string{
		atRoot: "", atSubscription: sub, atGroup: group, atResource: group + "/providers/" + registryTypeName + "/abcde",
	} {
		if r.at&at != 0 {
			out = append(out, scope+"/"+shape)
		}
	}
	return out
}

func TestNobodyPassesWithoutTokenOrRole(t *testing.T) {
	w := newWorld(t)
	w.group()
	w.want(http.StatusCreated, "PUT", group+"/providers/"+registryTypeName+"/abcde", `{"location":"westus2"}`)
	stranger := w.principal("", resource.Root)
	elsewhere := w.principal("Owner", resource.MustParseID(sub+"/resourceGroups/other"))
	for name, r := range all(w.h) {
		for _, path := range pathsOf(r) {
			// The body is not JSON: whoever may not do a thing is told so before anything is said about the body.
			if a := w.as("", r.method, path+version, "{"); a.status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s at %s without a token: %d %s", name, path, a.status, a.raw)
			}
			if r.need == signedIn {
				continue
			}
			if a := w.as(stranger, r.method, path+version, "{"); a.status != http.StatusForbidden || r.method != http.MethodHead && a.code() != "AuthorizationFailed" {
				t.Errorf("%s at %s without a role: %d %s", name, path, a.status, a.raw)
			}
			if r.at.has(resource.MustParseID(group)) && strings.HasPrefix(path, group) {
				if a := w.as(elsewhere, r.method, path+version, "{"); a.status != http.StatusForbidden {
					t.Errorf("%s at %s with a role on another group: %d %s", name, path, a.status, a.raw)
				}
			}
		}
	}
	w.want(http.StatusOK, "GET", group+"/providers/"+registryTypeName+"/abcde", "")
}

func TestReaderChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.group()
	reader := w.principal("Reader", resource.MustParseID(sub))
	for name, r := range all(w.h) {
		if strings.HasSuffix(string(r.need), "/read") || r.need == signedIn || r.at == atRoot {
			continue
		}
		for _, path := range pathsOf(r) {
			if !strings.HasPrefix(path, sub) {
				continue
			}
			if a := w.as(reader, r.method, path+version, "{}"); a.status != http.StatusForbidden {
				t.Errorf("%s at %s as Reader: %d %s", name, path, a.status, a.raw)
			}
		}
	}
}

func TestRevokedPrincipalsAreRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	sp, token := w.newPrincipal("Owner", resource.Root)
	if a := w.as(token, "GET", sub+"/resourceGroups"+version, ""); a.status != http.StatusOK {
		t.Fatal(a.raw)
	}
	if err := w.dir.SetEnabled(t.Context(), sp.ID, false); err != nil {
		t.Fatal(err)
	}
	if a := w.as(token, "GET", sub+"/resourceGroups"+version, ""); a.status != http.StatusUnauthorized || a.code() != "InvalidAuthenticationToken" {
		t.Errorf("a disabled principal: %d %s", a.status, a.raw)
	}
}

func TestTokenForAnotherAudienceIsRefused(t *testing.T) {
	w := newWorld(t)
	sp, _ := w.newPrincipal("Owner", resource.Root)
	p, err := w.dir.Principal(t.Context(), sp.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, audience := range []string{"https://graph.fairlead.localhost:8443/", "https://management.evil.example/"} {
		raw, _, err := w.tokens.IssueAccess(t.Context(), p, audience, 1)
		if err != nil {
			t.Fatal(err)
		}
		if a := w.as(raw.Reveal(), "GET", sub+"/resourceGroups"+version, ""); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", audience, a.status, a.raw)
		}
	}
}

// gone is a look-up that a client did not wait for.
type gone struct{}

func (gone) Authenticate(context.Context, *http.Request) (identity.Principal, error) {
	return identity.Principal{}, fmt.Errorf("reading a principal: %w", context.Canceled)
}

func TestAClientThatGoesAwayIsNoFailure(t *testing.T) {
	w := newWorld(t)
	w.h.Bearer = gone{}
	w.do("GET", group, "")
	if strings.Contains(w.logs.String(), "request failed") {
		t.Error(w.logs.String())
	}
}
