// Package server joins the rooms: it holds the configuration, the data directory, the certificate authority, the HTTPS
// listener and its routing by host name, and the wiring of drivers, core and surfaces. It also owns the commands
// that act on this machine (up, down, doctor, trust, hosts), which cmd/fairlead hands to the CLI.
package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/internal/fault"
)

// Config is everything that can be set. The zero value of a field means its default; Validate fills defaults in.
type Config struct {
	Data         string   // data directory; default DefaultData()
	Listen       string   // "host:port" of the HTTPS listener; port 0 picks a free one, once per data directory; default 127.0.0.1:8443
	Domains      []string // the domains served; default fairlead.localhost, fairlead.internal
	Tenant       string   // GUID of the tenant; default: made at first start
	Subscription string   // GUID of the default subscription; default: made at first start
	ReadyFile    string   // a further place for the ready file, beside the one in the data directory
	Containerd   string   // socket of a containerd that runs already; default: the one in this program
	OCIRuntime   string   // "crun" or "runc"; default: the first of the two that is there
	Compute      string   // "containerd" (default), "kubernetes", or "none": registry and identity only
	Kubeconfig   string   // of the cluster that workloads run on, with Compute "kubernetes"
	Context      string   // of the kubeconfig; default: its current one
	AllowIssuers []string // hosts, "host" or "host:port", of token issuers that may be on private addresses
	LogFormat    string   // "text" (default) or "json"
	LogLevel     string   // "debug", "info" (default), "warn", "error"
}

// Defaults of Config.
const (
	defaultListen = "127.0.0.1:8443"
	computeOn     = "containerd"
	computeOff    = "none"
	computeRemote = "kubernetes"
)

// DefaultData gives /var/lib/fairlead for root, else fairlead in the user's data directory.
func DefaultData() string {
	if os.Geteuid() == 0 {
		return "/var/lib/fairlead"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "fairlead")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	return filepath.Join(home, ".local", "share", "fairlead")
}

var domainPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate fills in defaults and reports every fault at once, each with the flag it is about.
func (c *Config) Validate() error {
	var faults []error
	bad := func(flag, format string, args ...any) {
		faults = append(faults, fault.Newf(fault.Invalid, "InvalidConfig", "--%s: %s", flag, fmt.Sprintf(format, args...)).WithTarget(flag))
	}
	c.Data = orDefault(c.Data, DefaultData())
	if abs, err := filepath.Abs(c.Data); err == nil {
		c.Data = abs
	}
	c.Listen = orDefault(c.Listen, defaultListen)
	if why := checkListen(c.Listen); why != "" {
		bad("listen", "%s", why)
	}
	for i, d := range c.Domains {
		c.Domains[i] = strings.ToLower(strings.Trim(d, "."))
		if !domainPattern.MatchString(c.Domains[i]) || len(d) > 200 {
			bad("domain", "%q is not a DNS name with at least two labels, such as fairlead.localhost", d)
		}
	}
	for _, host := range c.AllowIssuers {
		if host == "" || strings.ContainsAny(host, "/@* ") {
			bad("allow-issuer", "%q is not a host name or an address, with or without a port, such as idp.example or 10.1.2.3:8443", host)
		}
	}
	for flag, value := range map[string]*string{"tenant-id": &c.Tenant, "subscription-id": &c.Subscription} {
		if *value == "" {
			continue
		}
		id, err := uuid.Parse(*value)
		if err != nil {
			bad(flag, "%q is not a GUID, such as %s", *value, uuid.NewString())
		}
		*value = id.String()
	}
	c.oneOf(bad, "compute", &c.Compute, computeOn, computeOff, computeRemote)
	switch {
	case c.Compute == computeRemote && c.Kubeconfig == "":
		bad("kubeconfig", "--compute kubernetes needs the kubeconfig of the cluster that workloads are to run on")
	case c.Compute != computeRemote && c.Kubeconfig+c.Context != "":
		bad("kubeconfig", "--kubeconfig and --context are for --compute kubernetes only")
	case c.Kubeconfig != "":
		if abs, err := filepath.Abs(c.Kubeconfig); err == nil {
			c.Kubeconfig = abs
		}
	}
	c.oneOf(bad, "log-format", &c.LogFormat, "text", "json")
	c.oneOf(bad, "log-level", &c.LogLevel, "info", "debug", "warn", "error")
	if c.OCIRuntime != "" {
		c.oneOf(bad, "oci-runtime", &c.OCIRuntime, "crun", "runc")
	}
	return errors.Join(faults...)
}

func orDefault(value, byDefault string) string {
	if value == "" {
		return byDefault
	}
	return value
}

func checkListen(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Sprintf("%q is not host:port, such as %s", listen, defaultListen)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Sprintf("the port %q is not a number from 0 to 65535", port)
	}
	if host != "" && net.ParseIP(host) == nil {
		return fmt.Sprintf("%q is not an IP address", host)
	}
	return ""
}

// oneOf sets the first value as default and refuses what is not in the list.
func (c *Config) oneOf(bad func(flag, format string, args ...any), flag string, value *string, allowed ...string) {
	*value = orDefault(*value, allowed[0])
	if slices.Contains(allowed, *value) {
		return
	}
	bad(flag, "%q is not one of %s", *value, strings.Join(allowed, ", "))
}
