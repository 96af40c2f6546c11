package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/lookup"
	"fairlead.dev/internal/cli/terminal"
	"fairlead.dev/internal/cli/workload"
)

// unhurried is how long clusters are waited for.
const unhurried = 15 * time.Minute

func newKube(a *app) *cobra.Command {
	return family("kube", "Kubernetes clusters: create, list, show, get-credentials, kubectl, pull-secret, update, stop, start, rotate-certs, delete, connect, refresh-credentials, disconnect, token",
		newKubeCreate(a), newKubeList(a), newKubeShow(a), newKubeCredentials(a), newKubectl(a), newPullSecret(a), newKubeUpdate(a),
		turnCluster(a, turn{name: "stop", action: "stop", short: "Stop a cluster; what it stores stays", doing: "being stopped"}),
		turnCluster(a, turn{name: "start", action: "start", short: "Start a stopped cluster", doing: "being started"}),
		turnCluster(a, turn{
			name: "rotate-certs", action: "rotateClusterCertificates", short: "Make all certificates of a cluster anew", doing: "getting new certificates",
			after: "its authority is a new one: get its kubeconfig again with 'fairlead kube get-credentials %s --overwrite-existing'",
		}),
		newKubeDelete(a), newKubeConnect(a), newKubeRefresh(a), newKubeDisconnect(a), newKubeToken(a))
}

type clusterOptions struct {
	group, location      string
	nodes                int
	version, prefix      string
	podCIDR, serviceCIDR string
	kubelet, verify      string
	attach               []string
	podsMayAsk, noWait   bool
}

func newKubeCreate(a *app) *cobra.Command {
	var o clusterOptions
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a Kubernetes cluster, and wait until it runs", Args: exactly("NAME"),
		Long: `Create a Kubernetes cluster, and wait until it runs.

Its nodes pull images with an identity of their own, which --attach-acr gives AcrPull on a registry:
pods need no pull secret for it then.`,
		Example: `  fairlead kube create dev --attach-acr myacr
  fairlead kube get-credentials dev --admin
  kubectl get nodes`,
		RunE: a.action(unhurried, func(ctx context.Context, c *connection, args []string) error {
			return createCluster(ctx, c, args[0], o)
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&o.group, "resource-group", "g", defaultGroup, "resource group, created when it does not exist")
	f.StringVarP(&o.location, "location", "l", defaultLocation, "region")
	f.IntVar(&o.nodes, "node-count", 1, "nodes, all of them on this machine")
	f.StringArrayVar(&o.attach, "attach-acr", nil, "registry that nodes may pull from; may be repeated")
	f.StringVar(&o.kubelet, "assign-kubelet-identity", "", "user-assigned identity that nodes pull with (default: NAME-agentpool, made with the cluster)")
	f.StringVar(&o.version, "kubernetes-version", "", "release of Kubernetes (default: the one there is)")
	f.StringVar(&o.prefix, "dns-name-prefix", "", "what the API server's host name begins with (default: NAME)")
	f.StringVar(&o.podCIDR, "pod-cidr", "", "addresses of pods (default 10.244.0.0/16)")
	f.StringVar(&o.serviceCIDR, "service-cidr", "", "addresses of services (default 10.0.0.0/16)")
	f.StringVar(&o.verify, "verify-pull", "", "when the right to an image that is on the node is checked again: the kubelet's imagePullCredentialsVerificationPolicy (default AlwaysVerify)")
	f.BoolVar(&o.podsMayAsk, "pods-reach-metadata", false, "let pods use the nodes' identity")
	f.BoolVar(&o.noWait, "no-wait", false, "return when the creation has begun")
	return cmd
}

func createCluster(ctx context.Context, c *connection, name string, o clusterOptions) error {
	registries, err := registriesOf(ctx, c.Client, o.attach) // first: a misspelt name shall leave no cluster behind
	if err != nil {
		return err
	}
	body, err := o.body(ctx, c.Client, name)
	if err != nil {
		return err
	}
	if err := ensureGroup(ctx, c.Client, o.group, o.location); err != nil {
		return err
	}
	id := c.ResourceID(o.group, client.TypeCluster, name)
	switch err := c.Get(ctx, id, nil); {
	case err == nil:
		return exit.Errorf(exit.Failure, "change it with 'fairlead kube update', or see it with 'fairlead kube show "+name+"'", "the cluster %s exists already in %s", name, o.group)
	case !client.NotFound(err):
		return err
	}
	if _, err := c.BeginPut(ctx, id, body, client.Strict()); err != nil {
		return err
	}
	for _, r := range registries {
		if err := c.attach(ctx, id, r); err != nil {
			return fmt.Errorf("%s is being created, but: %w", name, err)
		}
	}
	if !o.noWait {
		if err := c.settle(ctx, id, "being created"); err != nil {
			return err
		}
		c.tell("reach it with 'fairlead kube get-credentials %s -g %s', as its administrator with --admin", name, o.group)
	}
	return c.showCluster(ctx, id)
}

// body gives what asks for the cluster.
func (o clusterOptions) body(ctx context.Context, c *client.Client, name string) (workload.Object, error) {
	prefix := o.prefix
	if prefix == "" {
		prefix = strings.Trim(strings.ReplaceAll(name[:min(len(name), 54)], "_", "-"), "-")
	}
	network, own := workload.Object{}, workload.Object{}
	properties := workload.Object{
		"dnsPrefix": prefix, "networkProfile": network, "fairleadProfile": own,
		"agentPoolProfiles": []workload.Object{{"name": "nodepool1", "count": o.nodes, "mode": "System"}},
	}
	for _, given := range []struct {
		into        workload.Object
		name, value string
	}{
		{properties, "kubernetesVersion", o.version},
		{network, "podCidr", o.podCIDR},
		{network, "serviceCidr", o.serviceCIDR},
		{own, "imagePullCredentialsVerificationPolicy", o.verify},
	} {
		if given.value != "" {
			given.into[given.name] = given.value
		}
	}
	if o.podsMayAsk {
		network["podLinkLocalAccess"] = "IMDS"
	}
	if o.kubelet != "" {
		identity, err := lookup.Identity(ctx, c, o.kubelet)
		if err != nil {
			return nil, err
		}
		properties["identityProfile"] = workload.Object{client.KubeletIdentity: workload.Object{"resourceId": identity.ID}}
	}
	return workload.Object{"location": o.location, "properties": properties}, nil
}

// lookEvery is the time between two looks at a cluster that is waited for.
const lookEvery = 250 * time.Millisecond

// settle waits until a cluster is as it is wanted, and tells what is waited for meanwhile. doing completes "dev is …".
func (c *connection) settle(ctx context.Context, id, doing string) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	told := ""
	for {
		var now client.Cluster
		err := c.Get(ctx, id, &now)
		switch {
		case ctx.Err() != nil:
			name, group := client.NameOf(id), client.GroupOf(id)
			c.streams.Notef("%s goes on %s: see 'fairlead kube show %s -g %s', or take it away with 'fairlead kube delete %s -g %s --yes'", name, doing, name, group, name, group)
			return ctx.Err()
		case err != nil:
			return err
		case now.Properties.Settled():
			return failureOf(now)
		}
		if p := now.Properties.Fairlead.Progress; p != "" && p != told {
			told = p
			c.streams.Notef("%s: %s", now.Name, terminal.Clean(p))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// failureOf gives why a cluster is not as it is wanted; nil when it is.
func failureOf(now client.Cluster) error {
	if now.Properties.ProvisioningState != "Failed" {
		return nil
	}
	hint := "it is tried again by itself: see 'fairlead kube show " + now.Name + " -g " + now.Group() + "'"
	if s := now.Properties.Status; s != nil {
		return exit.Errorf(exit.CannotStart, hint, "%s: %s (%s)", now.Name, terminal.Clean(s.Error.Message), s.Error.Code)
	}
	return exit.Errorf(exit.CannotStart, hint, "%s failed", now.Name)
}

func clusterTable(all []client.Cluster) terminal.Table {
	t := terminal.Table{Header: []string{"NAME", "GROUP", "STATE", "POWER", "VERSION", "NODES", "API SERVER"}}
	for _, each := range all {
		p := each.Properties
		t.Add(each.Name, each.Group(), p.ProvisioningState, p.PowerState.Code, p.Version, strconv.Itoa(p.Nodes()), p.FQDN)
	}
	return t
}

func (c *connection) showCluster(ctx context.Context, id string) error {
	return showResource(ctx, c, id, clusterTable)
}

func newKubeList(a *app) *cobra.Command {
	var group string
	connected := false
	cmd := &cobra.Command{
		Use: "list", Short: "List clusters", Args: exactly(),
		RunE: a.action(quick, func(ctx context.Context, c *connection, _ []string) error {
			if connected {
				return listResources(ctx, c, group, client.TypeConnected, connectedTable)
			}
			return listResources(ctx, c, group, client.TypeCluster, clusterTable)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "of this resource group only")
	cmd.Flags().BoolVar(&connected, "connected", false, "those that others run, instead of those that Fairlead runs")
	return cmd
}

// onCluster makes a command that acts on one cluster.
func onCluster(a *app, use, short string, limit time.Duration, run func(ctx context.Context, c *connection, cluster client.Cluster) error) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: exactly("NAME"),
		RunE: a.action(limit, func(ctx context.Context, c *connection, args []string) error {
			found, err := lookup.Cluster(ctx, c.Client, args[0], group)
			if err != nil {
				return err
			}
			return run(ctx, c, found)
		}),
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "look in this resource group only")
	return cmd
}

func newKubeShow(a *app) *cobra.Command {
	return onCluster(a, "show NAME", "Show a cluster, and what it is waiting for", quick, func(ctx context.Context, c *connection, found client.Cluster) error {
		if p := found.Properties.Fairlead.Progress; p != "" {
			c.tell("%s: %s", found.Name, terminal.Clean(p))
		}
		if s := found.Properties.Status; s != nil {
			c.tell("%s: %s (%s)", found.Name, terminal.Clean(s.Error.Message), s.Error.Code)
		}
		return c.showCluster(ctx, found.ID)
	})
}

// turn is something that a cluster is told to do.
type turn struct {
	name, action, short string
	doing               string // completes "dev goes on …"
	after               string // told when it is done, with the cluster's name; may be ""
}

func turnCluster(a *app, t turn) *cobra.Command {
	noWait := false
	cmd := onCluster(a, t.name+" NAME", t.short, unhurried, func(ctx context.Context, c *connection, found client.Cluster) error {
		if _, err := c.BeginPost(ctx, found.ID+"/"+t.action, nil); err != nil {
			return err
		}
		if !noWait {
			if err := c.settle(ctx, found.ID, t.doing); err != nil {
				return err
			}
			if t.after != "" {
				c.tell(t.after, found.Name)
			}
		}
		return c.showCluster(ctx, found.ID)
	})
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when it has begun")
	return cmd
}

func newKubeDelete(a *app) *cobra.Command {
	yes := false
	cmd := onCluster(a, "delete NAME --yes", "Delete a cluster with all that it stores", unhurried, func(ctx context.Context, c *connection, found client.Cluster) error {
		if !yes {
			return exit.Errorf(exit.Usage, "repeat it with --yes", "deleting %s deletes all that it stores", found.Name)
		}
		_, err := c.Delete(ctx, found.ID)
		return err
	})
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do it")
	return cmd
}

type updateOptions struct {
	attach, detach []string
	nodes          int
	pool           string
	noWait         bool
}

func newKubeUpdate(a *app) *cobra.Command {
	var o updateOptions
	cmd := onCluster(a, "update NAME", "Change a cluster: its registries, its number of nodes", unhurried, func(ctx context.Context, c *connection, found client.Cluster) error {
		return updateCluster(ctx, c, found, o)
	})
	cmd.Long = `Change a cluster.

With none of its flags it makes anew what is missing of the cluster, such as the identity that its
nodes pull with, when that was deleted.`
	cmd.Example = "  fairlead kube update dev --attach-acr myacr\n  fairlead kube update dev --node-count 3"
	f := cmd.Flags()
	f.StringArrayVar(&o.attach, "attach-acr", nil, "registry that nodes may pull from; may be repeated")
	f.StringArrayVar(&o.detach, "detach-acr", nil, "registry that nodes may not pull from any longer; may be repeated")
	f.IntVar(&o.nodes, "node-count", 0, "nodes of the pool")
	f.StringVar(&o.pool, "nodepool", "", "pool whose number of nodes is changed (default: the first)")
	f.BoolVar(&o.noWait, "no-wait", false, "return when the change has begun")
	return cmd
}

func updateCluster(ctx context.Context, c *connection, found client.Cluster, o updateOptions) error {
	attach, err := registriesOf(ctx, c.Client, o.attach)
	if err != nil {
		return err
	}
	detach, err := registriesOf(ctx, c.Client, o.detach)
	if err != nil {
		return err
	}
	nodes, changed := workload.Object{"properties": workload.Object{"count": o.nodes}}, true
	switch {
	case o.nodes != 0:
		_, err = c.BeginPut(ctx, found.ID+"/"+client.SubtypePool+"/"+poolOf(found, o.pool), nodes, client.Strict())
	case o.pool != "":
		return exit.Usagef("--nodepool needs --node-count")
	case len(attach)+len(detach) == 0 || len(attach) > 0 && found.Properties.Identities[client.KubeletIdentity].ObjectID == "":
		_, err = c.BeginPatch(ctx, found.ID, workload.Object{})
	default:
		changed = false
	}
	if err != nil {
		return err
	}
	for _, r := range attach {
		if err := c.attach(ctx, found.ID, r); err != nil {
			return err
		}
	}
	for _, r := range detach {
		if err := c.detach(ctx, found.ID, r); err != nil {
			return err
		}
	}
	if changed && !o.noWait {
		if err := c.settle(ctx, found.ID, "being changed"); err != nil {
			return err
		}
	}
	return c.showCluster(ctx, found.ID)
}

func registriesOf(ctx context.Context, c *client.Client, names []string) ([]client.Registry, error) {
	var out []client.Registry
	for _, name := range names {
		r, err := lookup.Registry(ctx, c, name)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// poolOf gives the pool that is meant; the server says when there is none of that name.
func poolOf(found client.Cluster, name string) string {
	if name == "" && len(found.Properties.Pools) > 0 {
		return found.Properties.Pools[0].Name
	}
	return name
}

// attach gives a cluster's nodes AcrPull on a registry, and tells so.
func (c *connection) attach(ctx context.Context, id string, r client.Registry) error {
	kubelet, role, err := c.pulling(ctx, id, r)
	if err != nil {
		return err
	}
	if kubelet.ObjectID == "" {
		return exit.Errorf(exit.NotFound, "make it anew with 'fairlead kube update "+client.NameOf(id)+"'",
			"the identity that nodes pull with, %s, does not exist", kubelet.ResourceID)
	}
	_, err = assign(ctx, c.Client, role, kubelet.ObjectID, r.ID)
	if client.HasCode(err, "RoleAssignmentExists") {
		c.tell("AcrPull on %s: the nodes' identity %s has it already", r.Name, client.NameOf(kubelet.ResourceID))
		return nil
	}
	if err == nil {
		c.tell("AcrPull on %s: given to the nodes' identity %s", r.Name, client.NameOf(kubelet.ResourceID))
	}
	return err
}

// detach takes AcrPull on a registry away from a cluster's nodes, and tells so.
func (c *connection) detach(ctx context.Context, id string, r client.Registry) error {
	kubelet, role, err := c.pulling(ctx, id, r)
	if err != nil {
		return err
	}
	identity := client.NameOf(kubelet.ResourceID)
	if kubelet.ObjectID == "" {
		c.tell("AcrPull on %s: the nodes' identity %s does not exist any longer, and has no role", r.Name, identity)
		return nil
	}
	removed, above, err := unassign(ctx, c, role, r.ID, roleOptions{to: kubelet.ObjectID, exact: true})
	switch {
	case err != nil:
		return err
	case removed == 0:
		c.tell("AcrPull on %s: the nodes' identity %s does not have it", r.Name, identity)
	default:
		c.tell("AcrPull on %s: taken away from the nodes' identity %s", r.Name, identity)
	}
	if above != "" {
		c.streams.Notef("%s still has AcrPull on %s: it is inherited from %s", identity, r.Name, above)
	}
	return nil
}

// pulling gives the identity that a cluster's nodes pull with, and the role that it takes.
func (c *connection) pulling(ctx context.Context, id string, r client.Registry) (client.ClusterIdentity, client.RoleDefinition, error) {
	var now client.Cluster
	if err := c.Get(ctx, id, &now); err != nil {
		return client.ClusterIdentity{}, client.RoleDefinition{}, err
	}
	role, err := lookup.Role(ctx, c.Client, "AcrPull", r.ID)
	return now.Properties.Identities[client.KubeletIdentity], role, err
}
