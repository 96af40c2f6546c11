package token_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/token"
)

func TestParseScopes(t *testing.T) {
	type scopes = []token.ScopedAccess
	for text, want := range map[string]scopes{
		"":                            nil,
		"  ":                          nil,
		"repository:a/b:pull":         {{Type: "repository", Name: "a/b", Actions: []string{"pull"}}},
		"repository:a:pull,push":      {{Type: "repository", Name: "a", Actions: []string{"pull", "push"}}},
		"repository:host:5000/a:pull": {{Type: "repository", Name: "host:5000/a", Actions: []string{"pull"}}},
		"repository(plugin):a:pull":   {{Type: "repository", Name: "a", Actions: []string{"pull"}}},
		"registry:catalog:*":          {{Type: "registry", Name: "catalog", Actions: []string{"*"}}},
		"registry:None:*":             {{Type: "registry", Name: "None", Actions: []string{"*"}}},
		"repository:a:":               {{Type: "repository", Name: "a"}},
		"repository:a:pull repository:b:pull  repository:a:push,pull": {
			{Type: "repository", Name: "a", Actions: []string{"pull", "push"}}, {Type: "repository", Name: "b", Actions: []string{"pull"}},
		},
	} {
		got, err := token.ParseScopes(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: -want +got:\n%s", text, diff)
		}
	}
}

func TestParseScopesOfManyActions(t *testing.T) {
	actions := make([]string, 8000)
	for i := range actions {
		actions[i] = strconv.Itoa(i)
	}
	got, err := token.ParseScopes("repository:a:" + strings.Join(actions, ",") + " repository:a:7,7,9")
	if err != nil || len(got) != 1 || !slices.Equal(got[0].Actions, actions) {
		t.Errorf("%d scopes, %v", len(got), err)
	}
}

func TestParseScopesRefuses(t *testing.T) {
	many := ""
	for i := range 201 {
		many += "repository:" + strings.Repeat("a", i+1) + ":pull "
	}
	for _, text := range []string{"x", "repository", "repository:a", ":a:pull", "repository::pull", "::", many, strings.Repeat("a", 1<<17)} {
		if got, err := token.ParseScopes(text); err == nil {
			t.Errorf("%.40q is read as %v", text, got)
		} else {
			wantErr(t, text, err, token.ErrScope)
		}
	}
}

func FuzzParseScopes(f *testing.F) {
	f.Add("repository:a/b:pull,push registry:catalog:*")
	f.Add("repository(plugin):host:5000/a:*,,pull")
	f.Fuzz(func(t *testing.T, text string) {
		scopes, err := token.ParseScopes(text)
		if err != nil {
			return
		}
		var printed []string
		for _, s := range scopes {
			if s.Type == "" || s.Name == "" || slices.Contains(s.Actions, "") {
				t.Errorf("%q gives %+v", text, s)
			}
			printed = append(printed, s.String())
		}
		again, err := token.ParseScopes(strings.Join(printed, " "))
		if err != nil || cmp.Diff(scopes, again) != "" {
			t.Errorf("%q: printed and read again: %v, %v, want %v", text, again, err, scopes)
		}
	})
}
