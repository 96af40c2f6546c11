// Command platforms checks that the fairlead program compiles on other platforms: it checks the types of all that is linked
// into it, from source. A build would say the same, after it has compiled every library for each of them.
//
//	platforms GOOS/GOARCH…
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	here, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, platform := range os.Args[1:] {
		if err := check(platform, here); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", platform, err)
			os.Exit(1)
		}
		fmt.Printf("   %s\n", platform)
	}
}

// check checks the module in the directory here.
func check(platform, here string) error {
	system, arch, _ := strings.Cut(platform, "/")
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps |
			packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo | packages.NeedTypesSizes | packages.NeedModule,
		Env: append(os.Environ(), "GOOS="+system, "GOARCH="+arch, "CGO_ENABLED=0"),
		ParseFile: func(set *token.FileSet, name string, text []byte) (*ast.File, error) {
			return parse(set, name, text, here)
		},
	}, "fairlead.dev/cmd/fairlead")
	if err != nil {
		return err
	}
	var faults []error
	packages.Visit(loaded, nil, func(p *packages.Package) {
		for _, fault := range p.Errors {
			if strings.HasPrefix(p.PkgPath, "fairlead.dev/") || fault.Kind != packages.TypeError {
				faults = append(faults, fault)
			}
		}
	})
	return errors.Join(faults...)
}

// parse leaves out what is in functions of other modules: imports that are of no use then are no fault of theirs.
func parse(set *token.FileSet, name string, text []byte, here string) (*ast.File, error) {
	file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if file != nil && !strings.HasPrefix(name, here+string(filepath.Separator)) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				f.Body = nil
			}
		}
	}
	return file, err
}
