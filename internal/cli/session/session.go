// Package session owns which Fairlead a command speaks to and as whom: it looks for a ready file or a stored login, in
// the order that `fairlead help finding-the-server` tells, and keeps the login's file. Speaking is the client's.
package session

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
)

// Finder knows where to look.
type Finder struct {
	ReadyFile string              // --ready-file; "" when not given
	Env       func(string) string // an environment variable's value
	ConfigDir string              // the directory of the login's file
	DataDirs  []string            // default data directories
}

// Found is a server and how it was found.
type Found struct {
	Server     client.Server
	Credential client.Credential
	ReadyFile  string // the ready file; "" for a login
	CAFile     string // a file with the authority's certificate
}

// NewFinder gives a finder with the places of this user.
func NewFinder(env func(string) string) Finder {
	config := env("FAIRLEAD_CONFIG_DIR")
	if config == "" {
		if dir, err := os.UserConfigDir(); err == nil {
			config = filepath.Join(dir, "fairlead")
		}
	}
	return Finder{Env: env, ConfigDir: config, DataDirs: dataDirs(env)}
}

// dataDirs are the default data directories: of root and of this user.
func dataDirs(env func(string) string) []string {
	dirs := []string{"/var/lib/fairlead"}
	if dir := env("XDG_DATA_HOME"); dir != "" {
		return append(dirs, filepath.Join(dir, "fairlead"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".local", "share", "fairlead"))
	}
	return dirs
}

// Find looks in order: the ready file named on the command line, FAIRLEAD_READY_FILE, a login, the default data
// directories' ready files.
func (f Finder) Find() (Found, error) {
	for _, path := range []string{f.ReadyFile, f.Env("FAIRLEAD_READY_FILE")} {
		if path != "" {
			return f.ready(path)
		}
	}
	if found, err := f.login(); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	for _, dir := range f.DataDirs {
		path := filepath.Join(dir, "ready.json")
		if _, err := os.Stat(path); err == nil {
			return f.ready(path)
		}
	}
	return Found{}, exit.Errorf(exit.Unreachable, "start one with 'fairlead up', name its ready file with --ready-file, or sign in with 'fairlead login'",
		"no Fairlead found: there is no ready file and no login")
}

const readyHint = "give --ready-file or FAIRLEAD_READY_FILE the file that 'fairlead up --ready-file' writes"

func (f Finder) ready(path string) (Found, error) {
	ready, err := client.ReadReady(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Found{}, exit.Errorf(exit.Unreachable, "start the server with 'fairlead up --ready-file "+path+"', or wait until it is ready",
			"no Fairlead found: the ready file %s does not exist", path)
	}
	if err != nil {
		return Found{}, exit.WithHint(err, readyHint)
	}
	server, err := ready.Server()
	if err != nil {
		return Found{}, exit.WithHint(err, readyHint)
	}
	if server.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(server.CA)) {
		return Found{}, exit.Errorf(exit.Failure, readyHint, "%s, which %s names as caFile, holds no PEM certificate", ready.CAFile, path)
	}
	return Found{Server: server, Credential: ready.Admin, ReadyFile: path, CAFile: ready.CAFile}, nil
}

func (f Finder) login() (Found, error) {
	if f.ConfigDir == "" {
		return Found{}, fs.ErrNotExist
	}
	login, err := ReadLogin(f.ConfigDir)
	if err != nil {
		return Found{}, err
	}
	return Found{Server: login.Server, Credential: login.Credential, CAFile: caFile(f.ConfigDir, login)}, nil
}

// Dial gives the address at which the hosts of the resource manager at arm are reached: given ("host[:port]"), else the
// loopback address for names under localhost, which do not resolve everywhere, else none, so that names are resolved.
func Dial(arm, given string) string {
	u, err := url.Parse(arm)
	if err != nil {
		return given
	}
	switch {
	case given != "":
		if _, _, err := net.SplitHostPort(given); err == nil {
			return given
		}
		return net.JoinHostPort(strings.Trim(given, "[]"), portOf(arm))
	case strings.HasSuffix(u.Hostname(), ".localhost"):
		return net.JoinHostPort("127.0.0.1", portOf(arm))
	}
	return ""
}
