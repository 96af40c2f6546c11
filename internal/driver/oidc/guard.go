package oidc

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// guard decides which addresses may be connected to. It looks at the address of the very connection, so that a name
// which changes its meaning between a check and its use gains nothing.
type guard struct {
	allowed map[string]bool // hosts, with and without a port, in lower case
}

// refusedAddress is the refusal of a connection.
type refusedAddress struct {
	host string
	addr netip.Addr
}

func (e *refusedAddress) Error() string {
	return fmt.Sprintf("its address %s is not a public one; who trusts it starts Fairlead with --allow-issuer %s", e.addr, e.host)
}

func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: patience}
	if !g.allowed[strings.ToLower(host)] && !g.allowed[strings.ToLower(address)] {
		dialer.Control = func(_, connected string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(connected)
			if err != nil {
				return err
			}
			if !public(to.Addr()) {
				return &refusedAddress{host, to.Addr()}
			}
			return nil
		}
	}
	return dialer.DialContext(ctx, network, address)
}

// reserved are the ranges that lead to nobody on the public internet besides those that netip knows, and those that
// lead on to an address within them (RFC 6890 and the IANA special-purpose registries).
var reserved = []netip.Prefix{ //nolint:gochecknoglobals // a constant table
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

// public reports whether an address is somebody's on the public internet.
func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Zone() != "" {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
