package kubectl

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fairlead.dev/internal/cli/exit"
)

// Document is one Kubernetes object as it was written.
type Document struct {
	Number    int // in its file, from 1 on
	Kind      string
	Name      string
	Namespace string // "" when it names none
	Rolls     bool   // it is rolled out, which can be waited for
	Text      []byte
}

// ApplyOptions say how to apply.
type ApplyOptions struct {
	File      string // name for errors
	Cluster   string // its name, for hints
	Namespace string // of objects that name none; "" is the cluster's default
	Output    string // "json", or "" for a line for each object
}

// maxBatch bounds the names that one kubectl is given, in bytes: the system takes 2 MiB of arguments, and 128 KiB of one.
const maxBatch = 1 << 20

// Apply gives the cluster all documents, in their order, also behind one that is refused. Each is a file of its own, called
// after the file it came from and its number there, which kubectl names where it tells an error. Close takes them away.
func (k *Kubectl) Apply(ctx context.Context, s Streams, documents []Document, o ApplyOptions) error {
	dir, err := os.MkdirTemp(k.dir, "documents-")
	if err != nil {
		return err
	}
	s.Dir = dir
	var failed error
	args, size := o.args(), 0
	send := func() error {
		err := k.Run(ctx, s, args...)
		if _, refused := err.(ExitError); refused { //nolint:errorlint // Run gives it bare
			failed, err = err, nil
		}
		args, size = o.args(), 0
		return err
	}
	for _, d := range documents {
		name := o.name(d)
		if err := os.WriteFile(filepath.Join(dir, name), d.Text, 0o600); err != nil {
			return err
		}
		args, size = append(args, "-f", name), size+len(name)+8
		if size > maxBatch {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if size > 0 {
		if err := send(); err != nil {
			return err
		}
	}
	return failed
}

func (o ApplyOptions) args() []string {
	args := []string{"apply"}
	if o.Namespace != "" {
		args = append(args, "--namespace", o.Namespace)
	}
	if o.Output != "" {
		args = append(args, "--output", o.Output)
	}
	return args
}

// name gives the name that a document's file has, which kubectl shows.
func (o ApplyOptions) name(d Document) string {
	file := filepath.Base(o.File)
	if file == "-" || file == "." || file == string(filepath.Separator) {
		file = "stdin"
	}
	return fmt.Sprintf("%.100s (document %d)", file, d.Number)
}

// Rollouts waits until what is rolled out is so.
func (k *Kubectl) Rollouts(ctx context.Context, s Streams, documents []Document, o ApplyOptions) error {
	for _, d := range documents {
		if !d.Rolls {
			continue
		}
		namespace := d.Namespace
		if namespace == "" {
			namespace = o.Namespace
		}
		what := strings.ToLower(d.Kind) + "/" + d.Name
		args := []string{"rollout", "status", what}
		hint := "see why with 'fairlead why " + what + " --cluster " + o.Cluster
		if namespace != "" {
			args, hint = append(args, "--namespace", namespace), hint+" -n "+namespace
		}
		if err := k.Run(ctx, s, args...); err != nil {
			return exit.Errorf(exit.CannotStart, hint+"'", "document %d: %s was applied, and is not rolled out: %w", d.Number, what, err)
		}
	}
	return nil
}
