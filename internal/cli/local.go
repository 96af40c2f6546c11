package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/kubewhy"
)

// Local are the commands that act on this machine. The program hands them over; where Fairlead itself does not run they
// are nil, and the command says so.
type Local struct {
	Version string // of the program; "" when unknown
	Up      func(context.Context, Streams, UpOptions) error
	Down    func(context.Context, Streams, DownOptions) error
	Doctor  func(context.Context, Streams, DoctorOptions) error
	Trust   func(context.Context, Streams, TrustOptions) error
	Hosts   func(context.Context, Streams, HostsOptions) error
	// Gather reads a cluster for why. It is there on every system.
	Gather kubewhy.Gather
}

// UpOptions are the flags of `up`; what is zero has the server's default.
type UpOptions struct {
	Data, Listen, Tenant, Subscription string
	Domains                            []string
	ReadyFile                          string
	Containerd, OCIRuntime, Compute    string
	Kubeconfig, Context                string // of the cluster that workloads run on
	AllowIssuers                       []string
	LogFormat, LogLevel                string
}

// DownOptions are the flags of `down`.
type DownOptions struct {
	Data  string
	Purge bool // remove the data too
}

// DoctorOptions are the flags of `doctor`.
type DoctorOptions struct {
	Data, Compute, Kubeconfig, Context string
	JSON                               bool
}

// TrustOptions are the flags of `trust`; with none of them the authority's path is printed.
type TrustOptions struct {
	Data            string
	Install, Remove bool
	JSON            bool
}

// HostsOptions are the flags of `hosts`; with neither Write nor Remove the block is printed.
type HostsOptions struct {
	Data          string
	File          string // "" for the system's hosts file
	Write, Remove bool
	JSON          bool
}

func localCommands(a *app) []*cobra.Command {
	return []*cobra.Command{newUp(a), newDown(a), newDoctor(a), newTrust(a), newHosts(a), newVersion(a)}
}

// here makes a local command's run function. o is bound to flags, so it is read when the command runs.
func here[O any](a *app, f func(context.Context, Streams, O) error, o *O) func(*cobra.Command, []string) error {
	return a.bounded(endless, func(ctx context.Context, _ []string) error {
		if f == nil {
			return exit.Errorf(exit.Failure, "run it on the machine where Fairlead runs, which must be Linux", "this command works only where Fairlead itself runs")
		}
		return f(ctx, a.streams, *o)
	})
}

// shown is here for a command whose result has a JSON form, which json is to tell it to write.
func shown[O any](a *app, f func(context.Context, Streams, O) error, o *O, json *bool) func(*cobra.Command, []string) error {
	run := here(a, f, o)
	return func(cmd *cobra.Command, args []string) error {
		*json = a.output == formatJSON
		return run(cmd, args)
	}
}

func newUp(a *app) *cobra.Command {
	var o UpOptions
	cmd := &cobra.Command{
		Use: "up", Short: "Start Fairlead in the foreground", Args: exactly(),
		Long: `Start Fairlead in the foreground. SIGTERM or Ctrl-C stops the server within 10 s and leaves containers
running; 'fairlead down' ends everything.`,
	}
	f := cmd.Flags()
	f.StringVar(&o.Data, "data", "", "data directory (default: /var/lib/fairlead, or fairlead in the user's data directory)")
	f.StringVar(&o.Listen, "listen", "", "address of the HTTPS listener (default 127.0.0.1:8443); port 0 picks a free one, once")
	f.StringArrayVar(&o.Domains, "domain", nil, "domain to serve; may be repeated, the first one stands in links (default: fairlead.localhost, fairlead.internal)")
	f.StringVar(&o.Tenant, "tenant-id", "", "tenant (default: made at first start)")
	f.StringVar(&o.Subscription, "subscription-id", "", "subscription (default: made at first start)")
	f.StringVar(&o.Containerd, "containerd", "", "socket of a containerd that runs already (default: the built-in one)")
	f.StringVar(&o.OCIRuntime, "oci-runtime", "", "crun or runc (default: the first that is there)")
	f.StringArrayVar(&o.AllowIssuers, "allow-issuer", nil, "host of a token issuer that may be asked for its keys although it is on a private address; may be repeated")
	f.StringVar(&o.Compute, "compute", "", "containerd (default), kubernetes (with --kubeconfig), or none: registry and identity only")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "of the cluster that workloads run on, with --compute kubernetes")
	f.StringVar(&o.Context, "context", "", "of the kubeconfig (default: its current one)")
	f.StringVar(&o.LogFormat, "log-format", "", "text (default) or json")
	f.StringVar(&o.LogLevel, "log-level", "", "debug, info (default), warn or error")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.ReadyFile = a.readyFile
		return here(a, a.local.Up, &o)(cmd, args)
	}
	return cmd
}

func newDown(a *app) *cobra.Command {
	var o DownOptions
	cmd := &cobra.Command{
		Use: "down", Short: "Stop Fairlead and end everything that it runs", Args: exactly(), RunE: here(a, a.local.Down, &o),
	}
	cmd.Flags().StringVar(&o.Data, "data", "", "data directory")
	cmd.Flags().BoolVar(&o.Purge, "purge", false, "remove the data directory too")
	return cmd
}

func newDoctor(a *app) *cobra.Command {
	var o DoctorOptions
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check whether this machine can run Fairlead, and say what is missing", Args: exactly(), RunE: shown(a, a.local.Doctor, &o, &o.JSON),
	}
	f := cmd.Flags()
	f.StringVar(&o.Data, "data", "", "data directory")
	f.StringVar(&o.Compute, "compute", "", "containerd (default), kubernetes (with --kubeconfig), or none")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "of the cluster that workloads are to run on, with --compute kubernetes")
	f.StringVar(&o.Context, "context", "", "of the kubeconfig (default: its current one)")
	return cmd
}

func newTrust(a *app) *cobra.Command {
	var o TrustOptions
	cmd := &cobra.Command{
		Use: "trust", Short: "Print the path of the certificate authority, or have this machine trust it", Args: exactly(), RunE: shown(a, a.local.Trust, &o, &o.JSON),
	}
	cmd.Flags().StringVar(&o.Data, "data", "", "data directory")
	cmd.Flags().BoolVar(&o.Install, "install", false, "add it to the system's trusted authorities")
	cmd.Flags().BoolVar(&o.Remove, "remove", false, "take it out again")
	cmd.MarkFlagsMutuallyExclusive("install", "remove")
	return cmd
}

func newHosts(a *app) *cobra.Command {
	var o HostsOptions
	cmd := &cobra.Command{
		Use: "hosts", Short: "Print, write or remove the lines of a hosts file that make Fairlead's names resolve", Args: exactly(), RunE: shown(a, a.local.Hosts, &o, &o.JSON),
	}
	cmd.Flags().StringVar(&o.Data, "data", "", "data directory")
	cmd.Flags().StringVar(&o.File, "file", "", "hosts file (default: the system's)")
	cmd.Flags().BoolVar(&o.Write, "write", false, "write the block, or bring it up to date")
	cmd.Flags().BoolVar(&o.Remove, "remove", false, "remove the block")
	cmd.MarkFlagsMutuallyExclusive("write", "remove")
	return cmd
}
