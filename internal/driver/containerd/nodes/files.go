//go:build linux

package nodes

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/internal/driver/containerd/process"
	"fairlead.dev/internal/driver/containerd/whole"
)

const (
	kubeLimit = 3 * time.Minute // from the start of fairlead-kube until its node is ready
	kubeTries = 3               // any part of it may give up while the machine is busy, which ends all
	kubeGrace = 8 * time.Second
	podGrace  = 3 * time.Second
)

// writeFiles writes what the node's processes read.
func (n *node) writeFiles() error {
	files := map[string][]byte{
		n.dir("cni", "10-fairlead.conflist"): n.network(),
		n.shared("authentication.json"):      n.plan.Authentication,
		n.shared("authorization.json"):       n.plan.Authorization,
		n.shared("admission.json"):           n.plan.Admission,
	}
	for name, text := range n.plan.Files {
		files[n.shared(name)] = text
	}
	if n.cfg.Authority != "" {
		authority, err := os.ReadFile(n.cfg.Authority)
		if err != nil {
			return err
		}
		files[n.dir("trust", "fairlead.pem")] = authority
	}
	if err := errors.Join(n.linkShim(), n.writeCredentials()); err != nil {
		return err
	}
	for path, text := range files {
		if len(text) == 0 {
			continue // the plan has none
		}
		// Other nodes' processes may be reading what is shared.
		if err := whole.Write(path, text, 0o600, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// linkShim lets containerd find the shim by its name. It starts shims by their path, but looks for the ones that run when
// it starts again by the name of their runtime, on PATH.
func (n *node) linkShim() error {
	own, err := n.daemon().ExecutablePath()
	if err != nil {
		return err
	}
	return link(n.dir("bin", "containerd-shim-runc-v2"), own)
}

// shared is where the cluster keeps what belongs to no node.
func (n *node) shared(name string) string { return filepath.Join(n.cfg.Dir, n.plan.Key, name) }

// Dir is where a cluster's files are that belong to no node.
func (n *Nodes) Dir(key string) string { return filepath.Join(n.cfg.Dir, key) }

// object is a configuration as it stands in a file.
type object = map[string]any

func encode(v any) []byte {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // what is encoded here is ours
	}
	return append(text, '\n')
}

// network is the CNI configuration of the node's pods. Addresses of pods are hidden from outside by the node's own rules,
// not by the bridge's, which would hide them from the other nodes' pods as well.
func (n *node) network() []byte {
	return encode(object{
		"cniVersion": "1.0.0", "name": "fairlead", "plugins": []object{
			{
				"type": "bridge", "bridge": podBridge, "isDefaultGateway": true, "hairpinMode": true,
				"ipam": object{
					"type": "host-local", "dataDir": n.run("ipam"), "ranges": [][]object{{{"subnet": n.podCIDR().String()}}},
				},
			},
			{"type": "portmap", "snat": true, "capabilities": object{"portMappings": true}},
		},
	})
}

// kubeFile is what the node's fairlead-kube reads, and is known by.
func (n *node) kubeFile() string { return n.dir("fairlead-kube.json") }

// kube gives the process of fairlead-kube on this node. The file that it reads is the contract between the two programs;
// package config of module fairlead.dev/kube documents it.
func (n *node) kube(program string, server netip.AddrPort, balancers []netip.Addr) process.Program {
	self := object{
		"name": n.name(), "address": n.state.Address, "podCIDR": n.podCIDR(), "dir": n.dir("kube"), "socket": n.daemon().Socket(),
		"cgroupRoot": n.cgroup(), "labels": n.plan.Nodes[n.index].Labels, "providerID": n.plan.Nodes[n.index].ProviderID,
		"verifyPull": n.plan.VerifyPull, "volumes": n.dir("volumes"),
	}
	if c := n.credentials(); c != nil {
		self["credentialProviders"] = c
	}
	file := object{
		"cluster": n.plan.Name, "dir": filepath.Join(n.cfg.Dir, n.plan.Key), "podCIDR": n.plan.PodCIDR, "serviceCIDR": n.plan.ServiceCIDR,
		"dnsDomain": n.plan.DNSDomain, "server": server.String(), "loadBalancers": balancers, "node": self,
	}
	if n.index == 0 {
		file["controlPlane"] = n.controlPlane()
	}
	return process.Program{
		Name: Program, Path: program, Args: []string{"run", n.kubeFile()}, Log: n.dir("fairlead-kube.log"),
		Notify: n.run("k", "notify.sock"), ConfigFile: n.kubeFile(), Config: encode(file), Namespaces: n.namespaces(),
		StartLimit: kubeLimit, StartTries: kubeTries, StopGrace: kubeGrace,
	}
}

func (n *node) controlPlane() object {
	out := object{"names": n.plan.Hosts, "issuer": n.plan.Issuer, "front": n.cfg.Network.Gateway()}
	for name, text := range map[string][]byte{
		"authentication": n.plan.Authentication, "authorization": n.plan.Authorization, "admission": n.plan.Admission,
	} {
		if len(text) > 0 {
			out[name] = n.shared(name + ".json")
		}
	}
	return out
}
