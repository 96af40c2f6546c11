package kubeconfig_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/kubeconfig"
)

func cluster(name, role, server string) string {
	return `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: ` + server + `
  name: ` + name + `
contexts:
- context:
    cluster: ` + name + `
    user: ` + role + `_rg_` + name + `
  name: ` + name + `
current-context: ` + name + `
kind: Config
preferences: {}
users:
- name: ` + role + `_rg_` + name + `
  user:
    client-key-data: c2VjcmV0LWtleQ==
`
}

var dev, admin = cluster("dev", "clusterUser", "https://127.0.0.1:6443"), cluster("dev", "clusterAdmin", "https://127.0.0.1:6443")

// odd is a kubeconfig as people have them: comments, fields that we do not know, flow style, an anchor, a number too large for
// a float, a cluster without a scheme.
const odd = `# my clusters
apiVersion: v1
kind: Config
x-mine: {a: [1, 12345678901234567890], b: !!str 7} # flow
preferences:
  colors: true
clusters:
# the old one
- cluster: &shared
    insecure-skip-tls-verify: true
    server: https://old.example:6443
    x-note: |
      two
      lines
  name: old # keep
- name: "older"
  cluster: *shared
contexts:
- context: {cluster: old, user: me, namespace: "null"}
  name: old
current-context: old
users:
- name: me
  user:
    token: "0123"
extensions:
- name: e
  extension: {n: 1.50}
`

func merge(t *testing.T, existing, addition string, o kubeconfig.Options) (string, string) {
	t.Helper()
	text, name, err := kubeconfig.Merge([]byte(existing), []byte(addition), "FILE", o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), name
}

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		existing, addition, context string
		options                     kubeconfig.Options
	}{
		"into-nothing":      {"", dev, "dev", kubeconfig.Options{}},
		"into-spaces":       {" \n\n", admin, "dev-admin", kubeconfig.Options{}},
		"into-nothing-keep": {"", dev, "dev", kubeconfig.Options{KeepCurrent: true}},
		"into-empty-lists":  {"apiVersion: v1\nkind: Config\nclusters: []\ncontexts: null\nusers:\ncurrent-context: \"\"\n", dev, "dev", kubeconfig.Options{}},
		"into-kind-only":    {"kind: Config # mine\n", dev, "dev", kubeconfig.Options{}},
		"into-odd":          {odd, dev, "dev", kubeconfig.Options{}},
		"into-odd-keep":     {odd, admin, "dev-admin", kubeconfig.Options{KeepCurrent: true}},
		"into-json":         {`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"a","cluster":{"server":"https://a"}}]}`, dev, "dev", kubeconfig.Options{}},
		"renamed":           {odd, admin, "mine-admin", kubeconfig.Options{Context: "mine"}},
		"into-comments":     {"\n# mine\n  # and mine\n---\nnull\n", dev, "dev", kubeconfig.Options{}},
		"into-no-fields":    {"{}\n", dev, "dev", kubeconfig.Options{}},
		"into-odd-cr":       {strings.ReplaceAll(odd, "\n", "\r\n"), dev, "dev", kubeconfig.Options{}},
		"into-end-marker":   {"kind: Config # mine\n---\n# nothing more\n", dev, "dev", kubeconfig.Options{}},
		"overwrite": {
			strings.Replace(odd, "- name: \"older\"", "# mine\n- cluster: {server: https://elsewhere}\n  name: dev\n- name: \"older\"", 1), dev, "dev", kubeconfig.Options{Overwrite: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, added := merge(t, c.existing, c.addition, c.options)
			if added != c.context {
				t.Errorf("the context is %q, want %q", added, c.context)
			}
			path := filepath.Join("testdata", name+".yaml")
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			// The same once more changes nothing, not even the form.
			c.options.Overwrite = false
			if again, _ := merge(t, got, c.addition, c.options); again != got {
				t.Errorf("a second time: %s", cmp.Diff(got, again))
			}
		})
	}
}

// TestExec: kubectl runs fairlead as it was found when the kubeconfig was filed; other programs are left alone.
func TestExec(t *testing.T) {
	token := strings.Replace(dev, "client-key-data: c2VjcmV0LWtleQ==", "exec:\n      args:\n      - kube\n      - token\n      command: fairlead\n      env: null", 1)
	o := kubeconfig.Options{Exec: kubeconfig.Exec{Command: "/opt/my fairlead", Env: map[string]string{"FAIRLEAD_READY_FILE": "/run/ready.json", "A": "1"}}}
	want := strings.Replace(token, "command: fairlead\n      env: null", "command: /opt/my fairlead\n      env:\n      - name: A\n        value: \"1\"\n      - name: FAIRLEAD_READY_FILE\n        value: /run/ready.json", 1)
	got, _ := merge(t, "", token, o)
	if got != want {
		t.Error(cmp.Diff(want, got))
	}
	if again, _ := merge(t, got, token, o); again != got {
		t.Errorf("a second time: %s", cmp.Diff(got, again))
	}
	if got, _ := merge(t, "", token, kubeconfig.Options{}); got != token {
		t.Error(cmp.Diff(token, got))
	}
	noEnv := strings.Replace(token, "\n      env: null", "", 1)
	if got, _ := merge(t, "", noEnv, o); got != want {
		t.Error(cmp.Diff(want, got))
	}
	for _, other := range []string{strings.Replace(token, "command: fairlead", "command: kubelogin", 1), dev, admin} {
		plain, _ := merge(t, "", other, kubeconfig.Options{})
		if got, _ := merge(t, "", other, o); got != plain {
			t.Error(cmp.Diff(plain, got))
		}
	}
}

// TestSameInOtherForm: an entry is the same when it says the same.
func TestSameInOtherForm(t *testing.T) {
	have := `{"kind":"Config","current-context":"dev","users":[{"user":{"client-key-data":"c2VjcmV0LWtleQ=="},"name":"clusterUser_rg_dev"}],` +
		`"contexts":[{"context":{"user":"clusterUser_rg_dev","cluster":"dev"},"name":"dev"}],"clusters":[{"name":"dev","cluster":{"server":"https://127.0.0.1:6443","certificate-authority-data":"Q0E="}}]}`
	if got, _ := merge(t, have, dev, kubeconfig.Options{}); got != have {
		t.Errorf("it was written anew: %s", got)
	}
}

func TestConflicts(t *testing.T) {
	base, _ := merge(t, odd, dev, kubeconfig.Options{})
	for _, c := range []struct{ old, list, entry string }{
		{"server: https://127.0.0.1:6443", "clusters", "dev"},
		{"client-key-data: c2VjcmV0LWtleQ==", "users", "clusterUser_rg_dev"},
		{"    user: clusterUser_rg_dev", "contexts", "dev"},
	} {
		have := strings.Replace(base, c.old, c.old+"x", 1)
		if have == base {
			t.Fatalf("%q is not in it", c.old)
		}
		_, _, err := kubeconfig.Merge([]byte(have), []byte(dev), "FILE", kubeconfig.Options{})
		if err == nil || !strings.Contains(err.Error(), `FILE has another "`+c.entry+`" among its `+c.list) || !strings.Contains(exit.HintOf(err), "--overwrite-existing") {
			t.Errorf("%s: %v, hint %q", c.list, err, exit.HintOf(err))
		}
		if got, _ := merge(t, have, dev, kubeconfig.Options{Overwrite: true}); got != base {
			t.Errorf("%s overwritten: %s", c.list, cmp.Diff(base, got))
		}
	}
	// What another entry borrows from is not pulled away under it.
	lent := "kind: Config\nclusters:\n- name: dev\n  cluster: &a {server: x}\n- name: b\n  cluster: *a\n"
	if got, _, err := kubeconfig.Merge([]byte(lent), []byte(dev), "FILE", kubeconfig.Options{Overwrite: true}); err == nil || !strings.Contains(err.Error(), "FILE") {
		t.Errorf("an entry that is borrowed from: %s, %v", got, err)
	}
	// An administrator's context stands beside the user's; only the cluster is shared.
	if both, _ := merge(t, base, admin, kubeconfig.Options{}); strings.Count(both, "name: dev\n") != 2 || !strings.Contains(both, "current-context: dev-admin") {
		t.Errorf("both: %s", both)
	}
}

func TestNoKubeconfig(t *testing.T) {
	for text, says := range map[string]string{
		"{":                                    "no YAML",
		"a: b\n":                               "none of kind, clusters",
		"- a\n":                                "no mapping",
		"just text":                            "no mapping",
		"kind: Config\nusers: []\nusers: []\n": `"users" stands there twice, in line 3 again`,
		"kind: Pod\n":                          `kind is "Pod"`,
		"kind: Config\napiVersion: v2\n":       `apiVersion is "v2"`,
		"kind: Config\n---\nkind: Config\n":    "more than one document",
		"kind: Config\nusers: {a: b}\n":        "users are no list",
		"kind: Config\nusers: [{user: {}}]\n":  "users[0] has no name",
		"kind: Config\nusers: [a]\n":           "users[0] has no name",
		"token: s3cr\n  x: `s3cr\n":            "no YAML",
		"\x00\x01":                             "no YAML",
	} {
		_, _, err := kubeconfig.Merge([]byte(text), []byte(dev), "FILE", kubeconfig.Options{Overwrite: true})
		if err == nil || !strings.Contains(err.Error(), "FILE is no kubeconfig") || !strings.Contains(err.Error(), says) || exit.HintOf(err) == "" {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr") {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
	for _, addition := range []string{"", "kind: Config\n", "kind: Config\ncontexts: []\nclusters: []\n"} {
		if _, _, err := kubeconfig.Merge(nil, []byte(addition), "FILE", kubeconfig.Options{}); err == nil || !strings.Contains(err.Error(), "the cluster's kubeconfig") {
			t.Errorf("%q: %v", addition, err)
		}
	}
}

func put(t *testing.T, path string, o kubeconfig.Options) error {
	t.Helper()
	_, err := kubeconfig.Put(t.Context(), path, []byte(dev), o, nil)
	return err
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "kube", "config")
	if err := put(t, path, kubeconfig.Options{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != dev {
		t.Errorf("a new file: %s", cmp.Diff(dev, got))
	}
	// A file that others may read does not stay so, and a link stays a link.
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(real, []byte(odd), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("real", filepath.Join(dir, "between")), os.Symlink(filepath.Join(dir, "between"), link)); err != nil {
		t.Skip("no links here:", err)
	}
	if err := put(t, link, kubeconfig.Options{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, real); !strings.Contains(got, "clusterUser_rg_dev") || !strings.Contains(got, "# my clusters") {
		t.Errorf("through the link: %s", got)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: %v, %v", info, err)
	}
	for _, path := range []string{path, real} {
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	// What is the same already is not written: the file stays the same one.
	before, _ := os.Stat(real)
	if err := put(t, link, kubeconfig.Options{}); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(real); !os.SameFile(before, after) {
		t.Error("it was written although nothing changed")
	}
	// A link to nothing leads to where the file is made; one to itself leads nowhere.
	dangling, round := filepath.Join(dir, "dangling"), filepath.Join(dir, "round")
	if err := errors.Join(os.Symlink("made", dangling), os.Symlink("round", round)); err != nil {
		t.Fatal(err)
	}
	if err := put(t, dangling, kubeconfig.Options{}); err != nil || read(t, filepath.Join(dir, "made")) != dev {
		t.Errorf("through a link to nothing: %v", err)
	}
	if err := put(t, round, kubeconfig.Options{}); err == nil || !strings.Contains(err.Error(), "link") {
		t.Errorf("a link to itself: %v", err)
	}
	// What is refused is left alone, and so is the directory.
	foreign := filepath.Join(dir, "foreign")
	if err := os.WriteFile(foreign, []byte("password: x\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := put(t, foreign, kubeconfig.Options{Overwrite: true}); err == nil || read(t, foreign) != "password: x\n" || !strings.Contains(err.Error(), foreign) {
		t.Errorf("a file that is no kubeconfig: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.lock"))
	hidden, err2 := filepath.Glob(filepath.Join(dir, ".kube*"))
	if err != nil || err2 != nil || len(left)+len(hidden) != 0 {
		t.Errorf("left behind: %v %v", left, hidden)
	}
	for _, other := range []string{dir, os.DevNull} {
		if err := put(t, other, kubeconfig.Options{}); exit.CodeOf(err) != exit.Usage || !strings.Contains(err.Error(), other+" is no file") {
			t.Errorf("%s: %v", other, err)
		}
	}
	var out bytes.Buffer
	if name, err := kubeconfig.Put(t.Context(), "-", []byte(admin), kubeconfig.Options{}, &out); err != nil || name != "dev-admin" || !strings.Contains(out.String(), "current-context: dev-admin") {
		t.Errorf("printed: %q, %v, %s", name, err, out.String())
	}
}

// TestManyAtOnce: nothing is lost when many put a cluster each into one file.
func TestManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			text := cluster("c"+strconv.Itoa(i), "clusterUser", "https://127.0.0.1:6443")
			if _, err := kubeconfig.Put(t.Context(), path, []byte(text), kubeconfig.Options{}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got := read(t, path)
	for i := range 20 {
		if strings.Count(got, "name: clusterUser_rg_c"+strconv.Itoa(i)+"\n") != 1 {
			t.Errorf("c%d is lost", i)
		}
	}
}

// TestLocked: while kubectl writes the file, we wait, and say for whom when the time is over.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := path + "-link"
	if err := os.Symlink(path, link); err != nil {
		t.Skip("no links here:", err)
	}
	for _, name := range []string{path, link} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := kubeconfig.Put(ctx, name, []byte(dev), kubeconfig.Options{}, nil)
		if exit.CodeOf(err) != exit.TimedOut || !strings.Contains(exit.HintOf(err), path+".lock") {
			t.Errorf("%s: %v, hint %q", name, err, exit.HintOf(err))
		}
	}
	// kubectl that was given the link locks the link.
	if err := os.Rename(path+".lock", link+".lock"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := kubeconfig.Put(ctx, link, []byte(dev), kubeconfig.Options{}, nil)
	if exit.CodeOf(err) != exit.TimedOut || !strings.Contains(exit.HintOf(err), link+".lock") {
		t.Errorf("the link: %v, hint %q", err, exit.HintOf(err))
	}
	if _, err := os.Stat(path + ".lock"); !errors.Is(err, os.ErrNotExist) {
		t.Error("its own lock was left behind")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("it was written under another's lock")
	}
}

func FuzzMerge(f *testing.F) {
	for _, text := range []string{"", odd, dev, "{", "kind: Config\nusers: [a]", "a: &a [*a]", "kind: Config\nclusters: &a\n- *a\n", "&a kind: *a", "kind: Config\n<<: {a: b}\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, existing string) {
		text, name, err := kubeconfig.Merge([]byte(existing), []byte(dev), "FILE", kubeconfig.Options{Overwrite: true})
		if err != nil {
			return
		}
		again, _, err := kubeconfig.Merge(text, []byte(dev), "FILE", kubeconfig.Options{})
		if err != nil || name != "dev" || string(again) != string(text) {
			t.Errorf("%q became %q, then %q, %v", existing, text, again, err)
		}
	})
}
