//go:build linux

package clusters

import "testing"

func TestHostsOfIngresses(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"shop.example", "shop.example", true}, {"shop.example", "a.shop.example", false},
		{"*.shop.example", "a.shop.example", true}, {"*.shop.example", "a.b.shop.example", false}, {"*.shop.example", "shop.example", false},
	} {
		if got := covers(c.pattern, c.host); got != c.want {
			t.Errorf("%s for %s: %v", c.pattern, c.host, got)
		}
	}
}
