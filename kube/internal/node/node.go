// Package node owns a node of a cluster: the kubelet and the services' proxy of upstream, unpatched, on a containerd
// that is this node's alone and in a network namespace that is too. The package writes their configuration and runs them
// together; what runs on the node is decided by the cluster.
package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"fairlead.dev/kube/internal/addons"
	"fairlead.dev/kube/internal/config"
	"fairlead.dev/kube/internal/notify"
	"fairlead.dev/kube/internal/parts"
	"fairlead.dev/kube/internal/pki"
)

// Ports of the kubelet: its API, and its health on the loopback interface.
const (
	kubeletPort   = 10250
	kubeletHealth = 10248
)

// Node is a node that can be run.
type Node struct {
	cfg   config.Config
	certs *pki.Cluster
	say   notify.Socket
	began time.Time
}

// New describes the node that cfg says this process is.
func New(cfg config.Config, certs *pki.Cluster, say notify.Socket) *Node {
	return &Node{cfg: cfg, certs: certs, say: say, began: time.Now().Truncate(time.Second)}
}

// Run runs the node until ctx ends or a part fails. It calls ready once, when the cluster calls the node ready. Pods go
// on without it.
func (n *Node) Run(ctx context.Context, ready func()) error {
	f, err := n.write()
	if err != nil {
		return err
	}
	g := parts.New(ctx)
	defer g.Close(partGrace)
	g.Start("kubelet", func(ctx context.Context) error {
		cmd := kubelet.NewKubeletCommand(ctx)
		cmd.SetArgs(n.kubeletArgs(f))
		return cmd.ExecuteContext(ctx)
	})
	g.Start("kube-proxy", func(ctx context.Context) error {
		// It ends the whole process when the address that it has found for the node changes.
		if err := n.await(ctx, f.kubelet, n.addressed); err != nil {
			return err
		}
		cmd := kubeproxy.NewProxyCommand()
		cmd.SetArgs([]string{"--config=" + f.proxyConfig})
		return cmd.ExecuteContext(ctx)
	})
	n.say.Status("waiting for the node " + n.cfg.Node.Name)
	if err := n.await(g.Context(), f.kubelet, n.ready); err != nil {
		return errors.Join(err, context.Cause(g.Context()))
	}
	if err := addons.StartNode(g, n.cfg, n.certs); err != nil {
		return err
	}
	ready()
	return g.Err()
}

// partGrace is how long parts may take to end. The proxy does not hear its context, and the process ends anyhow.
const partGrace = 2 * time.Second

type files struct{ kubeletConfig, kubelet, proxyConfig string }

func (n *Node) write() (f files, err error) {
	node := n.cfg.Node
	if err := os.MkdirAll(node.Dir, 0o700); err != nil {
		return f, err
	}
	serving, servingKey, _, err := n.certs.CA.Ensure(pki.Leaf{
		Name: "kubelet-" + node.Name + "-serving", User: "system:node:" + node.Name, Groups: []string{"system:nodes"},
		Hosts: []string{node.Name, node.Address.String()},
	})
	if err != nil {
		return f, err
	}
	server := "https://" + n.cfg.Server.String()
	f.kubelet, err = n.certs.Kubeconfig(pki.Leaf{
		Name: "kubelet-" + node.Name, User: "system:node:" + node.Name, Groups: []string{"system:nodes"},
	}, server, false)
	if err != nil {
		return f, err
	}
	proxy, err := n.certs.Kubeconfig(pki.Leaf{Name: "kube-proxy", User: "system:kube-proxy"}, server, false)
	if err != nil {
		return f, err
	}
	f.kubeletConfig, f.proxyConfig = filepath.Join(node.Dir, "kubelet.json"), filepath.Join(node.Dir, "kube-proxy.json")
	return f, errors.Join(
		writeJSON(f.kubeletConfig, n.kubeletConfig(serving, servingKey)),
		writeJSON(f.proxyConfig, n.proxyConfig(proxy)))
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return pki.WriteFile(path, text, 0o600)
}

func (n *Node) kubeletArgs(f files) []string {
	node := n.cfg.Node
	args := []string{
		"--config=" + f.kubeletConfig, "--kubeconfig=" + f.kubelet, "--hostname-override=" + node.Name, "--node-ip=" + node.Address.String(),
	}
	if len(node.Labels) > 0 {
		args = append(args, "--node-labels="+labels.Set(node.Labels).String())
	}
	if p := node.CredentialProviders; p != nil {
		args = append(args, "--image-credential-provider-config="+p.File, "--image-credential-provider-bin-dir="+p.Programs)
	}
	return args
}

// object is a configuration as it stands in a file.
type object = map[string]any

func (n *Node) kubeletConfig(serving, servingKey string) object {
	node := n.cfg.Node
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix://" + node.Socket,
		"address":                  node.Address.String(), "port": kubeletPort, "healthzBindAddress": "127.0.0.1", "healthzPort": kubeletHealth,
		"tlsCertFile": serving, "tlsPrivateKeyFile": servingKey,
		"authentication": object{
			"anonymous": object{"enabled": false}, "webhook": object{"enabled": true},
			"x509": object{"clientCAFile": n.certs.CA.File()},
		},
		"authorization": object{"mode": "Webhook"},
		"clusterDomain": n.cfg.DNSDomain, "clusterDNS": []string{n.cfg.DNSAddress().String()}, "resolvConf": "/etc/resolv.conf",
		"cgroupDriver": "cgroupfs", "cgroupRoot": node.CgroupRoot, "enforceNodeAllocatable": []string{"pods"},
		"failCgroupV1":        false, // the default of 1.37 refuses machines that many still have
		"failSwapOn":          false,
		"volumePluginDir":     "/var/lib/kubelet/volume-plugins",
		"providerID":          node.ProviderID,
		"serializeImagePulls": false,
		// The eviction of pods is for nodes that are whole machines: this one shares its disk and memory with others.
		"evictionHard": object{"memory.available": "100Mi"}, "imageGCHighThresholdPercent": 100, "localStorageCapacityIsolation": false,
		// An image on the node is not a permission (KEP-2535), but the images that came with the cluster are for all.
		"imagePullCredentialsVerificationPolicy": cmp.Or(node.VerifyPull, "NeverVerifyPreloadedImages"),
	}
}

func (n *Node) proxyConfig(kubeconfig string) object {
	return object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": object{"kubeconfig": kubeconfig}, "clusterCIDR": n.cfg.PodCIDR.String(),
		"hostnameOverride": n.cfg.Node.Name, "mode": "nftables",
		"healthzBindAddress": "127.0.0.1:" + strconv.Itoa(10256), "metricsBindAddress": "127.0.0.1:" + strconv.Itoa(10249),
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}, // the host's own
	}
}
