package credentialprovider

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"sigs.k8s.io/yaml"

	"fairlead.dev/client"
)

// Defaults of the configuration.
const (
	defaultMetadata = "http://169.254.169.254"
	defaultTimeout  = 10 * time.Second
	defaultCache    = 10 * time.Minute
)

// maxTimeout is the longest that may be waited: the kubelet ends a provider after a minute, and does not say why.
const maxTimeout = 50 * time.Second

// maxConfig is the largest configuration that is read, in bytes.
const maxConfig = 1 << 20

// Config is the configuration file, in JSON or YAML.
type Config client.ProviderConfig

// ReadConfig reads and checks a configuration file.
func ReadConfig(path string) (Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	if info.Size() > maxConfig {
		return Config{}, fmt.Errorf("%s has %d bytes, over the limit of %d", path, info.Size(), maxConfig)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := ParseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, file := range []*string{&c.CAFile, &c.StateDir} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(filepath.Dir(path), *file)
		}
	}
	return c, nil
}

// ParseConfig reads a configuration, fills in the defaults and names every fault with its field.
func ParseConfig(text []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return Config{}, err
	}
	if c.MetadataEndpoint == "" {
		c.MetadataEndpoint = defaultMetadata
	}
	if c.Timeout == 0 {
		c.Timeout = client.Duration(defaultTimeout)
	}
	if c.CacheDuration == 0 {
		c.CacheDuration = client.Duration(defaultCache)
	}
	return c, c.validate()
}

func (c Config) validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
	}
	if len(c.Registries) == 0 {
		fault("registries", "name at least one, such as {host: \"*.azurecr.io\"}")
	}
	for i, r := range c.Registries {
		if field, err := checkRegistry(r); err != nil {
			fault(fmt.Sprintf("registries[%d].%s", i, field), "%w", err)
		}
	}
	if err := checkURL(c.MetadataEndpoint, "http", "https"); err != nil {
		fault("metadataEndpoint", "%w", err)
	}
	if _, port, err := net.SplitHostPort(c.Address); c.Address != "" && (err != nil || port == "") {
		fault("address", "%.80q is not of the form host:port", c.Address)
	}
	if c.Authority != "" {
		if err := checkURL(c.Authority, "https"); err != nil {
			fault("authority", "%w", err)
		}
	}
	for field, id := range map[string]string{"clientId": c.ClientID, "tenantId": c.TenantID} {
		if id != "" && uuid.Validate(id) != nil {
			fault(field, "%.80q is not a GUID", id)
		}
	}
	if c.Timeout < 0 || time.Duration(c.Timeout) > maxTimeout {
		fault("timeout", "%s is not between 0 and %s: the kubelet itself waits no longer than a minute", time.Duration(c.Timeout), maxTimeout)
	}
	if c.CacheDuration < 0 {
		fault("cacheDuration", "%s is below 0", time.Duration(c.CacheDuration))
	}
	return errors.Join(faults...)
}

// checkRegistry gives the field that is wrong.
func checkRegistry(r client.ProviderRegistry) (string, error) {
	if r.Host == "" {
		return "host", errors.New("it is missing")
	}
	host, err := parsePattern(r.Host)
	if err != nil {
		return "host", err
	}
	if r.LoginServer == "" {
		return "", nil
	}
	server, err := parsePattern(r.LoginServer)
	if err == nil && server.wild && !host.wild {
		err = errors.New("there is a \"*\" here and none in host")
	}
	return "loginServer", err
}

// checkURL demands a URL that is only a scheme, a host and perhaps a path.
func checkURL(text string, schemes ...string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%.80q is not a URL such as %s://host:port", text, schemes[len(schemes)-1])
	}
	if slices.Contains(schemes, u.Scheme) {
		return nil
	}
	return fmt.Errorf("%.80q must begin with %s://", text, schemes[len(schemes)-1])
}

// loginServer gives the login server for a host as it stands in an image, in lower case.
func (c Config) loginServer(host string) (string, bool) {
	for _, r := range c.Registries {
		p, err := parsePattern(r.Host)
		if err != nil {
			continue // a Config that was parsed has none
		}
		middle, ok := p.match(host)
		if !ok {
			continue
		}
		if r.LoginServer == "" {
			return p.with(middle), true
		}
		server, err := parsePattern(r.LoginServer)
		return server.with(middle), err == nil
	}
	return "", false
}
