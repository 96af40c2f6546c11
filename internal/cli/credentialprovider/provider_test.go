package credentialprovider_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/internal/api/apitest"
	"fairlead.dev/internal/pull"
)

const (
	local = "acme.azurecr.fairlead.internal:8443"
	azure = "Acme.azurecr.io"
)

func TestNodeIdentity(t *testing.T) {
	w := newWorld(t)
	id := w.puller("kubelet")
	w.node = []pull.Identity{id}
	given := request(local+"/team/web", "")
	w.golden("request-node.json", given)
	if code := w.run(given); code != 0 || w.err.Len() > 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	w.wantLogin(local, id)
	w.golden("response-node.json", w.out.String())
}

// TestAzureName: an image of Azure's is answered for under its own name, with a login of the local registry.
func TestAzureName(t *testing.T) {
	w := newWorld(t)
	id := w.puller("kubelet")
	w.node = []pull.Identity{w.identity("other"), id}
	w.configure("clientId: " + id.ClientID)
	if code := w.run(request(azure+"/app", "")); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	w.wantLogin(azure, id)
	w.golden("response-azure.json", w.out.String())
	if len(w.hosts) != 1 || w.hosts[0] != local {
		t.Errorf("asked %v, want the local registry alone", w.hosts)
	}
}

// TestImagesOfOthers: nothing is asked for them, and no token goes anywhere.
func TestImagesOfOthers(t *testing.T) {
	w := newWorld(t)
	w.configure("metadataEndpoint: http://127.0.0.1:1")
	for _, image := range []string{
		"nginx", "library/nginx", "docker.io/library/nginx", "acme.azurecr.fairlead.internal/app", "acme.azurecr.fairlead.internal:9443/app",
		"acme.azurecr.io.evil.example/app", "evil.example/acme.azurecr.io/app", "a.b.azurecr.io/app", "azurecr.io/app", ".azurecr.io/app", "user@acme.azurecr.io/app",
	} {
		if code := w.run(request(image, "")); code != 0 {
			t.Errorf("%s: exit code %d: %s", image, code, w.err.String())
		}
		w.golden("response-none.json", w.out.String())
	}
	if len(w.hosts) > 0 {
		t.Errorf("asked %v", w.hosts)
	}
}

// podToken is the token of a service account, with claims as the API server writes them and no signature: nobody here
// verifies it.
const podToken = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsiYXBpOi8vQXp1cmVBRFRva2VuRXhjaGFuZ2UiXSwiaXNzIjoiaHR0cHM6Ly9jbHVzdGVyLmV4YW1wbGUiLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6c2hvcDp3ZWIifQ.c2lnbmF0dXJl"

// federate has the authority take podToken for an identity, as a federated credential does.
func (w *world) federate(id pull.Identity) {
	w.federation = func(rw http.ResponseWriter, r *http.Request) {
		want := map[string]string{
			"grant_type": "client_credentials", "client_id": id.ClientID, "client_assertion": podToken, "scope": "https://containerregistry.azure.net/.default",
			"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		}
		for field, value := range want {
			if r.PostFormValue(field) != value {
				http.Error(rw, fmt.Sprintf(`{"error":"invalid_client","error_description":"AADSTS700213: No matching federated identity record found for presented assertion %s, %s"}`, r.PostFormValue("client_assertion"), field), http.StatusUnauthorized)
				return
			}
		}
		if r.Method+" "+r.Host+r.URL.Path != "POST login.fairlead.internal:8443/"+apitest.Tenant+"/oauth2/v2.0/token" {
			http.Error(rw, "not here", http.StatusNotFound)
			return
		}
		p, err := w.Directory.Principal(r.Context(), id.PrincipalID)
		apitest.Must(w.T, err)
		raw, _, err := w.Tokens.IssueAccess(r.Context(), p, "https://containerregistry.azure.net", 2)
		apitest.Must(w.T, err)
		_, _ = fmt.Fprintf(rw, `{"token_type":"Bearer","expires_in":3599,"access_token":%q}`, raw.Reveal())
	}
}

func TestServiceAccount(t *testing.T) {
	w := newWorld(t)
	id := w.puller("web")
	w.federate(id)
	w.configure("metadataEndpoint: http://127.0.0.1:1") // which is not asked
	given := request(local+"/app", podToken, "kubernetes.azure.com/acr-client-id", id.ClientID, "kubernetes.azure.com/acr-tenant-id", apitest.Tenant)
	w.golden("request-serviceaccount.json", given)
	if code := w.run(given); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	w.wantLogin(local, id)
	w.golden("response-serviceaccount.json", w.out.String())

	w.configure("tenantId: "+apitest.Tenant, "metadataEndpoint: http://127.0.0.1:1")
	if code := w.run(request(local+"/app", podToken, "azure.workload.identity/client-id", id.ClientID)); code != 0 {
		t.Fatalf("by workload identity's annotation: exit code %d: %s", code, w.err.String())
	}
	w.wantLogin(local, id)
}

// TestServiceAccountWithoutAnIdentity pulls as the node.
func TestServiceAccountWithoutAnIdentity(t *testing.T) {
	w := newWorld(t)
	id := w.puller("kubelet")
	w.node = []pull.Identity{id}
	if code := w.run(request(local+"/app", podToken)); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	w.wantLogin(local, id)
}

// TestFailures: each says on stderr and in its file which step failed where, whose identity it was, and what to do; and
// goes away when the same is asked again and works.
func TestFailures(t *testing.T) {
	const ours = "acme.azurecr.fairlead.internal_8443.json"
	for name, c := range map[string]struct {
		image   string // local unless given
		file    string
		prepare func(w *world, id pull.Identity)
	}{
		"no-role": {prepare: func(w *world, _ pull.Identity) { w.node = []pull.Identity{w.identity("stranger")} }},
		"identity-gone": {prepare: func(w *world, id pull.Identity) {
			apitest.Must(w.T, w.Directory.DeleteManaged(w.T.Context(), id.Resource))
		}},
		"several-identities": {prepare: func(w *world, _ pull.Identity) { w.node = append(w.node, w.identity("second")) }},
		"registry-unknown":   {image: "nosuch.azurecr.io/app", file: "nosuch.azurecr.io.json"},
		"untrusted":          {prepare: func(w *world, _ pull.Identity) { w.configure("caFile:") }},
		"no-metadata":        {prepare: func(w *world, _ pull.Identity) { w.configure("metadataEndpoint: http://127.0.0.1:1") }},
		"no-registry":        {prepare: func(w *world, _ pull.Identity) { w.configure("address: 127.0.0.1:1") }},
		"other-metadata":     {prepare: func(w *world, _ pull.Identity) { w.wrappedNode = http.NotFoundHandler() }},
		"hangs": {prepare: func(w *world, _ pull.Identity) {
			w.configure("timeout: 200ms")
			w.wrapped = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // the server sees that the client has gone only when there is nothing more to read
				<-r.Context().Done()
			})
		}},
		"redirects": {prepare: func(w *world, _ pull.Identity) {
			w.wrapped = http.RedirectHandler("https://evil.azurecr.fairlead.internal:8443/", http.StatusTemporaryRedirect)
		}},
		"no-json": {prepare: func(w *world, _ pull.Identity) {
			w.wrapped = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "<html>") })
		}},
		"no-token": {prepare: func(w *world, _ pull.Identity) {
			w.wrapped = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "{}") })
		}},
		"broken": {prepare: func(w *world, _ pull.Identity) {
			w.wrapped = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				http.Error(rw, "\x1b[31mI got "+r.PostFormValue("access_token")+"\nand "+strings.Repeat("failed ", 100), http.StatusInternalServerError)
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.puller("kubelet")
			w.node = []pull.Identity{id}
			if c.prepare != nil {
				c.prepare(w, id)
			}
			image, file := local+"/team/web", ours
			if c.image != "" {
				image, file = c.image, c.file
			}
			if code := w.run(request(image, "")); code != 1 || w.out.Len() > 0 {
				t.Errorf("exit code %d, stdout %q", code, w.out.String())
			}
			w.golden("failure-"+name+".txt", w.err.String()+"\n"+w.state(file))
			w.wantNoToken(file)
		})
	}
}

// wantNoToken looks for tokens where there must be none.
func (w *world) wantNoToken(file string) {
	w.T.Helper()
	for where, text := range map[string]string{"stderr": w.err.String(), "the state file": w.state(file)} {
		if strings.Contains(text, "eyJ") {
			w.T.Errorf("there is a token in %s: %s", where, text)
		}
	}
}

func TestFailuresOfServiceAccounts(t *testing.T) {
	const file = "acme.azurecr.fairlead.internal_8443@shop.web.json"
	for name, c := range map[string]struct {
		token   string
		config  []string
		pairs   []string // of annotations, before those of a good request
		prepare func(w *world, id pull.Identity)
	}{
		"not-federated": {prepare: func(w *world, _ pull.Identity) { w.federate(pull.Identity{}) }},
		"no-role":       {prepare: func(w *world, _ pull.Identity) { w.wrapped = http.HandlerFunc(refuse) }},
		"no-authority":  {config: []string{"authority:"}},
		"client-id":     {pairs: []string{"kubernetes.azure.com/acr-client-id", "web"}},
		"tenant":        {pairs: []string{"kubernetes.azure.com/acr-tenant-id", "../../evil"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.puller("web")
			w.federate(id)
			w.configure(c.config...)
			if c.prepare != nil {
				c.prepare(w, id)
			}
			pairs := append([]string{"kubernetes.azure.com/acr-client-id", id.ClientID, "kubernetes.azure.com/acr-tenant-id", apitest.Tenant}, c.pairs...)
			if code := w.run(request(local+"/app", podToken, pairs...)); code != 1 || w.out.Len() > 0 {
				t.Errorf("exit code %d, stdout %q", code, w.out.String())
			}
			w.golden("failure-serviceaccount-"+name+".txt", w.err.String()+"\n"+w.state(file))
			w.wantNoToken(file)
		})
	}
}

func refuse(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }

// TestLastErrorGoes when the same works, and only then.
func TestLastErrorGoes(t *testing.T) {
	const file = "acme.azurecr.fairlead.internal_8443.json"
	w := newWorld(t)
	stranger := w.identity("stranger")
	w.node = []pull.Identity{stranger}
	w.run(request(local+"/app", ""))
	if w.state(file) == "" {
		t.Fatal("nothing is left of the error")
	}
	pod := w.puller("web")
	w.federate(pod)
	if code := w.run(request(local+"/app", podToken, "azure.workload.identity/client-id", pod.ClientID, "azure.workload.identity/tenant-id", apitest.Tenant)); code != 0 {
		t.Fatal(w.err.String())
	}
	if w.state(file) == "" {
		t.Error("a pod's success takes away the node's error")
	}
	p, err := w.Directory.Principal(t.Context(), stranger.PrincipalID)
	apitest.Must(t, err)
	w.Assign(p, apitest.AcrPull, acme)
	if code := w.run(request(local+"/other", "")); code != 0 {
		t.Fatal(w.err.String())
	}
	left, err := os.ReadDir(filepath.Join(w.dir, "state"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// TestStateThatCannotBeWritten does not keep the answer from being given, nor the error from being told.
func TestStateThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	apitest.Must(t, os.WriteFile(filepath.Join(w.dir, "state"), nil, 0o600)) // where a directory is wanted
	id := w.puller("kubelet")
	w.node = []pull.Identity{id}
	if code := w.run(request(local+"/app", "")); code != 0 || !strings.Contains(w.err.String(), "could not be noted") {
		t.Errorf("exit code %d: %s", code, w.err.String())
	}
	w.wantLogin(local, id)
	w.node = nil
	if code := w.run(request(local+"/app", "")); code != 1 || !strings.Contains(w.err.String(), "could not be noted") || !strings.Contains(w.err.String(), "Identity not found") {
		t.Errorf("exit code %d: %s", code, w.err.String())
	}
}

// TestCacheFollowsTheToken: a login that ends soon is not kept for long.
func TestCacheFollowsTheToken(t *testing.T) {
	w := newWorld(t)
	w.node = []pull.Identity{w.puller("kubelet")}
	w.configure("cacheDuration: 30s")
	w.run(request(local+"/app", ""))
	if !strings.Contains(w.out.String(), `"cacheDuration":"30s"`) {
		t.Errorf("asked for 30 s: %s", w.out.String())
	}
	w.wrapped = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(rw, `{"refresh_token":"e30.eyJleHAiOjF9.x"}`) // expired in 1970
	})
	w.run(request(local+"/app", ""))
	if !strings.Contains(w.out.String(), `"cacheDuration":"0s"`) {
		t.Errorf("of an expired login: %s", w.out.String())
	}
}

func TestUsage(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		request string
		config  string
		code    int
		says    string
	}{
		"empty":         {"", "", 1, "stdin is empty"},
		"no JSON":       {"{" + podToken, "", 1, "not a CredentialProviderRequest in JSON"},
		"a list":        {"[]", "", 1, "not a CredentialProviderRequest in JSON"},
		"wrong type":    {`{"serviceAccountToken":7}`, "", 1, `field "serviceAccountToken" must not be a JSON number`},
		"kind":          {`{"kind":"Pod"}`, "", 1, `kind is "Pod"`},
		"version":       {`{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1"}`, "", 1, "CredentialProviderConfig must be that"},
		"no image":      {request("", ""), "", 1, "image is missing"},
		"bad image":     {request("a b", ""), "", 1, `image is no image reference: "a b"`},
		"no file":       {request("a/b", ""), "/nonexistent.yaml", 2, "/nonexistent.yaml"},
		"unknown field": {request("a/b", ""), "registries: [{host: a.b, login: c.d}]", 2, `unknown field "login"`},
		"no authority":  {request("a/b", ""), "{registries: [{host: a.b}], caFile: /nonexistent.pem}", 2, "/nonexistent.pem"},
		"empty CA":      {request("a/b", ""), "{registries: [{host: a.b}], caFile: empty.pem}", 2, "no certificate in PEM"},
	} {
		w.configure()
		apitest.Must(t, os.WriteFile(filepath.Join(w.dir, "empty.pem"), nil, 0o600))
		if strings.HasPrefix(c.config, "/") {
			apitest.Must(t, os.Remove(w.config()))
		} else if c.config != "" {
			apitest.Must(t, os.WriteFile(w.config(), []byte(c.config), 0o600))
		}
		code := w.run(c.request)
		if c.config == "/nonexistent.yaml" {
			c.says = w.config()
		}
		if code != c.code || !strings.Contains(w.err.String(), c.says) || w.out.Len() > 0 || strings.Contains(w.err.String(), "eyJ") {
			t.Errorf("%s: exit code %d\n%s", name, code, w.err.String())
		}
	}
}
