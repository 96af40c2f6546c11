package loadbalancer

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// announce tells the neighbours on a link who has an address now, so that they do not go on asking for it at a node that had
// it before: an ARP announcement (RFC 5227 section 3).
func announce(link netlink.Link, address netip.Addr) error {
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP))
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	to := &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Attrs().Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	err = unix.Sendto(socket, announcement(link.Attrs().HardwareAddr, address), 0, to)
	return errors.Join(os.NewSyscallError("sendto", err), unix.Close(socket))
}

// announcement is the packet: a request of the address for itself.
func announcement(hardware []byte, address netip.Addr) []byte {
	packet := []byte{0, 1, 0x08, 0, 6, 4, 0, 1} // Ethernet, IPv4, lengths of their addresses, request
	packet = append(append(packet, hardware...), address.AsSlice()...)
	return append(append(packet, make([]byte, 6)...), address.AsSlice()...)
}
