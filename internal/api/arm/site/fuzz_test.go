package site_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/api/arm/site"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
)

// FuzzUpdate: no body panics, every refusal is the client's, settings stay out of the public part, and a site that was
// written is read the same.
func FuzzUpdate(f *testing.F) {
	f.Add([]byte(`{"siteConfig":{"linuxFxVersion":"DOCKER|a/b:c","appSettings":[{"name":"K","value":"canary"}],"connectionStrings":[{"name":"c","connectionString":"canary","type":"MySql"}]}}`))
	f.Add([]byte(`{"httpsOnly":true,"siteConfig":{"LINUXFXVERSION":"docker|x","appCommandLine":"a 'b","defaultDocuments":[1,{}]},"configs":{"a":1}}`))
	id := resource.MustParseID("/subscriptions/S/resourceGroups/g/providers/Microsoft.Web/sites/hello")
	f.Fuzz(func(t *testing.T, body []byte) {
		root := schema.Obj("", []schema.Field{site.Properties()})
		if _, err := schema.Check(append(append([]byte(`{"properties":`), body...), '}'), root, false); err != nil {
			return
		}
		s, err := site.Read([]byte("{}"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Update(body); err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("%s: %v", body, err)
			}
			return
		}
		public, plain, err := s.Write()
		if err != nil {
			t.Fatal(err)
		}
		again, err := site.Read(public, plain)
		if err != nil {
			t.Fatal(err)
		}
		public2, plain2, err := again.Write()
		if err != nil || !bytes.Equal(public, public2) || !bytes.Equal(plain, plain2) {
			t.Fatalf("%s was written as %s and then as %s", body, public, public2)
		}
		for name := range s.Settings {
			if bytes.Contains(public, []byte(`"appSettings"`)) {
				t.Fatalf("the setting %s is in %s", name, public)
			}
		}
		if _, err := json.Marshal(s.Encode(site.View{})); err != nil {
			t.Fatal(err)
		}
		s.Group(id, "westus2", "host", nil)
	})
}
