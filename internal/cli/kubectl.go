package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/kubeconfig"
	"fairlead.dev/internal/cli/kubectl"
	"fairlead.dev/internal/cli/lookup"
)

// clusterServer is the client id of the AKS server application, the audience of the tokens that API servers take; a constant
// in every cloud.
const clusterServer = "6dae42f8-4368-4678-94ff-3960e28e3630"

// The versions of kubectl's exec protocol, which differ in nothing that is used here.
const (
	execVersion     = "client.authentication.k8s.io/v1"
	execVersionBeta = "client.authentication.k8s.io/v1beta1"
)

type credentialOptions struct {
	file, context    string
	admin, overwrite bool
	keep             bool
}

func newKubeCredentials(a *app) *cobra.Command {
	var o credentialOptions
	cmd := onCluster(a, "get-credentials NAME", "File a cluster in the kubeconfig", quick, func(ctx context.Context, c *connection, found client.Cluster) error {
		return fileCredentials(ctx, c, found, o)
	})
	cmd.Long = `File a cluster in the kubeconfig, so that kubectl and other programs reach it.

Nothing else in the file is changed, and an entry of the same name that differs only with
--overwrite-existing. The entry holds no secret: it has kubectl run fairlead for a token of whoever is
signed in, and Azure's roles decide what that one may do. With --admin it holds the certificate of the
cluster's administrator instead, who may do everything.`
	cmd.Example = "  fairlead kube get-credentials dev --admin\n  kubectl get nodes"
	f := cmd.Flags()
	f.BoolVarP(&o.admin, "admin", "a", false, "as the cluster's administrator, under the name NAME-admin")
	f.StringVarP(&o.file, "file", "f", "", "the kubeconfig; - prints it (default: $KUBECONFIG, ~/.kube/config)")
	f.BoolVar(&o.overwrite, "overwrite-existing", false, "replace entries of the same name that differ")
	f.StringVar(&o.context, "context", "", "name of the context and the cluster (default: the cluster's)")
	f.BoolVar(&o.keep, "keep-current-context", false, "do not make it the current context")
	return cmd
}

func fileCredentials(ctx context.Context, c *connection, found client.Cluster, o credentialOptions) error {
	document, err := c.kubeconfig(ctx, found.ID, o.admin)
	if err != nil {
		return err
	}
	if o.file == "" {
		if o.file, err = kubeconfigFile(c.streams.Env); err != nil {
			return err
		}
	}
	_, onPath := exec.LookPath("fairlead")
	how, err := c.execution(onPath != nil)
	if err != nil {
		return err
	}
	options := kubeconfig.Options{Overwrite: o.overwrite, KeepCurrent: o.keep, Context: o.context, Exec: how}
	name, err := kubeconfig.Put(ctx, o.file, document, options, c.streams.Out)
	if err == nil && o.file != "-" {
		c.tell("%s is the context %s in %s", found.Name, name, o.file)
	}
	return err
}

// kubeconfig asks for the kubeconfig of a cluster.
func (c *connection) kubeconfig(ctx context.Context, id string, admin bool) ([]byte, error) {
	action := "listClusterUserCredential"
	if admin {
		action = "listClusterAdminCredential"
	}
	var answer struct {
		Kubeconfigs []struct {
			Value []byte `json:"value"`
		} `json:"kubeconfigs"`
	}
	if err := c.Post(ctx, id+"/"+action, nil, &answer); err != nil {
		return nil, err
	}
	if len(answer.Kubeconfigs) == 0 {
		return nil, fmt.Errorf("the server has no kubeconfig for %s", client.NameOf(id))
	}
	return answer.Kubeconfigs[0].Value, nil
}

// kubeconfigFile gives the file that kubectl would write to.
func kubeconfigFile(env func(string) string) (string, error) {
	for _, path := range filepath.SplitList(env("KUBECONFIG")) {
		if path != "" {
			return path, nil
		}
	}
	if home := env("HOME"); home != "" {
		return filepath.Join(home, ".kube", "config"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", exit.Errorf(exit.Usage, "name it with --file", "there is no home directory for the kubeconfig: %w", err)
	}
	return filepath.Join(home, ".kube", "config"), nil
}

// execution gives how kubectl is to run this program, so that it finds the server that this command has found. self names
// this very program, instead of any fairlead on PATH.
func (c *connection) execution(self bool) (kubeconfig.Exec, error) {
	how := kubeconfig.Exec{Env: map[string]string{}}
	for name, path := range map[string]string{
		"FAIRLEAD_READY_FILE": cmp.Or(c.readyFile, c.streams.Env("FAIRLEAD_READY_FILE")), "FAIRLEAD_CONFIG_DIR": c.streams.Env("FAIRLEAD_CONFIG_DIR"),
	} {
		if path == "" {
			continue
		}
		var err error
		if how.Env[name], err = filepath.Abs(path); err != nil {
			return how, err
		}
	}
	if !self {
		return how, nil
	}
	var err error
	how.Command, err = os.Executable()
	return how, err
}

// kubectl runs do with a kubectl for a cluster.
func (c *connection) kubectl(ctx context.Context, found client.Cluster, admin bool, do func(*kubectl.Kubectl) error) error {
	document, err := c.kubeconfig(ctx, found.ID, admin)
	if err != nil {
		return err
	}
	how, err := c.execution(true)
	if err != nil {
		return err
	}
	document, _, err = kubeconfig.Prepare(document, kubeconfig.Options{Exec: how})
	if err != nil {
		return err
	}
	k, err := kubectl.Open(document)
	if err != nil {
		return err
	}
	return errors.Join(do(k), k.Close())
}

func newKubectl(a *app) *cobra.Command {
	var group string
	var admin bool
	cmd := &cobra.Command{
		Use: "kubectl NAME [--admin] -- ARG…", Short: "Run kubectl on a cluster and exit with its code; no kubeconfig is changed",
		Example: "  fairlead kube kubectl dev --admin -- get pods -A",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return exit.Usagef("kubectl needs a cluster and, after --, what kubectl is given")
			}
			return nil
		},
		RunE: a.action(endless, func(ctx context.Context, c *connection, args []string) error {
			found, err := lookup.Cluster(ctx, c.Client, args[0], group)
			if err != nil {
				return err
			}
			err = c.kubectl(ctx, found, admin, func(k *kubectl.Kubectl) error {
				return k.Run(ctx, kubectl.Streams{In: c.streams.In, Out: c.streams.Out, Err: c.streams.Err}, args[1:]...)
			})
			return kubectlExit(err)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	cmd.Flags().BoolVarP(&admin, "admin", "a", false, "as the cluster's administrator")
	return cmd
}

// kubectlExit has this program end with kubectl's exit code, without a word more.
func kubectlExit(err error) error {
	if code, ok := errors.AsType[kubectl.ExitError](err); ok {
		return commandExit(code)
	}
	return err
}

type pullSecretOptions struct {
	registry, principal, namespace string
	cluster, group                 string // to apply it to
	end                            string
	credentialStdin, apply, admin  bool
}

func newPullSecret(a *app) *cobra.Command {
	var o pullSecretOptions
	cmd := &cobra.Command{
		Use: "pull-secret NAME --registry REGISTRY --service-principal CLIENT_ID", Short: "Print or apply a secret that pods pull with",
		Long: `Print or apply a secret that pods pull with, as imagePullSecrets name it: for a registry, under each of
its names, and a service principal, which needs AcrPull there. A new client secret is made for it,
beside those that it has, unless --credential-stdin gives one. What is printed is for any cluster;
--apply puts it into a managed one.`,
		Example: `  fairlead kube pull-secret my-acr-secret --registry myacr --service-principal CLIENT_ID --apply
  fairlead kube pull-secret my-acr-secret --registry myacr --service-principal CLIENT_ID -n shop | kubectl apply -f -`,
		Args: exactly("NAME"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error { return pullSecret(ctx, c, args[0], o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.registry, "registry", "", "the registry's name")
	f.StringVar(&o.principal, "service-principal", "", "client id of the service principal")
	f.BoolVar(&o.credentialStdin, "credential-stdin", false, "read its client secret from stdin")
	f.StringVar(&o.end, "end-date", "", "end of the new client secret's life, as 2030-01-02T15:04:05Z (default: in two years)")
	f.StringVarP(&o.namespace, "namespace", "n", "default", "namespace of the secret")
	f.BoolVar(&o.apply, "apply", false, "apply it to a managed cluster instead of printing it")
	f.StringVar(&o.cluster, "cluster", "", "with --apply: the cluster (default: the only one)")
	f.StringVarP(&o.group, "resource-group", "g", "", "with --apply: look for the cluster in this resource group only")
	f.BoolVarP(&o.admin, "admin", "a", false, "with --apply: as the cluster's administrator")
	return cmd
}

func pullSecret(ctx context.Context, c *connection, name string, o pullSecretOptions) error {
	if o.registry == "" || o.principal == "" {
		return exit.Usagef("--registry and --service-principal are needed: whose images, and who pulls them")
	}
	end, err := parseEnd(o.end)
	if err != nil {
		return err
	}
	var password string
	if o.credentialStdin { // before the service principal is looked up: the command before the pipe may be making it
		if password, err = c.streams.ReadSecret("client secret"); err != nil {
			return err
		}
		if password == "" {
			return exit.Usagef("stdin holds no client secret")
		}
	}
	r, err := lookup.Registry(ctx, c.Client, o.registry)
	if err != nil {
		return err
	}
	hosts, err := c.registryHosts(ctx, r)
	if err != nil {
		return err
	}
	app, err := findApplication(ctx, c.Client, o.principal)
	if err != nil {
		return err
	}
	secret := kubectl.PullSecret{Name: name, Namespace: o.namespace, Hosts: hosts, Username: app.AppID, Password: password}
	if !o.apply {
		return c.withPassword(ctx, &secret, app, end, func() error {
			text, err := secret.Manifest()
			if err == nil {
				_, err = c.streams.Out.Write(text)
			}
			return err
		})
	}
	found, err := lookup.ClusterOrOnly(ctx, c.Client, o.cluster, o.group)
	if err != nil {
		return err
	}
	return kubectlExit(c.kubectl(ctx, found, o.admin, func(k *kubectl.Kubectl) error {
		return c.withPassword(ctx, &secret, app, end, func() error {
			text, err := secret.Manifest()
			if err != nil {
				return err
			}
			return k.Run(ctx, kubectl.Streams{In: bytes.NewReader(text), Out: c.streams.Out, Err: c.streams.Err}, "apply", "-f", "-")
		})
	}))
}

// withPassword gives secret a new password, unless it has one, and does something with it; a new one for which that fails is
// taken back.
func (c *connection) withPassword(ctx context.Context, secret *kubectl.PullSecret, app client.Application, end time.Time, do func() error) error {
	if secret.Password != "" {
		return do()
	}
	made, err := c.AddPassword(ctx, app.ID, "pull secret "+secret.Namespace+"/"+secret.Name, end)
	if err != nil {
		return err
	}
	secret.Password = string(made.Text)
	if err = do(); err != nil {
		err = errors.Join(err, c.RemovePassword(context.WithoutCancel(ctx), app.ID, made.KeyID))
	}
	return err
}

// registryHosts gives the names that pods may call a registry by: Azure's, and one under each domain of the server.
func (c *connection) registryHosts(ctx context.Context, r client.Registry) ([]string, error) {
	var tenants struct {
		Value []struct {
			Domains []string `json:"domains"`
		} `json:"value"`
	}
	if err := c.Get(ctx, "/tenants", &tenants); err != nil {
		return nil, err
	}
	hosts := []string{strings.ToLower(r.Name) + ".azurecr.io", r.Properties.LoginServer}
	own := c.Server().Domain
	for _, t := range tenants.Value {
		for _, domain := range t.Domains {
			hosts = append(hosts, strings.Replace(r.Properties.LoginServer, "."+own, "."+domain, 1))
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), nil
}

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
