package node

import (
	"context"
	"fmt"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// await watches the node's own object until it is as wanted, and says meanwhile what it is waiting for.
func (n *Node) await(ctx context.Context, kubeconfig string, wanted func(*core.Node) bool) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	only := meta.ListOptions{FieldSelector: fields.OneTermEqualSelector(meta.ObjectNameField, n.cfg.Node.Name).String()}
	for {
		done, err := n.watch(ctx, client, only, wanted)
		if done || ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			n.say.Status(fmt.Sprintf("waiting for the node %s: %v", n.cfg.Node.Name, err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (n *Node) watch(ctx context.Context, client kubernetes.Interface, only meta.ListOptions, wanted func(*core.Node) bool) (bool, error) {
	w, err := client.CoreV1().Nodes().Watch(ctx, only)
	if err != nil {
		return false, err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if node, ok := event.Object.(*core.Node); ok && wanted(node) {
			return true, nil
		}
	}
	return false, nil
}

// ready reports whether the node's condition Ready is true, and says what else it tells.
func (n *Node) ready(node *core.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type != core.NodeReady {
			continue
		}
		// What was true before this process began is not what it has brought about. The API's times are whole seconds.
		if c.Status == core.ConditionTrue && !c.LastHeartbeatTime.Time.Before(n.began) {
			return true
		}
		n.say.Status("waiting for the node " + n.cfg.Node.Name + ": " + c.Message)
	}
	return false
}

// addressed reports whether the cluster knows the node's address. After another start it knows an old one at first.
func (n *Node) addressed(node *core.Node) bool {
	for _, a := range node.Status.Addresses {
		if a.Type == core.NodeInternalIP {
			return a.Address == n.cfg.Node.Address.String()
		}
	}
	return false
}
