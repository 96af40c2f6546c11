package workload

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/image"
)

// Site says what of a web app is to be set; what is zero stays as it is.
type Site struct {
	Image       string
	Plan        string   // resource id
	Identities  []string // resource ids to attach
	System      bool     // give it an identity of its own
	UseIdentity bool     // pull with an identity
	ClientID    string   // of the identity to pull with; "" means the system-assigned one, or the only one attached
	Settings    []string // NAME=VALUE
	Port        int      // WEBSITES_PORT
	Username    string   // DOCKER_REGISTRY_SERVER_*
	Password    string
	Server      string
}

// Apply sets it on a site, new or as a GET returned it.
func (s Site) Apply(site Object) {
	p := properties(site)
	config, _ := p["siteConfig"].(Object)
	if config == nil {
		config = Object{}
		p["siteConfig"] = config
	}
	if s.Image != "" {
		config["linuxFxVersion"] = "DOCKER|" + s.Image
	}
	if s.Plan != "" {
		p["serverFarmId"] = s.Plan
	}
	for _, id := range s.Identities {
		Attach(site, id)
	}
	if s.System {
		AttachSystem(site)
	}
	if s.UseIdentity {
		config["acrUseManagedIdentityCreds"] = true
		config["acrUserManagedIdentityID"] = s.ClientID
	} else if s.Username != "" {
		config["acrUseManagedIdentityCreds"] = false // it would win over user name and password
	}
}

// ImageOf gives the image that a web app is to run.
func ImageOf(site Object) string {
	config, _ := properties(site)["siteConfig"].(Object)
	text, _ := config["linuxFxVersion"].(string)
	_, ref, _ := strings.Cut(text, "|")
	return ref
}

// Attached are the identities that a workload has.
type Attached struct {
	System    bool
	ClientIDs []string // of user-assigned ones
}

// IdentitiesOf reads the identities off a workload as a GET returned it.
func IdentitiesOf(resource Object) Attached {
	identity, _ := resource["identity"].(Object)
	kind, _ := identity["type"].(string)
	attached := Attached{System: strings.Contains(strings.ToLower(kind), "systemassigned")}
	all, _ := identity["userAssignedIdentities"].(Object)
	for _, ids := range all {
		if one, ok := ids.(Object); ok {
			if clientID, _ := one["clientId"].(string); clientID != "" {
				attached.ClientIDs = append(attached.ClientIDs, clientID)
			}
		}
	}
	return attached
}

// AddSettings puts app settings into the body of a web app that does not exist yet.
func AddSettings(site Object, settings map[string]string) {
	if len(settings) == 0 {
		return
	}
	var all []any
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		all = append(all, Object{"name": name, "value": settings[name]})
	}
	config, _ := properties(site)["siteConfig"].(Object)
	config["appSettings"] = all
}

// NewSite gives the body of a web app that does not exist yet.
func NewSite(location string) Object {
	return Object{
		"location": location, "kind": "app,linux,container",
		"properties": Object{"reserved": true},
	}
}

// NewPlan gives the body of the plan that a web app must have.
func NewPlan(location string) Object {
	return Object{
		"location": location, "kind": "linux", "sku": Object{"name": "B1", "tier": "Basic"},
		"properties": Object{"reserved": true},
	}
}

// AppSettings gives the settings that s asks for, by name; ref is the image that the web app will run.
func (s Site) AppSettings(ref string) (map[string]string, error) {
	settings := map[string]string{}
	for _, text := range s.Settings {
		name, value, err := ParseEnv(text)
		if err != nil {
			return nil, err
		}
		settings[name] = value
	}
	if s.Port != 0 {
		settings["WEBSITES_PORT"] = strconv.Itoa(s.Port)
	}
	if s.Username != "" {
		server := s.Server
		if server == "" {
			if server = image.HostOf(ref); server == "" {
				return nil, exit.Usagef("say for which registry the user name is with --server")
			}
		}
		settings["DOCKER_REGISTRY_SERVER_URL"] = "https://" + strings.TrimPrefix(server, "https://")
		settings["DOCKER_REGISTRY_SERVER_USERNAME"] = s.Username
		settings["DOCKER_REGISTRY_SERVER_PASSWORD"] = s.Password
	}
	return settings, nil
}
