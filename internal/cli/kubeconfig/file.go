package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/whole"
)

// Put files a cluster's kubeconfig in the file at path and gives the name of its context; "-" prints it to out instead. The
// file is replaced whole, for its owner only, where it really lies when path is a link; a directory that is missing is made.
// Meanwhile it is locked as kubectl locks it, and waited for until ctx ends. When nothing has to change, nothing is written.
func Put(ctx context.Context, path string, addition []byte, o Options, out io.Writer) (string, error) {
	if path == "-" {
		text, name, err := Prepare(addition, o)
		if err == nil {
			_, err = out.Write(text)
		}
		return name, err
	}
	place, err := follow(path)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, place)
	if err != nil {
		return "", err
	}
	defer unlock()
	if place != path { // kubectl locks the link
		unlock, err := lock(ctx, path)
		if err != nil {
			return "", err
		}
		defer unlock()
	}
	existing, err := os.ReadFile(place)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	text, name, err := Merge(existing, addition, path, o)
	if err != nil || string(text) == string(existing) {
		return name, err
	}
	return name, whole.Write(place, text, func(f *os.File) error {
		return errors.Join(keepOwner(place, f), f.Sync())
	})
}

// maxLinks is how many links one behind the other are followed, as the kernel does.
const maxLinks = 40

// follow gives where a path really lies, also when nothing is there yet. What is there must be a file.
func follow(path string) (string, error) {
	real := path
	for range maxLinks {
		target, err := os.Readlink(real)
		if err != nil { // no link, or not there
			if info, err := os.Lstat(real); err == nil && !info.Mode().IsRegular() {
				return "", exit.Errorf(exit.Usage, "give a file, or - for the output", "%s is no file", path)
			}
			return real, nil // what is wrong with it shows when it is read
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(real), target)
		}
		real = target
	}
	return "", fmt.Errorf("%s is a link to a link, more than %d times", path, maxLinks)
}

// lookAgain is the time between two looks at a lock that somebody has.
const lookAgain = 20 * time.Millisecond

// lock takes the lock of a kubeconfig: the file of that name with ".lock" behind it, which whoever has the lock made. kubectl
// does the same (client-go, tools/clientcmd: lockFile).
func lock(ctx context.Context, path string) (func(), error) {
	name := path + ".lock"
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			f.Close()
			return func() { _ = os.Remove(name) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, exit.Errorf(exit.CodeOf(ctx.Err()), "when no kubectl and no fairlead is writing it, remove "+name, "%s is locked by another program: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}
