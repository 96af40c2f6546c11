//go:build linux

package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"fairlead.dev/internal/driver/containerd/cgroup"
	"fairlead.dev/internal/driver/containerd/network"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/run"
)

// record is what is kept of a sandbox while it exists.
type record struct {
	ID       string         `json:"id"`
	IP       string         `json:"ip"`
	Hostname string         `json:"hostname"`
	Ports    []network.Port `json:"ports,omitempty"`
}

// validID is what containerd accepts, and safe as a file's name.
var validID = regexp.MustCompile(`^[A-Za-z0-9](-?[A-Za-z0-9])*$`)

const maxID = 76 // containerd's own limit

func checkID(id string) error {
	if len(id) > maxID || !validID.MatchString(id) {
		return fault.Newf(fault.Invalid, "INVALID_ID", "%q is no id of a sandbox or container", id)
	}
	return nil
}

// CreateSandbox implements run.Runtime.
func (d *Driver) CreateSandbox(ctx context.Context, spec run.SandboxSpec) (run.Sandbox, error) {
	if err := checkID(spec.ID); err != nil {
		return run.Sandbox{}, err
	}
	r := record{ID: spec.ID, Hostname: spec.Hostname, Ports: portsOf(spec.Ports)}
	if err := d.claim(ctx, r); err != nil {
		return run.Sandbox{}, err
	}
	if err := d.createSandbox(ctx, &r, spec); err != nil {
		return run.Sandbox{}, errors.Join(fmt.Errorf("create sandbox: %w", err), d.removeSandbox(context.WithoutCancel(ctx), r))
	}
	return run.Sandbox{ID: r.ID, IP: r.IP}, nil
}

// claim writes the sandbox's record, when its ports are free: before anything is taken, so that whatever a crash leaves
// behind is known, and one at a time, so that two do not claim one port.
func (d *Driver) claim(ctx context.Context, r record) error {
	d.claiming.Lock()
	defer d.claiming.Unlock()
	if err := d.checkPorts(ctx, r); err != nil {
		return err
	}
	return d.writeRecord(r)
}

func (d *Driver) createSandbox(ctx context.Context, r *record, spec run.SandboxSpec) error {
	if err := d.cgroups.Create(d.names.sandboxGroup(r.ID), cgroup.Limits{CPU: spec.CPU, Memory: spec.MemoryBytes}); err != nil {
		return err
	}
	addr, err := d.network.Attach(ctx, r.ID, r.Ports)
	if err != nil {
		return err
	}
	r.IP = addr.String()
	for name, text := range d.network.Files(r.Hostname, r.IP) {
		if err := os.WriteFile(filepath.Join(d.names.sandboxDir(r.ID), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return d.writeRecord(*r)
}

// RemoveSandbox implements run.Runtime.
func (d *Driver) RemoveSandbox(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	r, err := d.readRecord(id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.ID = id
	return d.removeSandbox(ctx, r)
}

func (d *Driver) removeSandbox(ctx context.Context, r record) error {
	err := errors.Join(d.network.Detach(ctx, r.ID, r.Ports), d.cgroups.RemovePatiently(ctx, d.names.sandboxGroup(r.ID)))
	if err != nil {
		return fmt.Errorf("remove sandbox: %w", err) // the record stays: it is tried again
	}
	return os.RemoveAll(d.names.sandboxDir(r.ID))
}

func portsOf(mappings []run.PortMapping) []network.Port {
	var ports []network.Port
	for _, m := range mappings {
		p := network.Port{HostIP: m.HostIP, HostPort: m.HostPort, ContainerPort: m.Port, Protocol: strings.ToLower(m.Protocol)}
		if p.HostIP == "" {
			p.HostIP = "127.0.0.1"
		}
		if p.Protocol == "" {
			p.Protocol = "tcp"
		}
		ports = append(ports, p)
	}
	return ports
}

// checkPorts refuses a port of the host that another sandbox or something else on the machine has, by name.
func (d *Driver) checkPorts(ctx context.Context, r record) error {
	if len(r.Ports) == 0 {
		return nil
	}
	others, err := d.records()
	if err != nil {
		return err
	}
	for _, p := range r.Ports {
		for _, o := range others {
			for _, q := range o.Ports {
				if o.ID != r.ID && p.Conflicts(q) {
					return network.ErrPortTaken.WithMessage("%s is published by sandbox %s (%s) already", p, o.ID, o.Hostname)
				}
			}
		}
	}
	return network.CheckFree(ctx, r.Ports)
}

func (d *Driver) writeRecord(r record) error {
	dir := d.names.sandboxDir(r.ID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	next := filepath.Join(dir, "sandbox.json.new")
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, "sandbox.json"))
}

func (d *Driver) readRecord(id string) (record, error) {
	var r record
	raw, err := os.ReadFile(filepath.Join(d.names.sandboxDir(id), "sandbox.json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("read the record of sandbox %s: %w", id, err)
	}
	return r, nil
}

func (d *Driver) records() ([]record, error) {
	dirs, err := os.ReadDir(filepath.Dir(d.names.sandboxDir("x")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []record
	for _, dir := range dirs {
		r, err := d.readRecord(dir.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is being made or removed
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// dropDeadSandboxes forgets sandboxes whose network namespace is gone, which is so after a restart of the machine where
// /run is kept. run makes them anew.
func (d *Driver) dropDeadSandboxes(ctx context.Context) error {
	all, err := d.records()
	if err != nil {
		return err
	}
	for _, r := range all {
		if d.network.Alive(r.ID) {
			continue
		}
		if err := d.removeSandbox(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
