//go:build linux

package containerd

import (
	"os/exec"
	"path/filepath"

	"fairlead.dev/internal/fault"
)

// ociRuntime is the path of the program that turns a specification into processes.
type ociRuntime string

// ErrNoRuntime is returned when no OCI runtime is installed.
var ErrNoRuntime = fault.New(fault.Unavailable, "OCI_RUNTIME_MISSING", "no OCI runtime is installed")

// findRuntime gives the runtime that is asked for, or the first that is installed. crun is the faster one, but refuses
// machines where version 2 of control groups is mounted beside version 1 with a controller of its own; runc runs on all.
func findRuntime(wanted string) (ociRuntime, error) {
	candidates := []string{"runc", "crun"}
	if wanted != "" {
		candidates = []string{wanted}
	}
	for _, name := range candidates {
		for _, dir := range []string{"", "/usr/local/sbin", "/usr/sbin", "/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return ociRuntime(path), nil
			}
		}
	}
	return "", ErrNoRuntime.WithMessage("no OCI runtime is installed: looked for %v", candidates).WithHint("apt-get install runc")
}
