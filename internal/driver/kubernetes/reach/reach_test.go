package reach_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/internal/driver/kubernetes/reach"
)

const good = `apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}, {name: d, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "https://k.example:6443"}}]
users: [{name: u, user: {token: t}}]
`

func TestParse(t *testing.T) {
	for _, context := range []string{"", "d"} {
		config, err := reach.Parse([]byte(good), context)
		if err != nil || config.Host != "https://k.example:6443" || config.BearerToken != "t" {
			t.Errorf("%q: %+v, %v", context, config, err)
		}
	}
	if _, err := reach.Parse([]byte(good), "x"); !errors.Is(err, reach.ErrKubeconfig) || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("no such context: %v", err)
	}
}

// TestAStrangersKubeconfigNamesNothingHere tells the attack: whoever may connect a cluster would have Fairlead run a program,
// or send a file of its machine away as a credential.
func TestAStrangersKubeconfigNamesNothingHere(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for field, user := range map[string]string{
		"users[u].user.exec":               `{exec: {apiVersion: client.authentication.k8s.io/v1, command: touch, args: [/tmp/owned], interactiveMode: Never}}`,
		"users[u].user.auth-provider":      `{auth-provider: {name: gcp}}`,
		"users[u].user.tokenFile":          `{tokenFile: ` + secret + `}`,
		"users[u].user.client-certificate": `{client-certificate: ` + secret + `}`,
		"users[u].user.client-key":         `{client-key: ` + secret + `}`,
	} {
		_, err := reach.Parse([]byte(strings.Replace(good, "{token: t}", user, 1)), "")
		if !errors.Is(err, reach.ErrKubeconfig) || !strings.Contains(err.Error(), field) || !strings.Contains(err.Error(), "--flatten") {
			t.Errorf("%s: %v", field, err)
		}
	}
	for field, cluster := range map[string]string{
		"clusters[k].cluster.certificate-authority": `{server: "https://k", certificate-authority: ` + secret + `}`,
		"clusters[k].cluster.proxy-url":             `{server: "https://k", proxy-url: "http://127.0.0.1:1"}`,
		"clusters[k].cluster.server":                `{server: "http://k"}`,
	} {
		_, err := reach.Parse([]byte(strings.Replace(good, `{server: "https://k.example:6443"}`, cluster, 1)), "")
		if !errors.Is(err, reach.ErrKubeconfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestLoadResolvesWhatItsOperatorNames(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(file, []byte(strings.Replace(good, "{token: t}", "{tokenFile: token}", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := reach.Load(file, "")
	if err != nil || config.BearerTokenFile != filepath.Join(dir, "token") {
		t.Errorf("%+v, %v", config, err)
	}
}
