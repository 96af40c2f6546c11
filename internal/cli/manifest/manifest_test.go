package manifest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/manifest"
)

func TestParseApp(t *testing.T) {
	const head = "App Service Configuration:\n"
	for name, c := range map[string]struct {
		text string
		want manifest.App // zero when it is to be refused
	}{
		"as documented": {
			"// comment\n// another\n" + head + "    Image: 'myacr.azurecr.io/app:v1'\n    Registry Type: Azure Container Registry\n    Registry URL: 'myacr.azurecr.io'\n    Authentication Type: Managed Identity\n    Managed Identity Client ID: 'abc'\n",
			manifest.App{Image: "myacr.azurecr.io/app:v1", RegistryURL: "myacr.azurecr.io", AuthenticationType: "Managed Identity", ClientID: "abc"},
		},
		"bare, other case, Windows lines": {
			"APP SERVICE CONFIGURATION:\r\nimage: myacr.azurecr.io/app:v1\r\nauthentication type: managed identity\r\n",
			manifest.App{Image: "myacr.azurecr.io/app:v1", AuthenticationType: "managed identity"},
		},
		"URL with a scheme": {
			head + "Image: a.azurecr.io/b\nRegistry URL: https://a.azurecr.io/\n",
			manifest.App{Image: "a.azurecr.io/b", RegistryURL: "https://a.azurecr.io/"},
		},
		"no image":        {head + "Registry URL: a\n", manifest.App{}},
		"unknown field":   {head + "Image: a/b\nImages: x\n", manifest.App{}},
		"twice":           {head + "Image: a/b\nImage: a/c\n", manifest.App{}},
		"no colon":        {head + "Image\n", manifest.App{}},
		"other registry":  {head + "Image: a.azurecr.io/b\nRegistry URL: c.azurecr.io\n", manifest.App{}},
		"other type":      {head + "Image: a/b\nRegistry Type: Docker Hub\n", manifest.App{}},
		"admin user":      {head + "Image: a/b\nAuthentication Type: Admin Credentials\n", manifest.App{}},
		"only a heading":  {head, manifest.App{}},
		"comment in URLs": {head + "Image: a/b // no\nRegistry URL: x\n", manifest.App{}},
	} {
		t.Run(name, func(t *testing.T) {
			documents, err := manifest.Parse([]byte(c.text))
			if c.want.Image == "" {
				if exit.CodeOf(err) != exit.Usage {
					t.Errorf("got %v, %v; want a refusal", documents, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := documents[0].App
			if got.Image != c.want.Image || got.RegistryURL != c.want.RegistryURL || got.AuthenticationType != c.want.AuthenticationType || got.ClientID != c.want.ClientID {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestParseResources(t *testing.T) {
	documents, err := manifest.Parse([]byte("# a comment\napiVersion: '2019-12-01'\ntype: A.B/c\nname: web\nlocation: here\nproperties: {count: 12345678901234567890, list: ['<TOKEN>', x]}\n--- \n\n---\ntype: A.B/d\nid: /x\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(documents) != 2 {
		t.Fatalf("got %d documents", len(documents))
	}
	r := documents[0].Resource
	if r.APIVersion != "2019-12-01" || r.Type != "A.B/c" || r.Name != "web" || documents[1].Resource.ID != "/x" {
		t.Errorf("got %+v and %+v", r, documents[1].Resource)
	}
	if diff := cmp.Diff([]string{"properties.list[0]: <TOKEN>"}, documents[0].Unfilled()); diff != "" {
		t.Errorf("unfilled (-want +got):\n%s", diff)
	}
	documents[0].Fill(map[string]string{"TOKEN": `a"<TOKEN>`, "OTHER": "x"})
	body, err := json.Marshal(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"location":"here","properties":{"count":12345678901234567890,"list":["a\"\u003cTOKEN\u003e","x"]}}`; string(body) != want {
		t.Errorf("body %s, want %s", body, want)
	}
	if left := documents[0].Unfilled(); len(left) != 0 {
		t.Errorf("still unfilled: %v", left)
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := manifest.Parse([]byte(strings.Repeat("#", 1<<20+1))); exit.CodeOf(err) != exit.Usage {
		t.Errorf("got %v", err)
	}
}

// FuzzParse: whatever the text, a document that comes out has a type and a name that cannot leave its place in a path.
func FuzzParse(f *testing.F) {
	f.Add([]byte("type: A.B/c\nname: n\nproperties: {a: '<B>'}\n---\n{}"))
	f.Add([]byte("App Service Configuration:\nImage: a/b\nRegistry URL: a"))
	f.Add([]byte("{\"type\": \"A/b\", \"$schema\": 1}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		documents, err := manifest.Parse(text)
		if err != nil {
			if exit.CodeOf(err) != exit.Usage {
				t.Fatalf("a wrong file is wrong usage, not %v", err)
			}
			return
		}
		for _, d := range documents {
			if (d.App == nil) == (d.Resource == nil) {
				t.Fatal("a document is one of two things")
			}
			if d.Resource != nil && (strings.Count(d.Resource.Type, "/") != 1 || strings.ContainsAny(d.Resource.Name, "/?#%")) {
				t.Fatalf("type %q, name %q", d.Resource.Type, d.Resource.Name)
			}
			left := len(d.Unfilled())
			d.Fill(map[string]string{"NO_SUCH": ""})
			if len(d.Unfilled()) != left {
				t.Fatal("filling nothing changed something")
			}
		}
	})
}
