package cluster_test

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/cluster/clustertest"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/resource"
	"fairlead.dev/internal/secret"
)

// bench is a service over a machine that runs nothing and a store in memory, in a bubble of synthetic time.
type bench struct {
	*cluster.Service
	t       *testing.T
	machine *clustertest.Machine
	store   *memory
	end     func()
}

// open starts a service over what store holds.
func open(t *testing.T, store *memory, change ...func(*cluster.Config)) *bench {
	t.Helper()
	sealer, err := secret.NewSealer(map[uint32][]byte{1: make([]byte, 32)})
	must(t, err)
	b := &bench{t: t, machine: &clustertest.Machine{}, store: store}
	cfg := cluster.Config{Store: store, Machine: b.machine, Sealer: sealer}
	for _, f := range change {
		f(&cfg)
	}
	b.Service = cluster.NewService(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	b.end = func() {
		cancel()
		must(t, <-done)
		if kept := b.machine.Kept(); kept != 0 {
			t.Errorf("%d clusters are still being kept running after the end", kept)
		}
	}
	return b
}

func demo(nodes int) cluster.Cluster {
	return cluster.Cluster{
		ID: clustertest.ID("demo"), Hosts: []string{"demo.example"}, Pools: []cluster.Pool{{Name: "pool1", Count: nodes, Mode: "System"}},
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.0.0.0/16"),
	}
}

var key = cluster.Key(clustertest.ID("demo"))

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// at waits until nothing moves and checks what the cluster is shown as.
func (b *bench) at(provisioning, power string) cluster.Status {
	b.t.Helper()
	synctest.Wait()
	s, err := b.Status(b.t.Context(), clustertest.ID("demo"))
	must(b.t, err)
	if s.Provisioning != provisioning || s.Power != power {
		b.t.Fatalf("it is %s and %s (%+v), want %s and %s", s.Provisioning, s.Power, s.Failure, provisioning, power)
	}
	return s
}

func (b *bench) called(want ...string) {
	b.t.Helper()
	for i := range want {
		want[i] += " " + key
	}
	if diff := cmp.Diff(want, b.machine.Log()); diff != "" {
		b.t.Fatalf("the machine's calls: -want +got:\n%s", diff)
	}
}

func TestLifeOfACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settled := 0
		b := open(t, &memory{}, func(c *cluster.Config) {
			c.Complete = func(_ context.Context, _ cluster.Cluster, token secret.Text, p *cluster.Plan) error {
				p.Issuer = "https://issuer.example/" + token.Reveal()
				return nil
			}
			c.Settle = func(_ context.Context, _ cluster.Cluster, a cluster.Access) error {
				settled++
				if !a.Server.IsValid() {
					t.Error("what is settled cannot reach the cluster")
				}
				return nil
			}
		})
		defer b.end()
		ctx, id := t.Context(), clustertest.ID("demo")

		release := b.machine.Hold()
		must(t, b.Put(ctx, demo(2)))
		s := b.at("Creating", "Running")
		if s.Progress != "starting" || s.Version != "1.2.3" || s.Generation != 1 || len(s.Nodes) != 2 {
			t.Errorf("while it is made: %+v", s)
		}
		if _, err := b.Access(ctx, id); !errors.Is(err, cluster.ErrNotRunning) {
			t.Errorf("access before it runs: %v", err)
		}
		if to, ok := b.Reach("demo.example"); !ok || to.IsValid() {
			t.Errorf("before it runs it is reached at %v, %v", to, ok)
		}
		if _, ok := b.Reach("other.example"); ok {
			t.Error("another is reached")
		}
		release()
		if s = b.at("Succeeded", "Running"); s.Progress != "" {
			t.Errorf("it runs and still waits for %q", s.Progress)
		}
		if to, ok := b.Reach("DEMO.example"); !ok || to.String() != "192.0.2.1:6443" {
			t.Errorf("it is reached at %v, %v", to, ok)
		}
		token, err := b.Token(ctx, id)
		must(t, err)
		if got := b.machine.Plan(key).Issuer; got != "https://issuer.example/"+token.Reveal() || len(token.Reveal()) < 32 {
			t.Errorf("the plan was not completed with the cluster's token")
		}

		must(t, b.Put(ctx, demo(3)))
		b.at("Succeeded", "Running")
		must(t, b.Put(ctx, demo(3))) // is no change, and nothing is started again
		if s = b.at("Succeeded", "Running"); s.Generation != 2 {
			t.Errorf("a Put of what is there already: %+v", s)
		}
		must(t, b.Stop(ctx, id))
		b.at("Succeeded", "Stopped")
		if _, err := b.Access(ctx, id); !errors.Is(err, cluster.ErrNotRunning) {
			t.Errorf("access to a stopped cluster: %v", err)
		}
		must(t, b.RotateCertificates(ctx, id))
		b.at("Succeeded", "Stopped")
		must(t, b.Start(ctx, id))
		b.at("Succeeded", "Running")
		b.called("start", "start", "stop", "stop", "stop", "rotate", "start")
		if settled != 3 {
			t.Errorf("settled %d times, want at each of 3 starts", settled)
		}

		must(t, b.Delete(ctx, id))
		if _, err := b.Status(ctx, id); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("after the deletion: %v", err)
		}
		must(t, b.Delete(ctx, id))
		if len(b.store.kept) != 0 {
			t.Error("the deleted cluster is still stored")
		}
	})
}

func TestNodesHaveTheNamesOfAzure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &memory{})
		defer b.end()
		c := demo(2)
		c.Pools[0].Labels = map[string]string{"disk": "fast"}
		must(t, b.Put(t.Context(), c))
		b.at("Succeeded", "Running")
		first := b.machine.Plan(key).Nodes
		if ok, _ := filepath.Match("aks-pool1-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]-vmss000001", first[1].Name); !ok {
			t.Errorf("the second node is called %s", first[1].Name)
		}
		if first[1].Labels["agentpool"] != "pool1" || first[1].Labels["disk"] != "fast" {
			t.Errorf("its labels: %v", first[1].Labels)
		}
		must(t, b.Put(t.Context(), c))
		b.at("Succeeded", "Running")
		if diff := cmp.Diff(first, b.machine.Plan(key).Nodes); diff != "" {
			t.Errorf("the nodes changed with a second Put: -first +second:\n%s", diff)
		}
		must(t, b.Delete(t.Context(), c.ID))
		must(t, b.Put(t.Context(), c))
		b.at("Succeeded", "Running")
		if b.machine.Plan(key).Nodes[0].Name == first[0].Name {
			t.Error("a new cluster of the same name has the nodes of the deleted one")
		}
	})
}

func TestCommandsCutShortWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &memory{})
		defer b.end()
		defer b.machine.Hold()()
		must(t, b.Put(t.Context(), demo(1)))
		b.at("Creating", "Running")
		must(t, b.Stop(t.Context(), clustertest.ID("demo")))
		b.at("Succeeded", "Stopped")
		must(t, b.Start(t.Context(), clustertest.ID("demo")))
		b.at("Starting", "Running")
		must(t, b.Delete(t.Context(), clustertest.ID("demo")))
		b.called("start", "stop", "start", "remove")
	})
}

func TestFailuresAreShownAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &memory{})
		defer b.end()
		id := clustertest.ID("demo")
		b.machine.Fail("start", errors.New("no room on the disk"))
		must(t, b.Put(t.Context(), demo(1)))
		s := b.at("Failed", "Running")
		if s.Failure == nil || s.Failure.Code != "ReconcileFailed" || !contains(s.Failure.Message, "no room on the disk") {
			t.Errorf("the failure: %+v", s.Failure)
		}
		b.machine.Fail("start", cluster.ErrTooManyNodes)
		must(t, b.Put(t.Context(), demo(1)))
		if s = b.at("Failed", "Running"); s.Failure.Code != "QuotaExceeded" {
			t.Errorf("the failure: %+v", s.Failure)
		}
		b.machine.Fail("start", nil)
		for { // time passes by itself in here
			if s, err := b.Status(t.Context(), id); err != nil || s.Provisioning == "Succeeded" {
				must(t, err)
				break
			}
			tick()
		}

		b.machine.Break(key, errors.New("it died"))
		b.at("Succeeded", "Running")
		if calls := b.machine.Log(); calls[len(calls)-1] != "start "+key || b.machine.Kept() != 1 {
			t.Errorf("what is no longer kept running was not started again: %v", calls)
		}

		b.machine.Fail("remove", errors.New("it is busy"))
		ctx, cancel := context.WithCancel(t.Context())
		deleted := make(chan error, 1)
		go func() { deleted <- b.Delete(ctx, id) }()
		if s = b.at("Deleting", "Running"); s.Failure == nil {
			t.Error("nobody learns why the deletion takes so long")
		}
		if err := b.Put(t.Context(), demo(1)); !errors.Is(err, cluster.ErrDeleting) {
			t.Errorf("a Put while it is deleted: %v", err)
		}
		cancel()
		if err := <-deleted; !errors.Is(err, context.Canceled) {
			t.Errorf("the deletion whose caller went away: %v", err)
		}
		b.machine.Fail("remove", nil)
		must(t, b.Delete(t.Context(), id)) // waits for the one that goes on by itself
	})
}

func TestARestartFindsEverythingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		b := open(t, store)
		must(t, b.Put(t.Context(), demo(1)))
		b.at("Succeeded", "Running")
		token, err := b.Token(t.Context(), clustertest.ID("demo"))
		must(t, err)
		plan := b.machine.Plan(key)
		b.end()
		b.called("start") // and no stop

		if err := b.Put(t.Context(), demo(1)); !errors.Is(err, cluster.ErrClosed) {
			t.Errorf("a Put after the end: %v", err)
		}
		b = open(t, store)
		b.at("Succeeded", "Running")
		again, err := b.Token(t.Context(), clustertest.ID("demo"))
		must(t, err)
		if diff := cmp.Diff(plan, b.machine.Plan(key), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || again.Reveal() != token.Reveal() {
			t.Errorf("after the restart: -before +after:\n%s", diff)
		}
		must(t, b.Stop(t.Context(), clustertest.ID("demo")))
		b.at("Succeeded", "Stopped")
		b.end()
		b = open(t, store)
		b.at("Succeeded", "Stopped")
		b.called("stop")
		b.machine.Fail("remove", errors.New("it is busy"))
		go func() { _ = b.Delete(t.Context(), clustertest.ID("demo")) }()
		b.at("Deleting", "Running")
		b.end()
		b = open(t, store)
		defer b.end()
		synctest.Wait()
		b.called("remove")
		if _, err := b.Status(t.Context(), clustertest.ID("demo")); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("the deletion did not go on after the restart: %v", err)
		}
	})
}

func TestImpossibleClustersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &memory{})
		defer b.end()
		for target, spoil := range map[string]func(*cluster.Cluster){
			"pools":          func(c *cluster.Cluster) { c.Pools = nil },
			"pools[0].name":  func(c *cluster.Cluster) { c.Pools[0].Name = "No" },
			"pools[0].count": func(c *cluster.Cluster) { c.Pools[0].Count = 0 },
			"pools[1].name":  func(c *cluster.Cluster) { c.Pools = append(c.Pools, c.Pools[0]) },
			"podCIDR":        func(c *cluster.Cluster) { c.PodCIDR = netip.MustParsePrefix("10.244.0.1/16") },
			"serviceCIDR":    func(c *cluster.Cluster) { c.ServiceCIDR = c.PodCIDR },
			"verifyPull":     func(c *cluster.Cluster) { c.VerifyPull = "Sometimes" },
		} {
			c := demo(1)
			spoil(&c)
			var f *fault.Error
			if err := b.Put(t.Context(), c); !errors.As(err, &f) || !errors.Is(err, cluster.ErrInvalid) || f.Target != target {
				t.Errorf("%s: %v", target, err)
			}
		}
		if err := b.Put(t.Context(), demo(6)); !errors.Is(err, cluster.ErrTooManyNodes) {
			t.Errorf("six nodes: %v", err)
		}
		must(t, b.Put(t.Context(), demo(3)))
		other := demo(3)
		other.ID = clustertest.ID("other")
		if err := b.Put(t.Context(), other); !errors.Is(err, cluster.ErrTooManyNodes) {
			t.Errorf("three nodes beside three: %v", err)
		}
		moved := demo(3)
		moved.PodCIDR = netip.MustParsePrefix("10.200.0.0/16")
		if err := b.Put(t.Context(), moved); !errors.Is(err, cluster.ErrFixed) {
			t.Errorf("another range of pods: %v", err)
		}
		b.at("Succeeded", "Running")
		b.store.fail = errors.New("the disk is full")
		if err := b.Stop(t.Context(), clustertest.ID("demo")); !errors.Is(err, b.store.fail) {
			t.Errorf("a command that is not stored: %v", err)
		}
		b.store.fail = nil
		if s := b.at("Succeeded", "Running"); s.Generation != 1 {
			t.Errorf("what was refused counts: %+v", s)
		}
		for _, call := range []func(context.Context, resource.ID) error{b.Start, b.Stop, b.RotateCertificates} {
			if err := call(t.Context(), clustertest.ID("none")); !errors.Is(err, cluster.ErrNotFound) {
				t.Errorf("a cluster that is not: %v", err)
			}
		}
		if got := b.Clusters(); len(got) != 1 || !slices.Equal(got[0].Hosts, demo(1).Hosts) {
			t.Errorf("the clusters: %+v", got)
		}
	})
}
