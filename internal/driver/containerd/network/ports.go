//go:build linux

package network

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strconv"

	"fairlead.dev/internal/fault"
)

// Port publishes a sandbox's port on the host. Its encoding is CNI's portMappings capability.
type Port struct {
	HostIP        string `json:"hostIP"`
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"` // "tcp" or "udp"
}

func (p Port) String() string {
	return fmt.Sprintf("%s/%s", net.JoinHostPort(p.HostIP, strconv.Itoa(p.HostPort)), p.Protocol)
}

// Conflicts reports whether both cannot be published at once: the unspecified address takes all others along.
func (p Port) Conflicts(q Port) bool {
	all := func(ip string) bool { return ip == "0.0.0.0" || ip == "::" }
	return p.HostPort == q.HostPort && p.Protocol == q.Protocol && (p.HostIP == q.HostIP || all(p.HostIP) || all(q.HostIP))
}

// ErrPortTaken is returned for a port on the host that something else has; it names both.
var ErrPortTaken = fault.New(fault.Conflict, "HOST_PORT_TAKEN", "the port is taken on the host")

// CheckFree returns ErrPortTaken when a process of the host listens at one of the ports, or another program forwards it.
// What this network publishes itself, its owner knows.
func CheckFree(ctx context.Context, ports []Port) error {
	if len(ports) == 0 {
		return nil
	}
	rules, err := exec.CommandContext(ctx, "iptables", "-w", "-t", "nat", "-S").Output()
	if err != nil {
		return fmt.Errorf("read the forwarded ports: %w", err)
	}
	for _, p := range ports {
		forwarded := regexp.MustCompile(`-p ` + p.Protocol + ` .*--dport ` + strconv.Itoa(p.HostPort) + ` .*-j DNAT`)
		if forwarded.Match(rules) {
			return ErrPortTaken.WithMessage("%s is forwarded to another container on this machine already", p)
		}
		if err := tryListen(ctx, p); err != nil {
			return ErrPortTaken.WithMessage("%s cannot be published: a process of this machine listens there", p).WithCause(err)
		}
	}
	return nil
}

func tryListen(ctx context.Context, p Port) error {
	address := net.JoinHostPort(p.HostIP, strconv.Itoa(p.HostPort))
	var lc net.ListenConfig
	if p.Protocol == "udp" {
		conn, err := lc.ListenPacket(ctx, "udp4", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	l, err := lc.Listen(ctx, "tcp4", address)
	if err != nil {
		return err
	}
	return l.Close()
}
