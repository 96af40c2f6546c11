//go:build linux

package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/containernetworking/cni/libcni"
	types "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.dev/internal/driver/containerd/process"
)

// inside is the name of a sandbox's interface.
const inside = "eth0"

// Namespace gives the path at which a sandbox's network namespace can be joined.
func (n *Network) Namespace(id string) string { return filepath.Join(n.cfg.Run, "netns", id) }

// Alive reports whether the sandbox's namespace is there.
func (n *Network) Alive(id string) bool {
	return process.IsNamespace(n.Namespace(id))
}

// Attach makes a namespace with an address on the network, and publishes ports on the host. It leaves nothing behind
// when it fails.
func (n *Network) Attach(ctx context.Context, id string, ports []Port) (netip.Addr, error) {
	path := n.Namespace(id)
	if err := makeNamespace(path); err != nil {
		return netip.Addr{}, fmt.Errorf("make network namespace: %w", err)
	}
	addr, err := n.plug(ctx, id, ports)
	if err != nil {
		return netip.Addr{}, errors.Join(err, n.Detach(context.WithoutCancel(ctx), id, ports))
	}
	return addr, nil
}

func (n *Network) plug(ctx context.Context, id string, ports []Port) (netip.Addr, error) {
	list, err := n.list(len(ports) > 0)
	if err != nil {
		return netip.Addr{}, err
	}
	addr, err := n.add(ctx, list, n.runtimeConf(id, ports))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("attach to the container network: %w", err)
	}
	return addr, nil
}

// add runs the CNI programs of a list and gives the address that they gave.
func (n *Network) add(ctx context.Context, list *libcni.NetworkConfigList, conf *libcni.RuntimeConf) (netip.Addr, error) {
	raw, err := n.cni().AddNetworkList(ctx, list, conf)
	if err != nil {
		return netip.Addr{}, err
	}
	result, err := types.NewResultFromResult(raw)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range result.IPs {
		if addr, ok := netip.AddrFromSlice(ip.Address.IP.To4()); ok {
			return addr, nil
		}
	}
	return netip.Addr{}, errors.New("the CNI programs gave no IPv4 address")
}

// Detach undoes Attach; ports are those of Attach. It returns nil only when namespace, interface, address and published
// ports are gone, also when there were none.
func (n *Network) Detach(ctx context.Context, id string, ports []Port) error {
	list, err := n.list(len(ports) > 0)
	if err != nil {
		return err
	}
	conf := n.runtimeConf(id, ports)
	if !n.Alive(id) {
		conf.NetNS = "" // the address is given back all the same
	}
	if err := n.cni().DelNetworkList(ctx, list, conf); err != nil {
		return fmt.Errorf("detach from the container network: %w", err)
	}
	return removeNamespace(n.Namespace(id))
}

// Files gives the files in /etc that name whoever has an address on the network and say where to ask for other names.
func (n *Network) Files(hostname, address string) map[string]string {
	return map[string]string{
		"hosts":       "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + address + "\t" + hostname + "\n",
		"hostname":    hostname + "\n",
		"resolv.conf": "nameserver " + n.Gateway().String() + "\n",
	}
}

func (n *Network) cni() *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(n.cfg.Programs, filepath.Join(n.cfg.Run, "cni"), nil)
}

func (n *Network) runtimeConf(id string, ports []Port) *libcni.RuntimeConf {
	conf := &libcni.RuntimeConf{ContainerID: id, NetNS: n.Namespace(id), IfName: inside}
	if len(ports) > 0 {
		conf.CapabilityArgs = map[string]any{"portMappings": ports}
	}
	return conf
}

// list gives the CNI programs that attach a sandbox. The firewall is ours, once for the network, because a rule for each
// sandbox costs more time than all else here.
func (n *Network) list(publish bool) (*libcni.NetworkConfigList, error) {
	plugins := []map[string]any{{
		"type": "bridge", "bridge": n.cfg.Bridge, "isDefaultGateway": true, "hairpinMode": true, "ipam": n.ipam(),
	}}
	if publish {
		plugins = append(plugins, map[string]any{"type": "portmap", "snat": true, "capabilities": map[string]bool{"portMappings": true}})
	}
	raw, err := json.Marshal(map[string]any{"cniVersion": "1.0.0", "name": n.cfg.Bridge, "plugins": plugins})
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(raw)
}

func (n *Network) ipam() map[string]any {
	return map[string]any{
		"type": "host-local", "dataDir": filepath.Join(n.cfg.Run, "ipam"),
		"ranges": [][]map[string]any{{{"subnet": n.subnet.String(), "gateway": n.Gateway().String()}}},
	}
}

// makeNamespace makes a network namespace and keeps it by a mount at path. Its loopback interface is up, and its
// processes may listen on low ports without being root, as in Docker.
func makeNamespace(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	_ = f.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is of no use to others and ends with this goroutine
		done <- enterNewNamespace(path)
	}()
	if err := <-done; err != nil {
		return errors.Join(err, removeNamespace(path))
	}
	return nil
}

func enterNewNamespace(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo"}}); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0); err != nil {
		return err
	}
	return os.NewSyscallError("mount", unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""))
}

func removeNamespace(path string) error {
	if err := process.Release(path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
