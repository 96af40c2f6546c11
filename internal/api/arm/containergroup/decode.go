package containergroup

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
	"fairlead.dev/internal/secret"
)

// Limits and defaults. What a group asks for is what it is limited to; nothing is reserved, so sums are not bounded.
const (
	maxContainers = 60
	maxVariables  = 1000
	maxImage      = 1024 // characters of an image's name
	defaultCPU    = 1.0  // cores
	defaultMemory = 1.5  // GiB
	minMemory     = 0.004
	maxCPU        = 4096.0
	maxMemory     = 1e6
)

// identityVersion is the first api-version in which a credential may name an identity.
const identityVersion = "2021-07-01"

var (
	containerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	variableName  = regexp.MustCompile(`^[-._a-zA-Z][-._a-zA-Z0-9]{0,255}$`)
	dnsLabel      = regexp.MustCompile(`^[a-z][-a-z0-9]{3,61}[a-z0-9]$`)
	errValue      = fault.New(fault.Invalid, "InvalidParameter", "a value is invalid")
)

// Input is what Decode reads.
type Input struct {
	Resource resource.Resource // its Properties are the body's
	Version  string            // the api-version
	Old      *run.Group        // what is stored, whose secrets stay where the body names no new ones; nil when there is none
}

// Output is what Decode gives.
type Output struct {
	Group  run.Group       // without Identities: they are principals, which the caller looks up
	Public json.RawMessage // the properties to be stored and shown: no secret in them
	// Doomed is a failure that is certain, but that is told by the group's operation, so that the group can be asked why.
	Doomed *fault.Error
}

// Decode reads and checks a container group whose body has the shape of Properties.
func Decode(in Input) (Output, error) {
	var p properties
	if err := api.DecodeJSON(in.Resource.Properties, &p); err != nil {
		return Output{}, err
	}
	d := decoder{Input: in, group: run.Group{ID: in.Resource.ID, Kind: run.KindContainerGroup, Location: in.Resource.Location}}
	for _, step := range []func(*properties) error{d.settings, d.containers, d.credentials, d.address} {
		if err := step(&p); err != nil {
			return Output{}, err
		}
	}
	p.ProvisioningState, p.InstanceView, p.SKU = "", nil, "Standard"
	public, err := json.Marshal(p)
	if err != nil {
		return Output{}, fmt.Errorf("encoding the properties of %s: %w", in.Resource.ID, err)
	}
	return Output{Group: d.group, Public: public, Doomed: d.doomed}, nil
}

type decoder struct {
	Input
	group  run.Group
	doomed *fault.Error
}

func invalid(path, format string, args ...any) error {
	return errValue.WithMessage("The value of '%s' is invalid: %s", path, fmt.Sprintf(format, args...)).WithTarget(path)
}

func (d *decoder) settings(p *properties) error {
	if p.OSType == "" {
		p.OSType = "Linux"
	}
	if !strings.EqualFold(p.OSType, "Linux") {
		return fault.Newf(fault.Invalid, "UnsupportedOsType", "The osType '%.40s' is not supported: containers here run on Linux.", p.OSType).WithTarget("properties.osType")
	}
	p.OSType = "Linux"
	if p.RestartPolicy == "" {
		p.RestartPolicy = string(run.Always)
	}
	for _, policy := range []run.RestartPolicy{run.Always, run.OnFailure, run.Never} {
		if strings.EqualFold(p.RestartPolicy, string(policy)) {
			p.RestartPolicy, d.group.RestartPolicy = string(policy), policy
			return nil
		}
	}
	return invalid("properties.restartPolicy", "'%.40s' is none of Always, OnFailure and Never.", p.RestartPolicy)
}

func (d *decoder) containers(p *properties) error {
	if n := len(p.Containers); n == 0 || n > maxContainers {
		return invalid("properties.containers", "a group has 1 to %d containers, this one has %d.", maxContainers, n)
	}
	names, ports := map[string]bool{}, map[string]string{}
	for i := range p.Containers {
		w := &p.Containers[i]
		path := fmt.Sprintf("properties.containers[%d]", i)
		if !containerName.MatchString(w.Name) {
			return invalid(path+".name", "'%.80s' is no container name: 1 to 63 lower-case letters, digits and '-', with a letter or digit at both ends.", w.Name)
		}
		if names[w.Name] {
			return invalid(path+".name", "another container of the group has the name '%s' too.", w.Name)
		}
		names[w.Name] = true
		c, err := d.container(path+".properties", w)
		if err != nil {
			return err
		}
		for _, port := range c.Ports {
			key := fmt.Sprintf("%d/%s", port.Port, port.Protocol)
			if other, taken := ports[key]; taken {
				return invalid(path+".properties.ports", "the port %s is the container '%s''s already; the containers of a group share one address.", key, other)
			}
			ports[key] = w.Name
		}
		d.group.Containers = append(d.group.Containers, c)
	}
	return nil
}

func (d *decoder) container(path string, w *wire) (run.Container, error) {
	p := &w.Properties
	p.InstanceView = nil
	c := run.Container{Name: w.Name, Image: p.Image, Command: p.Command}
	if p.Image == "" || len(p.Image) > maxImage || strings.ContainsFunc(p.Image, isControl) {
		return c, invalid(path+".image", "it is the name of an image, 1 to %d characters.", maxImage)
	}
	if slices.ContainsFunc(p.Command, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return c, invalid(path+".command", "it holds a zero byte.")
	}
	var err error
	if c.Ports, err = portsOf(path+".ports", p.Ports); err != nil {
		return c, err
	}
	if c.Env, err = d.variables(path+".environmentVariables", w); err != nil {
		return c, err
	}
	if p.Ports == nil {
		p.Ports = []wirePort{}
	}
	c.CPU, c.MemoryGB, err = limits(path+".resources", &p.Resources)
	return c, err
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// portsOf reads ports; their protocol is TCP unless it says UDP.
func portsOf(path string, in []wirePort) ([]run.Port, error) {
	var out []run.Port
	for i := range in {
		if in[i].Protocol == "" {
			in[i].Protocol = "TCP"
		}
		in[i].Protocol = strings.ToUpper(in[i].Protocol)
		port := run.Port{Port: int(in[i].Port), Protocol: in[i].Protocol}
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case float64(port.Port) != in[i].Port || port.Port < 1 || port.Port > 65535:
			return nil, invalid(at+".port", "a port is a whole number from 1 to 65535.")
		case port.Protocol != "TCP" && port.Protocol != "UDP":
			return nil, invalid(at+".protocol", "'%.40s' is neither TCP nor UDP.", port.Protocol)
		case slices.Contains(out, port):
			return nil, invalid(at, "the port %d/%s is given twice.", port.Port, port.Protocol)
		}
		out = append(out, port)
	}
	return out, nil
}

// variables reads the environment. A secure variable without a value keeps the one that is stored: a GET never shows
// it, so a body that was read and sent back cannot hold it.
func (d *decoder) variables(path string, w *wire) ([]run.EnvVar, error) {
	if len(w.Properties.Env) > maxVariables {
		return nil, invalid(path, "a container has at most %d variables.", maxVariables)
	}
	var out []run.EnvVar
	seen := map[string]bool{}
	for i := range w.Properties.Env {
		v := &w.Properties.Env[i]
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !variableName.MatchString(v.Name):
			return nil, invalid(at+".name", "'%.80s' is no name of a variable: letters, digits, '_', '-' and '.', not beginning with a digit.", v.Name)
		case seen[v.Name]:
			return nil, invalid(at+".name", "the variable '%s' is given twice.", v.Name)
		case v.Value != nil && v.SecureValue != nil && *v.Value != "" && *v.SecureValue != "":
			return nil, invalid(at, "a variable has either a value or a secureValue.")
		case v.Value != nil && strings.ContainsRune(*v.Value, 0), v.SecureValue != nil && strings.ContainsRune(*v.SecureValue, 0):
			return nil, invalid(at, "it holds a zero byte.")
		}
		seen[v.Name] = true
		out = append(out, d.variable(w.Name, v))
		v.SecureValue = nil
	}
	if w.Properties.Env == nil {
		w.Properties.Env = []variable{}
	}
	return out, nil
}

func (d *decoder) variable(container string, v *variable) run.EnvVar {
	out := run.EnvVar{Name: v.Name}
	switch {
	case v.SecureValue != nil && (*v.SecureValue != "" || v.Value == nil):
		out.Secure, out.IsSecure = secret.New(*v.SecureValue), true
		v.Value = nil
	case v.Value != nil:
		out.Value = *v.Value
	default:
		out.Secure, out.IsSecure = d.storedVariable(container, v.Name)
	}
	return out
}

func (d *decoder) storedVariable(container, name string) (secret.Text, bool) {
	if d.Old == nil {
		return secret.Text{}, false
	}
	for _, c := range d.Old.Containers {
		for _, v := range c.Env {
			if c.Name == container && v.Name == name && v.IsSecure {
				return v.Secure, true
			}
		}
	}
	return secret.Text{}, false
}

// limits gives the container's limits: "limits", else "requests", else the defaults.
func limits(path string, r *resources) (cpu, memory float64, err error) {
	if r.Requests == nil {
		r.Requests = &amount{}
	}
	if r.Requests.CPU == 0 {
		r.Requests.CPU = defaultCPU
	}
	if r.Requests.MemoryGB == 0 {
		r.Requests.MemoryGB = defaultMemory
	}
	cpu, memory = r.Requests.CPU, r.Requests.MemoryGB
	if r.Limits != nil && *r.Limits == (amount{}) {
		r.Limits = nil
	}
	if err := r.Requests.check(path + ".requests"); err != nil || r.Limits == nil {
		return cpu, memory, err
	}
	if r.Limits.CPU != 0 {
		cpu = r.Limits.CPU
	}
	if r.Limits.MemoryGB != 0 {
		memory = r.Limits.MemoryGB
	}
	if err := (amount{cpu, memory}).check(path + ".limits"); err != nil {
		return 0, 0, err
	}
	if cpu < r.Requests.CPU || memory < r.Requests.MemoryGB {
		return 0, 0, invalid(path+".limits", "a limit is not below what is requested.")
	}
	return cpu, memory, nil
}

func (a amount) check(path string) error {
	if a.CPU < 0.01 || a.CPU > maxCPU {
		return invalid(path+".cpu", "%g is not from 0.01 to %g cores.", a.CPU, maxCPU)
	}
	if a.MemoryGB < minMemory || a.MemoryGB > maxMemory {
		return invalid(path+".memoryInGB", "%g is not from %g to %g GB.", a.MemoryGB, minMemory, maxMemory)
	}
	return nil
}

// address reads ipAddress. The group's ports are the address's.
func (d *decoder) address(p *properties) error {
	a := p.IPAddress
	if a == nil {
		return nil
	}
	const path = "properties.ipAddress"
	out := &run.IPAddress{DNSNameLabel: a.DNSNameLabel}
	switch strings.ToLower(a.Type) {
	case "public", "":
		a.Type, out.Public = "Public", true
	case "private":
		a.Type = "Private"
	default:
		return invalid(path+".type", "'%.40s' is neither Public nor Private.", a.Type)
	}
	if len(a.Ports) == 0 {
		return invalid(path+".ports", "an address has at least one port.")
	}
	if a.DNSNameLabel != "" && !dnsLabel.MatchString(a.DNSNameLabel) {
		return invalid(path+".dnsNameLabel", "'%.80s' is no label: 5 to 63 lower-case letters, digits and '-', beginning with a letter and not ending with '-'.", a.DNSNameLabel)
	}
	var err error
	out.Ports, err = portsOf(path+".ports", a.Ports)
	a.IP, a.FQDN = "", ""
	d.group.IP = out
	return err
}
