package cli

import "github.com/spf13/cobra"

func newKube(a *app) *cobra.Command {
	return family("kube", "Kubernetes clusters: token", newKubeToken(a))
}
