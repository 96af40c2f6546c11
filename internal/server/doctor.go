//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"fairlead.dev/client"
	"fairlead.dev/internal/driver/containerd"
	"fairlead.dev/internal/driver/containerd/nodes"
	"fairlead.dev/internal/fault"
)

// Finding is one thing that Doctor looked at.
type Finding struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`           // what was found
	Remedy string `json:"remedy,omitempty"` // what to do, when it is not well
}

// lowSpace is the free space under which a data directory is called full.
const lowSpace = 1 << 30

// Doctor looks at what this machine has for a server with this configuration. It changes nothing.
func Doctor(ctx context.Context, cfg Config) ([]Finding, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	out := []Finding{checkData(cfg.Data), checkPort(cfg)}
	if cfg.Compute == computeRemote {
		return append(out, checkRemote(ctx, cfg)...), nil
	}
	problems := containerd.Check(ctx, nodeConfig(cfg, 0, slog.New(slog.DiscardHandler)))
	for _, p := range problems {
		out = append(out, Finding{What: "running containers", Detail: p.What, Remedy: p.Remedy})
	}
	if len(problems) == 0 {
		out = append(out, Finding{What: "running containers", OK: true, Detail: "root, cgroups, overlayfs, network programs and an OCI runtime are there"})
	}
	return append(out, checkKubernetes()), nil
}

// checkKubernetes looks for what managed clusters need. To lack their program is no fault: everything else works.
func checkKubernetes() Finding {
	f := Finding{What: "Kubernetes clusters", OK: true}
	path, err := nodes.FindProgram("")
	if err != nil {
		f.Detail, f.Remedy = "none can be made: "+fault.From(err).Message, fault.From(err).Hint
		return f
	}
	f.Detail = path
	if _, err := exec.LookPath("nft"); err != nil {
		f.OK, f.Detail, f.Remedy = false, "the program nft, which makes the rules of services, is not on PATH", "apt-get install nftables"
	}
	return f
}

func checkData(data string) Finding {
	f := Finding{What: "data directory", Detail: data}
	probe := &dataDir{path: data}
	switch err := probe.checkFormat(); {
	case errors.Is(err, errDataReadOnly) && errors.Is(err, os.ErrNotExist):
		f.OK, f.Detail = true, data+" will be made at first start"
		return f
	case err != nil:
		f.Detail, f.Remedy = err.Error(), "name another directory with --data"
		return f
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(data, &stat); err == nil {
		free := stat.Bavail * uint64(stat.Bsize)
		f.Detail = fmt.Sprintf("%s, %d MiB free", data, free>>20)
		if free < lowSpace {
			f.Remedy = "make room: images and content need it"
			return f
		}
	}
	if err := unix.Access(data, unix.W_OK); err != nil {
		f.Remedy = "it cannot be written: run as its owner, or name another with --data"
		return f
	}
	f.OK = true
	return f
}

// checkPort tries the listener, unless a server of this data directory has it; one that was killed left its ready file.
func checkPort(cfg Config) Finding {
	f := Finding{What: "HTTPS listener", OK: true, Detail: cfg.Listen}
	if ready, err := client.ReadReady(ReadyFile(cfg.Data)); err == nil && unix.Kill(ready.PID, 0) == nil {
		f.Detail = fmt.Sprintf("port %d, in use by the server of this data directory", ready.Port)
		return f
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return Finding{What: f.What, Detail: err.Error(), Remedy: "name another with --listen; port 0 picks a free one"}
	}
	_ = l.Close()
	return f
}
