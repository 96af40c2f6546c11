package workload

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/image"
)

// Object is a resource as JSON has it. What is changed here keeps every field that this program does not know.
type Object = map[string]any

// Group says what a container group of one container is made of.
type Group struct {
	Image         string
	Location      string
	CPU           float64 // cores
	Memory        float64 // GB
	Command       []string
	Env           []string // NAME=VALUE
	SecureEnv     []string // NAME=VALUE, never shown again
	Ports         []Port
	RestartPolicy string
	DNSLabel      string
	Pull          Credential
}

// Credential is how a workload authenticates to its image's registry: an identity, or user name and password.
type Credential struct {
	Server   string // "" means the image's host
	Identity string // resource id
	Username string
	Password string
}

// IsZero reports whether there is no credential.
func (c Credential) IsZero() bool { return c.Identity == "" && c.Username == "" }

// Body gives what a PUT sends to make the group called name.
func (g Group) Body(name string) (Object, error) {
	env, err := environment(g.Env, g.SecureEnv)
	if err != nil {
		return nil, err
	}
	container := Object{
		"image":     g.Image,
		"resources": Object{"requests": Object{"cpu": g.CPU, "memoryInGB": g.Memory}},
	}
	if len(g.Command) > 0 {
		container["command"] = g.Command
	}
	if len(env) > 0 {
		container["environmentVariables"] = env
	}
	properties := Object{
		"osType":        "Linux",
		"restartPolicy": g.RestartPolicy,
		"containers":    []any{Object{"name": containerName(name), "properties": container}},
	}
	if g.DNSLabel != "" && len(g.Ports) == 0 {
		return nil, exit.Usagef("--dns-label names the group's address, which it has only with --port")
	}
	if len(g.Ports) > 0 {
		container["ports"] = ports(g.Ports)
		address := Object{"type": "Public", "ports": ports(g.Ports)}
		if g.DNSLabel != "" {
			address["dnsNameLabel"] = g.DNSLabel
		}
		properties["ipAddress"] = address
	}
	body := Object{"location": g.Location, "properties": properties}
	if !g.Pull.IsZero() {
		return body, SetCredential(body, g.Pull)
	}
	return body, nil
}

// containerName keeps to the 63 lower-case characters that a container's name may have.
func containerName(group string) string {
	name := strings.ToLower(group)
	return strings.TrimRight(name[:min(len(name), 63)], "-")
}

func ports(all []Port) []any {
	out := make([]any, 0, len(all))
	for _, p := range all {
		out = append(out, Object{"port": p.Number, "protocol": p.Protocol})
	}
	return out
}

func environment(plain, secure []string) ([]any, error) {
	var out []any
	for field, list := range map[string][]string{"value": plain, "secureValue": secure} {
		for _, text := range list {
			name, value, err := ParseEnv(text)
			if err != nil {
				return nil, err
			}
			out = append(out, Object{"name": name, field: value})
		}
	}
	slices.SortStableFunc(out, func(a, b any) int { return cmp.Compare(a.(Object)["name"].(string), b.(Object)["name"].(string)) })
	return out, nil
}

// SetImage changes the image of a container; name may be "" when there is only one.
func SetImage(group Object, name, ref string) error {
	containers := list(properties(group), "containers")
	if name == "" && len(containers) == 1 {
		containers[0] = withImage(containers[0], ref)
		return nil
	}
	var names []string
	for i, c := range containers {
		container, _ := c.(Object)
		have, _ := container["name"].(string)
		names = append(names, have)
		if have == name {
			containers[i] = withImage(c, ref)
			return nil
		}
	}
	if name == "" {
		return exit.Usagef("the group has the containers %s: say which with --container", strings.Join(names, ", "))
	}
	return exit.Errorf(exit.NotFound, "", "the group has no container %q, only %s", name, strings.Join(names, ", "))
}

func withImage(container any, ref string) any {
	c, _ := container.(Object)
	properties(c)["image"] = ref
	return c
}

// SetCredential makes c the pull credential for its server, in the place of any that was there, and attaches its
// identity.
func SetCredential(group Object, c Credential) error {
	if c.Server == "" {
		if c.Server = imageHost(group); c.Server == "" {
			return exit.Usagef("the image names no registry: say for which one the credential is with --server")
		}
	}
	entry := Object{"server": c.Server}
	if c.Identity != "" {
		entry["identity"] = c.Identity
		Attach(group, c.Identity)
	} else {
		entry["username"], entry["password"] = c.Username, c.Password
	}
	p := properties(group)
	kept := slices.DeleteFunc(list(p, "imageRegistryCredentials"), func(have any) bool {
		server, _ := have.(Object)["server"].(string)
		return sameRegistry(server, c.Server)
	})
	p["imageRegistryCredentials"] = append(kept, entry)
	return nil
}

// imageHost gives the registry of the first container's image.
func imageHost(group Object) string {
	for _, c := range list(properties(group), "containers") {
		if container, ok := c.(Object); ok {
			ref, _ := properties(container)["image"].(string)
			return image.HostOf(ref)
		}
	}
	return ""
}

// sameRegistry compares two servers; the short, Azure's and our own form of a registry's name mean the same.
func sameRegistry(a, b string) bool {
	x, errX := image.RegistryName(a)
	y, errY := image.RegistryName(b)
	if errX == nil && errY == nil {
		return x == y
	}
	return strings.EqualFold(a, b)
}

// Attach adds a user-assigned identity to a workload.
func Attach(resource Object, id string) {
	identity, _ := resource["identity"].(Object)
	if identity == nil {
		identity = Object{}
	}
	attached, _ := identity["userAssignedIdentities"].(Object)
	if attached == nil {
		attached = Object{}
	}
	for have := range attached {
		if strings.EqualFold(have, id) {
			return
		}
	}
	attached[id] = Object{}
	identity["userAssignedIdentities"] = attached
	setType(identity, "UserAssigned")
	resource["identity"] = identity
}

// AttachSystem gives a workload its own identity.
func AttachSystem(resource Object) {
	identity, _ := resource["identity"].(Object)
	if identity == nil {
		identity = Object{}
	}
	setType(identity, "SystemAssigned")
	resource["identity"] = identity
}

func setType(identity Object, add string) {
	switch have, _ := identity["type"].(string); {
	case have == "" || strings.EqualFold(have, "None"):
		identity["type"] = add
	case !strings.Contains(strings.ToLower(strings.ReplaceAll(have, " ", "")), strings.ToLower(add)):
		identity["type"] = "SystemAssigned, UserAssigned"
	}
}

// ForPut takes out of what a GET returned the fields that only the server writes.
func ForPut(resource Object) {
	for _, field := range []string{"id", "name", "type", "systemData"} {
		delete(resource, field)
	}
	if identity, ok := resource["identity"].(Object); ok {
		delete(identity, "principalId")
		delete(identity, "tenantId")
		if attached, ok := identity["userAssignedIdentities"].(Object); ok {
			for id := range maps.Clone(attached) {
				attached[id] = Object{}
			}
		}
	}
	p := properties(resource)
	delete(p, "provisioningState")
	delete(p, "instanceView")
	if address, ok := p["ipAddress"].(Object); ok {
		delete(address, "ip")
		delete(address, "fqdn")
	}
	for _, c := range list(p, "containers") {
		if container, ok := c.(Object); ok {
			delete(properties(container), "instanceView")
		}
	}
}

// properties gives a resource's properties, making them when there are none.
func properties(resource Object) Object {
	if resource == nil {
		return Object{}
	}
	p, ok := resource["properties"].(Object)
	if !ok {
		p = Object{}
		resource["properties"] = p
	}
	return p
}

func list(o Object, field string) []any {
	l, _ := o[field].([]any)
	return l
}
