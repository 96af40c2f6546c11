package cli

import (
	"context"
	"fmt"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/session"
	"fairlead.dev/internal/cli/terminal"
)

type envOptions struct {
	secrets bool
	shell   string
}

// variable is one line of `env`.
type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newEnv(a *app) *cobra.Command {
	var o envOptions
	cmd := &cobra.Command{
		Use: "env", Short: "Print the variables by which az, Terraform, Azure's SDKs and curl find this Fairlead",
		Long: `Print the variables by which az, Terraform, Azure's SDKs and curl find this Fairlead and trust its
certificates. For a shell:  eval "$(fairlead env)"

SSL_CERT_FILE replaces the system's trusted authorities for programs that honour it.`,
		Args: exactly(),
		RunE: a.bounded(quick, func(context.Context, []string) error { return printEnv(a, o) }),
	}
	cmd.Flags().BoolVar(&o.secrets, "secrets", false, "print the client secret too")
	cmd.Flags().StringVar(&o.shell, "shell", "posix", "posix or powershell")
	return cmd
}

func printEnv(a *app, o envOptions) error {
	if o.shell != "posix" && o.shell != "powershell" {
		return exit.Usagef("--shell %q is neither posix nor powershell", o.shell)
	}
	found, err := a.find()
	if err != nil {
		return err
	}
	variables := environ(found, o.secrets)
	if a.output == formatJSON {
		object := map[string]string{}
		for _, v := range variables {
			object[v.Name] = v.Value
		}
		return a.streams.JSON(object)
	}
	for _, v := range variables {
		if o.shell == "powershell" {
			a.line("$env:", v.Name, " = '", strings.ReplaceAll(v.Value, "'", "''"), "'")
			continue
		}
		a.line("export ", v.Name, "='", strings.ReplaceAll(v.Value, "'", `'\''`), "'")
	}
	return nil
}

// environ gives the variables; those of which nothing is known are left out.
func environ(found session.Found, secrets bool) []variable {
	s := found.Server
	host := s.ARM
	if u, err := url.Parse(s.ARM); err == nil {
		host = u.Host
	}
	all := []variable{
		{"FAIRLEAD_READY_FILE", found.ReadyFile},
		{"SSL_CERT_FILE", found.CAFile},      // Go, OpenSSL, curl
		{"REQUESTS_CA_BUNDLE", found.CAFile}, // az
		{"NODE_EXTRA_CA_CERTS", found.CAFile},
		{"ARM_CLOUD_METADATA_URL", s.ARM + "/metadata/endpoints?api-version=2019-05-01"}, // az
		{"ARM_METADATA_HOSTNAME", host},                                                  // Terraform azurerm
		{"ARM_ENVIRONMENT", "custom"},                                                    // Terraform azapi, down to the discovery switch
		{"ARM_RESOURCE_MANAGER_ENDPOINT", s.ARM},
		{"ARM_RESOURCE_MANAGER_AUDIENCE", s.ARM},
		{"ARM_ACTIVE_DIRECTORY_AUTHORITY_HOST", s.Login + "/"},
		{"ARM_DISABLE_INSTANCE_DISCOVERY", "true"},
		{"ARM_TENANT_ID", s.Tenant},
		{"ARM_SUBSCRIPTION_ID", s.Subscription},
		{"ARM_CLIENT_ID", found.Credential.ClientID},
		{"AZURE_AUTHORITY_HOST", s.Login + "/"}, // Azure's SDKs
		{"AZURE_TENANT_ID", s.Tenant},
		{"AZURE_SUBSCRIPTION_ID", s.Subscription},
		{"AZURE_CLIENT_ID", found.Credential.ClientID},
	}
	if secrets {
		secret := string(found.Credential.ClientSecret)
		all = append(all, variable{"ARM_CLIENT_SECRET", secret}, variable{"AZURE_CLIENT_SECRET", secret})
	}
	known := all[:0]
	for _, v := range all {
		if v.Value != "" {
			known = append(known, v)
		}
	}
	return known
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(),
		RunE: a.bounded(quick, func(context.Context, []string) error {
			v := map[string]string{"version": a.local.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			if v["version"] == "" {
				v["version"] = buildVersion()
			}
			return a.show(v, func(t *terminal.Table) {
				t.Header = []string{"VERSION", "GO", "PLATFORM"}
				t.Add(v["version"], v["go"], v["platform"])
			})
		}),
	}
}

// buildVersion is what the Go toolchain knows when the linker was told nothing.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return fmt.Sprint(info.Main.Version)
}
