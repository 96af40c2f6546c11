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

// awaitReady watches the node's own object until its condition Ready is true, and says meanwhile what it is waiting for.
func (n *Node) awaitReady(ctx context.Context, kubeconfig string) error {
	n.say.Status("waiting for the node " + n.cfg.Node.Name)
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
		ready, err := n.watchReady(ctx, client, only)
		if ready || ctx.Err() != nil {
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

func (n *Node) watchReady(ctx context.Context, client kubernetes.Interface, only meta.ListOptions) (bool, error) {
	w, err := client.CoreV1().Nodes().Watch(ctx, only)
	if err != nil {
		return false, err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		node, ok := event.Object.(*core.Node)
		if !ok {
			continue
		}
		for _, c := range node.Status.Conditions {
			if c.Type != core.NodeReady {
				continue
			}
			// What was true before this process began is not what it has brought about. The API's times are whole seconds.
			if c.Status == core.ConditionTrue && !c.LastHeartbeatTime.Time.Before(n.began) {
				return true, nil
			}
			n.say.Status("waiting for the node " + n.cfg.Node.Name + ": " + c.Message)
		}
	}
	return false, nil
}
