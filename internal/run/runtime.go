package run

import (
	"context"
	"io"
	"time"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
)

// Runtime makes sandboxes and containers. It keeps them over restarts of Fairlead. Methods are called by many goroutines,
// but never twice at once for one sandbox or one container. runtest.Runtime is its contract as tests.
type Runtime interface {
	// CreateSandbox makes the network namespace, address and cgroup that a group's containers share. The id is free:
	// RemoveSandbox was called for it. A Conflict fault says that a host port is taken, by name.
	CreateSandbox(ctx context.Context, spec SandboxSpec) (Sandbox, error)
	// RemoveSandbox returns nil only when namespace, interfaces, cgroup and firewall rules are gone, also when there were
	// none. Its containers are removed before.
	RemoveSandbox(ctx context.Context, id string) error
	// Start makes containers of one sandbox, each with a fresh file system from its image, and starts them; what it gives has
	// one entry for each, in order. All that a sandbox begins with come in one call, for there are runtimes whose
	// sandboxes take in no further one; what comes later takes the place of one of them that has ended. Of a container
	// whose entry has an error nothing is left. An Invalid fault says that the image or command cannot be started, in
	// words for the user.
	Start(ctx context.Context, specs ...ContainerSpec) []Started
	// Stop sends SIGTERM, after grace SIGKILL, and returns nil when all processes are gone, also when there were none. The
	// container's exit is told by Exits too. A runtime may end the others of the sandbox with it, and then tells of their
	// exits as well.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Remove kills what still runs of a container and returns nil when task, file system and container are gone, also
	// when there were none.
	Remove(ctx context.Context, id string) error
	// List gives everything that Start and CreateSandbox made and Remove and RemoveSandbox did not end yet.
	List(ctx context.Context) ([]Observed, []Sandbox, error)
	// Exits tells of every exit from now on, each at least once. The channel closes when ctx ends or the connection to
	// the runtime is lost; who subscribes again must List, exits in between are not told.
	Exits(ctx context.Context) (<-chan Exit, error)
}

// Execer runs further processes in running containers.
type Execer interface {
	// Exec runs a command in container id and returns its exit code when it has ended and all output is written. Ending
	// ctx kills it. A NotFound fault says that the container does not run; an Invalid one, that the command cannot start.
	Exec(ctx context.Context, id string, spec ExecSpec) (exitCode int, err error)
}

// SandboxSpec is a sandbox to be made.
type SandboxSpec struct {
	ID          string      // letters, digits and '-', at most 76 characters
	Workload    resource.ID // that it is for
	Hostname    string
	CPU         float64 // cores, sum over the containers; 0 is no limit
	MemoryBytes int64   // sum over the containers; 0 is no limit
	Ports       []PortMapping
	Listens     []Port // what its containers are known to listen on; a runtime may lead further ports to them, or not
}

// PortMapping publishes a sandbox's port on the host.
type PortMapping struct {
	HostIP   string // "" is the loopback address
	HostPort int
	Port     int
	Protocol string // "tcp" or "udp"
}

// Sandbox is a sandbox that exists.
type Sandbox struct {
	ID string
	IP string // on the container network, or the runtime's own
}

// ContainerSpec is a container to be made and started.
type ContainerSpec struct {
	ID          string // as SandboxSpec.ID
	Sandbox     string // id of its sandbox
	Name        string // within the group; for people who look at the runtime
	Image       pull.Image
	Command     []string // replaces the image's entrypoint and arguments when not empty
	Env         []string // "NAME=value", over the image's own
	Hostname    string
	CPU         float64 // cores; 0 is no limit
	MemoryBytes int64   // 0 is no limit
	LogPath     string  // file that standard output and error are appended to, byte for byte; it may be made shorter meanwhile

	Restart RestartPolicy // of the workload, "" is Never: it is kept by whoever calls Start; a runtime that can restart by itself may
	Again   bool          // it takes the place of one of that name that has ended, as Restart says
}

// Started is a container that was started, or why it was not.
type Started struct {
	PID uint32 // 0 where the runtime does not tell
	At  time.Time
	Err error
}

// Observed is a container as the runtime has it.
type Observed struct {
	ID        string
	Sandbox   string
	Running   bool
	PID       uint32 // 0 where the runtime does not tell
	StartedAt time.Time
	ExitCode  int // of one that does not run, as are the next two
	OOM       bool
	ExitedAt  time.Time
}

// Exit tells that a container's first process has ended.
type Exit struct {
	ID   string
	Code int
	OOM  bool // the kernel killed for memory in the container's cgroup
	At   time.Time
}

// ExecSpec is a process to be run in a container.
type ExecSpec struct {
	Command    []string
	TTY        bool
	Rows, Cols uint16 // of the terminal, when TTY
	Stdin      io.Reader
	Stdout     io.Writer
	Stderr     io.Writer        // unused when TTY
	Resize     <-chan [2]uint16 // rows, columns; nil when the terminal keeps its size
}

// ErrUnsupported is what a fake runtime's unset method returns.
var ErrUnsupported = fault.New(fault.Unsupported, "Unsupported", "this runtime cannot do that")
