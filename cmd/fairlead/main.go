// Command fairlead is the whole program: the CLI on every system, and on Linux also the server, and by other arguments
// containerd and its shim.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"fairlead.dev/internal/cli"
)

// version is set by the linker.
var version = "unknown"

func main() {
	if run, ok := applet(os.Args); ok {
		os.Exit(run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Main(ctx, os.Args[1:], cli.System(), local()))
}
