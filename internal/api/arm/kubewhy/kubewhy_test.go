package kubewhy_test

import (
	"strings"
	"testing"

	"fairlead.dev/internal/api/arm/kubewhy"
	"fairlead.dev/internal/fault"
)

func TestDecode(t *testing.T) {
	const head = `{"namespace":"team","asked":{"kind":"Pod","name":"web"},"controller":{"kind":"Pod","name":"web"},`
	for _, c := range []struct{ body, target, message string }{
		{``, "", "no body"},
		{`{`, "", "not JSON"},
		{`{}`, "namespace", "name the namespace"},
		{`{"namespace":"team"}`, "asked", "by its kind and name"},
		{head + `"pods":[{}]}`, "pods[0].name", "name the pod"},
		{head + `"pods":[{"name":"web","containers":[{"name":"app"}]}]}`, "pods[0].containers[0]", "a name and an image"},
		{head + `"pods":[` + strings.Repeat(`{"name":"a"},`, 100) + `{"name":"a"}]}`, "pods", "the limit is 100"},
		{head + `"secrets":[{"name":"s","entries":[` + strings.Repeat(`{"server":"a"},`, 200) + `{"server":"a"}]}]}`, "secrets[0].entries", "the limit is 200"},
		{head + `"pods":7}`, "pods", "not a JSON number"},
	} {
		_, err := kubewhy.Decode([]byte(c.body))
		f := fault.From(err)
		if err == nil || f.Kind != fault.Invalid || f.Target != c.target || !strings.Contains(f.Message, c.message) {
			t.Errorf("%.80s: %v at %q, want %q at %q", c.body, err, f.Target, c.message, c.target)
		}
	}
	e, err := kubewhy.Decode([]byte(head + `"secrets":[{"name":"s","state":"found","entries":[{"server":"myacr.azurecr.io","username":"u","password":"p"}]}]}`))
	if err != nil || e.Secrets[0].Entries[0].Password.Reveal() != "p" {
		t.Errorf("%+v %v", e, err)
	}
}
