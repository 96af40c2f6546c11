package credentialprovider_test

import (
	"encoding/json"
	"strings"
	"testing"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/credentialprovider"
)

func TestConfigurationNamesEveryFault(t *testing.T) {
	for text, says := range map[string][]string{
		"":                         {"registries: name at least one"},
		"registries: []\nfoo: 1":   {`unknown field "foo"`},
		"registries: [{host: ''}]": {"registries[0].host: it is missing"},
		"registries: [{host: a.b},{host: '*.*.b'}]":                              {`registries[1].host: "*.*.b" is no host`},
		"registries: [{host: 'https://a.b'}]":                                    {"registries[0].host"},
		"registries: [{host: 'a.b/c'}]":                                          {"registries[0].host"},
		"registries: [{host: '*'}]":                                              {"registries[0].host"},
		"registries: [{host: 'a.*'}]":                                            {"registries[0].host"},
		"registries: [{host: a.b, loginServer: '*.c'}]":                          {`registries[0].loginServer: there is a "*" here and none in host`},
		"{registries: [{host: a.b}], metadataEndpoint: 'ftp://x'}":               {"metadataEndpoint", "http"},
		"{registries: [{host: a.b}], metadataEndpoint: 'http://u:p@x'}":          {"metadataEndpoint"},
		"{registries: [{host: a.b}], authority: 'http://x'}":                     {"authority", "https://"},
		"{registries: [{host: a.b}], address: 'x'}":                              {"address", "host:port"},
		"{registries: [{host: a.b}], clientId: x, tenantId: y}":                  {"clientId", "tenantId", "is not a GUID"},
		"{registries: [{host: a.b}], timeout: 2m, cacheDuration: -1s}":           {"timeout", "50s", "cacheDuration"},
		"{registries: [{host: a.b}], timeout: 10}":                               {"duration", `"10s"`},
		"{registries: [{host: a.b}], timeout: ten}":                              {"duration", "ten"},
		"registries: [{host: a.b}]\nregistries: [{host: a.b}]":                   {"registries", "already set"},
		`{"registries": [{"host": "a.b", "loginserver ": "c.d"}], "caFile": "x"`: {"yaml"},
	} {
		_, err := credentialprovider.ParseConfig([]byte(text))
		if err == nil {
			t.Errorf("%q is accepted", text)
			continue
		}
		for _, s := range says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q: the error lacks %q: %v", text, s, err)
			}
		}
	}
}

func TestStateFile(t *testing.T) {
	for _, c := range [][3]string{
		{"Acme.azurecr.io", "", "acme.azurecr.io.json"},
		{"acme.azurecr.fairlead.internal:8443", "shop/web", "acme.azurecr.fairlead.internal_8443@shop.web.json"},
	} {
		if got := client.ProviderFailureFile(c[0], c[1]); got != c[2] {
			t.Errorf("%v: %s", c, got)
		}
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(request("acme.azurecr.io/app", "", ""))
	f.Add(request("acme.azurecr.io/app", podToken, "kubernetes.azure.com/acr-client-id", "x"))
	f.Add(`{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"a\u0000b"}`)
	f.Add(`{"serviceAccountToken":` + podToken)
	f.Fuzz(func(t *testing.T, text string) {
		req, err := credentialprovider.ReadRequest(strings.NewReader(text))
		if err != nil {
			if !json.Valid([]byte(text)) && strings.Contains(err.Error(), "eyJ") {
				t.Errorf("%q: the error shows a token: %v", text, err)
			}
			return
		}
		if req.Image == "" || strings.ContainsAny(req.Image, " \n\x00\x7f") || req.Kind == "" {
			t.Errorf("%q is read as %+v", text, req)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add("registries: [{host: '*.azurecr.io', loginServer: '*.b:1'}]\ntimeout: 1s")
	f.Add(`{"registries":[{"host":"a.b"}],"clientId":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := credentialprovider.ParseConfig([]byte(text))
		if err == nil && (len(c.Registries) == 0 || c.Timeout <= 0 || c.MetadataEndpoint == "") {
			t.Errorf("%q gives %+v", text, c)
		}
	})
}
