package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// debianPrograms are the programs that specs run in their pods, at the paths where Debian has them. Busybox, whose
// directory comes later in PATH, has some of the same names: its nc and nslookup print something else.
var debianPrograms = []string{ //nolint:gochecknoglobals // a table
	"/usr/bin/dig", "/usr/bin/nslookup", "/usr/bin/host", "/usr/bin/curl", "/usr/bin/nc.openbsd", "/usr/bin/getent",
	"/usr/bin/bash", "/usr/bin/ip", "/usr/bin/ss",
}

// withLibraries gives programs of this machine with all that they are linked to, which the loader itself lists.
func withLibraries(programs []string) ([]file, error) {
	libraries := map[string]bool{}
	var files []file
	for _, program := range programs {
		files = append(files, file{path: strings.TrimPrefix(program, "/"), from: program})
		out, err := exec.Command("ldd", program).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("ldd %s: %w: %s", program, err, out)
		}
		for field := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(field, "/") {
				libraries[field] = true
			}
		}
	}
	for _, path := range sorted(libraries) {
		files = append(files, file{path: strings.TrimPrefix(inUsr(path), "/"), from: path})
		if strings.Contains(filepath.Base(path), "ld-linux") { // programs name the loader by its path
			files = append(files, file{path: strings.TrimPrefix(path, "/"), from: path})
		}
	}
	return files, nil
}

// inUsr gives where a library lies: /lib is a link to /usr/lib on Debian, and a directory of its own in our images.
func inUsr(path string) string {
	if strings.HasPrefix(path, "/usr/") {
		return path
	}
	return "/usr" + path
}

func sorted(set map[string]bool) []string {
	var all []string
	for each := range set {
		all = append(all, each)
	}
	slices.Sort(all)
	return all
}
