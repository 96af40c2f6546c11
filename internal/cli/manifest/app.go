package manifest

import (
	"strings"

	"fairlead.dev/internal/cli/exit"
)

// App is an App Service configuration as people write it down: what to run and how to authenticate to the registry.
type App struct {
	Image              string
	RegistryURL        string
	AuthenticationType string
	ClientID           string // of the managed identity; "" for the system-assigned one
	registryType       string
}

const appHeading = "App Service Configuration:"

// managedIdentity is the one way to authenticate that needs no secret in a file; others are set with `fairlead webapp`.
const managedIdentity = "Managed Identity"

type appField struct {
	name  string
	value *string
}

func (a *App) fields() []appField {
	return []appField{
		{"Image", &a.Image},
		{"Registry Type", &a.registryType},
		{"Registry URL", &a.RegistryURL},
		{"Authentication Type", &a.AuthenticationType},
		{"Managed Identity Client ID", &a.ClientID},
	}
}

// lines gives the lines that say something: no blanks, no comments.
func lines(text []byte) []string {
	var out []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "//") && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

func isApp(text []byte) bool {
	said := lines(text)
	return len(said) > 0 && strings.EqualFold(said[0], appHeading)
}

// parseApp reads "Name: value" lines; values may stand in quotes. Unknown names are refused with the known ones.
func parseApp(text []byte) (App, error) {
	var app App
	seen := map[string]bool{}
	for _, line := range lines(text)[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return app, exit.Usagef("%q is not 'Name: value'", line)
		}
		field := find(app.fields(), strings.TrimSpace(name))
		if field == nil {
			return app, exit.Usagef("%q is not known in an App Service configuration; known are %s", name, names(app.fields()))
		}
		if seen[field.name] {
			return app, exit.Usagef("%q is given twice", field.name)
		}
		seen[field.name] = true
		*field.value = unquote(strings.TrimSpace(value))
	}
	return app, app.check()
}

func find(fields []appField, name string) *appField {
	for i := range fields {
		if strings.EqualFold(fields[i].name, name) {
			return &fields[i]
		}
	}
	return nil
}

func names(fields []appField) string {
	var all []string
	for _, f := range fields {
		all = append(all, f.name)
	}
	return strings.Join(all, ", ")
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '\'' || s[0] == '"') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

func (a App) check() error {
	switch {
	case a.Image == "":
		return exit.Usagef("Image is missing")
	case a.registryType != "" && !strings.EqualFold(a.registryType, "Azure Container Registry"):
		return exit.Usagef("Registry Type %q is not 'Azure Container Registry'", a.registryType)
	case a.AuthenticationType != "" && !strings.EqualFold(a.AuthenticationType, managedIdentity):
		return exit.Errorf(exit.Usage, "set user name and password with 'fairlead webapp create --username … --credential-stdin'",
			"Authentication Type %q is not 'Managed Identity'", a.AuthenticationType)
	}
	host, _, _ := strings.Cut(a.Image, "/")
	if registry := registryHost(a.RegistryURL); registry != "" && !strings.EqualFold(registry, host) {
		return exit.Usagef("Registry URL is %s, but Image comes from %s", registry, host)
	}
	return nil
}

func registryHost(url string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(url, "https://"), "http://"), "/")
}

// UsesManagedIdentity reports whether the web app is to pull with a managed identity.
func (a App) UsesManagedIdentity() bool {
	return strings.EqualFold(a.AuthenticationType, managedIdentity)
}
