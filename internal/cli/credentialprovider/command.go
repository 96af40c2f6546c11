package credentialprovider

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/terminal"
)

// NewCommand makes the command. bounded makes a run function whose time is limited, 0 being without end but for the
// configuration's timeout.
func NewCommand(s terminal.Streams, bounded func(time.Duration, func(context.Context, []string) error) func(*cobra.Command, []string) error) *cobra.Command {
	o := Options{In: s.In, Out: s.Out, Warn: s.Notef, Now: time.Now}
	cmd := &cobra.Command{
		Use: "credential-provider --config FILE", Short: "Answer a kubelet that asks for an image's credentials", Args: cobra.NoArgs,
		Long: `Answer a kubelet that asks for an image's credentials: its image credential provider
(credentialprovider.kubelet.k8s.io/v1), in any cluster. It reads one request from stdin and writes one
answer to stdout, with a login that lives for hours, for the node's managed identity or for that of the
pod's service account. It needs no ready file and no login.

The configuration, in YAML or JSON:

  registries:                                    # the images to answer for
  - host: "*.azurecr.fairlead.internal:8443"
  - host: "*.azurecr.io"                         # Azure's names, and where such a registry is
    loginServer: "*.azurecr.fairlead.internal:8443"
  caFile: /etc/fairlead/ca.pem                   # the authority to trust besides the system's
  address: 10.0.0.5:8443                         # where those hosts are, if their names do not resolve here
  metadataEndpoint: http://169.254.169.254       # where the node's identity gets tokens
  clientId: GUID                                 # which identity, where the node has several
  authority: https://login.fairlead.internal:8443  # for service accounts with an identity of their own
  tenantId: GUID
  timeout: 10s                                   # of the whole answer
  cacheDuration: 10m                             # for how long the kubelet keeps it
  stateDir: /var/lib/fairlead-credentials        # where the last error of each registry is left`,
		Example: `  echo '{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",` + "\n" +
			`    "image":"myacr.azurecr.io/app"}' | fairlead credential-provider --config /etc/fairlead/credentials.yaml`,
		RunE: bounded(0, func(ctx context.Context, _ []string) error {
			switch {
			case o.ConfigFile == "":
				return exit.Usagef("--config is missing: the configuration file")
			case terminal.IsTerminal(o.In):
				return exit.Usagef("stdin is a terminal: a request is expected there")
			}
			return Run(ctx, o)
		}),
	}
	cmd.Flags().StringVar(&o.ConfigFile, "config", "", "configuration file, YAML or JSON")
	return cmd
}
