//go:build linux

package network

import (
	"encoding/binary"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"

	"fairlead.dev/internal/fault"
)

// Container networks are /24s of 10.64.0.0/10: private addresses (RFC 1918) away from the low ones that home networks,
// Docker and Kubernetes take first.
const (
	subnetBits = 24
	rangeBits  = 10
)

// ErrNoSubnet is returned when every subnet is taken.
var ErrNoSubnet = fault.New(fault.Exhausted, "NO_SUBNET", "no /24 of 10.64.0.0/10 is free on this machine for a container network")

// pickSubnet gives a /24 that overlaps none that is taken; when there is none, one that only wide routes cover, such as a
// company's for all of 10/8: ours, being narrower, has precedence over them. Where it begins to look follows from the
// name, so that one data directory gets the same subnet again and two seldom want one.
func pickSubnet(name string, taken []netip.Prefix) (netip.Prefix, error) {
	if p, err := firstFree(name, taken); err == nil {
		return p, nil
	}
	return firstFree(name, narrow(taken))
}

// narrow gives those of the routes that lead to something rather than somewhere.
func narrow(routes []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(routes), func(p netip.Prefix) bool { return p.Bits() < 16 })
}

func firstFree(name string, taken []netip.Prefix) (netip.Prefix, error) {
	const count = 1 << (subnetBits - rangeBits)
	base := netip.MustParseAddr("10.64.0.0").As4()
	first := binary.BigEndian.Uint32(base[:])
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	start := h.Sum32() % count
	for i := range uint32(count) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], first+(start+i)%count<<(32-subnetBits))
		if p := netip.PrefixFrom(netip.AddrFrom4(b), subnetBits); free(p, taken) {
			return p, nil
		}
	}
	return netip.Prefix{}, ErrNoSubnet
}

func free(p netip.Prefix, taken []netip.Prefix) bool {
	return !slices.ContainsFunc(taken, p.Overlaps)
}

// hardwareAddr gives a locally administered unicast address that follows from the name.
func hardwareAddr(name string) net.HardwareAddr {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	b := binary.BigEndian.AppendUint64(nil, h.Sum64())
	return net.HardwareAddr{0x02, b[1], b[2], b[3], b[4], b[5]}
}
