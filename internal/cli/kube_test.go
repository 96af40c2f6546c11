package cli_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKubeToken has the command answer as kubectl's client asks it.
func TestKubeToken(t *testing.T) {
	f := newFake(t)
	as := func(info string, args ...string) result {
		return runCLI(t.Context(), map[string]string{
			"FAIRLEAD_READY_FILE": f.ready, "FAIRLEAD_CONFIG_DIR": filepath.Join(f.dir, "config"), "KUBERNETES_EXEC_INFO": info,
		}, "", append([]string{"kube", "token"}, args...)...)
	}
	const v1, beta = `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}`, `{"apiVersion":"client.authentication.k8s.io/v1beta1"}`
	for _, c := range []struct{ info, version, server string }{
		{"", "client.authentication.k8s.io/v1", "6dae42f8-4368-4678-94ff-3960e28e3630"},
		{v1, "client.authentication.k8s.io/v1", "6dae42f8-4368-4678-94ff-3960e28e3630"},
		{beta, "client.authentication.k8s.io/v1beta1", "99999999-4368-4678-94ff-3960e28e3630"},
	} {
		r := as(c.info, "--server-id", c.server)
		var got struct {
			APIVersion, Kind string
			Spec             map[string]any
			Status           struct{ ExpirationTimestamp, Token string }
		}
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 {
			t.Fatalf("%+v: %v", r, err)
		}
		expires, err := time.Parse(time.RFC3339, got.Status.ExpirationTimestamp)
		if got.APIVersion != c.version || got.Kind != "ExecCredential" || got.Spec == nil || got.Status.Token != "token for "+c.server+"/.default" ||
			err != nil || time.Until(expires) < 58*time.Minute || time.Until(expires) > time.Hour {
			t.Errorf("%q: %s", c.info, r.out)
		}
	}
	for name, r := range map[string]result{
		"apiVersion":            as(`{"apiVersion":"client.authentication.k8s.io/v1alpha1"}`),
		"not the JSON":          as("{"),
		"no client id":          as("", "--server-id", "https://x"),
		"one argument too many": as("", "x"),
	} {
		if r.code != 2 || !strings.Contains(r.err, name) || r.out != "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := as(v1, "--tenant-id", strings.ToUpper(tenant)); r.code != 0 {
		t.Errorf("its own tenant: %+v", r)
	}
	const elsewhere = "99999999-1111-1111-1111-111111111111"
	if r := as(v1, "--tenant-id", elsewhere); r.code != 4 || r.out != "" || !strings.Contains(r.err, elsewhere) || !strings.Contains(r.err, tenant) || !strings.Contains(r.err, "FAIRLEAD_READY_FILE") {
		t.Errorf("another's cluster: %+v", r)
	}
	f.override["POST /"+tenant+"/oauth2/v2.0/token"] = func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 401, object{"error": "invalid_client", "error_description": "AADSTS7000222: The provided client secret keys are expired."})
	}
	if r := as(v1); r.code != 4 || r.out != "" || !strings.Contains(r.err, "AADSTS7000222") || !strings.Contains(r.err, "fairlead login") {
		t.Errorf("refused: %+v", r)
	}
}

func TestKubeConnectNeedsAllOfAPullSecret(t *testing.T) {
	f := newFake(t)
	for _, args := range [][]string{{"-n", "shop"}, {"--registry", "myacr"}, {"--identity", "puller", "-n", "shop"}} {
		r := runCLI(t.Context(), map[string]string{"FAIRLEAD_READY_FILE": f.ready, "FAIRLEAD_CONFIG_DIR": filepath.Join(f.dir, "config")}, "",
			append([]string{"kube", "connect", "edge"}, args...)...)
		if r.code != 2 || !strings.Contains(r.err, "--namespace, --registry and --identity go together") {
			t.Errorf("%v: %+v", args, r)
		}
	}
}
