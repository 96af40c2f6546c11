//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"

	"fairlead.dev/internal/driver/containerd/process"
)

const (
	// metadataAddress is where programs on a node look for instance metadata, as on a virtual machine of Azure.
	metadataAddress = "169.254.169.254"
	podBridge       = "cni0"
	uplink          = "eth0" // the node's interface on the container network
)

// plumb makes the node's network namespace one that pods can be on: it forwards, knows the way to the other nodes' pods,
// hides pods' addresses from the world outside, and owns the address of instance metadata. Doing it again is no change.
func (n *node) plumb(ctx context.Context, all []*node) error {
	return process.Within([]string{n.cfg.Network.Namespace(n.id())}, func() error {
		if err := forward(); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		metadata, err := netlink.ParseAddr(metadataAddress + "/32")
		if err != nil {
			return err
		}
		if err := netlink.AddrReplace(lo, metadata); err != nil {
			return fmt.Errorf("take the address of instance metadata: %w", err)
		}
		if err := n.routes(all); err != nil {
			return err
		}
		return n.rules(ctx)
	})
}

// forward has the kernel pass packets on, and show bridged ones to the rules of services.
func forward() error {
	for file, optional := range map[string]bool{
		"/proc/sys/net/ipv4/ip_forward": false, "/proc/sys/net/bridge/bridge-nf-call-iptables": true,
		"/proc/sys/net/ipv6/conf/all/forwarding": true, "/proc/sys/net/bridge/bridge-nf-call-ip6tables": true,
	} {
		err := os.WriteFile(file, []byte("1"), 0)
		if err != nil && (!optional || !errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// routes leads to the pods of the other nodes, which are neighbours on the container network.
func (n *node) routes(all []*node) error {
	link, err := netlink.LinkByName(uplink)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other == n {
			continue
		}
		to, err := netlink.ParseIPNet(other.podCIDR().String())
		if err != nil {
			return err
		}
		via := netip.MustParseAddr(other.state.Address)
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Gw: via.AsSlice()}); err != nil {
			return fmt.Errorf("lead to the pods of node %s: %w", other.name(), err)
		}
	}
	return nil
}

// The chains of our rules in a node.
const (
	chainIn  = "FAIRLEAD-IN"
	chainOut = "FAIRLEAD-OUT"
)

func (n *node) rules(ctx context.Context) error {
	var refuse string
	if !n.plan.PodsReachMetadata {
		refuse = fmt.Sprintf("-A %s -i %s -d %s -j REJECT\n", chainIn, podBridge, metadataAddress)
	}
	input := fmt.Sprintf("*filter\n:%s - [0:0]\n%sCOMMIT\n*nat\n:%s - [0:0]\n-A %[3]s -s %[4]s ! -d %[4]s -o %[5]s -j MASQUERADE\nCOMMIT\n",
		chainIn, refuse, chainOut, n.plan.PodCIDR, uplink)
	if err := run(ctx, input, "iptables-restore", "-w", "--noflush"); err != nil {
		return err
	}
	for _, hook := range []string{"filter INPUT " + chainIn, "nat POSTROUTING " + chainOut} {
		f := strings.Fields(hook)
		if err := run(ctx, "", "iptables", "-w", "-t", f[0], "-C", f[1], "-j", f[2]); err == nil {
			continue
		}
		if err := run(ctx, "", "iptables", "-w", "-t", f[0], "-I", f[1], "-j", f[2]); err != nil {
			return err
		}
	}
	return nil
}

// run runs a program in the namespaces of this thread.
func run(ctx context.Context, input, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
