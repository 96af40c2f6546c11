package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "fairlead.dev/"

// core lists the rooms of the core from left to right: each may import only what stands to its left.
var core = []string{"fault", "memo", "secret", "resource", "content", "identity", "access", "registry", "pull", "run", "cluster", "explain"}

// exceptions within the core: the node's side meets the registry on the wire only.
var never = map[string][]string{
	"pull": {"registry"},
	"run":  {"registry"},
}

// heavy libraries and the one room that each may be imported by, with the reason.
var heavy = []struct{ prefix, room, why string }{
	{"github.com/containerd/", "internal/driver/containerd", "containerd's client and daemon are one driver's business"},
	{"k8s.io/", "internal/driver/kubernetes", "client-go is one driver's business"},
	{"modernc.org/sqlite", "internal/driver/sql", "the core knows no database"},
	{"github.com/pressly/goose", "internal/driver/sql", "migrations belong to the database driver"},
	{"github.com/miekg/dns", "internal/driver/dns", "the DNS protocol is one driver's business"},
	{"github.com/google/go-containerregistry", "internal/cli", "the pull is ours; this library only makes and pushes images"},
	{"github.com/spf13/cobra", "internal/cli", "commands are the CLI's"},
	{"github.com/prometheus/", "internal/server,internal/api", "metrics enter through server and the shared HTTP wrapper"},
}

type pkg struct {
	ImportPath string
	Name       string
	Imports    []string
	GoFiles    []string
	Dir        string
}

// list gives every package of the module as it builds for this system.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Imports,GoFiles,Dir", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 10 {
		t.Fatalf("only %d packages listed: the check would check nothing", len(pkgs))
	}
	return pkgs
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range list(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, i := range p.Imports {
			to, ours := strings.CutPrefix(i, module)
			if ours {
				if why := forbidden(from, to); why != "" {
					t.Errorf("%s imports %s: %s", from, to, why)
				}
			}
		}
	}
}

// forbidden says why from may not import to; "" when it may.
func forbidden(from, to string) string {
	room, target := roomOf(from), roomOf(to)
	if room == target || isTestHelper(from) {
		return ""
	}
	switch {
	case room == "cmd":
		return unless(target == "cli" || target == "server" || target == "driver/kubernetes",
			"cmd may import only cli, server, and the reading of clusters that it hands to the CLI")
	case room == "client":
		return "client is public and imports nothing of ours"
	case room == "cli":
		return unless(target == "client", "cli speaks HTTP through client only")
	case room == "server":
		return unless(target != "cli" && target != "cmd", "server joins everything but the CLI")
	case room == "token":
		return unless(slices.Contains([]string{"fault", "secret", "resource", "identity", "access"}, target), "token stands beside access")
	case slices.Contains(core, room):
		return coreForbidden(room, target)
	case room == "api" || strings.HasPrefix(room, "api/"):
		return unless(slices.Contains(core, target) || target == "token" || target == "api", "a surface knows the core, token and api; never another surface or a driver")
	case strings.HasPrefix(room, "driver/"):
		return unless(slices.Contains(core, target), "a driver knows the core only")
	}
	return "this room is in no rule: add it to internal/archtest"
}

func coreForbidden(room, target string) string {
	at := slices.Index(core, target)
	if at < 0 || at > slices.Index(core, room) {
		return "the core imports only leftwards: " + strings.Join(core, " < ")
	}
	return unless(!slices.Contains(never[room], target), "the node's side meets the registry on the wire only")
}

func unless(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

// roomOf names the room that a package lies in: "registry", "api/oci", "driver/sql", "cmd", "client".
func roomOf(path string) string {
	path = strings.TrimPrefix(path, "internal/")
	parts := strings.Split(path, "/")
	if len(parts) > 1 && (parts[0] == "api" || parts[0] == "driver") {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// isTestHelper reports whether a package exists for tests only (registrytest, runtest, test/…).
func isTestHelper(path string) bool {
	return strings.HasSuffix(path, "test") || strings.HasPrefix(path, "test/")
}

func TestHeavyLibrariesLiveInOneRoom(t *testing.T) {
	for _, p := range list(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		if isTestHelper(from) {
			continue
		}
		for _, i := range p.Imports {
			for _, h := range heavy {
				if strings.HasPrefix(i, h.prefix) && !under(from, h.room) {
					t.Errorf("%s imports %s, which belongs in %s: %s", from, i, h.room, h.why)
				}
			}
		}
	}
}

func under(path, rooms string) bool {
	for room := range strings.SplitSeq(rooms, ",") {
		if path == room || strings.HasPrefix(path, room+"/") {
			return true
		}
	}
	return false
}

func TestRulesCatchViolations(t *testing.T) {
	for _, c := range []struct {
		from, to string
		bad      bool
	}{
		{"internal/registry", "internal/access", false},
		{"internal/access", "internal/registry", true},
		{"internal/pull", "internal/registry", true},
		{"internal/run", "internal/registry", true},
		{"internal/run", "internal/pull", false},
		{"internal/api/oci", "internal/api/arm", true},
		{"internal/api/oci", "internal/driver/sql", true},
		{"internal/driver/sql", "internal/token", true},
		{"internal/driver/sql", "internal/driver/files", true},
		{"internal/cli", "internal/fault", true},
		{"internal/cli", "client", false},
		{"client", "internal/fault", true},
		{"cmd/fairlead", "internal/server", false},
		{"cmd/fairlead", "internal/run", true},
		{"cmd/fairlead", "internal/driver/kubernetes", false},
		{"internal/cli", "internal/driver/kubernetes", true},
		{"internal/server", "internal/cli", true},
		{"internal/util", "internal/fault", true},
	} {
		if got := forbidden(c.from, c.to) != ""; got != c.bad {
			t.Errorf("%s -> %s: forbidden is %v, want %v", c.from, c.to, got, c.bad)
		}
	}
}
