package containergroup_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/api/arm/containergroup"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

const canary = "canary-secret-value"

// FuzzDecode: no body panics, every refusal is the client's, no secret gets into the public part, and what is shown
// can be put back and is the same group again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"containers":[{"name":"a","properties":{"image":"i","ports":[{"port":80}],"environmentVariables":[{"name":"A","secureValue":"canary-secret-value"}]}}],` +
		`"imageRegistryCredentials":[{"server":"s","username":"u","password":"canary-secret-value"}],"ipAddress":{"type":"Public","ports":[{"port":80}]}}`))
	f.Add([]byte(`{"containers":[{"name":"a","properties":{"image":"i","resources":{"requests":{"cpu":1e308},"limits":{"memoryInGb":2}}}}],"restartPolicy":"never"}`))
	id := resource.MustParseID("/subscriptions/S/resourceGroups/g/providers/Microsoft.ContainerInstance/containerGroups/c")
	f.Fuzz(func(t *testing.T, body []byte) {
		root := schema.Obj("", []schema.Field{containergroup.Properties()})
		whole := append(append([]byte(`{"properties":`), body...), '}')
		if _, err := schema.Check(whole, root, false); err != nil {
			return
		}
		in := containergroup.Input{Resource: resource.Resource{ID: id, Properties: body}, Version: "2023-05-01"}
		out, err := containergroup.Decode(in)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("%s: %v", body, err)
			}
			return
		}
		if bytes.Contains(out.Public, []byte("secureValue")) || bytes.Contains(out.Public, []byte(`"password"`)) {
			t.Fatalf("%s is shown as %s", body, out.Public)
		}
		shown, err := containergroup.Encode(out.Public, run.Status{}, func(label string) string { return label })
		if err != nil {
			t.Fatal(err)
		}
		in.Old = &out.Group
		if in.Resource.Properties, err = json.Marshal(shown); err != nil {
			t.Fatal(err)
		}
		again, err := containergroup.Decode(in)
		if err != nil {
			t.Fatalf("%s is shown as %s, which is refused: %v", body, in.Resource.Properties, err)
		}
		if diff := cmp.Diff(reveal(out.Group), reveal(again.Group)); diff != "" {
			t.Fatalf("%s (-first +again):\n%s", body, diff)
		}
	})
}

// reveal writes a group with its secrets, to be compared.
func reveal(g run.Group) string {
	var out bytes.Buffer
	for _, c := range g.Containers {
		for _, v := range c.Env {
			out.WriteString(v.Name + v.Value + v.Secure.Reveal() + "\n")
		}
	}
	for _, c := range g.Credentials {
		out.WriteString(c.Server + c.Username + c.Password.Reveal() + c.Identity.Key() + "\n")
	}
	rest, _ := json.Marshal(g) // secrets print as redacted
	return out.String() + string(rest)
}

func TestCanaryIsNotShown(t *testing.T) {
	id := resource.MustParseID("/subscriptions/S/resourceGroups/g/providers/Microsoft.ContainerInstance/containerGroups/c")
	out, err := containergroup.Decode(containergroup.Input{Version: "2023-05-01", Resource: resource.Resource{ID: id, Properties: []byte(
		`{"containers":[{"name":"a","properties":{"image":"i","environmentVariables":[{"name":"A","secureValue":"` + canary + `","value":""}]}}],` +
			`"imageRegistryCredentials":[{"server":"s","username":"u","Password":"` + canary + `"}]}`)}})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out.Public, []byte(canary)) {
		t.Errorf("%s", out.Public)
	}
	if v := out.Group.Containers[0].Env[0]; !v.IsSecure || v.Secure.Reveal() != canary || out.Group.Credentials[0].Password.Reveal() != canary {
		t.Errorf("%+v", out.Group)
	}
}

func TestLimits(t *testing.T) {
	id := resource.MustParseID("/subscriptions/S/resourceGroups/g/providers/Microsoft.ContainerInstance/containerGroups/c")
	for resources, want := range map[string][2]float64{
		`{}`:                        {1, 1.5},
		`{"requests":{"cpu":0.25}}`: {0.25, 1.5},
		`{"requests":{"cpu":1,"memoryInGB":2},"limits":{"cpu":4}}`: {4, 2},
		`{"requests":{"cpu":64,"memoryInGB":512}}`:                 {64, 512}, // requests are limits: the machine need not have them
	} {
		out, err := containergroup.Decode(containergroup.Input{Version: "2023-05-01", Resource: resource.Resource{ID: id, Properties: []byte(
			`{"containers":[{"name":"a","properties":{"image":"i","resources":` + resources + `}}]}`)}})
		if err != nil {
			t.Errorf("%s: %v", resources, err)
			continue
		}
		if c := out.Group.Containers[0]; c.CPU != want[0] || c.MemoryGB != want[1] {
			t.Errorf("%s: %g cores, %g GB", resources, c.CPU, c.MemoryGB)
		}
	}
}
