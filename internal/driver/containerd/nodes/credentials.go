//go:build linux

package nodes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"fairlead.dev/internal/driver/containerd/whole"
)

// credentialsFile is what the kubelet reads of the programs that it asks for credentials. It reads it when it starts, so
// that another content is another file: by that the process is known to be outdated.
func (n *node) credentialsFile() string {
	sum := sha256.Sum256(n.plan.CredentialProviders)
	return n.dir("credential-providers", hex.EncodeToString(sum[:4])+".json")
}

// credentialPrograms is where the kubelet looks for those programs, by the names that the file gives them.
func (n *node) credentialPrograms() string { return n.dir("credential-programs") }

// credentials says to fairlead-kube where both are; nil when the plan has no such programs.
func (n *node) credentials() object {
	if len(n.plan.CredentialProviders) == 0 {
		return nil
	}
	return object{"file": n.credentialsFile(), "programs": n.credentialPrograms()}
}

// writeCredentials writes both, or takes them away.
func (n *node) writeCredentials() error {
	if err := errors.Join(os.RemoveAll(filepath.Dir(n.credentialsFile())), os.RemoveAll(n.credentialPrograms())); err != nil {
		return err
	}
	if len(n.plan.CredentialProviders) == 0 {
		return nil
	}
	var config struct {
		Providers []struct{ Name string }
	}
	if err := json.Unmarshal(n.plan.CredentialProviders, &config); err != nil {
		return fmt.Errorf("read the kubelet's configuration of credential providers: %w", err)
	}
	own, err := n.daemon().ExecutablePath()
	if err != nil {
		return err
	}
	for _, p := range config.Providers {
		if err := link(filepath.Join(n.credentialPrograms(), p.Name), own); err != nil {
			return err
		}
	}
	return whole.Write(n.credentialsFile(), n.plan.CredentialProviders, 0o600, 0o700)
}

// link makes path lead to a program.
func link(path, program string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(program, path)
}
