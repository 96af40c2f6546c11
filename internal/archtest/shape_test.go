package archtest

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Budgets beyond which a thing is split, not silenced.
const (
	maxFileLines = 500
	maxFuncLines = 80
	maxMethods   = 8
	maxFiles     = 20
)

var poorNames = []string{"util", "utils", "common", "misc", "types", "models", "manager", "helpers", "helper"}

func TestEveryPackageSaysOnceWhatItOwns(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		var with []string
		eachFile(t, p, func(name string, f *ast.File, _ *token.FileSet) {
			if f.Doc != nil {
				with = append(with, name)
			}
		})
		if len(with) != 1 {
			t.Errorf("%s has %d package comments (%s), want exactly one", p.ImportPath, len(with), strings.Join(with, ", "))
		}
		if slices.Contains(poorNames, p.Name) {
			t.Errorf("%s: a package is a noun of the domain or the name of a protocol or technology", p.ImportPath)
		}
	}
}

func TestBudgets(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) > maxFiles {
			t.Errorf("%s has %d files, over %d", p.ImportPath, len(p.GoFiles), maxFiles)
		}
		eachFile(t, p, func(name string, f *ast.File, set *token.FileSet) {
			if n := set.Position(f.End()).Line; n > maxFileLines {
				t.Errorf("%s/%s has %d lines, over %d", p.ImportPath, name, n, maxFileLines)
			}
			ast.Inspect(f, func(n ast.Node) bool { checkNode(t, p.ImportPath+"/"+name, n, set); return true })
		})
	}
}

func checkNode(t *testing.T, where string, n ast.Node, set *token.FileSet) {
	switch n := n.(type) {
	case *ast.FuncDecl:
		if lines := set.Position(n.End()).Line - set.Position(n.Pos()).Line + 1; lines > maxFuncLines {
			t.Errorf("%s: func %s has %d lines, over %d", where, n.Name.Name, lines, maxFuncLines)
		}
		if n.Name.Name == "init" && n.Recv == nil {
			t.Errorf("%s: func init: wiring is plain code", where)
		}
	case *ast.InterfaceType:
		methods := 0
		for _, m := range n.Methods.List {
			methods += len(m.Names)
		}
		if methods > maxMethods {
			t.Errorf("%s: an interface of %d methods, over %d", where, methods, maxMethods)
		}
	}
}

func eachFile(t *testing.T, p pkg, f func(name string, file *ast.File, set *token.FileSet)) {
	t.Helper()
	for _, name := range p.GoFiles {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		f(name, file, set)
	}
}

// TestNothingPointsOutside keeps the repository standing on its own: no file names a folder beside the checkout or a
// path of the machine it was written on.
func TestNothingPointsOutside(t *testing.T) {
	outside := []string{"../" + "shared", "/" + "work/main", "/root/" + "go"}
	list := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	files := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	if len(files) < 20 {
		t.Fatalf("only %d files listed: the check would check nothing", len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outside {
			if strings.Contains(string(text), o) {
				t.Errorf("%s names %s", file, o)
			}
		}
	}
}
