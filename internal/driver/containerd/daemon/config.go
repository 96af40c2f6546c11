//go:build linux

package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
)

// Config says where a daemon keeps its things. Two daemons with different directories never meet.
type Config struct {
	Root       string // directory of what it keeps over a restart of the machine: content, snapshots, metadata
	Run        string // short directory of what it need not keep: sockets and the running tasks' bundles
	Log        string // file that its log is appended to
	Namespace  string // of containerd that its client works in: this daemon's shims are known by it
	Executable string // path of this program; "" is os.Executable
}

// Socket is the address that the daemon answers at.
func (c Config) Socket() string { return filepath.Join(c.Run, "containerd.sock") }

// file is where the daemon's configuration is written to, for it and for people to read.
func (c Config) file() string { return filepath.Join(c.Root, "containerd.toml") }

// toml gives the configuration that the daemon reads. The temporary directory is the short one because shims inherit it
// and make sockets in it, whose paths end at 108 bytes.
func (c Config) toml() []byte {
	var b bytes.Buffer
	t := template.Must(template.New("toml").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(tomlTemplate))
	if err := t.Execute(&b, c); err != nil {
		panic(err) // the template and its data are both ours
	}
	return b.Bytes()
}

const tomlTemplate = `# Written by fairlead at every start; changes made here are lost.
version = 4
root = {{printf "%s/root" .Root | quote}}
state = {{printf "%s/state" .Run | quote}}
temp = {{printf "%s/tmp" .Run | quote}}

[debug]
  level = "warn"

[plugins."io.containerd.server.v1.grpc"]
  address = {{.Socket | quote}}

[plugins."io.containerd.server.v1.ttrpc"]
  address = {{printf "%s.ttrpc" .Socket | quote}}

# What was deleted leaves the disk at once, not after a hundred changes.
[plugins."io.containerd.gc.v1.scheduler"]
  deletion_threshold = 1

[plugins."io.containerd.shim.v1.manager"]
  socket_dir = {{printf "%s/s" .Run | quote}}
`

// prepare makes the directories and writes the configuration; it reports whether the file said the same before.
func (c Config) prepare() (unchanged bool, err error) {
	for _, dir := range []string{c.Root, c.Run, filepath.Dir(c.Log)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return false, err
		}
	}
	before, _ := os.ReadFile(c.file())
	return bytes.Equal(before, c.toml()), os.WriteFile(c.file(), c.toml(), 0o600)
}

func (c Config) executable() (string, error) {
	if c.Executable != "" {
		return c.Executable, nil
	}
	return os.Executable()
}
