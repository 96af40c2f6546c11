//go:build linux

package containerd

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/miekg/dns"

	"fairlead.dev/internal/cluster"
	"fairlead.dev/internal/driver/containerd/daemon"
)

// town is a cluster of two nodes with what testdata/addons.yaml makes in it.
type town struct {
	clusterBench
	plan    cluster.Plan
	running cluster.Running
}

// TestClusterOffers goes through what people expect of a cluster, with upstream's kubectl, from within pods and from this
// machine.
func TestClusterOffers(t *testing.T) {
	b := openClusters(t)
	answerNames(t, b.network.Gateway().String())
	plan := planOf(2)
	c := town{b, plan, b.start(t, plan)}
	for _, node := range []string{"0", "1"} {
		giveImage(t, filepath.Join(b.names.nodes, plan.Key[:8]+node, "c", "containerd.sock"))
	}
	c.kubectl(t, plan, "wait", "--for=create", "serviceaccount/default", "storageclass/default", "ingressclass/fairlead", "--timeout=60s")
	c.kubectl(t, plan, "apply", "-f", "testdata/addons.yaml")
	c.kubectl(t, plan, "rollout", "status", "daemonset/web", "--timeout=120s")
	c.kubectl(t, plan, "wait", "--for=condition=Ready", "pod/far", "--timeout=120s")
	t.Run("dns", c.lookups)
	t.Run("load balancers", c.loadBalancers)
	t.Run("volumes", c.volumes)
	t.Run("ingress", c.ingress)
	t.Run("kubectl", c.tools)
	t.Run("metrics", c.metrics)
	must(t, b.machine.Remove(t.Context(), plan.Key))
}

// answerNames is the name server of the container network: it knows one name, and no other.
func answerNames(t *testing.T, gateway string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(gateway, "53"))
	must(t, err)
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		switch {
		case q.Question[0].Name != "myacr.azurecr.fairlead.internal.":
			m.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.ParseIP(gateway)}}
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		must(t, s.Shutdown())
		must(t, <-done)
	})
}

// giveImage puts an image on a node whose containerd has that socket.
func giveImage(t *testing.T, socket string) {
	t.Helper()
	c, err := client.New(socket, client.WithDefaultNamespace(daemon.CRINamespace))
	must(t, err)
	defer c.Close()
	r, w := io.Pipe()
	go func() {
		image := imageOf(t, v1.Config{Env: []string{"PATH=/bin"}}, layerOf(t, busybox(t)))
		_ = w.CloseWithError(tarball.Write(name.MustParseReference("test.example/box:1"), image, w))
	}()
	_, err = c.Import(t.Context(), r)
	must(t, err)
}

// eventually asks until the answer is good, for a minute; what the cluster is told becomes true a little later.
func eventually(t *testing.T, what string, ask func() (answer string, good bool)) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		answer, good := ask()
		if good {
			return answer
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: got %q", what, answer)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// try is kubectl whose failure is an answer.
func (c town) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := c.command(t, c.plan, args...).CombinedOutput()
	return string(out), err
}

// get asks over HTTP as this machine does, with a host name of its own choice.
func get(t *testing.T, url, host string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	r.Host = host
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.Status + " " + strings.TrimSpace(string(body)), err
}

func (c town) lookups(t *testing.T) {
	web := c.kubectl(t, c.plan, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	for asked, want := range map[string]string{
		"web.default.svc.cluster.local": web, "kubernetes.default.svc.cluster.local": "10.0.0.1",
		"myacr.azurecr.fairlead.internal": c.network.Gateway().String(),
	} {
		for _, pod := range []string{"far", "daemonset/web"} {
			eventually(t, asked+" asked in "+pod, func() (string, bool) {
				out, err := c.try(t, "exec", pod, "--", "nslookup", asked)
				return out, err == nil && strings.Contains(out, "Server:\t\t10.0.0.10\n") && strings.Contains(out, "Address: "+want+"\n")
			})
		}
	}
	if out, err := c.try(t, "exec", "far", "--", "nslookup", "nosuch.default.svc.cluster.local"); err == nil || !strings.Contains(out, "NXDOMAIN") {
		t.Errorf("a service that is not there: %q", out)
	}
	if out := c.kubectl(t, c.plan, "exec", "far", "--", "cat", "/etc/resolv.conf"); !strings.Contains(out, "search default.svc.cluster.local svc.cluster.local cluster.local\n") {
		t.Errorf("names are completed by %q", out)
	}
	if out := c.kubectl(t, c.plan, "exec", "far", "--", "wget", "-q", "-O", "-", "http://"+web+"/"); !strings.HasPrefix(out, "web-") {
		t.Errorf("the service answers %q", out)
	}
}

// addressOf waits for a service's address.
func (c town) addressOf(t *testing.T, service string) string {
	t.Helper()
	return eventually(t, "the address of "+service, func() (string, bool) {
		out, err := c.try(t, "get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
		return out, err == nil && net.ParseIP(out) != nil
	})
}

func (c town) loadBalancers(t *testing.T) {
	public, near := c.addressOf(t, "public"), c.addressOf(t, "near")
	seen := map[string]bool{}
	eventually(t, "pods of both nodes behind the load balancer", func() (string, bool) {
		out, err := get(t, "http://"+public+"/", public)
		if err == nil && strings.HasPrefix(out, "200 OK web-") {
			seen[out] = true
		}
		return out, len(seen) == 2
	})
	eventually(t, "a pod of the other node by traffic policy Local", func() (string, bool) {
		out, err := get(t, "http://"+near+"/", near)
		return out, err == nil && out == "200 OK far"
	})
	// All are taken: an event says so, and how many there are.
	for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
		c.kubectl(t, c.plan, "create", "service", "loadbalancer", "full-"+n, "--tcp=80:8080")
	}
	eventually(t, "an event for the one without an address", func() (string, bool) {
		out, err := c.try(t, "get", "events", "--field-selector", "reason=SyncLoadBalancerFailed", "-o", "jsonpath={.items[*].message}")
		return out, err == nil && strings.Contains(out, "the 8 addresses that this cluster has for load balancers are all taken")
	})
	c.kubectl(t, c.plan, "patch", "service", "full-a", "-p", `{"spec":{"type":"ClusterIP"}}`)
	c.addressOf(t, "full-f")
	if out := c.kubectl(t, c.plan, "get", "service", "full-a", "-o", "jsonpath={.status.loadBalancer}"); out != "{}" {
		t.Errorf("the service that is no load balancer any more has the status %s", out)
	}
}

func (c town) volumes(t *testing.T) {
	c.kubectl(t, c.plan, "exec", "far", "--", "sh", "-c", "echo kept > /data/file")
	volume := c.kubectl(t, c.plan, "get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
	dir := filepath.Join(c.names.clusters, c.plan.Key, "node1", "volumes", volume)
	if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "kept\n" {
		t.Errorf("on the node's disk: %q, %v", text, err)
	}
	c.kubectl(t, c.plan, "delete", "pod", "far")
	c.kubectl(t, c.plan, "apply", "-f", "testdata/addons.yaml")
	c.kubectl(t, c.plan, "wait", "--for=condition=Ready", "pod/far", "--timeout=60s")
	if out := c.kubectl(t, c.plan, "exec", "far", "--", "cat", "/data/file"); out != "kept\n" {
		t.Errorf("the next pod reads %q", out)
	}
	c.kubectl(t, c.plan, "delete", "pod/far", "pvc/data")
	eventually(t, "the volume's end", func() (string, bool) {
		_, err := os.Stat(dir)
		out, getErr := c.try(t, "get", "pv", volume)
		return out, os.IsNotExist(err) && getErr != nil
	})
	c.kubectl(t, c.plan, "apply", "-f", "testdata/addons.yaml")
	c.kubectl(t, c.plan, "wait", "--for=condition=Ready", "pod/far", "--timeout=60s")
}

func (c town) ingress(t *testing.T) {
	access, err := c.running.Access()
	must(t, err)
	proxy := "http://" + net.JoinHostPort(access.Server.Addr().String(), "10080") + "/"
	eventually(t, "the shop by its host name", func() (string, bool) {
		out, err := get(t, proxy, "shop.example")
		return out, err == nil && strings.HasPrefix(out, "200 OK web-")
	})
	if out, err := get(t, proxy, "other.example"); err != nil || out != "404 Not Found no Ingress of the cluster demo serves / at other.example" {
		t.Errorf("another name: %q, %v", out, err)
	}
	hosts, err := os.ReadFile(filepath.Join(c.names.clusters, c.plan.Key, "ingress-hosts.json"))
	if err != nil || string(hosts) != `{"hosts":["shop.example"]}` {
		t.Errorf("the file of hosts: %q, %v", hosts, err)
	}
	address := eventually(t, "the Ingress's address", func() (string, bool) {
		out, err := c.try(t, "get", "ingress", "shop", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
		return out, err == nil && net.ParseIP(out) != nil
	})
	eventually(t, "the shop at its address", func() (string, bool) {
		out, err := get(t, "http://"+address+"/", "shop.example")
		return out, err == nil && strings.HasPrefix(out, "200 OK web-")
	})
	c.kubectl(t, c.plan, "delete", "ingress", "shop")
	eventually(t, "no shop", func() (string, bool) {
		out, err := get(t, proxy, "shop.example")
		return out, err == nil && strings.HasPrefix(out, "404 ")
	})
}

// tools are the commands of kubectl that go through the API server to a kubelet, here that of the other node.
func (c town) tools(t *testing.T) {
	if out := c.kubectl(t, c.plan, "exec", "far", "--", "id", "-u"); out != "1234\n" {
		t.Errorf("exec: %q", out)
	}
	c.kubectl(t, c.plan, "run", "talk", "--image=test.example/box:1", "--image-pull-policy=Never", "--restart=Never", "--stdin", "--attach=false",
		`--overrides={"spec":{"nodeName":"node1"}}`, "--command", "--", "sh", "-c", "echo begun; while read line; do echo heard $line; done")
	c.kubectl(t, c.plan, "wait", "--for=condition=Ready", "pod/talk", "--timeout=60s")
	attach := c.command(t, c.plan, "attach", "talk", "--stdin")
	attach.Stdin = strings.NewReader("hello\n")
	if out, err := attach.CombinedOutput(); err != nil || !strings.Contains(string(out), "heard hello") {
		t.Errorf("attach: %q, %v", out, err)
	}
	if out := c.kubectl(t, c.plan, "logs", "talk"); !strings.HasPrefix(out, "begun\n") {
		t.Errorf("logs: %q", out)
	}
	local := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(local, []byte("carried\n"), 0o600))
	c.kubectl(t, c.plan, "cp", local, "far:/tmp/carried")
	c.kubectl(t, c.plan, "cp", "far:/tmp/carried", local+".back")
	if text, err := os.ReadFile(local + ".back"); err != nil || string(text) != "carried\n" {
		t.Errorf("cp: %q, %v", text, err)
	}
	forward := c.command(t, c.plan, "port-forward", "pod/far", ":8080")
	lines, err := forward.StdoutPipe()
	must(t, err)
	must(t, forward.Start())
	first, _ := bufio.NewReader(lines).ReadString('\n')
	if port := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(first); port == "" {
		t.Errorf("port-forward says %q", first)
	} else if out, err := get(t, "http://"+port+"/", "far"); err != nil || out != "200 OK far" {
		t.Errorf("port-forward: %q, %v", out, err)
	}
	must(t, forward.Process.Kill())
	_ = forward.Wait()
}

func (c town) metrics(t *testing.T) {
	eventually(t, "both nodes in top", func() (string, bool) {
		out, err := c.try(t, "top", "nodes", "--no-headers")
		return out, err == nil && regexp.MustCompile(`(?s)node0 +\d+m +\d+% +[1-9]\d*Mi .*node1 +\d+m +\d+% +[1-9]\d*Mi `).MatchString(out)
	})
	eventually(t, "the pod in top", func() (string, bool) {
		out, err := c.try(t, "top", "pod", "far", "--no-headers")
		return out, err == nil && regexp.MustCompile(`far +\d+m +\d+Mi`).MatchString(out)
	})
}
