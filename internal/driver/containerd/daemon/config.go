//go:build linux

package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"text/template"
	"time"

	"fairlead.dev/internal/driver/containerd/process"
)

const (
	startLimit = 20 * time.Second // from the start of a daemon until it answers
	stopGrace  = 3 * time.Second  // between SIGTERM and SIGKILL
)

// Config says where a daemon keeps its things. Two daemons with different directories never meet.
type Config struct {
	Root       string // directory of what it keeps over a restart of the machine: content, snapshots, metadata
	Run        string // short directory of what it need not keep: sockets and the running tasks' bundles
	Log        string // file that its log is appended to
	Namespace  string // of containerd that its client works in: this daemon's shims are known by it
	Executable string // path of this program; "" is os.Executable
	// Namespaces are paths of namespaces that the daemon runs in, with all that it starts; none are our own.
	Namespaces []string
	Env        []string // of the daemon, besides PATH
	CRI        *CRI     // what it serves a kubelet; nil serves none
}

// Socket is the address that the daemon answers at.
func (c Config) Socket() string { return filepath.Join(c.Run, "containerd.sock") }

// CRI is what a daemon that serves a kubelet needs to know besides. Its containers are in containerd's namespace
// "k8s.io", so a kubelet sees every one of them: a daemon serves one kubelet and nothing else.
type CRI struct {
	Network      string   // directory of the CNI configuration of pods
	Programs     []string // directories of the CNI programs
	Registries   string   // directory of hosts.toml files by registry
	SandboxImage string   // reference of the image that holds a pod's namespaces; never fetched
	OCIRuntime   string   // path of runc or crun
}

// CRINamespace is the namespace of containerd that its CRI works in, always.
const CRINamespace = "k8s.io"

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
{{with .CRI}}
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  # The pull of the transfer service knows nothing of a kubelet's credentials for a mirror.
  use_local_image_pull = true
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = {{.SandboxImage | quote}}
[plugins."io.containerd.cri.v1.images".registry]
  config_path = {{.Registries | quote}}

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE nobody may make a process less likely to be killed than itself.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
[plugins."io.containerd.cri.v1.runtime".cni]
  conf_dir = {{.Network | quote}}
  bin_dirs = [{{range .Programs}}{{. | quote}}, {{end}}]
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  runtime_path = {{$.ExecutablePath | quote}}
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
  BinaryName = {{.OCIRuntime | quote}}
{{end}}`

// ExecutablePath is the path of the program that is daemon and shim.
func (c Config) ExecutablePath() (string, error) { return process.Executable(c.Executable) }

// program gives the daemon as a process.
func (c Config) program() process.Program {
	return process.Program{
		Name: c.name(), Path: c.Executable, Args: []string{"--config", c.file()}, Log: c.Log, Notify: filepath.Join(c.Run, "notify.sock"),
		ConfigFile: c.file(), Config: c.toml(), Namespaces: c.Namespaces, Env: c.Env, StartLimit: startLimit, StopGrace: stopGrace,
		Answers: func(ctx context.Context) bool {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", c.Socket())
			return err == nil && conn.Close() == nil
		},
	}
}

func (c Config) name() string {
	if c.CRI != nil {
		return NodeName
	}
	return Name
}

// Open gives a supervisor whose daemon answers: the one that runs already, when it is of this same program and
// configuration, else a new one in its place. The containers outlive the daemon, because each has its shim.
func Open(ctx context.Context, c Config, log *slog.Logger) (*process.Supervisor, error) {
	return process.Supervise(ctx, c.program(), log)
}

// running gives the daemons that run over this configuration.
func (c Config) running() (process.Group, error) {
	p := c.program()
	return p.Running()
}

// Stop ends every daemon that runs over this configuration, whoever started it; containers run on.
func (c Config) Stop(ctx context.Context) error {
	p := c.program()
	return p.Stop(ctx)
}

// Shims gives the shims of a container; of all containers when id is "". Like the daemon they are found by what they
// were started with: the namespace, and where that is everybody's, the daemon's address.
func (c Config) Shims(id string) (process.Group, error) {
	return process.Find(func(argv []string) bool {
		option := func(name string) string {
			if at := slices.Index(argv, name); at > 0 && at+1 < len(argv) {
				return argv[at+1]
			}
			return ""
		}
		return len(argv) > 2 && argv[1] == "-namespace" && argv[2] == c.Namespace &&
			(c.CRI == nil || option("-address") == c.Socket()) && (id == "" || option("-id") == id)
	})
}
