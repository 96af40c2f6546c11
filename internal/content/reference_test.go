package content_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
)

const sum = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseReference(t *testing.T) {
	for given, want := range map[string]content.Reference{
		"nginx":                                {Host: "docker.io", Repository: "library/nginx", Tag: "latest", Defaulted: []string{"library", "host", "tag"}},
		"team/app:v1":                          {Host: "docker.io", Repository: "team/app", Tag: "v1", Defaulted: []string{"host"}},
		"index.docker.io/nginx:1":              {Host: "docker.io", Repository: "library/nginx", Tag: "1", Defaulted: []string{"library"}},
		"myacr.azurecr.io/app":                 {Host: "myacr.azurecr.io", Repository: "app", Tag: "latest", Defaulted: []string{"tag"}},
		"MyAcr.AzureCR.io/team/app:V1":         {Host: "myacr.azurecr.io", Repository: "team/app", Tag: "V1"},
		"localhost/app:v1":                     {Host: "localhost", Repository: "app", Tag: "v1"},
		"localhost:5000/a/b/c@" + sum:          {Host: "localhost:5000", Repository: "a/b/c", Digest: sum},
		"[::1]:5000/app:v1@" + sum:             {Host: "[::1]:5000", Repository: "app", Tag: "v1", Digest: sum},
		"host:5000":                            {Host: "docker.io", Repository: "library/host", Tag: "5000", Defaulted: []string{"library", "host"}},
		"r.example/a__b/c--d/e.f/0:_x.y-z":     {Host: "r.example", Repository: "a__b/c--d/e.f/0", Tag: "_x.y-z"},
		"myacr.azurecr.fairlead.localhost:1/a": {Host: "myacr.azurecr.fairlead.localhost:1", Repository: "a", Tag: "latest", Defaulted: []string{"tag"}},
	} {
		got, err := content.ParseReference(given)
		if err != nil {
			t.Errorf("%q: %v", given, err)
			continue
		}
		want.Given = given
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", given, diff)
		}
	}
}

func TestParseReferenceRefusesAndCorrects(t *testing.T) {
	for given, want := range map[string]struct{ says, fixed string }{
		"":                                      {"it is empty", ""},
		"http://myacr.azurecr.io/app:v1":        {"scheme", "myacr.azurecr.io/app:v1"},
		"HTTPS://myacr.azurecr.io/App:v1":       {"scheme", "myacr.azurecr.io/app:v1"},
		"docker://r.example/app":                {"scheme", "r.example/app"},
		" r.example/app:v1\n":                   {"white space", "r.example/app:v1"},
		"r.example/my app:v1":                   {"white space", ""},
		"r.example/Team/App:V1":                 {"lower case", "r.example/team/app:V1"},
		"MyApp":                                 {"lower case", "myapp"},
		"r.example/app/":                        {"repository's name", "r.example/app"},
		"<acr-name>.azurecr.io/app:v1":          {`placeholder "<acr-name>"`, ""},
		"${ACR}.azurecr.io/app:v1":              {`placeholder "${ACR}"`, ""},
		"{{ .Values.image }}":                   {`placeholder "{{ .Values.image }}"`, ""},
		"r.example/app:$(Build.BuildId)":        {`placeholder "$(Build.BuildId)"`, ""},
		"r.example/app:":                        {"tag", ""},
		"r.example/app:-x":                      {"tag", ""},
		"r.example/app:" + long(129):            {"tag", ""},
		"r.example/" + long(256):                {"256 characters", ""},
		"r.example/app@sha256:abc":              {"not a digest", ""},
		"r.example/app@md5:abc":                 {"not a digest", ""},
		"r.example/":                            {"no repository", ""},
		"r.example:0/app":                       {"port", ""},
		"r.example:99999/app":                   {"port", ""},
		"-bad-.example/app":                     {"host name", ""},
		"r.example/../etc/passwd":               {"repository's name", ""},
		"r.example/a//b":                        {"repository's name", ""},
		"r.example/a.._b":                       {"repository's name", ""},
		"[::1%25eth0]:1/app":                    {"host name", ""},
		"r.example/app:v1\x00":                  {"tag", ""},
		"myacr.azurecr.io/app:v1:v2":            {"repository's name", ""},
		"r.example/app@" + sum + "@" + sum:      {"not a digest", ""},
		"r.example/app@" + strings.ToUpper(sum): {"not a digest", ""},
	} {
		_, err := content.ParseReference(given)
		f := fault.From(err)
		if !errors.Is(err, content.ErrReferenceInvalid) || !strings.Contains(f.Message, want.says) {
			t.Errorf("%q: %v, want REF_INVALID that says %q", given, err, want.says)
			continue
		}
		fixed, ok := content.CorrectReference(given)
		if ok != (want.fixed != "") || ok && fixed != want.fixed {
			t.Errorf("%q: corrected %q, %v, want %q", given, fixed, ok, want.fixed)
		}
		if ok && (!strings.Contains(f.Message, want.fixed) || !strings.Contains(f.Hint, want.fixed)) {
			t.Errorf("%q: neither message %q nor hint %q may leave out %q", given, f.Message, f.Hint, want.fixed)
		}
	}
}

func long(n int) string { return strings.Repeat("a", n) }

var (
	repositories = rapid.StringMatching(`[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}){0,3}`)
	tags         = rapid.StringMatching(`[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}`)
	hosts        = rapid.StringMatching(`[a-z0-9]{1,8}\.[a-z]{2,8}(:[1-9][0-9]{0,3})?`)
)

func TestReferenceParseAndPrintAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := content.Reference{Host: hosts.Draw(t, "host"), Repository: repositories.Draw(t, "repository")}
		if rapid.Bool().Draw(t, "tagged") {
			want.Tag = tags.Draw(t, "tag")
		}
		if want.Tag == "" || rapid.Bool().Draw(t, "pinned") {
			want.Digest = content.FromBytes(rapid.SliceOf(rapid.Byte()).Draw(t, "content"))
		}
		want.Given = want.String()
		got, err := content.ParseReference(want.Given)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"nginx", "r.example:5000/a/b:v1@" + sum, "HTTP://X/Y", "[::1]/a", "${A}/b", "a/b@sha512:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := content.ParseReference(s)
		if err != nil {
			if fixed, ok := content.CorrectReference(s); ok {
				if _, err := content.ParseReference(fixed); err != nil {
					t.Fatalf("%q is corrected to %q: %v", s, fixed, err)
				}
			}
			return
		}
		if !content.ValidRepository(r.Repository) || r.Tag != "" && !content.ValidTag(r.Tag) || r.Tag == "" && r.Digest == "" {
			t.Fatalf("%q gives the invalid %+v", s, r)
		}
		again, err := content.ParseReference(r.String())
		if err != nil || again.String() != r.String() || again.Defaulted != nil {
			t.Fatalf("%q prints as %q, which gives %+v, %v", s, r, again, err)
		}
	})
}

func FuzzParseDigest(f *testing.F) {
	f.Add(sum)
	f.Add("sha512:")
	f.Add("sha256:../../etc/passwd")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := content.ParseDigest(s)
		if err == nil && (d.String() != s || d.Algorithm()+":"+d.Hex() != s || strings.ContainsAny(d.Hex(), "/.\\")) {
			t.Fatalf("%q gives %q", s, d)
		}
	})
}
