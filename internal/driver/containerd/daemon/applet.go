//go:build linux

// Package daemon owns containerd as a part of our own program: the applets (the daemon and its shim are this same
// executable, started under other arguments), the plugins each of them loads, the daemon's configuration, and the
// Supervisor that starts it, finds one that runs already, and brings it back when it dies. What to ask of containerd
// is its neighbour's business, the package above.
package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

// What the daemon is called among the processes, its argv[0]: that of container groups and web apps, and one that serves
// the kubelet of a node.
const (
	Name     = "fairlead-containerd"
	NodeName = "fairlead-node-containerd"
)

// Applet reports whether a process that was started with args (os.Args) is to be the containerd daemon or its shim
// instead of the program it looks like, and gives what it has to run; run's result is the exit status. main calls it
// before anything else, and so does TestMain of every test that runs containers.
//
// The shim is known by its first argument, "-namespace" when it has a task and "-info" when it is asked for its
// features: containerd starts it by the path of our executable, and the shim starts itself again by the same path, so
// that argv[0] says nothing.
func Applet(args []string) (run func() int, ok bool) {
	switch {
	case len(args) > 1 && (args[1] == "-namespace" || args[1] == "-info"):
		return runShim, true
	case len(args) > 0 && filepath.Base(args[0]) == Name:
		return func() int { return runDaemon(args, daemonPlugins) }, true
	case len(args) > 0 && filepath.Base(args[0]) == NodeName:
		return func() int { return runDaemon(args, daemonPlugins, criPlugins) }, true
	}
	return nil, false
}

func runShim() int {
	keepPlugins(func(uri string) bool { return uri == shimPlugin })
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
	return 0
}

func runDaemon(args []string, wanted ...map[string]bool) int {
	keepPlugins(func(uri string) bool {
		return slices.ContainsFunc(wanted, func(set map[string]bool) bool { return set[uri] })
	})
	if err := command.App().Run(context.Background(), args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", args[0], err)
		return 1
	}
	return 0
}

// keepPlugins takes all but the wanted plugins out of containerd's one registry, which holds those of the daemon and
// those of the shim because both are linked here. The shim would otherwise start every plugin of the daemon, and the
// daemon would serve the shim's.
func keepPlugins(wanted func(uri string) bool) {
	all := registry.Graph(func(*plugin.Registration) bool { return false })
	registry.Reset()
	for _, r := range all {
		if wanted(r.URI()) {
			registry.Register(&r)
		}
	}
}
