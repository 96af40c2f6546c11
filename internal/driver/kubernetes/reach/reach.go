// Package reach owns how a cluster of others is reached: it reads a kubeconfig, ours or a stranger's.
package reach

import (
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"fairlead.dev/internal/fault"
)

// ErrKubeconfig is returned for a kubeconfig that cannot be used.
var ErrKubeconfig = fault.New(fault.Invalid, "InvalidKubeconfig", "this is no kubeconfig")

// Load reads the kubeconfig in a file, which may name files and programs of this machine: one that its operator wrote.
// context "" is the file's current one. ErrKubeconfig.
func Load(file, context string) (*rest.Config, error) {
	parsed, err := clientcmd.LoadFromFile(file)
	if err == nil {
		err = clientcmd.ResolveLocalPaths(parsed)
	}
	if err != nil {
		return nil, ErrKubeconfig.WithMessage("%s is no kubeconfig: %v", file, err)
	}
	return of(parsed, context)
}

// Parse reads a kubeconfig that somebody sent: one that names a file or a program of this machine is refused with the
// field. ErrKubeconfig.
func Parse(raw []byte, context string) (*rest.Config, error) {
	parsed, err := clientcmd.Load(raw)
	if err != nil {
		return nil, ErrKubeconfig.WithMessage("this is no kubeconfig: %v", err)
	}
	for name, user := range parsed.AuthInfos {
		for field, set := range map[string]bool{
			"exec": user.Exec != nil, "auth-provider": user.AuthProvider != nil, "tokenFile": user.TokenFile != "",
			"client-certificate": user.ClientCertificate != "", "client-key": user.ClientKey != "",
		} {
			if set {
				return nil, ErrKubeconfig.WithMessage("users[%s].user.%s names what is on the machine of whoever wrote it; a kubeconfig that is kept holds its token, or certificate and key, itself ('kubectl config view --raw --flatten --minify')", name, field)
			}
		}
	}
	for name, cluster := range parsed.Clusters {
		if !strings.HasPrefix(cluster.Server, "https://") {
			return nil, ErrKubeconfig.WithMessage("clusters[%s].cluster.server is no https:// address", name)
		}
		for field, set := range map[string]bool{"certificate-authority": cluster.CertificateAuthority != "", "proxy-url": cluster.ProxyURL != ""} {
			if set {
				return nil, ErrKubeconfig.WithMessage("clusters[%s].cluster.%s: a kubeconfig that is kept holds what it needs itself ('kubectl config view --raw --flatten --minify')", name, field)
			}
		}
	}
	return of(parsed, context)
}

func of(parsed *api.Config, context string) (*rest.Config, error) {
	if context == "" {
		context = parsed.CurrentContext
	}
	if parsed.Contexts[context] == nil {
		return nil, ErrKubeconfig.WithMessage("the kubeconfig has no context %q", context)
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*parsed, context, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, ErrKubeconfig.WithMessage("the kubeconfig's context %q cannot be used: %v", context, err)
	}
	config.UserAgent = "fairlead"
	config.QPS, config.Burst = 50, 100
	config.Timeout = 0 // watches and logs last
	return config, nil
}
