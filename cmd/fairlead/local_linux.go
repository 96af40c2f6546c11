package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"fairlead.dev/internal/cli"
	"fairlead.dev/internal/server"
)

// applet tells whether this process is to be containerd or its shim.
func applet(args []string) (run func() int, ok bool) { return server.Applet(args) }

// local are the commands that act on this machine.
func local() cli.Local {
	return cli.Local{Version: version, Up: up, Down: down, Doctor: doctor, Trust: trust, Hosts: hosts, Gather: gather}
}

func up(ctx context.Context, s cli.Streams, o cli.UpOptions) error {
	return server.Up(ctx, server.Config{
		Data: o.Data, Listen: o.Listen, Domains: o.Domains, Tenant: o.Tenant, Subscription: o.Subscription, ReadyFile: o.ReadyFile,
		Containerd: o.Containerd, OCIRuntime: o.OCIRuntime, Compute: o.Compute, Kubeconfig: o.Kubeconfig, Context: o.Context, AllowIssuers: o.AllowIssuers, LogFormat: o.LogFormat, LogLevel: o.LogLevel,
	}, version, s.Out, s.Err)
}

func down(ctx context.Context, s cli.Streams, o cli.DownOptions) error {
	return server.Down(ctx, o.Data, o.Purge, s.Out, s.Err)
}

func doctor(ctx context.Context, s cli.Streams, o cli.DoctorOptions) error {
	findings, err := server.Doctor(ctx, server.Config{Data: o.Data, Compute: o.Compute, Kubeconfig: o.Kubeconfig, Context: o.Context})
	if err != nil {
		return err
	}
	if o.JSON {
		err = s.JSON(findings)
	}
	well := true
	for _, f := range findings {
		well = well && f.OK
		if !o.JSON {
			printFinding(s, f)
		}
	}
	if !well {
		err = errors.Join(err, errors.New("this machine lacks what is listed above"))
	}
	return err
}

func printFinding(s cli.Streams, f server.Finding) {
	mark := "ok     "
	if !f.OK {
		mark = "MISSING"
	}
	fmt.Fprintf(s.Out, "%s  %s: %s\n", mark, f.What, f.Detail)
	if f.Remedy != "" {
		fmt.Fprintf(s.Out, "         %s\n", f.Remedy)
	}
}

func trust(ctx context.Context, s cli.Streams, o cli.TrustOptions) error {
	data := o.Data
	if data == "" {
		data = server.DefaultData()
	}
	if !o.Install && !o.Remove {
		path := server.AuthorityFile(data)
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("there is no authority at %s: it is made at first start ('fairlead up'); or name another data directory with --data", path)
		}
		if o.JSON {
			return s.JSON(map[string]string{"caFile": path})
		}
		_, err := fmt.Fprintln(s.Out, path)
		return err
	}
	return server.InstallTrust(ctx, data, o.Install)
}

func hosts(ctx context.Context, s cli.Streams, o cli.HostsOptions) error {
	file, data := o.File, o.Data
	if file == "" {
		file = server.HostsFile
	}
	if data == "" {
		data = server.DefaultData()
	}
	block := server.HostsBlockOf(data)
	if o.Remove {
		return block.Write(file, "")
	}
	names, err := server.HostNames(ctx, server.Config{Data: data})
	if err != nil {
		return err
	}
	const address = "127.0.0.1"
	text := block.Text(address, names)
	switch {
	case o.Write:
		return block.Write(file, text)
	case o.JSON:
		return s.JSON(map[string][]string{address: names})
	}
	_, err = fmt.Fprint(s.Out, text)
	return err
}
