package content

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"fairlead.dev/internal/fault"
)

// What is taken for a part of a reference that was not given, as docker does.
const (
	DefaultHost    = "docker.io"
	DefaultTag     = "latest"
	defaultLibrary = "library/"
)

// The values of Reference.Defaulted.
const (
	DefaultedHost    = "host"    // no registry was named, so docker.io was taken
	DefaultedLibrary = "library" // docker.io's "library/" was put before the repository
	DefaultedTag     = "tag"     // neither tag nor digest was given, so "latest" was taken
)

// Reference names an image: host, repository and a tag, a digest or both (then the digest counts). A Reference that
// came from ParseReference is valid and complete.
type Reference struct {
	Host       string // lower case, with the port if one was given
	Repository string
	Tag        string // "" only when there is a digest
	Digest     Digest // "" when there is only a tag
	Defaulted  []string
	Given      string // as it was written
}

// ErrReferenceInvalid is returned by ParseReference; its message says what is wrong, its hint how it would be right.
var ErrReferenceInvalid = fault.New(fault.Invalid, "REF_INVALID", "not a valid image reference")

// String gives the complete reference, "host/repository[:tag][@digest]". ParseReference reads it back to the same parts.
func (r Reference) String() string {
	s := r.Host + "/" + r.Repository
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// Version gives what a manifest is asked for by: the digest when there is one, else the tag.
func (r Reference) Version() string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return r.Tag
}

// ParseReference reads an image reference as docker does: a first component with a dot, a colon or the name "localhost"
// is the host; without one docker.io is taken, there "library/" before a single name, and the tag "latest" where
// neither tag nor digest is given. It returns ErrReferenceInvalid.
func ParseReference(given string) (Reference, error) {
	r, why := parseReference(given)
	if why == "" {
		return r, nil
	}
	err := ErrReferenceInvalid.WithMessage("%q is not a valid image reference: %s", clip(given), why)
	if fixed, ok := CorrectReference(given); ok {
		return Reference{}, err.WithMessage("%s; %q would be", err.Message, fixed).WithHint("write %q", fixed)
	}
	return Reference{}, err
}

// CorrectReference gives what an invalid reference was obviously meant to be: without surrounding space, without a
// scheme, in lower case. ok is false for a valid one and where nothing is obvious.
func CorrectReference(given string) (fixed string, ok bool) {
	fixed = strings.TrimSpace(given)
	if _, rest, found := strings.Cut(fixed, "://"); found {
		fixed = rest
	}
	if trimmed := strings.TrimRight(fixed, "/"); strings.Contains(trimmed, "/") {
		fixed = trimmed
	}
	end := nameEnd(fixed)
	fixed = strings.ToLower(fixed[:end]) + fixed[end:]
	_, why := parseReference(fixed)
	return fixed, why == "" && fixed != given
}

// nameEnd gives where the name ends and ":tag" or "@digest" begins.
func nameEnd(s string) int {
	if i := strings.IndexByte(s, '@'); i >= 0 {
		s = s[:i]
	}
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') {
		return i
	}
	return len(s)
}

// parseReference gives the reference, or why there is none.
func parseReference(given string) (r Reference, why string) {
	if why := strange(given); why != "" {
		return r, why
	}
	r.Given = given
	rest, digest, hasDigest := strings.Cut(given, "@")
	if hasDigest {
		d, err := ParseDigest(digest)
		if err != nil {
			return r, "what follows '@' is " + fault.From(err).Message
		}
		r.Digest = d
	}
	end := nameEnd(rest)
	name := rest[:end]
	if end < len(rest) {
		if r.Tag = rest[end+1:]; !ValidTag(r.Tag) {
			return r, "the tag " + strconv.Quote(clip(r.Tag)) + " is not 1 to 128 letters, digits, '_', '.' and '-', beginning with none of the last two"
		}
	} else if !hasDigest {
		r.Tag, r.Defaulted = DefaultTag, []string{DefaultedTag}
	}
	return r.withName(name)
}

// withName splits a name into host and repository.
func (r Reference) withName(name string) (_ Reference, why string) {
	host, repository, found := strings.Cut(name, "/")
	if found && (strings.ContainsAny(host, ".:") || strings.EqualFold(host, "localhost")) {
		if why := badHost(host); why != "" {
			return r, why
		}
		r.Host, r.Repository = strings.ToLower(host), repository
	} else {
		r.Host, r.Repository = DefaultHost, name
		r.Defaulted = append([]string{DefaultedHost}, r.Defaulted...)
	}
	if r.Host == "index.docker.io" {
		r.Host = DefaultHost
	}
	if r.Host == DefaultHost && r.Repository != "" && !strings.Contains(r.Repository, "/") {
		r.Repository = defaultLibrary + r.Repository
		r.Defaulted = append([]string{DefaultedLibrary}, r.Defaulted...)
	}
	return r, badRepository(r.Repository)
}

var placeholder = regexp.MustCompile(`<[^<>]*>|\{\{.*?\}\}|\$\{[^}]*\}|\$\([^)]*\)|\$[A-Za-z_]+|%[A-Za-z_]+%|__[A-Z_]+__`)

// strange says what in s can stand in no reference at all.
func strange(s string) (why string) {
	switch hole := placeholder.FindString(s); {
	case s == "":
		return "it is empty"
	case hole != "":
		return "the placeholder " + strconv.Quote(clip(hole)) + " was left unfilled"
	case strings.Contains(s, "://"):
		return "it begins with a scheme; a reference has none"
	case strings.ContainsAny(s, " \t\r\n"):
		return "it holds white space"
	}
	return ""
}

func badRepository(s string) (why string) {
	switch {
	case s == "":
		return "no repository is named"
	case len(s) > MaxRepository:
		return "the repository's name has " + strconv.Itoa(len(s)) + " characters; at most " + strconv.Itoa(MaxRepository) + " are allowed"
	case ValidRepository(s):
		return ""
	case ValidRepository(strings.ToLower(s)):
		return "the repository's name must be in lower case"
	}
	return "the repository's name " + strconv.Quote(clip(s)) + " is not lower-case letters and digits, with single '.', '_', '__' or '-' between them, in parts separated by '/'"
}

var domain = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

func badHost(host string) (why string) {
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "the port " + strconv.Quote(clip(port)) + " is not a number from 1 to 65535"
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		address, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err == nil && strings.HasSuffix(inner, "]") && address.Is6() && address.Zone() == "" {
			return ""
		}
	} else if domain.MatchString(name) && len(name) <= 253 {
		return ""
	}
	return strconv.Quote(clip(host)) + " is not a host name"
}

// ValidRepository reports whether s is a repository's name (OCI distribution spec 1.1, "Pulling manifests"): at most
// MaxRepository characters, components of lower-case letters and digits separated within by one '.', one or two '_' or
// any number of '-'.
func ValidRepository(s string) bool {
	if s == "" || len(s) > MaxRepository {
		return false
	}
	for component := range strings.SplitSeq(s, "/") {
		if !validComponent(component) {
			return false
		}
	}
	return true
}

func validComponent(s string) bool {
	for i := 0; i < len(s); {
		if alphanumeric(s[i]) {
			i++
			continue
		}
		end := i
		for end < len(s) && !alphanumeric(s[end]) {
			end++
		}
		between := s[i:end]
		if i == 0 || end == len(s) || between != "." && between != "_" && between != "__" && strings.Trim(between, "-") != "" {
			return false
		}
		i = end
	}
	return s != ""
}

func alphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// ValidTag reports whether s is a tag: 1 to MaxTag letters, digits, '_', '.' and '-', of which the last two cannot be
// the first.
func ValidTag(s string) bool {
	if s == "" || len(s) > MaxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func clip(s string) string {
	const most = 120
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
