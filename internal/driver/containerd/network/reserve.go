//go:build linux

package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/containernetworking/cni/libcni"
)

// Reserve keeps further addresses of the network for a sandbox, which takes them on its interface as it likes. It gives
// those that it got, also with an error; Release gives them back.
func (n *Network) Reserve(ctx context.Context, id string, count int) ([]netip.Addr, error) {
	list, err := n.reservation()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for i := range count {
		addr, err := n.add(ctx, list, n.reserved(id, i))
		if err != nil {
			return out, fmt.Errorf("reserve an address of the container network: %w", err)
		}
		out = append(out, addr)
	}
	return out, nil
}

// Release undoes Reserve, with the same count. It is no error when there is nothing to undo.
func (n *Network) Release(ctx context.Context, id string, count int) error {
	list, err := n.reservation()
	if err != nil {
		return err
	}
	var errs []error
	for i := range count {
		conf := n.reserved(id, i)
		if cached, err := n.cni().GetNetworkListCachedResult(list, conf); cached == nil && err == nil {
			continue
		}
		errs = append(errs, n.cni().DelNetworkList(ctx, list, conf))
	}
	return errors.Join(errs...)
}

// reservation is the network's administration of addresses alone: they are asked for under names that no interface has.
func (n *Network) reservation() (*libcni.NetworkConfigList, error) {
	raw, err := json.Marshal(map[string]any{"cniVersion": "1.0.0", "name": n.cfg.Bridge, "plugins": []map[string]any{{"type": "host-local", "ipam": n.ipam()}}})
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(raw)
}

func (n *Network) reserved(id string, i int) *libcni.RuntimeConf {
	conf := n.runtimeConf(id, nil)
	conf.IfName = "reserved" + strconv.Itoa(i)
	return conf
}
