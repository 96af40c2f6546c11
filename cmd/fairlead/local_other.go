//go:build !linux

package main

import "fairlead.dev/internal/cli"

// applet tells that this program is nothing but the CLI here: Fairlead itself runs on Linux.
func applet([]string) (run func() int, ok bool) { return nil, false }

func local() cli.Local { return cli.Local{Version: version, Gather: gather} }
