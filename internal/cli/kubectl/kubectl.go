// Package kubectl owns how commands use a cluster: which kubectl is run for it, with a kubeconfig that is there for that
// long only, and what it is given to apply. What it says goes to the user as it is.
package kubectl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/terminal"
)

// program is Kubernetes as one program, kubectl among it.
const program = "fairlead-kube"

// graceful is how long kubectl has to end after it was told to.
const graceful = 5 * time.Second

// Kubectl runs kubectl for one cluster.
type Kubectl struct {
	command []string // the program and its first arguments
	dir     string   // private; holds the kubeconfig
}

// ExitError is an exit code of kubectl, which has said why.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("kubectl ended with exit code %d", int(e)) }

// Open makes kubectl ready for a cluster; Close takes the kubeconfig away again.
func Open(kubeconfig []byte) (*Kubectl, error) {
	command, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fairlead-kubectl-")
	if err != nil {
		return nil, err
	}
	k := &Kubectl{command: command, dir: dir}
	if err := os.WriteFile(k.config(), kubeconfig, 0o600); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Close takes away what Open made.
func (k *Kubectl) Close() error { return os.RemoveAll(k.dir) }

func (k *Kubectl) config() string { return filepath.Join(k.dir, "config") }

// find gives the kubectl to run: the one in our program for Kubernetes, beside this program or on PATH, since it is of the
// clusters' own release, else any on PATH.
func find() ([]string, error) {
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), program)
		if _, err := exec.LookPath(beside); err == nil {
			return []string{beside, "kubectl"}, nil
		}
	}
	if path, err := exec.LookPath(program); err == nil {
		return []string{path, "kubectl"}, nil
	}
	if path, err := exec.LookPath("kubectl"); err == nil {
		return []string{path}, nil
	}
	return nil, exit.Errorf(exit.Failure, "put fairlead-kube beside fairlead, or kubectl on PATH", "there is neither fairlead-kube nor kubectl")
}

// Streams are what kubectl reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Dir      string // where it is run; "" is here
}

// Run runs kubectl until it ends; ExitError when it fails.
func (k *Kubectl) Run(ctx context.Context, s Streams, args ...string) error {
	cmd := exec.CommandContext(ctx, k.command[0], append(k.command[1:len(k.command):len(k.command)], args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.config())
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = s.In, terminal.Unwatched(s.Out), terminal.Unwatched(s.Err), s.Dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = graceful
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &ended) && ended.ExitCode() > 0:
		return ExitError(ended.ExitCode())
	case err != nil:
		return fmt.Errorf("running %s: %w", k.command[0], err)
	}
	return nil
}
