package arm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"fairlead.dev/internal/api/arm/kubeconfig"
	"fairlead.dev/internal/api/arm/managedcluster"
	"fairlead.dev/internal/api/arm/schema"
	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

const (
	clusterTypeName = "Microsoft.ContainerService/managedClusters"
	poolTypeName    = clusterTypeName + "/agentPools"
)

func (h *Handler) clusterType() *armType {
	t := &armType{
		name: clusterTypeName, slowDelete: true, goneEmpty: true,
		rule:    nameRule{regexp.MustCompile(`^[A-Za-z0-9]([-_A-Za-z0-9]{0,61}[A-Za-z0-9])?$`), "1 to 63 letters, digits, '-' and '_', with a letter or digit at both ends"},
		body:    tracked(managedcluster.Properties(), []schema.Field{schema.Obj("sku", schema.Texts("name", "tier"))}, schema.Absents("extendedLocation")),
		prepare: h.prepareCluster, properties: h.clusterView, remove: h.removeCluster, progress: h.clusterProgress,
	}
	item := t.name + "/*"
	t.extra = []route{
		on(http.MethodPost, item+"/start", atGroup, clusterTypeName+"/start/action", h.startCluster),
		on(http.MethodPost, item+"/stop", atGroup, clusterTypeName+"/stop/action", h.stopCluster),
		on(http.MethodPost, item+"/rotateClusterCertificates", atGroup, clusterTypeName+"/rotateClusterCertificates/action", h.rotateCluster),
		on(http.MethodPost, item+"/listClusterUserCredential", atGroup, clusterTypeName+"/listClusterUserCredential/action", h.clusterUser),
		on(http.MethodPost, item+"/listClusterAdminCredential", atGroup, clusterTypeName+"/listClusterAdminCredential/action", h.clusterAdmin),
	}
	return t
}

func (h *Handler) prepareCluster(ctx context.Context, p *put) (apply, error) {
	s, err := h.oldCluster(p.old)
	if err != nil {
		return nil, err
	}
	before := s.Kubelet()
	if err := s.Update(p.next.Properties, h.placeOf(ctx, p.next)); err != nil {
		return nil, err
	}
	group := resource.GroupID(p.next.ID.Subscription(), s.NodeGroup())
	if err := groupName.check(s.NodeGroup()); err != nil {
		return nil, fault.From(err).WithTarget("properties.nodeResourceGroup")
	}
	own := group.Provider(identityTypeName, p.next.ID.Name()+"-agentpool")
	switch kubelet := s.Kubelet(); {
	case kubelet.IsZero():
		s.SetKubelet(own)
	case !kubelet.Equal(before): // clients send back what they read
		p.links = append(p.links, link{id: kubelet, need: identityTypeName + "/assign/action", target: "properties.identityProfile.kubeletidentity.resourceId"})
	}
	c, err := s.Cluster(p.next.ID, s.Hosts(p.next.ID, p.next.Location, h.Origin))
	if err != nil {
		return nil, err
	}
	if p.next.Properties, err = s.Write(); err != nil {
		return nil, err
	}
	if p.next.Identity == nil {
		p.next.Identity = &resource.Identity{System: true}
	}
	p.next.Kind = ""
	if p.next.SKU, err = clusterSKU(p.next.SKU); err != nil {
		return nil, err
	}
	return func(ctx context.Context, r resource.Resource) error {
		if err := h.ensureNodeGroup(ctx, r, group); err != nil {
			return err
		}
		if c.Kubelet.Equal(own) {
			if err := h.ensureIdentity(ctx, own, r.Location); err != nil {
				return err
			}
		}
		return managedcluster.Refusal(h.Clusters.Put(ctx, c))
	}, nil
}

// clusterSKU reads the SKU: how much a control plane would cost.
func clusterSKU(raw json.RawMessage) (json.RawMessage, error) {
	if _, err := skuOf(raw, "Base", "Basic"); err != nil {
		return nil, err
	}
	s := struct {
		Name string `json:"name"`
		Tier string `json:"tier"`
	}{}
	if raw != nil {
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, err
		}
	}
	s.Name, s.Tier = "Base", cmp.Or(s.Tier, "Free")
	return json.Marshal(s)
}

// oldCluster gives the cluster that is stored; an empty one when there is none.
func (h *Handler) oldCluster(r *resource.Resource) (managedcluster.State, error) {
	if r == nil {
		return managedcluster.State{}, nil
	}
	return managedcluster.Read(r.Properties)
}

func (h *Handler) placeOf(ctx context.Context, r resource.Resource) managedcluster.Place {
	return managedcluster.Place{
		ID: r.ID, Location: r.Location, Tenant: h.Tenant,
		Version: func() (string, error) { return h.Clusters.Version(ctx) },
	}
}

// ensureNodeGroup makes the resource group of a cluster's own resources, which goes with the cluster. One that others made
// is not taken.
func (h *Handler) ensureNodeGroup(ctx context.Context, owner resource.Resource, id resource.ID) error {
	there, err := h.nodeGroup(ctx, owner.ID, id)
	if err != nil || there {
		return err
	}
	defer h.locks.alone(id.Key())()
	if there, err = h.nodeGroup(ctx, owner.ID, id); err != nil || there {
		return err
	}
	state, err := json.Marshal(groupState{Provisioning: groupReady, ManagedBy: owner.ID.String()})
	if err != nil {
		return err
	}
	_, _, err = h.Store.PutResource(ctx, resource.Resource{ID: id, Location: owner.Location, Properties: state}, "")
	return err
}

// nodeGroup tells whether a cluster's own group is there, and refuses one that is somebody else's.
func (h *Handler) nodeGroup(ctx context.Context, owner, id resource.ID) (bool, error) {
	r, err := h.find(ctx, id)
	if err != nil || r == nil {
		return false, err
	}
	s, err := stateOfGroup(*r)
	if err != nil {
		return true, err
	}
	if !strings.EqualFold(s.ManagedBy, owner.String()) {
		return true, fault.Newf(fault.Conflict, "NodeResourceGroupInUse", "The resource group '%s', in which the cluster's own resources would be, exists already. "+
			"Name another one in 'properties.nodeResourceGroup', or delete it.", id.Name()).WithTarget("properties.nodeResourceGroup")
	}
	return true, refuseGoing(r)
}

// ensureIdentity makes the managed identity that the nodes pull with.
func (h *Handler) ensureIdentity(ctx context.Context, id resource.ID, location string) error {
	defer h.locks.enter(id.Group(), id)()
	if _, err := h.openGroup(ctx, id.Group()); err != nil {
		return err
	}
	r, err := h.find(ctx, id)
	if err != nil {
		return err
	}
	if r == nil {
		if _, _, err := h.Store.PutResource(ctx, resource.Resource{ID: id, Location: location, Properties: json.RawMessage("{}")}, ""); err != nil {
			return err
		}
	}
	_, err = h.Directory.EnsureManaged(ctx, id, false, id.Name())
	return err
}

// removeCluster ends a cluster, then deletes the group that was made for it.
func (h *Handler) removeCluster(ctx context.Context, r resource.Resource) error {
	if err := h.Clusters.Delete(ctx, r.ID); err != nil {
		return err
	}
	s, err := managedcluster.Read(r.Properties)
	if err != nil {
		return err
	}
	id := resource.GroupID(r.ID.Subscription(), s.NodeGroup())
	group, err := h.find(ctx, id)
	if err != nil || group == nil {
		return err
	}
	if state, err := stateOfGroup(*group); err != nil || !strings.EqualFold(state.ManagedBy, r.ID.String()) {
		return err
	}
	return h.destroy(ctx, id)
}

// clusterStatus gives a cluster's state. A resource whose cluster is gone was interrupted while it was made.
func (h *Handler) clusterStatus(ctx context.Context, id resource.ID) (cluster.Status, error) {
	s, err := h.Clusters.Status(ctx, id)
	if errors.Is(err, cluster.ErrNotFound) {
		return cluster.Status{ID: id, Provisioning: cluster.ProvisioningFailed, Power: cluster.PowerStopped, Failure: &cluster.Failure{
			Code: "ProvisioningInterrupted", Message: "The request that made this resource was interrupted. Please send it again.",
		}}, nil
	}
	return s, err
}

func (h *Handler) clusterView(ctx context.Context, r resource.Resource) (any, error) {
	s, err := managedcluster.Read(r.Properties)
	if err != nil {
		return nil, err
	}
	v := managedcluster.View{FQDN: s.Hosts(r.ID, r.Location, h.Origin)[0]}
	if v.Status, err = h.clusterStatus(ctx, r.ID); err != nil {
		return nil, err
	}
	c, err := h.Clusters.Cluster(ctx, r.ID)
	switch {
	case err == nil:
		v.Issuer = h.Origin.ClusterIssuer(h.Tenant, c.UID)
	case !errors.Is(err, cluster.ErrNotFound):
		return nil, err
	}
	sp, err := h.Directory.Managed(ctx, s.Kubelet())
	if err != nil && !errors.Is(err, identity.ErrPrincipalUnknown) {
		return nil, err
	}
	v.ClientID, v.ObjectID = sp.ClientID, sp.ID
	return s.Encode(v)
}

// clusterProgress tells an operation how far the cluster is.
func (h *Handler) clusterProgress(ctx context.Context, id resource.ID) (resource.OperationStatus, *fault.Error, error) {
	s, err := h.clusterStatus(ctx, id)
	if err != nil {
		return "", nil, err
	}
	switch s.Provisioning {
	case cluster.ProvisioningSucceeded:
		return resource.Succeeded, nil, nil
	case cluster.ProvisioningFailed:
		failure := fault.New(fault.Conflict, "ProvisioningFailed", "The cluster could not be provisioned.")
		if s.Failure != nil {
			failure = fault.New(fault.Conflict, s.Failure.Code, s.Failure.Message)
		}
		return resource.Failed, failure, nil
	}
	return resource.InProgress, nil, nil
}

func (h *Handler) startCluster(ctx context.Context, c *call) (*reply, error) {
	return h.turnCluster(ctx, c, h.Clusters.Start)
}

func (h *Handler) stopCluster(ctx context.Context, c *call) (*reply, error) {
	return h.turnCluster(ctx, c, h.Clusters.Stop)
}

// rotateCluster makes a cluster's certificates anew; it must run.
func (h *Handler) rotateCluster(ctx context.Context, c *call) (*reply, error) {
	return h.turnCluster(ctx, c, func(ctx context.Context, id resource.ID) error {
		s, err := h.Clusters.Status(ctx, id)
		if err == nil && s.Power != cluster.PowerRunning {
			err = cluster.ErrNotRunning
		}
		if err == nil {
			err = h.Clusters.RotateCertificates(ctx, id)
		}
		return h.notNow(ctx, id, "rotating certificates", err)
	})
}

// turnCluster has a cluster become something else, and answers how that can be followed.
func (h *Handler) turnCluster(ctx context.Context, c *call, do func(context.Context, resource.ID) error) (*reply, error) {
	defer h.locks.enter(c.id.Group(), c.id)()
	r, err := h.load(ctx, c.id)
	if err != nil {
		return nil, err
	}
	if err := do(ctx, r.ID); err != nil {
		return nil, err
	}
	return h.transition(ctx, c, r)
}

// notNow says in Azure's words that a cluster which does not run cannot do something; other errors pass.
func (h *Handler) notNow(ctx context.Context, id resource.ID, what string, err error) error {
	if !errors.Is(err, cluster.ErrNotRunning) {
		return err
	}
	s, failed := h.clusterStatus(ctx, id)
	if failed != nil {
		return failed
	}
	f := fault.Newf(fault.Conflict, "OperationNotAllowed", "managed cluster is in Provisioning State(%s) and Power State(%s), %s cannot be performed.", s.Provisioning, s.Power, what)
	switch {
	case s.Power == cluster.PowerStopped:
		f = f.WithHint("Start it first.")
	case s.Progress != "":
		f = f.WithHint("It is waited for: %s.", s.Progress)
	case s.Failure != nil:
		f = f.WithHint("Why it does not run: %s", s.Failure.Message)
	}
	return f
}

// credentials is how Azure hands out kubeconfigs.
type credentials struct {
	Kubeconfigs []credential `json:"kubeconfigs"`
}

type credential struct {
	Name  string `json:"name"`
	Value []byte `json:"value"` // base64 in JSON, as it is wanted
}

func (h *Handler) clusterUser(ctx context.Context, c *call) (*reply, error) {
	_, _, doc, err := h.reach(ctx, c)
	if err != nil {
		return nil, err
	}
	return ok(credentials{[]credential{{"clusterUser", doc.User("--tenant-id", h.Tenant)}}})
}

func (h *Handler) clusterAdmin(ctx context.Context, c *call) (*reply, error) {
	s, access, doc, err := h.reach(ctx, c)
	if err != nil {
		return nil, err
	}
	if !s.LocalAccounts() {
		return nil, fault.New(fault.Invalid, "BadRequest", "Getting static credential is not allowed because this cluster is set to disable local accounts.").
			WithTarget("properties.disableLocalAccounts")
	}
	return ok(credentials{[]credential{{"clusterAdmin", doc.Admin(access.Certificate, access.Key)}}})
}

// reach gives how the API server of the cluster that a call names is reached by whoever called. Names under .localhost
// lead to this machine, but few programs know that without asking a server of names that does not.
func (h *Handler) reach(ctx context.Context, c *call) (managedcluster.State, cluster.Access, kubeconfig.Cluster, error) {
	var s managedcluster.State
	r, err := h.load(ctx, c.id)
	if err != nil {
		return s, cluster.Access{}, kubeconfig.Cluster{}, err
	}
	if s, err = managedcluster.Read(r.Properties); err != nil {
		return s, cluster.Access{}, kubeconfig.Cluster{}, err
	}
	access, err := h.Clusters.Access(ctx, r.ID)
	if err != nil {
		return s, access, kubeconfig.Cluster{}, h.notNow(ctx, r.ID, "listing credentials", err)
	}
	host := s.Hosts(r.ID, r.Location, h.Origin.Under(c.http.Host))[0]
	doc := kubeconfig.Cluster{ID: r.ID, CA: access.Authority}
	if strings.HasSuffix(host, ".localhost") {
		doc.TLSServerName, host = host, "127.0.0.1"
	}
	doc.Server = "https://" + net.JoinHostPort(host, strconv.Itoa(h.Origin.Port))
	return s, access, doc, nil
}

// poolType is the agent pools of a cluster, which are kept with it.
func (h *Handler) poolType() *childType {
	return &childType{
		name: poolTypeName, goneEmpty: true,
		body: schema.Obj("", schema.Texts("id", "name", "type", "apiVersion"), schema.Anys("systemData"), []schema.Field{schema.Must(managedcluster.PoolProperties())}),
		put:  h.putPool,
		list: h.listPools,
		remove: func(ctx context.Context, owner resource.ID, name string) error {
			return h.changePools(ctx, owner, func(s *managedcluster.State, _ managedcluster.Place) error { return s.RemovePool(name) })
		},
	}
}

func (h *Handler) listPools(ctx context.Context, owner resource.ID) ([]child, error) {
	r, err := h.load(ctx, owner)
	if err != nil {
		return nil, err
	}
	s, err := managedcluster.Read(r.Properties)
	if err != nil {
		return nil, err
	}
	status, err := h.clusterStatus(ctx, owner)
	if err != nil {
		return nil, err
	}
	var out []child
	for _, p := range s.EncodePools(status) {
		out = append(out, child{p.Name, p.Properties})
	}
	return out, nil
}

func (h *Handler) putPool(ctx context.Context, owner resource.ID, name string, properties json.RawMessage) (child, bool, error) {
	created := false
	err := h.changePools(ctx, owner, func(s *managedcluster.State, at managedcluster.Place) (err error) {
		created, err = s.SetPool(name, properties, at)
		return err
	})
	if err != nil {
		return child{}, created, err
	}
	all, err := h.listPools(ctx, owner)
	for _, p := range all {
		if strings.EqualFold(p.name, name) {
			return p, created, err
		}
	}
	return child{}, created, errors.Join(err, resource.ErrNotFound)
}

// changePools stores a change of a cluster's pools and has it brought about; when the core refuses it, all is as it was.
func (h *Handler) changePools(ctx context.Context, owner resource.ID, change func(*managedcluster.State, managedcluster.Place) error) error {
	old, err := h.load(ctx, owner)
	if err != nil {
		return err
	}
	s, err := managedcluster.Read(old.Properties)
	if err != nil {
		return err
	}
	if err := change(&s, h.placeOf(ctx, old)); err != nil {
		return err
	}
	c, err := s.Cluster(old.ID, s.Hosts(old.ID, old.Location, h.Origin))
	if err != nil {
		return err
	}
	next := old
	if next.Properties, err = s.Write(); err != nil {
		return err
	}
	stored, _, err := h.Store.PutResource(ctx, next, old.ETag)
	if err != nil {
		return err
	}
	if err := managedcluster.Refusal(h.Clusters.Put(ctx, c)); err != nil {
		_, _, undone := h.Store.PutResource(ctx, old, stored.ETag)
		return errors.Join(err, undone)
	}
	return nil
}
