package client_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/client"
)

// newServer serves handler under the host names of Fairlead on the loopback address, with tokens for who knows "secret".
func newServer(t *testing.T, handler http.HandlerFunc) (*client.Client, *[]string) {
	t.Helper()
	var requests []string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+r.URL.RequestURI())
		if !strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") {
			handler(w, r)
			return
		}
		if r.FormValue("client_secret") != "secret" {
			w.WriteHeader(401)
			fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`)
			return
		}
		fmt.Fprintf(w, `{"access_token":"token %d","expires_in":3599}`, len(requests))
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(serverOf(srv), client.Credential{ClientID: "id", ClientSecret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, &requests
}

// serverOf uses example.com, for which httptest's certificate is.
func serverOf(srv *httptest.Server) client.Server {
	u, _ := url.Parse(srv.URL)
	base := "https://example.com:" + u.Port()
	return client.Server{
		Domain: "example.com", ARM: base + "/", Login: base, Graph: base, RegistrySuffix: ".azurecr.example.com", Tenant: "T", Subscription: "S",
		CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})), Address: u.Host,
	}
}

func TestTokensAreCachedAndRenewed(t *testing.T) {
	var seen []string
	c, requests := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		if len(seen) == 3 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{}`)
	})
	for range 3 {
		if err := c.Get(t.Context(), "/x", nil); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"Bearer token 1", "Bearer token 1", "Bearer token 1", "Bearer token 5"}; !slices.Equal(seen, want) {
		t.Errorf("sent %q, want %q (%q)", seen, want, *requests)
	}
}

func TestRefusalsOfEveryProtocol(t *testing.T) {
	for body, want := range map[string]client.Error{
		`{"error":{"code":"X","message":"m","target":"t","details":[{"code":"D","message":"d"}]}}`: {Code: "X", Message: "m", Target: "t"},
		`{"error":"invalid_client","error_description":"AADSTS1: m"}`:                              {Code: "invalid_client", Message: "AADSTS1: m"},
		`{"errors":[{"code":"NAME_UNKNOWN","message":"m"}]}`:                                       {Code: "NAME_UNKNOWN", Message: "m"},
		`<html>`: {},
		``:       {},
	} {
		c, _ := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x-ms-request-id", "r")
			w.WriteHeader(404)
			fmt.Fprint(w, body)
		})
		var got *client.Error
		if err := c.Get(t.Context(), "/x", nil); !errors.As(err, &got) {
			t.Fatalf("%s: %v", body, err)
		}
		if got.Code != want.Code || got.Message != want.Message || got.Target != want.Target || got.Status != 404 || got.RequestID != "r" || got.Error() == "" {
			t.Errorf("%s: got %+v", body, got)
		}
	}
}

func TestWhatIsRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		status int
		want   int // exchanges
	}{
		"GET 500": {"GET", 500, 2}, "PUT 502": {"PUT", 502, 2}, "POST 500": {"POST", 500, 1}, "POST 503": {"POST", 503, 2}, "POST 429": {"POST", 429, 2},
		"GET 404": {"GET", 404, 1}, "PUT 409": {"PUT", 409, 1},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			cl, _ := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				if asked++; asked == 1 {
					w.Header().Set("Retry-After", "0")
					w.WriteHeader(c.status)
				}
			})
			switch c.method {
			case "GET":
				_ = cl.Get(t.Context(), "/x", nil)
			case "PUT":
				_ = cl.Put(t.Context(), "/x", struct{}{}, nil)
			case "POST":
				_ = cl.Post(t.Context(), "/x", nil, nil)
			}
			if asked != c.want {
				t.Errorf("%d exchanges, want %d", asked, c.want)
			}
		})
	}
}

func TestRepeatingIsBounded(t *testing.T) {
	asked := 0
	c, _ := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(503)
	})
	if err := c.Get(t.Context(), "/x", nil); err == nil || asked != 5 {
		t.Errorf("%d exchanges, %v", asked, err)
	}
}

func TestOperations(t *testing.T) {
	for name, c := range map[string]struct {
		status, want string
	}{
		"succeeds": {`{"status":"Succeeded"}`, ""},
		"fails":    {`{"status":"Failed","error":{"code":"InaccessibleImage","message":"no"}}`, "InaccessibleImage"},
		"silently": {`{"status":"Failed"}`, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			polls := 0
			cl, _ := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "0")
				switch {
				case r.Method == http.MethodPut:
					w.Header().Set("Azure-AsyncOperation", "https://"+r.Host+"/op?x=1")
					w.WriteHeader(201)
				case r.URL.Path == "/op" && polls < 2:
					polls++
					fmt.Fprint(w, `{"status":"Peculiar"}`)
				case r.URL.Path == "/op":
					fmt.Fprint(w, c.status)
				default:
					fmt.Fprint(w, `{"name":"made"}`)
				}
			})
			var made struct{ Name string }
			err := cl.Put(t.Context(), "/x", nil, &made)
			if c.want == "" && (err != nil || made.Name != "made" || polls != 2) {
				t.Errorf("got %q after %d polls, %v", made.Name, polls, err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDeleteFollowsLocation(t *testing.T) {
	polls := 0
	c, _ := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "0")
		if r.Method == http.MethodDelete {
			w.Header().Set("Location", "/op")
			w.WriteHeader(202)
		} else if polls++; polls < 3 {
			w.WriteHeader(202)
		}
	})
	if there, err := c.Delete(t.Context(), "/x"); !there || err != nil || polls != 3 {
		t.Errorf("there %v after %d polls, %v", there, polls, err)
	}
}

// TestTokensStayAtHome: neither a next page nor an operation elsewhere is followed with our token.
func TestTokensStayAtHome(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") }))
	defer elsewhere.Close()
	c, _ := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			fmt.Fprintf(w, `{"value":[],"nextLink":"%s/next","@odata.nextLink":"%s/next"}`, elsewhere.URL, elsewhere.URL)
		case http.MethodPut:
			w.Header().Set("Azure-AsyncOperation", elsewhere.URL+"/op")
			w.WriteHeader(201)
		default:
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}
	})
	if _, err := client.List[any](t.Context(), c, "/x"); err == nil {
		t.Error("the next page elsewhere was no error")
	}
	if _, err := c.Applications(t.Context()); err == nil {
		t.Error("the directory's next page elsewhere was no error")
	}
	if err := c.Put(t.Context(), "/x", nil, nil); err == nil {
		t.Error("the operation elsewhere was no error")
	}
	_ = c.Post(t.Context(), "/x", nil, nil)
}

func TestListReadsAllPages(t *testing.T) {
	c, _ := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("skip") == "" {
			fmt.Fprintf(w, `{"value":[1,2],"nextLink":"https://%s/x?skip=2"}`, r.Host)
			return
		}
		fmt.Fprint(w, `{"value":[3]}`)
	})
	got, err := client.List[int](t.Context(), c, "/x", client.Query("$filter", "a eq 'b'"))
	if err != nil || !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestContentFollowsLinks(t *testing.T) {
	c, _ := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/a/b/tags/list" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		if user, password, _ := r.BasicAuth(); user != client.RegistryUser || password != "refresh" {
			t.Errorf("as %q", user)
		}
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", `</elsewhere?last=v1&n=1000>; rel="next"`)
			fmt.Fprint(w, `{"tags":["v1"]}`)
			return
		}
		fmt.Fprint(w, `{"tags":["v2"]}`)
	})
	host, _ := url.Parse(c.Server().ARM)
	got, err := c.Content(host.Host, "refresh").Tags(t.Context(), "a/b")
	if err != nil || !slices.Equal(got, []string{"v1", "v2"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestUnreachable(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	s := serverOf(srv)
	srv.Close()
	c, err := client.New(s, client.Credential{})
	if err != nil {
		t.Fatal(err)
	}
	var unreachable *client.UnreachableError
	if err := c.Get(t.Context(), "/x", nil); !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "example.com") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Get(ctx, "/x", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// TestForeignCertificate: a server with another authority's certificate learns no secret.
func TestForeignCertificate(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the server was spoken to") }))
	defer srv.Close()
	s := serverOf(srv)
	s.CA = ""
	c, err := client.New(s, client.Credential{ClientID: "id", ClientSecret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Get(ctx, "/x", nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

func TestReadReady(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(dir, "ready.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, text := range []string{"", "{", `{"arm":"https://a"}`} {
		if _, err := client.ReadReady(write(text)); err == nil || !strings.Contains(err.Error(), "ready.json") {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := client.ReadReady(write(`{"arm":"https://a","login":"https://l","domain":"d","port":8443,"caFile":"ca.pem","admin":{"clientId":"i","clientSecret":"hush"}}`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Server()
	if err != nil || s.Address != "127.0.0.1:8443" || s.CA != "PEM" {
		t.Errorf("got %+v, %v", s, err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", r, r.Admin, r.Admin, r.Admin.ClientSecret); strings.Contains(text, "hush") {
		t.Errorf("a secret prints itself: %s", text)
	}
}

func TestDiscoverRefusesOtherDomains(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"authentication": map[string]string{"loginEndpoint": "https://login.elsewhere.test"}, "microsoftGraphResourceId": "https://graph.example.com",
		})
	}))
	defer srv.Close()
	s := serverOf(srv)
	s.ARM = "https://management." + strings.TrimPrefix(s.ARM, "https://")
	if _, err := client.Discover(t.Context(), s); err == nil || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("got %v", err)
	}
	for _, arm := range []string{"http://management.example.com", "https://example.com", "nonsense"} {
		if _, err := client.Discover(t.Context(), client.Server{ARM: arm}); err == nil {
			t.Errorf("%s was taken", arm)
		}
	}
}
