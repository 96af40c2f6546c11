package session_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/session"
)

func writeReady(t *testing.T, path, domain string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(client.Ready{Domain: domain, Port: 8443, ARM: "https://management." + domain, Login: "https://login." + domain, Graph: "https://graph." + domain})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOrder takes away one place after the other: the next one counts.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	writeReady(t, at("flag.json"), "flag.test")
	writeReady(t, at("env.json"), "env.test")
	writeReady(t, at("data/ready.json"), "data.test")
	login := session.Login{Server: client.Server{Domain: "login.test", ARM: "https://management.login.test", CA: "PEM"}}
	if err := login.Write(at("config")); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"FAIRLEAD_READY_FILE": at("env.json")}
	f := session.Finder{ReadyFile: at("flag.json"), Env: func(name string) string { return env[name] }, ConfigDir: at("config"), DataDirs: []string{at("none"), at("data")}}
	expect := func(domain string) {
		t.Helper()
		found, err := f.Find()
		if err != nil || found.Server.Domain != domain {
			t.Errorf("found %q, %v; want %s", found.Server.Domain, err, domain)
		}
	}
	expect("flag.test")
	f.ReadyFile = ""
	expect("env.test")
	delete(env, "FAIRLEAD_READY_FILE")
	expect("login.test")
	if there, err := session.RemoveLogin(at("config")); !there || err != nil {
		t.Fatalf("there %v, %v", there, err)
	}
	expect("data.test")
	f.DataDirs = nil
	if _, err := f.Find(); exit.CodeOf(err) != exit.Unreachable || exit.HintOf(err) == "" {
		t.Errorf("nowhere: got %v", err)
	}
	f.ReadyFile = at("nosuch.json")
	if _, err := f.Find(); exit.CodeOf(err) != exit.Unreachable || !strings.Contains(err.Error(), "nosuch.json") {
		t.Errorf("a ready file that is not there: got %v", err)
	}
}

func TestBrokenLogin(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(session.LoginFile(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := session.Finder{Env: func(string) string { return "" }, ConfigDir: dir}
	if _, err := f.Find(); err == nil || exit.HintOf(err) != "sign in again with 'fairlead login'" {
		t.Errorf("got %v, hint %q", err, exit.HintOf(err))
	}
}

func TestDial(t *testing.T) {
	for _, c := range []struct{ arm, given, want string }{
		{"https://management.fairlead.localhost:8443", "", "127.0.0.1:8443"},
		{"https://management.fairlead.localhost", "", "127.0.0.1:443"},
		{"https://management.example.com:8443", "", ""},
		{"https://management.example.com:8443", "10.0.0.5", "10.0.0.5:8443"},
		{"https://management.example.com:8443", "10.0.0.5:9", "10.0.0.5:9"},
		{"https://management.example.com", "[::1]", "[::1]:443"},
	} {
		if got := session.Dial(c.arm, c.given); got != c.want {
			t.Errorf("Dial(%q, %q) = %q, want %q", c.arm, c.given, got, c.want)
		}
	}
}

// TestBrokenReady: a ready file that cannot be used is named, with what to give in its place.
func TestBrokenReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ready.json")
	f := session.Finder{ReadyFile: path, Env: func(string) string { return "" }}
	for text, says := range map[string]string{
		`{}`:   path,
		`junk`: path,
		`{"arm":"https://a","login":"https://l","domain":"d","port":1,"caFile":"ready.json"}`: "holds no PEM certificate",
		`{"arm":"https://a","login":"https://l","domain":"d","port":1,"caFile":"none.pem"}`:   "none.pem",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Find(); err == nil || !strings.Contains(err.Error(), says) || exit.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", text, err, exit.HintOf(err))
		}
	}
}
