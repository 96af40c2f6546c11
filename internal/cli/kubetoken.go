package cli

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"fairlead.dev/internal/cli/exit"
)

// clusterServer is the client id of the AKS server application, the audience of the tokens that API servers take; a constant
// in every cloud.
const clusterServer = "6dae42f8-4368-4678-94ff-3960e28e3630"

// The versions of kubectl's exec protocol, which differ in nothing that is used here.
const (
	execVersion     = "client.authentication.k8s.io/v1"
	execVersionBeta = "client.authentication.k8s.io/v1beta1"
)

func newKubeToken(a *app) *cobra.Command {
	server, tenant := clusterServer, ""
	cmd := &cobra.Command{
		Use: "token", Short: "Print a token for kubectl, as the kubeconfig of a user asks for it", Args: exactly(),
		Long: `Print a token of whoever is signed in, as an ExecCredential (client.authentication.k8s.io/v1).
The kubeconfig that 'listClusterUserCredential' gives makes kubectl run this command; nobody else needs to.

It is the credential of the ready file or the login (see 'fairlead help finding-the-server'), and
ends after an hour; kubectl asks again by itself.`,
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			if _, err := uuid.Parse(server); err != nil {
				return exit.Usagef("--server-id %q is no client id: it must be a GUID", server)
			}
			version, err := execVersionOf(a.streams.Env("KUBERNETES_EXEC_INFO"))
			if err != nil {
				return err
			}
			if here := c.Server().Tenant; tenant != "" && !strings.EqualFold(tenant, here) { // its token would be refused without a reason
				return exit.Errorf(exit.Denied, "sign in there with 'fairlead login', or name its ready file with FAIRLEAD_READY_FILE",
					"the cluster belongs to the Fairlead of tenant %s, and you are signed in to that of tenant %s", tenant, here)
			}
			token, expires, err := c.TokenUntil(ctx, server+"/.default")
			if err != nil {
				return exit.WithHint(err, "sign in again with 'fairlead login'")
			}
			return a.streams.JSON(execCredential{
				APIVersion: version, Kind: "ExecCredential",
				Status: execStatus{ExpirationTimestamp: expires.UTC().Format(time.RFC3339), Token: string(token)},
			})
		}),
	}
	cmd.Flags().StringVar(&server, "server-id", clusterServer, "client id of the application that the token is for")
	cmd.Flags().StringVar(&tenant, "tenant-id", "", "tenant of the cluster's Fairlead: no other may give the token (default: any)")
	return cmd
}

// execCredential is what kubectl reads from a credential plugin.
//
// Source: https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
type execCredential struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Spec       struct{}   `json:"spec"`
	Status     execStatus `json:"status"`
}

type execStatus struct {
	ExpirationTimestamp string `json:"expirationTimestamp"`
	Token               string `json:"token"`
}

// execVersionOf gives the version that kubectl asks for in KUBERNETES_EXEC_INFO: it refuses an answer in another one.
func execVersionOf(info string) (string, error) {
	var asked struct {
		APIVersion string `json:"apiVersion"`
	}
	if info == "" { // run by hand
		return execVersion, nil
	}
	if err := json.Unmarshal([]byte(info), &asked); err != nil {
		return "", exit.Usagef("KUBERNETES_EXEC_INFO is not the JSON that kubectl sets: %w", err)
	}
	if asked.APIVersion != execVersion && asked.APIVersion != execVersionBeta {
		return "", exit.Errorf(exit.Usage, "get the kubeconfig anew, or set its users[].user.exec.apiVersion to "+execVersion,
			"the kubeconfig asks for the exec protocol %q; known are %s and %s", asked.APIVersion, execVersion, execVersionBeta)
	}
	return asked.APIVersion, nil
}
