//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// hook is a place in the firewall where one of our rules stands among others'.
type hook struct {
	table, chain string
	rule         []string
}

// hooks gives our rules outside of our own chains. There is a fixed number of them for a network, however many sandboxes
// it has.
func hooks(bridge string) []hook {
	return []hook{
		{"filter", "FORWARD", []string{"-j", bridge}},
		{"filter", "INPUT", []string{"-i", bridge, "-j", bridge + "-in"}},
		{"nat", "POSTROUTING", []string{"-j", bridge}},
	}
}

// chains gives the input of iptables-restore that makes our chains. What comes from the network may go out and to its
// own members; into it come only answers and what was published, so that neither the neighbours of the machine nor
// another instance's containers reach it uninvited. Of the machine itself it sees, on the gateway, DNS and the services, and
// answers; nothing else that listens here, on loopback neither, where published ports would else lead a forged packet.
func (n *Network) chains() string {
	b := n.cfg.Bridge
	var in strings.Builder
	fmt.Fprintf(&in, "-A %s-in -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", b)
	fmt.Fprintf(&in, "-A %s-in -d %s -p udp --dport 53 -j ACCEPT\n", b, n.Gateway())
	for _, port := range append([]int{53}, n.cfg.Services...) {
		fmt.Fprintf(&in, "-A %s-in -d %s -p tcp --dport %d -j ACCEPT\n", b, n.Gateway(), port)
	}
	fmt.Fprintf(&in, "-A %s-in -j DROP\n", b)
	return strings.NewReplacer("BRIDGE", b, "SUBNET", n.subnet.String()).Replace(`*filter
:BRIDGE - [0:0]
:BRIDGE-in - [0:0]
-A BRIDGE -o BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A BRIDGE -i BRIDGE -o BRIDGE -j ACCEPT
-A BRIDGE -o BRIDGE -j DROP
-A BRIDGE -i BRIDGE ! -o fl+ -j ACCEPT
` + in.String() + `COMMIT
*nat
:BRIDGE - [0:0]
-A BRIDGE -s SUBNET ! -o BRIDGE -j MASQUERADE
COMMIT
`)
}

func (n *Network) installRules(ctx context.Context) error {
	if err := restore(ctx, n.chains()); err != nil {
		return err
	}
	for _, h := range hooks(n.cfg.Bridge) {
		if h.present(ctx) {
			continue
		}
		if err := iptables(ctx, append([]string{"-t", h.table, "-I", h.chain}, h.rule...)...); err != nil {
			return err
		}
	}
	return nil
}

// removeRules takes our rules and chains away, as far as they are there.
func removeRules(ctx context.Context, bridge string) error {
	saved, err := exec.CommandContext(ctx, "iptables-save", "-t", "nat").Output()
	if err != nil {
		return fmt.Errorf("iptables-save: %w", err)
	}
	var errs []error
	if input := forgetPublished(bridge, string(saved)); input != "" {
		errs = append(errs, restore(ctx, input))
	}
	for _, h := range hooks(bridge) {
		for h.present(ctx) {
			if err := iptables(ctx, append([]string{"-t", h.table, "-D", h.chain}, h.rule...)...); err != nil {
				return err
			}
		}
		own := h.rule[len(h.rule)-1]
		if iptables(ctx, "-t", h.table, "-n", "-L", own) != nil {
			continue // there is no such chain
		}
		errs = append(errs, iptables(ctx, "-t", h.table, "-F", own), iptables(ctx, "-t", h.table, "-X", own))
	}
	return errors.Join(errs...)
}

// forgetPublished gives the input of iptables-restore that deletes what CNI's portmap has made for a network's sandboxes,
// going by the network's name in its comments: a chain for each sandbox and the rule that leads to it.
func forgetPublished(bridge, saved string) string {
	var rules, chains strings.Builder
	for line := range strings.Lines(saved) {
		rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A CNI-HOSTPORT-DNAT ")
		if !ok || !strings.Contains(rule, `name: \"`+bridge+`\"`) {
			continue
		}
		fmt.Fprintf(&rules, "-D CNI-HOSTPORT-DNAT %s\n", rule)
		if _, chain, ok := strings.Cut(rule, "-j "); ok {
			fmt.Fprintf(&chains, "-F %s\n-X %s\n", chain, chain)
		}
	}
	if rules.Len() == 0 {
		return ""
	}
	return "*nat\n" + rules.String() + chains.String() + "COMMIT\n"
}

func restore(ctx context.Context, input string) error {
	cmd := exec.CommandContext(ctx, "iptables-restore", "-w", "--noflush")
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s", err, out)
	}
	return nil
}

func (h hook) present(ctx context.Context) bool {
	return iptables(ctx, append([]string{"-t", h.table, "-C", h.chain}, h.rule...)...) == nil
}

func iptables(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "iptables", append([]string{"-w"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("iptables %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
