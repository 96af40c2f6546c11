package evidence

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"fairlead.dev/internal/secret"
)

// The types of secrets that a kubelet takes credentials from, and the key of each.
const (
	TypeDockerConfigJSON = "kubernetes.io/dockerconfigjson"
	TypeDockerCfg        = "kubernetes.io/dockercfg"

	keyDockerConfigJSON = ".dockerconfigjson"
	keyDockerCfg        = ".dockercfg"
)

// ReadSecret reads a secret's data as a kubelet does, and goes on where the kubelet gives up, so that it can be said what
// was meant.
//
// Source: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/credentialprovider/secrets/secrets.go
func ReadSecret(name, secretType string, data map[string][]byte) Secret {
	s := Secret{Name: name, State: Found, Type: secretType}
	want := keyDockerConfigJSON
	switch secretType {
	case TypeDockerConfigJSON:
	case TypeDockerCfg:
		want = keyDockerCfg
	default:
		s.Broken = "its type is " + secretType + ", and the kubelet passes over every type but " + TypeDockerConfigJSON
		s.Key, s.Entries = search(data)
		return s
	}
	if len(data[want]) == 0 {
		s.Broken = "it has no content under the key " + want
		return s
	}
	entries, err := readConfig(data[want], secretType == TypeDockerCfg)
	if err != nil { // without its words, which may quote the content
		s.Broken, s.Fatal = "its "+want+" is "+err.Error()+", for which the kubelet refuses to pull at all", true
		return s
	}
	s.Key, s.Entries = want, entries
	return s
}

// search finds a login under whatever key it stands.
func search(data map[string][]byte) (key string, entries []Entry) {
	keys := make([]string, 0, len(data))
	for k := range data {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if entries, err := readConfig(data[k], false); err == nil && len(entries) > 0 {
			return k, entries
		}
	}
	return "", nil
}

var (
	errNoConfig = errors.New("no docker configuration in JSON")
	errBadAuth  = errors.New(`a docker configuration in which an "auth" is not the base64 of user:password`)
)

type dockerEntry struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Auth     string `json:"auth"`
}

// readConfig reads a docker configuration: one entry for each registry, in the order of their names.
func readConfig(text []byte, bare bool) ([]Entry, error) {
	var whole struct {
		Auths map[string]dockerEntry `json:"auths"`
	}
	var target any = &whole
	if bare {
		target = &whole.Auths
	}
	if json.Unmarshal(text, target) != nil {
		return nil, errNoConfig
	}
	servers := make([]string, 0, len(whole.Auths))
	for server := range whole.Auths {
		servers = append(servers, server)
	}
	slices.Sort(servers)
	var out []Entry
	for _, server := range servers {
		e := whole.Auths[server]
		if e.Auth != "" {
			var ok bool
			if e.Username, e.Password, ok = decodeAuth(e.Auth); !ok {
				return nil, errBadAuth
			}
		}
		out = append(out, Entry{server, e.Username, secret.New(e.Password)})
	}
	return out, nil
}

func decodeAuth(auth string) (user, password string, ok bool) {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(strings.TrimSpace(auth), "=") {
		encoding = base64.StdEncoding
	}
	decoded, err := encoding.DecodeString(auth)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(decoded), ":")
}

// Key gives an entry's server as the kubelet compares it: the host with its port, and the path if there is one.
//
// Source: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/credentialprovider/keyring.go
func (e Entry) Key() string {
	server := e.Server
	if !strings.HasPrefix(server, "https://") && !strings.HasPrefix(server, "http://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	p := u.Path
	if strings.HasPrefix(p, "/v2/") || strings.HasPrefix(p, "/v1/") {
		p = p[len("/v2"):]
	}
	if p == "/" {
		p = ""
	}
	return u.Host + p
}

// Fits reports whether the kubelet takes the entry for a repository, "host/path": the port must be the same, each label of
// the host must fit, with "*" for any part of one, and the entry's path must begin the repository's.
func (e Entry) Fits(repository string) bool {
	key := e.Key()
	keyHost, keyPath := cut(key)
	host, repositoryPath := cut(repository)
	keyName, keyPort := splitPort(keyHost)
	name, port := splitPort(host)
	labels, wanted := strings.Split(keyName, "."), strings.Split(name, ".")
	if key == "" || keyPort != port || len(labels) != len(wanted) || !strings.HasPrefix(repositoryPath, keyPath) {
		return false
	}
	for i := range labels {
		if ok, err := path.Match(labels[i], wanted[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func cut(s string) (host, rest string) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

func splitPort(host string) (name, port string) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return host, ""
	}
	return name, port
}

// Login is an entry that the kubelet takes, and the secret that it is in.
type Login struct {
	Secret string
	Entry
}

// Logins gives the entries that the kubelet tries for a repository, in its order: the longest key first, as text compares,
// and for one key the secrets as they stand. Secrets that it passes over are passed over.
func Logins(secrets []Secret, repository string) []Login {
	var out []Login
	for _, s := range secrets {
		if s.State != Found || s.Broken != "" {
			continue
		}
		for _, e := range s.Entries {
			if e.Fits(repository) {
				out = append(out, Login{s.Name, e})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Login) int { return strings.Compare(b.Key(), a.Key()) })
	return out
}
