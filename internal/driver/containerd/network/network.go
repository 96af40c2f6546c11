//go:build linux

// Package network owns the container network of one data directory: its bridge and subnet, the firewall rules that
// let it out and keep strangers out of it, and the network namespace, address and published ports of each sandbox. The
// work inside a sandbox is done by CNI programs. Names for addresses are left to the DNS server, limits to cgroups.
package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Config says which network.
type Config struct {
	Bridge   string   // its interface, at most 15 characters; also the name of its chains
	Data     string   // directory where the choice of subnet is kept
	Run      string   // directory of namespaces and leases of addresses; may vanish with a restart of the machine
	Programs []string // directories of the CNI programs
	Services []int    // TCP ports that containers may reach on the gateway, besides DNS
}

// Network is a network that is there.
type Network struct {
	cfg    Config
	subnet netip.Prefix
}

// Open makes the bridge and its rules, or finds them, and so takes the gateway address: from then on servers can
// listen there.
func Open(ctx context.Context, cfg Config) (*Network, error) {
	n := &Network{cfg: cfg}
	unlock, err := lockMachine()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if n.subnet, err = n.chooseSubnet(); err != nil {
		return nil, err
	}
	if err := n.makeBridge(); err != nil {
		return nil, fmt.Errorf("make bridge %s: %w", cfg.Bridge, err)
	}
	return n, n.installRules(ctx)
}

// Gateway is the host's own address on the network.
func (n *Network) Gateway() netip.Addr { return n.subnet.Addr().Next() }

// Subnet is the range of addresses of the network.
func (n *Network) Subnet() netip.Prefix { return n.subnet }

// lockMachine keeps two instances from choosing one subnet. The lock is on a directory that every machine has, so that
// nothing of it stays behind.
func lockMachine() (unlock func(), err error) {
	f, err := os.Open("/run")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(os.NewSyscallError("flock", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

type choice struct {
	Subnet netip.Prefix `json:"subnet"`
}

// chooseSubnet gives the subnet that was chosen before, unless something else on this machine has taken it meanwhile;
// else a free one.
func (n *Network) chooseSubnet() (netip.Prefix, error) {
	taken, err := n.takenByOthers()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("read the machine's routes: %w", err)
	}
	path := filepath.Join(n.cfg.Data, "network.json")
	var before choice
	if raw, err := os.ReadFile(path); err == nil && json.Unmarshal(raw, &before) == nil && before.Subnet.IsValid() && free(before.Subnet, narrow(taken)) {
		return before.Subnet, nil
	}
	subnet, err := pickSubnet(n.cfg.Bridge, taken)
	if err != nil {
		return netip.Prefix{}, err
	}
	raw, err := json.Marshal(choice{subnet})
	if err != nil {
		return netip.Prefix{}, err
	}
	return subnet, os.WriteFile(path, append(raw, '\n'), 0o600)
}

// takenByOthers gives the destinations of all routes but the default ones and our own.
func (n *Network) takenByOthers() ([]netip.Prefix, error) {
	own := -1
	if link, err := netlink.LinkByName(n.cfg.Bridge); err == nil {
		own = link.Attrs().Index
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	var taken []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil || r.LinkIndex == own {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if ok && ones > 0 {
			taken = append(taken, netip.PrefixFrom(addr, ones))
		}
	}
	return taken, nil
}

// makeBridge makes the bridge with the gateway's address. Its hardware address is fixed: a bridge that takes its
// address from its ports changes it with them, and running containers would lose the gateway for a while.
func (n *Network) makeBridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = n.cfg.Bridge
	attrs.HardwareAddr = hardwareAddr(n.cfg.Bridge)
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	link, err := netlink.LinkByName(n.cfg.Bridge)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(netip.PrefixFrom(n.Gateway(), n.subnet.Bits()).String())
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return err
	}
	// The rules are for IPv4. Without this the kernel gives the bridge a link-local address, and containers a way past them.
	err = os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", n.cfg.Bridge, "disable_ipv6"), []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6 has no such file
		return err
	}
	return netlink.LinkSetUp(link)
}

// Remove takes the bridge, its rules and every namespace away, also when only some of them are left. It needs no
// Network, so that a broken one can be removed.
func Remove(ctx context.Context, cfg Config) error {
	errs := []error{removeRules(ctx, cfg.Bridge)}
	spaces, err := os.ReadDir(filepath.Join(cfg.Run, "netns"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, s := range spaces {
		errs = append(errs, removeNamespace(filepath.Join(cfg.Run, "netns", s.Name())))
	}
	if link, err := netlink.LinkByName(cfg.Bridge); err == nil {
		errs = append(errs, removePorts(link), netlink.LinkDel(link))
	}
	return errors.Join(errs...)
}

// removePorts deletes the host's ends of the bridge's pairs, and with them the other ends: a namespace that vanishes
// takes its end along only some time later.
func removePorts(bridge netlink.Link) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		if l.Attrs().MasterIndex != bridge.Attrs().Index {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.As(err, &netlink.LinkNotFoundError{}) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
