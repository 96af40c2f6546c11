//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxLog is the size of a log, in bytes, at which a start begins a new file.
const maxLog = 10 << 20

// Program is what a process is started from. It is known among the processes by its name and its configuration, so that
// no stale file can lead to a stranger.
type Program struct {
	Name   string   // argv[0]
	Path   string   // of the executable; "" is our own
	Args   []string // what follows argv[0]; ConfigFile is among them
	Env    []string // besides PATH and where it says that it is ready
	Log    string   // file that its output is appended to
	Notify string   // short path of the socket on which it says that it is ready, as it would to systemd (sd_notify(3))

	ConfigFile string
	Config     []byte // what has to stand in ConfigFile

	Namespaces []string      // paths of namespaces that it is started in; none are our own
	StartLimit time.Duration // from the start until it is ready
	StartTries int           // how often it may end of itself before it is ready until that counts as failed; 0 is 1
	StopGrace  time.Duration // between SIGTERM and SIGKILL
	// Answers reports whether a process that runs already is of use; nil takes it for one that is.
	Answers func(ctx context.Context) bool
	// Status is told what the process says about its start (sd_notify's STATUS); may be nil.
	Status func(status string)
}

// prepare writes the configuration and reports whether the file said the same before.
func (p *Program) prepare() (unchanged bool, err error) {
	for _, dir := range []string{filepath.Dir(p.ConfigFile), filepath.Dir(p.Log), filepath.Dir(p.Notify)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return false, err
		}
	}
	before, _ := os.ReadFile(p.ConfigFile)
	return bytes.Equal(before, p.Config), os.WriteFile(p.ConfigFile, p.Config, 0o600)
}

// Running gives the processes that run from this program: one at most, unless something went wrong.
func (p *Program) Running() (Group, error) {
	return Find(func(argv []string) bool {
		return filepath.Base(argv[0]) == p.Name && slices.Contains(argv, p.ConfigFile)
	})
}

// Stop ends every process that runs from this program, whoever started it.
func (p *Program) Stop(ctx context.Context) error {
	running, err := p.Running()
	if err != nil {
		return err
	}
	defer running.Close()
	return errors.Join(running.Signal(unix.SIGTERM), running.End(ctx, p.StopGrace))
}

// Executable gives the program at path, or our own when that is "".
func Executable(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	return os.Executable()
}

// usable reports whether a process is of this same executable, in these namespaces, and answers.
func (p *Program) usable(ctx context.Context, running *process) bool {
	exe, err := Executable(p.Path)
	if err != nil || !sameFile(exe, fmt.Sprintf("/proc/%d/exe", running.pid)) {
		return false
	}
	for _, path := range p.Namespaces {
		kind, err := kindOf(path)
		if err != nil || !sameFile(path, fmt.Sprintf("/proc/%d/ns/%s", running.pid, kind)) {
			return false
		}
	}
	return p.Answers == nil || p.Answers(ctx)
}

func sameFile(a, b string) bool {
	one, err1 := os.Stat(a)
	other, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, other)
}

// command gives the process's command line. Its environment is made anew: what is in ours is not its business.
func (p *Program) command() (*exec.Cmd, error) {
	exe, err := Executable(p.Path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(p.Log); err == nil && info.Size() > maxLog {
		if err := os.Rename(p.Log, p.Log+".1"); err != nil {
			return nil, err
		}
	}
	out, err := os.OpenFile(p.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path:        exe,
		Args:        append([]string{p.Name}, p.Args...),
		Env:         append([]string{"PATH=" + SearchPath(), "NOTIFY_SOCKET=" + p.Notify}, p.Env...),
		Dir:         "/",
		Stdout:      out,
		Stderr:      out,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}, nil
}

// SearchPath is where the OCI runtime and the firewall programs are looked for: our own PATH and, after it, the
// administrator's directories, which a user's shell may not have.
func SearchPath() string {
	return strings.Join(append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"), ":")
}
