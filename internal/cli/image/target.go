package image

import (
	"regexp"
	"strings"

	"fairlead.dev/internal/cli/exit"
)

// Target is a place in a registry of this Fairlead.
type Target struct {
	Registry   string // the registry's name
	Repository string
	Tag        string
}

var (
	registryName   = regexp.MustCompile(`^[a-z0-9]{2,50}$`)
	repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// ParseTarget reads "myacr/app:v1", "myacr.azurecr.io/app:v1" or the login server's form, with or without its port. A
// missing tag means latest.
func ParseTarget(text string) (Target, error) {
	host, rest, ok := strings.Cut(text, "/")
	if !ok {
		return Target{}, exit.Usagef("%q names no registry: write REGISTRY/REPOSITORY:TAG, such as myacr/app:v1", text)
	}
	if strings.Contains(rest, "@") {
		return Target{}, exit.Usagef("%q: push to a tag, not to a digest", text)
	}
	t := Target{Repository: rest, Tag: "latest"}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		t.Repository, t.Tag = rest[:i], rest[i+1:]
	}
	var err error
	if t.Registry, err = RegistryName(host); err != nil {
		return Target{}, err
	}
	if !repositoryName.MatchString(t.Repository) || len(t.Repository) > 255 {
		return Target{}, exit.Usagef("%q is not a repository's name: lower-case letters and digits, divided by one of . _ - /", t.Repository)
	}
	if !tagName.MatchString(t.Tag) {
		return Target{}, exit.Usagef("%q is not a tag: at most 128 letters, digits, dots, dashes and underscores", t.Tag)
	}
	return t, nil
}

// RegistryName gives the registry's name in "myacr", "myacr.azurecr.io" or a login server.
func RegistryName(host string) (string, error) {
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "https://"), "/"))
	first, domain, dotted := strings.Cut(host, ".")
	if !registryName.MatchString(first) || dotted && !strings.HasPrefix(domain, "azurecr.") {
		return "", exit.Usagef("%q is not a registry: write its name (myacr) or its login server (myacr.azurecr.io)", host)
	}
	return first, nil
}

// HostOf gives the registry host in an image reference, or "" when it names none.
func HostOf(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return ""
	}
	return host
}
