package session

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/whole"
)

// Login is what `fairlead login` keeps.
type Login struct {
	Server     client.Server     `json:"server"`
	Credential client.Credential `json:"credential"`
}

// LoginFile gives the path of the login in a configuration directory.
func LoginFile(dir string) string { return filepath.Join(dir, "login.json") }

// ReadLogin reads the stored login; fs.ErrNotExist when there is none. A file that others may read is refused: it holds
// a secret.
func ReadLogin(dir string) (Login, error) {
	var login Login
	path := LoginFile(dir)
	info, err := os.Stat(path)
	if err != nil {
		return login, err
	}
	if info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		return login, exit.Errorf(exit.Denied, "chmod 600 "+path+", and make a new secret if others may have read this one",
			"%s holds a secret and may be read by others", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return login, err
	}
	if err := json.Unmarshal(text, &login); err != nil {
		return login, exit.Errorf(exit.Failure, "sign in again with 'fairlead login'", "%s is not what 'fairlead login' wrote: %w", path, err)
	}
	return login, nil
}

// Write stores the login for this user only, and the authority's certificate beside it.
func (l Login) Write(dir string) error {
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if l.Server.CA != "" {
		if err := whole.Write(filepath.Join(dir, "ca.pem"), []byte(l.Server.CA), nil); err != nil {
			return err
		}
	}
	return whole.Write(LoginFile(dir), append(text, '\n'), nil)
}

// RemoveLogin forgets the stored login and reports whether there was one.
func RemoveLogin(dir string) (bool, error) {
	err := os.Remove(LoginFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, err
	}
	return true, nil
}

func caFile(dir string, l Login) string {
	if l.Server.CA == "" {
		return ""
	}
	return filepath.Join(dir, "ca.pem")
}

// portOf gives the port of a URL, "443" when it names none.
func portOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Port() != "" {
		return u.Port()
	}
	return "443"
}
