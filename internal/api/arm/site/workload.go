package site

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/internal/api/arm/cmdline"
	"fairlead.dev/internal/pull"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

// defaultPort is where an app is told to listen when nothing says where.
const defaultPort = 80

// Group gives the workload of the site called id; false when the site names no image yet.
func (s Site) Group(id resource.ID, location, hostname string, identities []pull.Identity) (run.Group, bool) {
	image, err := s.Image()
	if err != nil || image == "" {
		return run.Group{}, false
	}
	port, _ := s.number(settingPort, 65535)               // checked when it was set
	command, _ := cmdline.Split(s.text("appCommandLine")) // checked when it was set
	name := strings.ToLower(id.Name())
	return run.Group{
		ID: id, Kind: run.KindWebApp, Location: location, RestartPolicy: run.Always, Identities: identities,
		Containers: []run.Container{{Name: containerName(name), Image: image, Command: command, Env: s.env(id.Name(), hostname, port)}},
		Web: &run.Web{
			SiteName: id.Name(), Hostname: hostname,
			UseManagedIdentity: s.flag("acrUseManagedIdentityCreds"), UserManagedIdentityClientID: s.text("acrUserManagedIdentityID"),
			Server: s.setting(settingServer).Reveal(), Username: s.setting(settingUsername).Reveal(), Password: s.setting(settingPassword),
			Port: port, StartLimit: s.startLimit(),
		},
	}, true
}

// containerName gives a valid name for the site's one container: a site's may begin or end as a container's may not.
func containerName(site string) string { return strings.Trim(site, "-") }

// env gives the app's environment: every setting as K and APPSETTING_K, every connection string, and what the platform
// tells. The registry's password is for the platform alone.
func (s Site) env(name, hostname string, port int) []run.EnvVar {
	if port == 0 {
		port = defaultPort
	}
	platform := map[string]string{
		"PORT": strconv.Itoa(port), "WEBSITE_SITE_NAME": name, "WEBSITE_HOSTNAME": hostname, "WEBSITE_INSTANCE_ID": name + "-0",
		"WEBSITE_ROLE_INSTANCE_ID": "0", "WEBSITE_AUTH_ENABLED": "False", "HTTP_LOGGING_ENABLED": "1",
	}
	hidden := map[string]secret.Text{}
	for k, v := range s.Settings {
		if !strings.EqualFold(k, settingPassword) {
			hidden[k], hidden["APPSETTING_"+k] = v, v
		}
	}
	for k, c := range s.Connections {
		hidden[connectionPrefix(c.Type)+k] = c.Value
	}
	var out []run.EnvVar
	for _, k := range slices.Sorted(maps.Keys(platform)) {
		if _, set := hidden[k]; !set {
			out = append(out, run.EnvVar{Name: k, Value: platform[k]})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(hidden)) {
		out = append(out, run.EnvVar{Name: k, Secure: hidden[k], IsSecure: true})
	}
	return out
}

// connectionPrefix gives what stands before a connection string's name in the environment, by its type.
func connectionPrefix(kind string) string {
	switch strings.ToLower(kind) {
	case "sqlserver":
		return "SQLCONNSTR_"
	case "sqlazure":
		return "SQLAZURECONNSTR_"
	case "mysql":
		return "MYSQLCONNSTR_"
	case "postgresql":
		return "POSTGRESQLCONNSTR_"
	}
	return "CUSTOMCONNSTR_"
}
