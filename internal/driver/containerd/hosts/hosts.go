// Package hosts owns the directory in which a node's containerd looks up, at every pull, where the registry of an image is
// ("registry host namespaces", containerd's docs/hosts.md). Which registries there are, it is told.
package hosts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"fairlead.dev/internal/driver/containerd/whole"
)

// Host says where the registry of a host name is.
type Host struct {
	Name      string // as it stands in images, with its port: "myacr.azurecr.io"
	Server    string // where it is and nowhere else: "https://myacr.azurecr.fairlead.internal:8443"
	Authority string // file of the certificate authority to trust there besides the system's
}

// file gives what containerd reads. With nothing but a server it never asks at the name itself. The user and password that
// a kubelet brings are sent to that server, as containerd compares them with no host unless the kubelet names one.
func (h Host) file() []byte {
	return fmt.Appendf(nil, "server = %q\ncapabilities = [\"pull\", \"resolve\"]\nca = %q\n", h.Server, h.Authority)
}

// Write makes dir hold these hosts and no others. Pulls may go on meanwhile: each finds a file whole or not at all.
func Write(dir string, all []Host) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	wanted := map[string]bool{}
	var errs []error
	for _, h := range all {
		wanted[h.Name] = true
		errs = append(errs, whole.Write(filepath.Join(dir, h.Name, "hosts.toml"), h.file(), 0o644, 0o755))
	}
	there, err := os.ReadDir(dir)
	errs = append(errs, err)
	for _, entry := range there {
		if !wanted[entry.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(errs...)
}
