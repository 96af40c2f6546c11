//go:build linux

package network

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPickSubnet(t *testing.T) {
	all := netip.MustParsePrefix("10.64.0.0/10")
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`fl[0-9a-f]{8}`).Draw(t, "name")
		var taken []netip.Prefix
		for range rapid.IntRange(0, 5).Draw(t, "others") {
			p, err := pickSubnet(name, taken)
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := pickSubnet(name, taken); again != p {
				t.Fatalf("first %s, then %s", p, again)
			}
			if p.Bits() != 24 || !all.Overlaps(p) || p != p.Masked() || !free(p, taken) {
				t.Fatalf("%s is no free subnet beside %v", p, taken)
			}
			taken = append(taken, p)
		}
	})
	wide := netip.MustParsePrefix("10.0.0.0/8")
	if p, err := pickSubnet("fl", []netip.Prefix{wide}); err != nil || !wide.Overlaps(p) {
		t.Errorf("with a route for 10/8: %s, %v", p, err)
	}
	var all16 []netip.Prefix
	for i := range 64 {
		all16 = append(all16, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(64 + i)}), 16))
	}
	if _, err := pickSubnet("fl", all16); !errors.Is(err, ErrNoSubnet) {
		t.Errorf("with everything taken: %v", err)
	}
}

func TestHardwareAddr(t *testing.T) {
	a, b := hardwareAddr("fl00000001"), hardwareAddr("fl00000002")
	if a.String() == b.String() || a[0]&3 != 2 {
		t.Errorf("%s and %s: want two, local and unicast", a, b)
	}
}

func TestChains(t *testing.T) {
	n := &Network{cfg: Config{Bridge: "flx", Services: []int{8443}}, subnet: netip.MustParsePrefix("10.64.3.0/24")}
	want := `*filter
:flx - [0:0]
:flx-in - [0:0]
-A flx -o flx -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A flx -i flx -o flx -j ACCEPT
-A flx -o flx -j DROP
-A flx -i flx ! -o fl+ -j ACCEPT
-A flx-in -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A flx-in -d 10.64.3.1 -p udp --dport 53 -j ACCEPT
-A flx-in -d 10.64.3.1 -p tcp --dport 53 -j ACCEPT
-A flx-in -d 10.64.3.1 -p tcp --dport 8443 -j ACCEPT
-A flx-in -j DROP
COMMIT
*nat
:flx - [0:0]
-A flx -s 10.64.3.0/24 ! -o flx -j MASQUERADE
COMMIT
`
	if diff := cmp.Diff(want, n.chains()); diff != "" {
		t.Error(diff)
	}
}

func TestForgetPublished(t *testing.T) {
	saved := `*nat
:CNI-DN-1 - [0:0]
:CNI-DN-2 - [0:0]
-A CNI-DN-1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.64.0.2:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"flx\" id: \"a\"" -m multiport --dports 80 -j CNI-DN-1
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"fly\" id: \"a\"" -m multiport --dports 81 -j CNI-DN-2
COMMIT
`
	want := `*nat
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"flx\" id: \"a\"" -m multiport --dports 80 -j CNI-DN-1
-F CNI-DN-1
-X CNI-DN-1
COMMIT
`
	if diff := cmp.Diff(want, forgetPublished("flx", saved)); diff != "" {
		t.Error(diff)
	}
	if got := forgetPublished("flz", saved); got != "" {
		t.Errorf("for a network without any: %q", got)
	}
}

func TestPortsConflict(t *testing.T) {
	p := Port{HostIP: "127.0.0.1", HostPort: 80, Protocol: "tcp"}
	for _, c := range []struct {
		other Port
		want  bool
	}{
		{p, true},
		{Port{HostIP: "0.0.0.0", HostPort: 80, Protocol: "tcp"}, true},
		{Port{HostIP: "127.0.0.2", HostPort: 80, Protocol: "tcp"}, false},
		{Port{HostIP: "127.0.0.1", HostPort: 81, Protocol: "tcp"}, false},
		{Port{HostIP: "127.0.0.1", HostPort: 80, Protocol: "udp"}, false},
	} {
		if p.Conflicts(c.other) != c.want || c.other.Conflicts(p) != c.want {
			t.Errorf("%s with %s: want %v", p, c.other, c.want)
		}
	}
	if got := p.String(); !strings.Contains(got, "127.0.0.1:80/tcp") {
		t.Error(got)
	}
}
